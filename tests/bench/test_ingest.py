"""The whole benchmark of ingest, on a few thousand rows: both sides write the same events."""

import json

import pytest

from bench.ingest import main


def test_both_sides_are_measured_and_write_the_same(tmp_path, capsys):
    main(["--rows", "3000", "--customers", "50", "--rounds", "1", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert {side: len(runs) for side, runs in found.items()} == {"pandas": 1, "ingest": 1}
    assert all(seconds > 0 and peak > 0 for runs in found.values() for seconds, peak in runs)
    assert "3,000 rows" in capsys.readouterr().out


def test_numbers_that_cannot_be_measured_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--rows", "10"])
    assert "expected --rows of 200 or more" in capsys.readouterr().err
