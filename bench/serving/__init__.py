"""How fast records are scored: ``python -m bench.serving``."""
