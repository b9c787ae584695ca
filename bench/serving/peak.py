"""How near a server comes to the arithmetic peak: matrix products that a cold record needs, per second."""

from collections.abc import Iterable
from time import perf_counter

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from bench.toolkits import CORES
from pragmatiq_builder.network import NetworkConfig
from pragmatiq_triton.batch import Event, UserFeatures
from pragmatiq_triton.records import Record
from pragmatiq_triton.tokenizer import Tokenizer

SIZE = 2048
SECONDS = 2.0


def matmul_peak(size: int = SIZE, seconds: float = SECONDS) -> float:
    """GFLOP/s of ONNX Runtime's best fp32 product of two [size, size] matrices, with a thread per core."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "matmul", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {name: np.random.default_rng(0).random((size, size), np.float32) for name in "ab"}
    session.run(None, feeds)
    best, end = float("inf"), perf_counter() + seconds
    while (started := perf_counter()) < end:
        session.run(None, feeds)
        best = min(best, perf_counter() - started)
    return 2 * size**3 / best / 1e9


def encoder_flop(dim: int, depth: int, length: int) -> int:
    """FLOP of the products for the first state of one sequence of ``length``, by an encoder ``depth`` blocks deep.

    A token's own products (q, k, v, out, feed-forward) are 24 dim**2 and its attention 4 * length * dim. Of the last
    block only k and v are needed of every token, all else of the first one.
    """
    whole = length * (24 * dim**2 + 4 * length * dim)
    last = length * 4 * dim**2 + 20 * dim**2 + 4 * length * dim
    return (depth - 1) * whole + last


def record_gflop(config: NetworkConfig, user: UserFeatures) -> float:
    """GFLOP of the products that a record needs where nothing is known, each distinct event encoded once."""
    lengths = user.events[:, Event.TOKENS].astype(int)
    tokens = np.split(user.tokens, np.cumsum(lengths)[:-1])
    distinct = {events.tobytes(): len(events) + 1 for events in tokens if len(events)}
    flop = sum(encoder_flop(config.dim, config.depth_event, length) for length in distinct.values())
    flop += encoder_flop(config.dim, config.depth_profile, len(user.profile) + 1)
    flop += encoder_flop(config.dim, config.depth_history, len(lengths) + 1)
    flop += len(lengths) * 2 * (6 * config.dim + config.dim**2)
    flop += len(user.texts) * 2 * config.text_dim * config.dim
    return flop / 1e9


def mean_gflop(config: NetworkConfig, tokenizer: Tokenizer, records: Iterable[Record]) -> float:
    return float(np.mean([record_gflop(config, tokenizer(record)) for record in records]))
