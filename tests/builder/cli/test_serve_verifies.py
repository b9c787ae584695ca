"""``pragmatiq serve`` holds the repository against its manifest before it starts."""

import shutil

import pytest

from tests.pragmatiq_triton.embedded.test_ends import serving


@pytest.fixture
def copy(repository, tmp_path):
    return shutil.copytree(repository, tmp_path / "with space and ü")


def test_another_runs_file_is_refused_with_its_name(pragmatiq, copy):
    (copy / "scorer" / "1" / "heads.onnx").write_bytes(b"of another run")
    done = pragmatiq("serve", copy, expect=4)
    assert "not listed: scorer/1/heads.onnx." in done.err
    assert "--skip-verification" in done.err


@pytest.mark.triton
def test_an_operators_change_is_told_and_a_path_with_a_space_and_an_umlaut_is_served(copy):
    config = copy / "scorer" / "config.pbtxt"
    config.write_text(config.read_text(encoding="utf-8").replace('"268435456"', '"0"'), encoding="utf-8")
    with serving(copy, options=()) as run:
        run.ready()
        run.process.terminate()
        err = run.end()
    assert run.process.returncode == 0
    assert "changed by the operator: scorer: event_cache_bytes 268435456 -> 0" in err
    assert "verified: " in err
