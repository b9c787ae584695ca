"""The hop: a fresh message to Triton over a kept connection on loopback, and what comes back."""
