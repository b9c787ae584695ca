"""Benchmarks: programs to run, not part of the installation."""
