"""The network as ONNX graphs for :class:`pragmatiq_triton.scorer.Scorer`, with weights beside them.

Each ``<graph>.onnx`` reads its weights from ``<graph>.onnx.data`` (a large network's exceed what one protobuf file
may hold), but for the token table: the graphs that look tokens up refer to the array inside ``token_embedding.npy``,
which ONNX Runtime maps, so it is in memory once. The same network gives the same bytes wherever it is exported.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_builder.onnx.graph_modules import (
    EventEncoderGraph,
    HistoryEncoderGraph,
    ProfileEncoderGraph,
    TextProjectionGraph,
)
from pragmatiq_triton.scorer.sessions import (
    EVENT_ENCODER,
    HISTORY_ENCODER,
    PROFILE_ENCODER,
    TEXT_PROJECTION,
    TOKEN_EMBEDDING,
)

# The first with RotaryEmbedding and Attention.
OPSET = 23
# Smaller constants (shapes, axes) stay in the graph, where shape inference needs them.
EXTERNAL_BYTES = 1024

Axes = dict[int, str]


def export_graphs(network: PragmaNetwork, folder: Path) -> None:
    """Write ``network``, in float32, as the files that a scorer loads from ``folder``.

    ``event_encoder.onnx``: ``tokens`` int32 [n_events, n_tokens, 3] (key id, value id, position) -> event vectors
    [n_events, d] before the calendar term. ``profile_encoder.onnx``: ``tokens`` int32 [n_users, n_tokens, 3] and
    ``log_seconds`` [n_users, n_tokens] -> [n_users, d]. ``history_encoder.onnx``, one user: ``profile_vector`` [1, d],
    ``event_vectors`` [n_events, d], ``calendar`` [n_events, 3] (hour, day of week, day of month) and ``log_seconds``
    [n_events] -> ``user_embedding`` and ``event_state`` (the last event's) [1, d].

    Of a network with a text branch also ``text_projection.onnx``: ``text_vectors`` [n_texts, text_dim] ->
    [n_texts + 1, d], the last row zero; its event encoder takes that as ``projected_texts``, and tokens with a fourth
    column, the row of the token's text (-1: none, the zero row).
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    config = network.config
    np.save(folder / TOKEN_EMBEDDING, network.embed.embed.weight.numpy())

    # An example's sizes stand for any size; only 0 and 1 would be taken for constants.
    events, users, history = {0: "n_events", 1: "n_tokens"}, {0: "n_users", 1: "n_tokens"}, {0: "n_events"}
    tokens = torch.zeros(2, 3, 3, dtype=torch.int32)
    if network.text_proj is None:
        _export(folder / EVENT_ENCODER, EventEncoderGraph(network), ["event_vectors"], tokens=(tokens, events))
    else:
        _export(
            folder / TEXT_PROJECTION,
            TextProjectionGraph(network.text_proj),
            ["projected_texts"],
            text_vectors=(torch.zeros(2, config.text_dim), {0: "n_texts"}),
        )
        _export(
            folder / EVENT_ENCODER,
            EventEncoderGraph(network),
            ["event_vectors"],
            tokens=(torch.zeros(2, 3, 4, dtype=torch.int32), events),
            projected_texts=(torch.zeros(3, config.dim), {0: "n_texts_and_none"}),
        )
    _export(
        folder / PROFILE_ENCODER,
        ProfileEncoderGraph(network),
        ["profile_vectors"],
        tokens=(tokens, users),
        log_seconds=(torch.zeros(2, 3), users),
    )
    _export(
        folder / HISTORY_ENCODER,
        HistoryEncoderGraph(network),
        ["user_embedding", "event_state"],
        profile_vector=(torch.zeros(1, config.dim), {}),
        event_vectors=(torch.zeros(3, config.dim), history),
        calendar=(torch.zeros(3, 3), history),
        log_seconds=(torch.zeros(3), history),
    )


def _export(path: Path, module: nn.Module, outputs: list[str], **inputs: tuple[Tensor, Axes]) -> None:
    """Write ``module``; an input is an example and the names of its axes of any size."""
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            kwargs={name: example for name, (example, _) in inputs.items()},
            dynamic_shapes={name: axes for name, (_, axes) in inputs.items()},
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    save_graph(program.model, path)


def save_graph(model: ir.Model, path: Path) -> None:
    """Write ``model`` to ``path`` and its weights beside it, the same bytes on every machine.

    Its token table has to be in ``token_embedding.npy`` there already.
    """
    _strip(model)
    _externalize(model, path)
    ir.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports its own deprecations and packages it does without, neither of which is the user's matter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip(model: ir.Model) -> None:
    """Leave out what differs between machines: stack traces with paths, the exporter's build."""
    model.producer_name, model.producer_version = "pragmatiq-triton", None
    graph, nodes = model.graph, list(model.graph.all_nodes())
    values = [*graph.inputs, *graph.initializers.values(), *(output for node in nodes for output in node.outputs)]
    parts: list[ir.Model | ir.Graph | ir.Node | ir.Value] = [model, graph, *nodes, *values]
    for part in parts:
        part.doc_string = None
        part.metadata_props.clear()


def _externalize(model: ir.Model, path: Path) -> None:
    """Write the weights beside ``path``, but for the token table, which is there already."""
    initializers = model.graph.initializers
    tensors = {name: value.const_value for name, value in initializers.items() if value.const_value is not None}
    large = [name for name, tensor in tensors.items() if tensor.nbytes >= EXTERNAL_BYTES and not _is_table(name)]
    external = ir.external_data.convert_tensors_to_external(
        [tensors[name] for name in large], path.parent, f"{path.name}.data"
    )
    for name, weights in zip(large, external, strict=True):
        initializers[name].const_value = weights
    for name in filter(_is_table, tensors):
        table = np.load(path.with_name(TOKEN_EMBEDDING), mmap_mode="r")
        initializers[name].const_value = ir.ExternalTensor(
            TOKEN_EMBEDDING,
            table.offset,
            table.nbytes,
            ir.DataType.FLOAT,
            shape=ir.Shape(table.shape),
            name=name,
            base_dir=path.parent,
        )


def _is_table(name: str) -> bool:
    return name.endswith("token_embedding")
