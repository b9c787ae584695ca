"""A book as a file of scores: each row from the right history, none twice or missing, whatever ends the work."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.predict import parts as parts_module
from pragmatiq_builder.predict import predict
from pragmatiq_builder.predict.repeats import repeats_of
from pragmatiq_builder.predict.requests import Shard
from pragmatiq_builder.raw.records import read_records
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError, PragmatiqError
from pragmatiq_triton.in_process import InProcessModels

T0 = 1_700_000_000_000_000
HOUR = 3_600_000_000


def event(ts, amount="5.00"):
    return {"ts": ts, "source": "transaction", "fields": {"amount": amount, "merchant": "TESCO 338"}}


def scores_of(repository, record):
    with InProcessModels(repository, threads=1) as models:
        (found,) = models.answers([json.dumps(record).encode()])
    return {
        task: s for model, tasks in models.tasks.items() for task, s in zip(tasks, found[model].scores, strict=True)
    }


def moments(tmp_path, time_column, *rows):
    users, at = zip(*rows, strict=True)
    pq.write_table(
        pa.table({"user_id": list(users), time_column: pa.array(at, pa.timestamp("us"))}), tmp_path / "at.parquet"
    )
    return tmp_path / "at.parquet"


def test_each_customer_of_a_folder_is_a_row_with_its_own_numbers(with_heads, book, tmp_path):
    done = predict(book, with_heads, tmp_path / "out.parquet", embeddings=True, processes=2)
    table = pq.read_table(tmp_path / "out.parquet")
    records = list(read_records(book))
    assert table.column_names == ["user_id", "amount", "churn", "loan", "embedding", "embedding_loan"]
    assert table["user_id"].to_pylist() == [record["user_id"] for record in records]
    assert (done.rows, done.refused, done.rejected, done.tasks) == (40, 0, None, ["amount", "churn", "loan"])
    with InProcessModels(with_heads, threads=1) as models:
        for row in (0, 17, 39):
            (found,) = models.answers([json.dumps(records[row]).encode()])
            got = [table[task][row].as_py() for task in ("amount", "churn")]
            np.testing.assert_allclose(got, found["scoring"].scores, rtol=0, atol=1e-6)
            np.testing.assert_allclose(table["loan"][row].as_py(), found["scoring_loan"].scores[0], rtol=0, atol=1e-6)
            for column, model in (("embedding", "scoring"), ("embedding_loan", "scoring_loan")):
                np.testing.assert_allclose(table[column][row].as_py(), found[model].embedding, rtol=0, atol=1e-5)
    assert np.ptp(table["churn"].to_numpy()) > 0.001


def test_a_row_of_a_moment_sees_what_lies_strictly_before_it(with_heads, write_lines, tmp_path):
    record = {"user_id": "a", "events": [event(T0), event(T0 + HOUR), event(T0 + 2 * HOUR, "99999")]}
    at = moments(tmp_path, "eval_ts", ("a", T0 + 2 * HOUR), ("a", T0 + 2 * HOUR + 1))
    predict(write_lines(record), with_heads, tmp_path / "out.parquet", at=at, processes=1)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["row"].to_pylist() == [0, 1]
    assert table["eval_ts"].cast(pa.int64()).to_pylist() == [T0 + 2 * HOUR, T0 + 2 * HOUR + 1]
    for row, (n_events, as_of) in enumerate([(2, T0 + 2 * HOUR), (3, T0 + 2 * HOUR + 1)]):
        expected = scores_of(with_heads, {**record, "events": record["events"][:n_events], "as_of": as_of})
        for task, score in expected.items():
            assert table[task][row].as_py() == pytest.approx(score, abs=1e-6)
    assert table["amount"][0].as_py() != pytest.approx(table["amount"][1].as_py(), abs=1e-4)


def test_a_row_of_an_event_sees_that_event_and_no_other_of_later(with_heads, write_lines, tmp_path):
    record = {"user_id": "a", "events": [event(T0), event(T0 + HOUR, "99999"), event(T0 + 2 * HOUR)],
              "lifelong": [{"key": "card_blocked", "ts": T0 + HOUR}]}  # fmt: skip
    twice = {"user_id": "b", "events": [event(T0), event(T0, "7.00")]}
    at = moments(tmp_path, "ts", ("a", T0 + HOUR), ("a", T0 + 1), ("b", T0))
    done = predict(write_lines(record, twice), with_heads, tmp_path / "out.parquet", at=at, processes=1)
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    expected = scores_of(with_heads, {"user_id": "a", "events": record["events"][:2], "as_of": T0 + HOUR})
    assert {task: row[task] for task in expected} == pytest.approx(expected, abs=1e-6)
    errors = [json.loads(line) for line in done.rejected.read_text().splitlines()]
    assert [(e["user_id"], e["place"].split(", ")[1], e["error"].split(",")[0]) for e in errors] == [
        ("a", "at.parquet row 1", f"no events at ts {T0 + 1}"),
        ("b", "at.parquet row 2", f"2 events at ts {T0}"),
    ]


def test_refused_rows_are_written_with_their_place_reason_and_record(with_heads, write_lines, tmp_path):
    late = {"user_id": "late", "events": [event(T0 // 1000)]}
    data = write_lines({"user_id": "a", "events": [event(T0)]}, "{broken", late, "[1]", {"user_id": "z", "events": []})
    done = predict(data, with_heads, tmp_path / "out.parquet", processes=1)
    assert pq.read_table(tmp_path / "out.parquet")["user_id"].to_pylist() == ["a", "z"]
    entries = [json.loads(line) for line in done.rejected.read_text().splitlines()]
    assert [(entry["place"], entry["user_id"]) for entry in entries] == [
        ("line 2", ""),
        ("line 3", "late"),
        ("line 4", ""),
    ]
    assert "$.events[0].ts: expected microseconds" in entries[1]["error"]
    assert json.loads(entries[1]["record"]) == late
    assert done.refused == 3


def test_moments_of_unknown_customers_and_second_records_are_refused_by_name(with_heads, write_lines, tmp_path):
    a, b = ({"user_id": user, "events": [event(T0)]} for user in "ab")
    at = moments(tmp_path, "eval_ts", ("a", T0 + 1), ("gone", T0 + 1))
    done = predict(write_lines(a, b, a), with_heads, tmp_path / "out.parquet", at=at, processes=1)
    entries = [json.loads(line) for line in done.rejected.read_text().splitlines()]
    assert [(entry["place"], entry["error"].split(",")[0]) for entry in entries] == [
        ("line 3", "an earlier record has this user_id"),
        ("at.parquet row 1", "no customer of the data has this user_id"),
    ]
    assert (done.rows, done.refused, done.customers_without_moment) == (1, 2, 1)


def test_rows_without_a_usable_moment_are_refused_and_the_others_are_not(with_heads, write_lines, tmp_path):
    a, b, c = ({"user_id": user, "events": [event(T0)]} for user in "abc")
    rows = [("a", T0 + 1), ("a", None), ("b", T0 // 1000), (None, T0 + 1), ("a", T0 + 2)]
    at = moments(tmp_path, "eval_ts", *rows)
    heard = Heard()
    done = predict(write_lines(a, b, c, c), with_heads, tmp_path / "out.parquet", at=at, processes=1, progress=heard)
    assert pq.read_table(done.out)["row"].to_pylist() == [0, 4]
    entries = [json.loads(line) for line in done.rejected.read_text().splitlines()]
    assert [(entry["place"], entry["user_id"]) for entry in entries] == [
        ("at.parquet row 1", "a"),
        ("at.parquet row 2", "b"),
        ("at.parquet row 3", ""),
    ]
    assert entries[0]["error"].startswith("eval_ts is null")
    assert entries[1]["error"].startswith("eval_ts is")
    assert str(T0 // 1000) in entries[1]["error"]
    assert entries[2]["error"].startswith("user_id is null")
    assert (done.rows, done.refused, done.customers_without_moment) == (2, 3, 2), "b has a row, though not a usable one"
    assert (heard.total, heard.steps) == (5, 5)

    shards = [predict(write_lines(a, b, c), with_heads, tmp_path / f"{i}.parquet", at=at, shard=Shard(i, 2))
              for i in (1, 2)]  # fmt: skip
    assert (sum(each.rows for each in shards), sum(each.refused for each in shards)) == (2, 3)


def test_moments_of_which_none_can_be_used_are_an_error(with_heads, write_lines, tmp_path):
    at = moments(tmp_path, "eval_ts", ("a", None), ("b", None))
    data = write_lines({"user_id": "a", "events": [event(T0)]})
    with pytest.raises(DataError, match=r"none of its 2 rows can be used; row 0: eval_ts is null"):
        predict(data, with_heads, tmp_path / "out.parquet", at=at, processes=1)
    assert {path.name for path in tmp_path.iterdir()} == {"at.parquet", "records.jsonl"}


def test_progress_counts_rows_of_the_moments_and_no_refused_records(with_heads, write_lines, tmp_path):
    record = {"user_id": "a", "events": [event(T0)]}
    at = moments(tmp_path, "eval_ts", ("a", T0 + 1), ("gone", T0 + 1))
    heard = Heard()
    data = write_lines(record, record, record, {"events": []}, "{broken")
    done = predict(data, with_heads, tmp_path / "out.parquet", at=at, processes=1, progress=heard)
    assert (done.rows, done.refused) == (1, 5)
    assert (heard.total, heard.steps) == (2, 2)


class Heard:
    """Progress that counts."""

    def __init__(self):
        self.total, self.steps = None, 0

    def stage(self, title, total):
        self.total = total

    def advance(self, steps, note=""):
        self.steps += steps

    def say(self, line):
        pass


def test_shards_hold_each_customer_once(with_heads, book, tmp_path):
    predict(book, with_heads, tmp_path / "whole.parquet", processes=1)
    files = [tmp_path / f"{i}.parquet" for i in (1, 2, 3)]
    for i, file in enumerate(files, 1):
        predict(book, with_heads, file, shard=Shard(i, 3), processes=1)
    tables = [pq.read_table(file) for file in files]
    assert all(table.num_rows for table in tables)
    whole = pq.read_table(tmp_path / "whole.parquet")
    together = pa.concat_tables(tables)
    by_user = dict(zip(together["user_id"].to_pylist(), together["churn"].to_pylist(), strict=True))
    assert len(together) == len(by_user) == len(whole)
    expected = dict(zip(whole["user_id"].to_pylist(), whole["churn"].to_pylist(), strict=True))
    assert by_user == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_shard_that_cannot_be_is_refused(text):
    with pytest.raises(ConfigError, match="expected I/N"):
        Shard.of(text)


KILLED = """
import sys, time
from pathlib import Path
from pragmatiq_builder.predict import book as of, parts, predict
of.PART_REQUESTS = of.AT_ONCE = 8
writes = parts.Parts.write
def slow(*args):
    writes(*args)
    print(args[0].count, flush=True)
    time.sleep(0.5 if args[0].count < 2 else 60)
