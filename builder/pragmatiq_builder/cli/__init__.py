"""The command line, ``pragmatiq``; each command is a thin shell around one library function."""

INTERRUPTED = 130


def main() -> None:
    """Run the command line; a Ctrl-C while it is still being loaded ends it as one later does, without a traceback."""
    try:
        from pragmatiq_builder.cli.app import main as run
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    run()


__all__ = ["main"]
