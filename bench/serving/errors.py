"""What ends a benchmark."""


class BenchError(Exception):
    """A measurement that would mean nothing: the message says why, and what to do where something can be done."""
