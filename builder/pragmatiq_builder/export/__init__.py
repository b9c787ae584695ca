"""Trained runs become Triton model repositories."""