parts.Parts.write = slow
if __name__ == "__main__":
    predict(*map(Path, sys.argv[1:4]), processes=int(sys.argv[4]))
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_prediction_goes_on_with_what_is_there_and_leaves_no_process(
    processes, with_heads, book, tmp_path, monkeypatch
):
    out = tmp_path / "out.parquet"
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, script, book, with_heads, out, str(processes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert [process.stdout.readline().strip() for _ in range(2)] == ["1", "2"]
        group = process.pid
        process.kill()
    deadline = time.monotonic() + 30
    while _alive(group):
        assert time.monotonic() < deadline, "processes wait for a parent that is gone"
        time.sleep(0.1)
    assert not out.exists()

    for name in ("PART_REQUESTS", "AT_ONCE"):
        monkeypatch.setattr(f"pragmatiq_builder.predict.book.{name}", 8)
    with pytest.raises(ConfigError, match="--resume goes on with it"):
        predict(book, with_heads, out, processes=1)
    with pytest.raises(ConfigError, match="another embeddings"):
        predict(book, with_heads, out, embeddings=True, resume=True, processes=1)
    seen = []
    real = parts_module.Parts.write
    monkeypatch.setattr(parts_module.Parts, "write", lambda self, *rest: (seen.append(self.count), real(self, *rest)))
    done = predict(book, with_heads, out, resume=True, processes=1)
    assert seen == [2, 3, 4], "of 40 customers in parts of 8 two parts were done"
    users = pq.read_table(out)["user_id"].to_pylist()
    assert users == [record["user_id"] for record in read_records(book)]
    assert done.rows == 40
    assert not out.with_name("out.parquet.parts").exists()


def test_a_script_without_a_main_guard_predicts_in_several_processes(with_heads, write_lines, tmp_path):
    lines = [{"user_id": f"c{at}", "events": [event(T0)]} for at in range(3)]
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, pragmatiq_triton as pt\n"
        "print(pt.predict(*sys.argv[1:], processes=2, progress=False).rows)\n"
    )  # fmt: skip
    command = [sys.executable, script, write_lines(*lines), with_heads, tmp_path / "out.parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_a_process_that_is_killed_is_one_line(with_heads, book, tmp_path, monkeypatch):
    monkeypatch.setattr("pragmatiq_builder.predict.work._work", _killed)
    with pytest.raises(PragmatiqError, match=r"one of 2 processes ended before its work did; .* --resume goes on"):
        predict(book, with_heads, tmp_path / "out.parquet", processes=2)


def _killed(requests):
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_is_there_is_not_overwritten(with_heads, write_lines, tmp_path):
    data = write_lines({"user_id": "a", "events": [event(T0)]})
    (tmp_path / "out.parquet").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists already"):
        predict(data, with_heads, tmp_path / "out.parquet", processes=1)
    assert (tmp_path / "out.parquet").read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet", "records.jsonl"}


def test_a_complete_prediction_is_told_and_left_as_it_is(with_heads, write_lines, tmp_path):
    out = tmp_path / "out.parquet"
    data = write_lines({"user_id": "a", "events": [event(T0)]}, "{broken")
    first = predict(data, with_heads, out, processes=1)
    written = out.read_bytes()
    again = predict(data, with_heads, out, processes=1, resume=True)
    assert again.notes == [f"{out}: complete already; nothing was left to do"]
    assert (again.rows, again.refused, again.rejected) == (first.rows, first.refused, first.rejected) == (
        1, 1, out.with_name("out.parquet.rejected"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="complete already, of another embeddings"):
        predict(data, with_heads, out, processes=1, resume=True, embeddings=True)
    with pytest.raises(ConfigError, match="exists already"):
        predict(data, with_heads, out, processes=1)
    assert out.read_bytes() == written
    out.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists already"):
        predict(data, with_heads, out, processes=1, resume=True)


def test_repeated_customers_are_counted_in_bounded_memory(tmp_path):
    n = 300_000
    users = [f"customer-of-a-long-name-{at:012}" for at in range(n)]
    pq.write_table(pa.table({"user_id": [*users, "", "", *users[:7], users[0]]}), tmp_path / "out.parquet")
    assert repeats_of(tmp_path / "out.parquet", memory="24MB") == 8
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet"}


def test_data_without_customers_is_an_error(with_heads, write_lines, tmp_path):
    with pytest.raises(DataError):
        predict(write_lines(""), with_heads, tmp_path / "out.parquet", processes=1)
    assert {path.name for path in tmp_path.iterdir()} == {"records.jsonl"}


def _alive(group):
    """Whether a process of the group does not only wait to be buried."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, found = (process / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(found) == group and state != "Z":
            return True
    return False


@pytest.mark.parametrize("written", ["  c{:03}", "c{:03}.0", "C{:03}", "0c{:03}"])
def test_customers_of_moments_who_are_written_otherwise_are_told_how(written, with_heads, write_lines, tmp_path):
    records = [{"user_id": f"c{at:03}", "events": [event(T0)]} for at in range(3)]
    at = moments(tmp_path, "eval_ts", *((written.format(at), T0 + 1) for at in range(3)))
    done = predict(write_lines(*records), with_heads, tmp_path / "out.parquet", at=at, processes=1)
    (note,) = done.notes
    assert "3 rows are of 3 customers who are not in the data; 3 of 3 differ from known ones in" in note
    assert "'c000': write both alike" in note


def test_moments_before_the_first_event_are_told(with_heads, write_lines, tmp_path):
    at = moments(tmp_path, "eval_ts", ("a", T0), ("a", T0 + 1))
    record = {"user_id": "a", "events": [event(T0)]}
    done = predict(write_lines(record), with_heads, tmp_path / "out.parquet", at=at, processes=1)
    assert done.rows == 2
    assert "1 rows are of moments before the customer's first event" in done.notes[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"user_id": 7}, r"\$\.user_id: expected text, by which the rows of --at are found, got int"),
        ({"user_id": None}, "got NoneType"),
        ({"eval_ts": T0 + 5}, rf"\$\.eval_ts: the record ends at {T0 + 5}, before the row's moment"),
        ({"events": None}, r"\$\.events: expected array, got null"),
        ({"events": [{"source": "x"}]}, r"\$\.events\[0\]: object missing required field `?ts"),
        ({"events": [7]}, r"\$\.events\[0\]: expected object, got int"),
    ],
)
def test_records_whose_moments_cannot_be_told_are_refused_as_the_server_would(
    change, told, with_heads, write_lines, tmp_path
):
    data = write_lines({"user_id": "a", "events": [event(T0)], **change})
    at = moments(tmp_path, "ts", ("a", T0 + 10))
    done = predict(data, with_heads, tmp_path / "out.parquet", at=at, processes=1)
    first = json.loads(done.rejected.read_text().splitlines()[0])
    assert re.search(told, first["error"])
    assert first["place"].startswith("line 1")


def test_customers_with_several_records_are_told(with_heads, write_lines, tmp_path):
    a, b = ({"user_id": user, "events": [event(T0)]} for user in "ab")
    done = predict(write_lines(a, b, a, {"events": []}, {"events": []}), with_heads, tmp_path / "out.parquet")
    assert done.notes == [
        f"{done.out}: 1 rows are of customers who have an earlier row: the file has several records of them"
    ]


@pytest.fixture
def left_behind(with_heads, book, tmp_path, monkeypatch):
    """Arguments of a prediction that ended after two parts."""
    for name in ("PART_REQUESTS", "AT_ONCE"):
        monkeypatch.setattr(f"pragmatiq_builder.predict.book.{name}", 8)
    real = parts_module.Parts.write

    def write(self, *rest):
        real(self, *rest)
        if self.count == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(parts_module.Parts, "write", write)
        with pytest.raises(KeyboardInterrupt):
            predict(book, with_heads, tmp_path / "out.parquet", processes=1)
    return book, with_heads, tmp_path / "out.parquet"


def test_another_reject_file_and_other_settings_are_not_gone_on_with(left_behind, tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="begun with another rejected"):
        predict(*left_behind, rejected=tmp_path / "mine", resume=True, processes=1)
    assert (tmp_path / "mine").read_text() == "mine"
    monkeypatch.setenv("PRAGMATIQ_TOKENIZER_MAX_EVENTS", "2")
    with pytest.raises(ConfigError, match="begun with another settings"):
        predict(*left_behind, resume=True, processes=1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("job.json", b""),
        ("job.json", b"{"),
        ("part-000000.parquet", b""),
        ("part-000001.parquet", b"PAR1"),
        ("part-000000.rejected.jsonl", None),
    ],
)
def test_damaged_parts_are_one_line(name, content, left_behind):
    file = left_behind[2].with_name("out.parquet.parts") / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"is damaged .* remove the folder"):
        predict(*left_behind, resume=True, processes=1)
