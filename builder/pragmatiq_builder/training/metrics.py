"""What training tells: averages over the steps since the last report."""

from pragmatiq_builder.objective import Losses, Targets


class Averages:
    """Means over batches, weighed by what each is a mean over."""

    def __init__(self, sums: dict[str, float] | None = None) -> None:
        self.sums = dict.fromkeys(("loss", "batches", "ce", "values", "correct", "mse", "texts"), 0.0) | (sums or {})

    def add(self, losses: Losses, targets: Targets) -> None:
        n_values, n_texts = len(targets.labels), len(targets.text_index)
        for name, amount in {
            "loss": losses.loss.item(),
            "batches": 1,
            "ce": losses.ce.item() * n_values,
            "values": n_values,
            "correct": losses.n_correct.item(),
            "mse": losses.mse.item() * n_texts,
            "texts": n_texts,
        }.items():
            self.sums[name] += amount

    def means(self) -> dict[str, float]:
        """``loss``, ``ce``, ``mse`` and ``masked_accuracy``; 0 where nothing was masked."""
        sums = self.sums
        ratios = {
            "loss": ("loss", "batches"),
            "ce": ("ce", "values"),
            "mse": ("mse", "texts"),
            "masked_accuracy": ("correct", "values"),
        }
        return {name: sums[total] / max(sums[count], 1) for name, (total, count) in ratios.items()}
