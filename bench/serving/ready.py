"""How soon a server with a large table of strings is ready."""

from pathlib import Path
from time import perf_counter

import numpy as np

from bench.quality import pragmatiq
from bench.serving.servers import serve
from pragmatiq_triton.text_encoders.table import save_table


def seconds_to_ready(run: Path, text_dim: int, n_strings: int, rounds: int, work: Path) -> list[float]:
    """Seconds of ``TritonServer.start()`` on the embed run ``run`` with ``n_strings`` in its table, each round anew."""
    table, repository = work / "strings.npz", work / "repositories" / f"embed_{n_strings}"
    vectors = np.random.default_rng(0).standard_normal((n_strings, text_dim), np.float32)
    save_table(table, [f"MERCHANT {number:08d}" for number in range(n_strings)], vectors)
    pragmatiq("export", run, "--out", repository, "--text-vectors", table)
    seconds = []
    for _ in range(rounds):
        server = serve(repository)
        started = perf_counter()
        with server:
            seconds.append(perf_counter() - started)
    return seconds
