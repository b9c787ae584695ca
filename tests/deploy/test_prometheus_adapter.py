"""The autoscaler's metric, as the rule for prometheus-adapter makes it."""

import re
import shutil
import subprocess

import pytest
import yaml

from pragmatiq_triton.serving.metrics import METRICS
from tests.deploy.conftest import CHART, only

[RULE] = yaml.safe_load((CHART / "prometheus-adapter.yaml").read_text(encoding="utf-8"))["rules"]["custom"]


def series(name, pod, per_minute, **labels):
    """A counter that grows steadily for five minutes, with the labels that the operator's scrape adds."""
    labels = {"namespace": "scoring", "pod": pod, **labels}
    matchers = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{matchers}}}", "values": f"0+{per_minute}x5"}


def pod_series(pod, requests, triton_us, scorer_seconds, **labels):
    return [
        series("nv_inference_request_success", pod, requests, model="scoring", **labels),
        series("nv_inference_request_success", pod, requests, model="scorer", **labels),
        series("nv_inference_queue_duration_us", pod, triton_us, model="tokenizer", **labels),
        series("nv_inference_queue_duration_us", pod, triton_us, model="scorer", **labels),
        series("pragmatiq_stage_seconds_total", pod, scorer_seconds, model="scorer", stage="queue", **labels),
        series("pragmatiq_stage_seconds_total", pod, 1000, model="scorer", stage="events", **labels),
    ]


def test_the_autoscaler_asks_for_the_metric_that_the_rule_makes(render):
    autoscaler = only(render(autoscaling={"enabled": True}), "HorizontalPodAutoscaler")
    assert autoscaler["spec"]["metrics"][0]["pods"]["metric"]["name"] == RULE["name"]["as"]


def test_the_rule_reads_metrics_that_the_models_have():
    named = set(re.findall(r"pragmatiq_\w+(?=\{)", RULE["seriesQuery"] + RULE["metricsQuery"]))
    assert named
    assert named <= METRICS.keys()


def test_the_metric_is_seconds_of_waiting_per_request_of_each_pod(tmp_path):
    if not shutil.which("promtool"):
        pytest.skip("not run: no promtool (Debian: apt-get install prometheus)")
    query = RULE["metricsQuery"].replace("<<.GroupBy>>", "pod")
    query = query.replace("<<.LabelMatchers>>", 'namespace="scoring",pod=~"busy|idle"')
    # 600 requests a minute wait 2 * 1.2 s in Triton and 3.6 s in the scorer: 10 ms each.
    given = [
        *pod_series("busy", requests=600, triton_us=1_200_000, scorer_seconds=3.6),
        *pod_series("idle", requests=0, triton_us=0, scorer_seconds=0),
        *pod_series("busy", requests=1, triton_us=9_000_000, scorer_seconds=9, namespace="elsewhere"),
    ]
    expected = [{"labels": '{pod="busy"}', "value": 0.01}, {"labels": '{pod="idle"}', "value": 0}]
    asked = {"expr": f"round({query}, 1e-6)", "eval_time": "5m", "exp_samples": expected}
    test = {"tests": [{"interval": "1m", "input_series": given, "promql_expr_test": [asked]}]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test), encoding="utf-8")
    command = ["promtool", "test", "rules", tmp_path / "test.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
