"""The whole benchmark of predict, on a handful of customers, against the real tritonserver."""

import json

import pytest

from bench.predict import main
from pragmatiq_triton.cpus import usable_cpus


@pytest.mark.triton
def test_both_sides_are_measured_end_to_end(tmp_path, capsys):
    main(["--users", "6", "--rounds", "1", "--model-size", "nano", "--json", str(tmp_path / "speeds.json")])
    speeds = json.loads((tmp_path / "speeds.json").read_text())
    assert len(speeds) == 1 + len({1, usable_cpus()})
    assert all(len(found) == 1 for found in speeds.values())
    assert speeds["warm server"][0] > 0
    assert "6 customers" in capsys.readouterr().out


def test_numbers_that_cannot_be_measured_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--users", "1"])
    assert "expected --users" in capsys.readouterr().err
