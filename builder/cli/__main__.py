"""``python -m builder.cli``: the same as ``pragmatiq``, whatever else is called that on the PATH."""

from builder.cli import main

main()
