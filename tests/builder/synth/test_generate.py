import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.raw.validation import validate
from pragmatiq_builder.synth import SynthSummary, generate
from pragmatiq_triton.errors import ConfigError
from tests.builder.counting import Counting

USERS = 200
DAY = np.timedelta64(1, "D")

EVENTS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("ts", pa.timestamp("us"), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("fields", pa.map_(pa.string(), pa.string()), nullable=False),
    ]
)
PROFILES = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("as_of", pa.timestamp("us"), nullable=False),
        pa.field("attributes", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("lifelong", pa.list_(pa.struct({"key": pa.string(), "ts": pa.timestamp("us")})), nullable=False),
    ]
)
FIELDS = {
    "transaction": {"amount", "currency", "mcc", "merchant", "txn_type", "channel", "country"},
    "app": {"screen", "action", "device_id", "os", "app_version", "country"},
    "trading": {"instrument", "side", "order_type", "quantity", "price"},
    "communication": {"template", "channel", "action"},
}


@dataclass(frozen=True)
class Bank:
    """Generated data, with its events read into Python once for all tests."""

    folder: Path
    summary: SynthSummary
    histories: dict[str, "History"]

    def labels(self, task: str) -> Iterator[tuple["History", np.datetime64, int]]:
        table = pq.read_table(self.folder / "labels" / f"{task}.parquet")
        times = table.column(1).to_numpy()
        for user, at, label in zip(table["user_id"].to_pylist(), times, table["label"].to_pylist(), strict=True):
            yield self.histories[user], at, label


@dataclass(frozen=True)
class History:
    ts: np.ndarray
    source: list[str]
    fields: list[dict[str, str]]

    def between(self, first: np.datetime64, last: np.datetime64) -> list[dict[str, str]]:
        """Fields of the events at ``first`` or later and before ``last``."""
        return self.fields[slice(*np.searchsorted(self.ts, [first, last]))]


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder = tmp_path_factory.mktemp("bank")
    summary = generate(folder, users=USERS, seed=3)
    table = pq.read_table(folder / "events.parquet")
    users = table["user_id"].to_numpy()
    bounds = [0, *(np.flatnonzero(users[1:] != users[:-1]) + 1), len(table)]
    histories = {}
    for first, last in pairwise(bounds):
        part = table.slice(first, last - first)
        fields = [dict(row) for row in part["fields"].to_pylist()]
        histories[users[first]] = History(part["ts"].to_numpy(), part["source"].to_pylist(), fields)
    return Bank(folder, summary, histories)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def separation(values: list[float], labels: list[int]) -> float:
    """Area under the ROC curve of ``values`` as scores for ``labels``."""
    score, positive = np.array(values), np.array(labels, bool)
    above = score[positive][:, None] - score[~positive]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    generate(tmp_path / "here", users=20, seed=5)
    imported = "import sys, pathlib; from pragmatiq_builder.synth import generate"
    code = f"{imported}; generate(pathlib.Path(sys.argv[1]), 20, 5)"
    environment = os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "there"], env=environment, check=True)
    assert hashes(tmp_path / "here") == hashes(tmp_path / "there")
    assert set(hashes(tmp_path / "here")) == {
        "events.parquet",
        "profiles.parquet",
        "labels/fraud.parquet",
        "labels/default_12m.parquet",
        "labels/churn_6m.parquet",
    }


def test_seeds_differ(tmp_path: Path) -> None:
    generate(tmp_path / "a", users=20, seed=5)
    generate(tmp_path / "b", users=20, seed=6)
    a, b = hashes(tmp_path / "a"), hashes(tmp_path / "b")
    assert a["events.parquet"] != b["events.parquet"]
    assert a["profiles.parquet"] != b["profiles.parquet"]


def test_customers_do_not_depend_on_the_number_of_users(bank: Bank, tmp_path: Path) -> None:
    generate(tmp_path, users=130, seed=3)
    for name in ("events.parquet", "profiles.parquet", "labels/fraud.parquet", "labels/churn_6m.parquet"):
        fewer, more = pq.read_table(tmp_path / name), pq.read_table(bank.folder / name)
        assert more.slice(0, len(fewer)).equals(fewer)
        assert fewer["user_id"][-1].as_py() < more["user_id"][len(fewer)].as_py()


def test_files_have_the_contract_s_schema(bank: Bank) -> None:
    assert pq.read_schema(bank.folder / "events.parquet").equals(EVENTS)
    assert pq.read_schema(bank.folder / "profiles.parquet").equals(PROFILES)
    for task, time in {"fraud": "ts", "default_12m": "eval_ts", "churn_6m": "eval_ts"}.items():
        types = {"user_id": pa.string(), time: pa.timestamp("us"), "label": pa.int8()}
        expected = pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])
        assert pq.read_schema(bank.folder / "labels" / f"{task}.parquet").equals(expected)


def test_the_data_is_valid(bank: Bank) -> None:
    report = validate(bank.folder)
    assert report.errors == []
    assert report.warnings == []
    assert report.sources == bank.summary.sources
    assert report.profiles == bank.summary.users == USERS
    assert report.events == bank.summary.events == sum(bank.summary.sources.values())
    assert report.labels == {task: count.rows for task, count in bank.summary.labels.items()}


def test_rows_are_grouped_by_user_and_strictly_ascending(bank: Bank) -> None:
    users = pq.read_table(bank.folder / "events.parquet", columns=["user_id"])["user_id"].to_pylist()
    assert sorted(users) == users
    assert all((np.diff(history.ts) > np.timedelta64(0)).all() for history in bank.histories.values())


def test_row_groups_are_bounded(bank: Bank) -> None:
    metadata = pq.read_metadata(bank.folder / "events.parquet")
    assert metadata.num_row_groups > 1
    assert max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)) < 200_000


