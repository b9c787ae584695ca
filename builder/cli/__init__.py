"""The command line, ``pragmatiq``; each command is a thin shell around one library function."""

from builder.cli.app import main

__all__ = ["main"]
