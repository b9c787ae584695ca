"""``python -m pragmatiq_builder.cli``: the same as ``pragmatiq``, whatever else is called that on the PATH."""

from pragmatiq_builder.cli import main

main()
