"""Histograms of the models, which Triton's Python backend hands over as three counters each, made whole again."""

import re
from collections.abc import Sequence

HISTOGRAMS = {"pragmatiq_score": "Scores given, by task."}
"""Names of histograms, each with its meaning."""

_PARTS = ("bucket", "sum", "count")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def whole_histograms(page: str) -> str:
    """A page in Prometheus' text format on which the counters of each of ``HISTOGRAMS`` are one histogram.

    Example:
        >>> print(whole_histograms('pragmatiq_score_sum{task="a"} 1.5\\n'), end="")
        # HELP pragmatiq_score Scores given, by task.
        # TYPE pragmatiq_score histogram
        pragmatiq_score_sum{task="a"} 1.5
    """
    kept: list[str] = []
    samples: dict[str, list[str]] = {name: [] for name in HISTOGRAMS}
    part_of = {f"{name}_{part}": name for name in HISTOGRAMS for part in _PARTS}
    for line in page.splitlines():
        words = line.split(maxsplit=3)
        if line.startswith("#") and len(words) > 2 and (words[2] in part_of or words[2] in HISTOGRAMS):
            continue
        name = part_of.get(re.split(r"[{ ]", line, maxsplit=1)[0])
        (samples[name] if name else kept).append(line)
    for name, lines in samples.items():
        if lines:
            kept += [f"# HELP {name} {HISTOGRAMS[name]}", f"# TYPE {name} histogram", *_in_order(name, lines)]
    return "".join(f"{line}\n" for line in kept)


def _in_order(name: str, lines: Sequence[str]) -> list[str]:
    """Series after series: its buckets by their bounds, its sum, its count."""

    def place(line: str) -> tuple[list[tuple[str, str]], int, float]:
        full, _, rest = line.partition("{")
        labels = dict(_LABEL.findall(rest))
        bound = float(labels.pop("le", "0"))
        return sorted(labels.items()), _PARTS.index(full.removeprefix(f"{name}_").split(" ")[0]), bound

    return sorted(lines, key=place)
