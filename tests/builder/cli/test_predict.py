"""``pragmatiq predict`` as a user types it: what is printed, and how it ends."""

import json

import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.runs import load_run
from tests.builder.export.heads_case import probe, run_with
from tests.conftest import RECORDS


@pytest.fixture(scope="module")
def churn_repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    export_repository(load_run(run_with(folder / "run", "bpe", probe()).path), folder / "repository")
    return folder / "repository"


def test_a_file_of_records_becomes_scores_and_a_refused_one_is_told(pragmatiq, churn_repository, tmp_path):
    data, out = tmp_path / "book.jsonl", tmp_path / "scores.parquet"
    data.write_bytes(b"\n".join([RECORDS[0], b"{broken", RECORDS[1]]))
    command = ("predict", data, "--repository", churn_repository, "--out", out, "--processes", 1)
    done = pragmatiq(*command, "--json", expect=3)
    found = done.json
    assert (found["rows"], found["refused"], found["tasks"], found["out"]) == (2, 1, ["churn"], str(out))
    assert "1 of 3 rows were refused; they are in" in done.err
    assert pq.read_table(out).column_names == ["user_id", "churn"]
    (lost,) = map(json.loads, (tmp_path / "scores.parquet.rejected").read_text().splitlines())
    assert (lost["place"], lost["record"]) == ("line 2", "{broken")

    again = pragmatiq(*command, expect=2)
    assert "exists already" in again.err
    assert "complete already" in pragmatiq(*command, "--resume", expect=3).err, "as the call that wrote it"
    assert "expected I/N" in pragmatiq(*command, "--shard", "3/2", expect=2).err
