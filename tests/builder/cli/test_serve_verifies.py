"""``pragmatiq serve`` holds the repository against its manifest before it starts."""

import json
import os
import shutil
import urllib.request

import pytest

from bench.serving.processes import commands
from pragmatiq_client import InvalidRecordError, ScoringClient
from tests.conftest import RECORDS
from tests.pragmatiq_triton.server.test_ends import serving


@pytest.fixture
def copy(repository, tmp_path):
    return shutil.copytree(repository, tmp_path / "with space and ü")


def test_another_runs_file_is_refused_with_its_name(pragmatiq, copy):
    (copy / "scorer" / "1" / "heads.onnx").write_bytes(b"of another run")
    done = pragmatiq("serve", copy, expect=4)
    assert "not listed: scorer/1/heads.onnx." in done.err
    assert "--skip-verification" in done.err


@pytest.mark.triton
def test_an_operators_settings_are_told_and_in_force_and_the_repository_stays_as_it_is(copy, pragmatiq, tmp_path):
    """Its path holds a space and an umlaut, which Triton itself cannot read."""
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    settings = tmp_path / "settings.yaml"
    settings.write_text("scorer: {event_cache_bytes: 0, instances: 2}\n")
    told = pragmatiq("info", copy, "--settings", settings, "--json").json["settings"]
    assert told["scorer"]["instances"] == {"value": "2", "source": str(settings)}
    assert told["tokenizer"]["instances"] == {"value": "1", "source": "repository"}
    environment = {**os.environ, "PRAGMATIQ_TOKENIZER_MAX_EVENTS": "3", "PRAGMATIQ_SETTINGS": str(settings)}
    with serving(copy, options=(), env=environment) as run:
        run.ready()
        with urllib.request.urlopen(f"http://{run.urls['http']}/v1/model") as answer:
            assert json.loads(answer.read())["limits"]["record"]["max_events"] == 3
        with ScoringClient(run.urls["grpc"]) as client:
            client.score_one({"events": []})
            with pytest.raises(InvalidRecordError, match="max_events = 3"):
                client.score_one(json.dumps({"events": [json.loads(RECORDS[3])["events"][0]] * 4}))
        started = [" ".join(words) for words in commands(run.group).values()]
        assert sum("/scorer/1/model.py" in command for command in started) == 2
        run.process.terminate()
        err = run.end()
    assert run.process.returncode == 0
    assert f"scorer: event_cache_bytes = 0 ({settings})" in err
    assert "tokenizer: max_events = 3 (PRAGMATIQ_TOKENIZER_MAX_EVENTS)" in err
    assert "verified: " in err
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and "__pycache__" not in str(path)}
    assert after == {path: content for path, content in before.items() if "__pycache__" not in str(path)}
