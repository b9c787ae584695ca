"""Scoring arrays with a graph of heads, for calibration and evaluation: the graph that is served, run in memory."""

from collections.abc import Mapping
from typing import Any, cast

import numpy.typing as npt
import onnx
import onnxruntime as ort

from pragmatiq_triton.batch import Float32


class HeadScorer:
    """A graph of :func:`pragmatiq_builder.heads.heads_graph`, on one thread."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Float32:
        """The scores float32 [n, n_heads] of float32 ``inputs`` [n, dim]; those that no head reads may be there too."""
        return cast(Float32, self._session.run(None, {name: inputs[name] for name in self._inputs})[0])