def test_events_have_their_source_s_fields(bank: Bank) -> None:
    optional = {"counterparty", "device_id"}
    for history in bank.histories.values():
        for source, fields in zip(history.source, history.fields, strict=True):
            assert FIELDS[source] <= set(fields) <= FIELDS[source] | optional
            assert None not in fields.values()
            for number in fields.keys() & {"amount", "price", "quantity"}:
                assert float(fields[number]) > 0


def test_event_counts_have_a_long_tail(bank: Bank) -> None:
    counts = np.array([len(history.ts) for history in bank.histories.values()])
    assert 600 < np.median(counts) < 1_800
    assert counts.max() > 3 * np.median(counts)
    assert counts.min() < 30
    assert len(counts) < USERS  # some have a profile and no events


def test_merchants_have_a_long_tail_and_tell_the_category(bank: Bank) -> None:
    count: Counter[str] = Counter()
    categories: dict[str, Counter[str]] = {}
    for history in bank.histories.values():
        for fields in history.fields:
            if fields.get("txn_type") == "card_payment":
                count[fields["merchant"]] += 1
                categories.setdefault(fields["merchant"], Counter())[fields["mcc"]] += 1
    occurrences = np.sort(list(count.values()))[::-1]
    assert len(count) > 0.15 * occurrences.sum()
    assert occurrences[: len(count) // 10].sum() > 0.4 * occurrences.sum()
    repeated = [mccs for merchant, mccs in categories.items() if count[merchant] > 3]
    agreeing = sum(mccs.most_common(1)[0][1] for mccs in repeated)
    assert agreeing > 0.97 * sum(mccs.total() for mccs in repeated)


def test_devices_stay_with_the_customer(bank: Bank) -> None:
    owners: dict[str, set[str]] = {}
    for user, history in bank.histories.items():
        for fields in history.fields:
            if "device_id" in fields:
                owners.setdefault(fields["device_id"], set()).add(user)
    assert max(map(len, owners.values())) == 1
    assert len(bank.histories) < len(owners) < 4 * len(bank.histories)


def test_label_rates(bank: Bank) -> None:
    rates = {task: count.positives / count.rows for task, count in bank.summary.labels.items()}
    assert 0.02 < rates["fraud"] < 0.1
    assert 0.05 < rates["default_12m"] < 0.16
    assert 0.1 < rates["churn_6m"] < 0.28


def test_forecasts_are_made_at_three_dates_each(bank: Bank) -> None:
    for task in ("default_12m", "churn_6m"):
        assert len({at for _, at, _ in bank.labels(task)}) == 3
        assert all(history.ts[0] < at for history, at, _ in bank.labels(task))


def test_every_fraud_label_is_an_event(bank: Bank) -> None:
    for history, at, _ in bank.labels("fraud"):
        row = np.searchsorted(history.ts, at)
        assert history.ts[row] == at
        assert history.fields[row]["txn_type"] == "card_payment"


def test_fraud_comes_in_bursts(bank: Bank) -> None:
    recent, labels = [], []
    for history, at, label in bank.labels("fraud"):
        hour = history.between(at - np.timedelta64(60, "m"), at + np.timedelta64(60, "m"))
        recent.append(sum(fields.get("txn_type") == "card_payment" for fields in hour))
        labels.append(label)
    assert 0.6 < separation(recent, labels) < 0.99


def test_who_churns_was_already_fading_and_then_stops(bank: Bank) -> None:
    fading, labels = [], []
    for history, at, label in bank.labels("churn_6m"):
        before = len(history.between(at - 240 * DAY, at - 60 * DAY)) / 3
        fading.append(before / (len(history.between(at - 60 * DAY, at)) + 5))
        labels.append(label)
        if label:
            assert history.ts[-1] < at + 182 * DAY
    assert separation(fading, labels) > 0.6


def test_who_defaults_was_pressed_and_meets_collectors(bank: Bank) -> None:
    signs, labels = [], []
    for history, at, label in bank.labels("default_12m"):
        recent = history.between(at - 150 * DAY, at)
        signs.append(
            sum(fields.get("txn_type") in ("fee", "returned_debit") for fields in recent)
            + sum(any(word in fields.get("merchant", "") for word in ("SPINS", "JACKPOT")) for fields in recent)
        )
        labels.append(label)
        notices = history.ts[[fields.get("template") == "arrears_notice" for fields in history.fields]]
        assert (notices > at).all()
        if label and history.ts[-1] > at + 380 * DAY:
            assert len(notices)
    assert separation(signs, labels) > 0.6


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    progress = Counting()
    generate(tmp_path, users=130, progress=progress)
    assert progress.total == sum(progress.steps) == 130
    assert len(progress.steps) > 1


def test_an_interrupted_run_leaves_no_data(tmp_path: Path) -> None:
    class Interrupting(Counting):
        def advance(self, steps: int, note: str = "") -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, users=5, progress=Interrupting())
    assert hashes(tmp_path) == {}


@pytest.mark.parametrize(("users", "seed", "named"), [(0, 0, "users"), (-3, 0, "users"), (5, -1, "seed")])
def test_bad_arguments(tmp_path: Path, users: int, seed: int, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        generate(tmp_path, users=users, seed=seed)


@pytest.mark.parametrize("mark", ["checkpoints", "run.yaml", "meta.json", "manifest.json"])
def test_nothing_is_written_into_what_is_not_raw_data(tmp_path, mark):
    (tmp_path / mark).mkdir() if mark == "checkpoints" else (tmp_path / mark).write_text("{}")
    with pytest.raises(ConfigError, match=f"is a .* \\({mark} is there\\)"):
        generate(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [mark]
