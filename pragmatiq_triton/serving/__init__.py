"""What the Triton models run: one stage each, from a request's arrays to its answer's."""
