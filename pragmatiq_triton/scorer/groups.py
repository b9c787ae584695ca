"""Sequences of one exact length, batched without padding.

A padded batch wastes work and lets a sequence's result depend on its neighbours; sequences of one length need neither
padding nor a mask.
"""

import numpy as np

from pragmatiq_triton.batch import Int64


def exact_length_chunks(lengths: Int64, max_tokens: int) -> list[Int64]:
    """Split sequences into chunks of one length each, most work first.

    ``lengths`` int64 [n] are the sequences' slots; a chunk is an int64 array of indices into it and holds at most
    ``max_tokens`` slots (or a single longer sequence). The chunks of one length are of nearly equal size.
    """
    order = np.argsort(lengths, kind="stable")
    _, first = np.unique(lengths[order], return_index=True)
    chunks: list[Int64] = []
    for group in np.split(order, first[1:]) if len(order) else []:
        per_chunk = max(1, max_tokens // max(1, int(lengths[group[0]])))
        chunks += np.array_split(group, -(-len(group) // per_chunk))
    return sorted(chunks, key=lambda chunk: -len(chunk) * int(lengths[chunk[0]]))


def gather_rows(starts: Int64, length: int) -> Int64:
    """Row numbers of sequences that begin at ``starts`` int64 [n] and are all ``length`` long: int64 [n, length]."""
    return starts[:, None] + np.arange(length)
