import msgspec
import numpy as np

from bench import quality
from pragmatiq_builder.metrics import Split, evaluate_scores


def save(work, run, method, shift):
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.2
    users = rng.integers(0, 150, 400)
    noise = rng.random((3, 400))
    scores = {method: 0.3 * noise[0] + shift * labels, "counts": noise[1], "features": 0.7 * noise[2] + 0.3 * labels}
    result = evaluate_scores(
        labels.astype(int), users, scores, method, task="fraud", kind="event", method=f"{method} (stacked)", run=run,
        protocol="held-out users", train=Split(1, 1, 1), replicates=100,
    )  # fmt: skip
    folder = work / "results" / f"{run}.fraud.{method}.test"
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_bytes(msgspec.json.encode(result))


def test_the_table_holds_every_run_beside_the_baselines(tmp_path):
    save(tmp_path, "good", "hybrid", shift=0.6)
    save(tmp_path, "poor", "probe", shift=0.0)
    lines = quality.table(tmp_path).splitlines()
    assert any(line.startswith("`fraud`, held-out users: 400 rows of") for line in lines)
    rows = {
        line.split(" | ")[0].removeprefix("| ") + line.split(" | ")[1]: line for line in lines if line.count("|") > 5
    }
    assert {"baselinecounts", "baselinefeatures", "goodhybrid (stacked)", "poorprobe (stacked)"} <= set(rows)
    assert "better" in rows["goodhybrid (stacked)"]
    assert "worse" in rows["poorprobe (stacked)"]


def test_without_results_there_is_no_table(tmp_path):
    assert quality.table(tmp_path) == ""
