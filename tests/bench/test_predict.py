"""The whole benchmark of predict, on a handful of customers, against the real tritonserver."""

import json
import re

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


@pytest.mark.slow
def test_memory_does_not_grow_with_the_book(capsys):
    main(["--users", "40", "--model-size", "nano", "--memory", "10"])
    found = re.findall(r"([\d,]+) customers, .*: ([\d.]+) GiB at most", capsys.readouterr().out)
    assert [n for n, _ in found] == ["40", "400"]
    assert float(found[1][1]) < 1.3 * float(found[0][1])


@pytest.mark.parametrize("words", [["--users", "1"], ["--memory", "1"]])
def test_numbers_that_cannot_be_measured_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert "expected --users" in capsys.readouterr().err
