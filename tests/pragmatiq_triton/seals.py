"""Seals for tests that bring tensors to an inner model themselves, with the key of a running server."""

from pathlib import Path

from bench.serving.processes import stubs
from pragmatiq_triton.boards import SEAL_KEY
from pragmatiq_triton.serving.seals import Seals


def seals_of(server):
    """The seals that this server's models make."""
    environment = Path(f"/proc/{stubs(server.pid)['scorer']}/environ").read_bytes().decode()
    [key] = [line.partition("=")[2] for line in environment.split("\0") if line.startswith(f"{SEAL_KEY}=")]
    return Seals(bytes.fromhex(key))


def with_seals(seals, arrays):
    """The tensors with what the tokenizer and the text embedder would have put beside them."""
    seal = seals.of_tokens(arrays)
    vectors = {"vectors_seal": seals.of_vectors(arrays, seal)} if "text_vectors" in arrays else {}
    return {**arrays, "seal": seal, **vectors}
