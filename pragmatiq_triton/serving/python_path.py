"""The operator's own modules in a model's process."""

import os
import sys


def heed_python_path() -> None:
    """Append the folders of ``PYTHONPATH`` to ``sys.path``: the interpreter in Triton's stub does not read it.

    At the end, so that nothing there takes the place of what the server's environment holds.
    """
    for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if folder and folder not in sys.path:
            sys.path.append(folder)
