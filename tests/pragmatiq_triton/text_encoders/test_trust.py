"""Code that came with data runs only with the operator's word, whoever loads the data."""

import json
import sys
from pathlib import Path

import pytest

from pragmatiq_triton.container.__main__ import main as container
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.server import TritonServer
from pragmatiq_triton.serving.embedding import load_text_encoder
from pragmatiq_triton.serving.parameters import TextEmbedderParameters
from pragmatiq_triton.text_encoders import TextEncoderSpec, create_text_encoder
from pragmatiq_triton.text_encoders.trust import TRUST_VARIABLE, code_of, require_trusted_repository

MARKING = """
from pathlib import Path
Path(__file__).with_name("ran").touch()

class Encoder:
    name, dim, revision = "own", 2, "1"
    def __init__(self, spec, *, device, threads): ...
    def encode(self, texts): ...
"""

OWN = {"encoder": "module_of_the_data:Encoder"}
REMOTE = {"encoder": "nemotron", "text_model": "text_model", "trust_remote_code": True}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a file where it runs."""
    (tmp_path / "module_of_the_data.py").write_text(MARKING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "module_of_the_data", raising=False)
    return tmp_path / "ran"


@pytest.fixture(params=["itself", "behind a table"])
def repository(request: pytest.FixtureRequest, tmp_path: Path):
    """A function that writes as much of a repository as names the encoder."""

    def write(spec: dict[str, object]) -> Path:
        folder = tmp_path / "repository" / "text_embedder" / "1"
        folder.mkdir(parents=True)
        (folder.parent / "config.pbtxt").touch()
        whole = spec if request.param == "itself" else {"encoder": "table", "text_model": "table", "fallback": spec}
        (folder / "text_encoder.json").write_text(json.dumps(whole), encoding="utf-8")
        return tmp_path / "repository"

    return write


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (TextEncoderSpec(), None),
        (TextEncoderSpec(encoder="nemotron"), None),
        (TextEncoderSpec(trust_remote_code=True), None),
        (TextEncoderSpec(**OWN), "the Python module that the text encoder 'module_of_the_data:Encoder' names"),
        (TextEncoderSpec(**REMOTE), "the Python code in the text model's folder text_model"),
        (TextEncoderSpec(encoder="table", fallback=TextEncoderSpec(**OWN)), "the Python module that the text encoder"),
    ],
)
def test_what_code_an_encoder_runs_is_said(spec: TextEncoderSpec, code: str | None) -> None:
    assert (code_of(spec) or "").startswith(code or "")
    assert bool(code_of(spec)) == bool(code)


@pytest.mark.parametrize("word", [None, False, "0"])
def test_a_module_that_the_data_name_is_not_imported_unasked(
    module: Path, monkeypatch: pytest.MonkeyPatch, word: bool | str | None
) -> None:
    if isinstance(word, str):
        monkeypatch.setenv(TRUST_VARIABLE, word)
    with pytest.raises(ConfigError, match=rf"pass --trust-remote-code \(or set {TRUST_VARIABLE}=1\)"):
        create_text_encoder(TextEncoderSpec(**OWN), trusted=word if isinstance(word, bool) else None)
    assert not module.exists()


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_with_the_operator_s_word_it_is(module: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    if by == "environment":
        monkeypatch.setenv(TRUST_VARIABLE, "1")
    assert create_text_encoder(TextEncoderSpec(**OWN), trusted=True if by == "argument" else None).name == "own"
    assert module.exists()
    module.unlink()


def test_a_word_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "yes, please")
    with pytest.raises(ConfigError, match=f"{TRUST_VARIABLE}: expected 1, 0 or nothing, got 'yes, please'"):
        create_text_encoder(TextEncoderSpec(**OWN))


@pytest.mark.parametrize("spec", [OWN, REMOTE])
def test_a_server_does_not_start_over_code_unasked(repository, spec: dict[str, object]) -> None:
    folder = repository(spec)
    with pytest.raises(ConfigError, match=f"^{folder}: would run the Python"):
        TritonServer(folder, http_port=0, grpc_port=0, metrics_port=0).start()
    require_trusted_repository(folder, trusted=True)
    with pytest.raises(ConfigError, match="would run the Python"):
        load_text_encoder(folder / "text_embedder" / "1", TextEmbedderParameters())


def test_a_container_does_not_start_over_code_unasked(
    repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository(REMOTE)
    monkeypatch.setenv("PRAGMATIQ_MODEL_REPOSITORY", str(folder))
    for name, value in (("GATEWAY", "0"), ("ADDRESS", "127.0.0.1"), ("METRICS_ADDRESS", "127.0.0.1")):
        monkeypatch.setenv(f"PRAGMATIQ_{name}", value)
    monkeypatch.setattr("sys.argv", ["container"])
    assert container() == 2
    assert f"error: {folder}: would run the Python code in the text model's folder" in capsys.readouterr().err


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "text_embedder" / "1"
    folder.mkdir(parents=True)
    (folder / "text_encoder.json").write_text('{"encoder": 1}')
    with pytest.raises(ArtifactError, match=r"text_encoder\.json: expected a text encoder's settings"):
        require_trusted_repository(tmp_path, None)
