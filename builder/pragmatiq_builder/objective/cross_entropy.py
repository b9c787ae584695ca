"""Cross-entropy over a large vocabulary whose logits are never all there at once.

The gradient of each chunk of rows is taken while its logits are at hand: memory is bounded by the chunk and the
logits are computed once, where autograd would keep them all or a checkpoint would compute them twice.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = 1 << 23


class CrossEntropy(NamedTuple):
    """``loss``: mean over the rows, a scalar with a graph; ``n_correct``: rows whose label has the largest logit."""

    loss: Tensor
    n_correct: Tensor


def linear_cross_entropy(hidden: Tensor, table: Tensor, labels: Tensor, label_smoothing: float) -> CrossEntropy:
    """Cross-entropy of ``hidden`` [m, d] ``@ table.T`` ([vocab_size, d]) against ``labels`` int64 [m]; no rows cost 0.

    The same as :func:`torch.nn.functional.cross_entropy` with its ``label_smoothing``.
    """
    result = _LinearCrossEntropy.apply(hidden, table, labels, label_smoothing, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return CrossEntropy(*result)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, labels: Tensor, smoothing: float, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        n_rows, vocab_size = len(hidden), len(table)
        loss, n_correct = table.new_zeros(()), labels.new_zeros(())
        hidden_gradient = torch.empty_like(hidden) if with_gradient else None
        table_gradient = torch.zeros_like(table) if with_gradient else None
        smoothed = smoothing / vocab_size
        chunk_rows = max(1, CHUNK_ELEMENTS // vocab_size)
        for start in range(0, n_rows, chunk_rows):
            rows = slice(start, start + chunk_rows)
            x, label = hidden[rows], labels[rows, None]
            logits = (x @ table.T).float()
            largest = logits.amax(-1, keepdim=True)
            of_label = logits.gather(-1, label)
            total_logit = logits.sum(-1, keepdim=True)
            exponentials = logits.sub_(largest).exp_()
            partition = exponentials.sum(-1, keepdim=True)
            log_partition = largest + partition.log()
            loss += (log_partition - (1 - smoothing) * of_label - smoothed * total_logit).sum()
            n_correct += (of_label >= largest).sum()
            if hidden_gradient is not None and table_gradient is not None:
                gradient = exponentials.mul_((1 / n_rows) / partition).sub_(smoothed / n_rows)
                gradient.scatter_add_(-1, label, gradient.new_full((), (smoothing - 1) / n_rows).expand_as(label))
                hidden_gradient[rows] = gradient @ table
                table_gradient.addmm_(gradient.T, x.float())
        ctx.save_for_backward(hidden_gradient, table_gradient)
        ctx.mark_non_differentiable(n_correct)
        return loss / max(n_rows, 1), n_correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        hidden_gradient, table_gradient = ctx.saved_tensors
        return hidden_gradient * grad, table_gradient * grad, None, None, None
