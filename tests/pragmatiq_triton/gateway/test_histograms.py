"""The models' histograms are ones to Prometheus, in whatever order Triton gives their counters."""

import random

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from pragmatiq_triton.gateway.seen.histograms import whole_histograms
from pragmatiq_triton.serving.counted_scores import ScoreCounts
from pragmatiq_triton.serving.metrics import METRICS


def test_three_counters_are_one_histogram_again():
    counts = ScoreCounts(["fraud", 'a "b", le='])
    counts.add(np.array([[0.05, 0.5], [0.3, 1.0]], np.float32))
    lines = []
    for name in ("pragmatiq_score_sum", "pragmatiq_score_count", "pragmatiq_score_bucket"):
        lines += [f"# HELP {name} {METRICS[name].help}", f"# TYPE {name} counter"]
        series = [s for s in counts.samples() if s.name == name]
        random.Random(0).shuffle(series)
        for sample in series:
            labels = {"model": "scorer", **sample.labels}
            shown = ",".join(f'{key}="{value.replace(chr(34), chr(92) + chr(34))}"' for key, value in labels.items())
            lines.append(f"{name}{{{shown}}} {sample.value}")
    page = "# TYPE nv_inference_count counter\nnv_inference_count 3\n" + "\n".join(lines) + "\n"
    whole = whole_histograms(page)
    families = {family.name: family for family in text_string_to_metric_families(whole)}
    assert {name: family.type for name, family in families.items()} == {
        "nv_inference_count": "counter",
        "pragmatiq_score": "histogram",
    }
    found = {}
    for sample in families["pragmatiq_score"].samples:
        found.setdefault(sample.labels["task"], []).append((sample.name, sample.labels.get("le"), sample.value))
    for task, total in (("fraud", 0.35), ('a "b", le=', 1.5)):
        *buckets, (sum_name, _, sum_value), (count_name, _, count_value) = found[task]
        bounds = [float(le) for _, le, _ in buckets]
        assert bounds == sorted(bounds)
        assert len(bounds) == 19
        assert (sum_name, count_name, count_value) == ("pragmatiq_score_sum", "pragmatiq_score_count", 2)
        assert abs(sum_value - total) < 1e-6
    assert whole_histograms(whole).splitlines() == whole.splitlines()


def test_a_page_without_them_stays_as_it_is():
    page = "# HELP x y\n# TYPE x gauge\nx 1\n"
    assert whole_histograms(page) == page
