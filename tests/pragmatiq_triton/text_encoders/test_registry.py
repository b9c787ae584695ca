import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.text_encoders import TextEncoderSpec, create_text_encoder, register_text_encoder, registry
from pragmatiq_triton.text_encoders.table import save_table
from pragmatiq_triton.text_encoders.trust import TRUST_VARIABLE

OWN_MODULE = """
import numpy as np

class Letters:
    name, dim, revision = "letters", 3, "1"

    def __init__(self, spec, *, device, threads):
        self.place = (device, threads)
        self.prefix = spec.prefix

    def encode(self, texts):
        return np.array([[len(self.prefix + t), t.count("a"), t.count("e")] for t in texts], np.float32).reshape(-1, 3)

class Doubles(Letters):
    def encode(self, texts):
        return super().encode(texts).astype(np.float64)

class Narrow(Letters):
    def encode(self, texts):
        return super().encode(texts)[:, :2]

class Lists(Letters):
    def encode(self, texts):
        return super().encode(texts).tolist()

class NoDim(Letters):
    dim = "three"

class Mute(Letters):
    encode = None

class OldStyle(Letters):
    def __init__(self, spec):
        pass

def nothing(spec, **place):
    return None

number = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_text_encoders.py").write_text(OWN_MODULE, encoding="utf-8")
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_text_encoders"


@pytest.fixture
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", {})


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="no text encoder named 'nemo'; choose hash, nemotron, table"):
        create_text_encoder(TextEncoderSpec(encoder="nemo"))


def test_an_own_encoder_by_import_path(own_module: str) -> None:
    spec = TextEncoderSpec(encoder=f"{own_module}:Letters", prefix="> ", dim=3)
    encoder = create_text_encoder(spec)
    assert (encoder.name, encoder.dim, encoder.revision) == ("letters", 3, "1")
    assert encoder.encode(["banana", ""]).tolist() == [[8, 3, 0], [2, 0, 0]]
    assert encoder.encode([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("Doubles", r"expected encode\(\) to return float32 \[1, 3\], got float64 \[1, 3\]"),
        ("Narrow", r"expected encode\(\) to return float32 \[1, 3\], got float32 \[1, 2\]"),
        ("Lists", r"expected encode\(\) to return float32 \[1, 3\], got list"),
    ],
)
def test_an_own_encoder_with_unfit_vectors_is_refused_on_use(own_module: str, attribute: str, message: str) -> None:
    encoder = create_text_encoder(TextEncoderSpec(encoder=f"{own_module}:{attribute}"))
    with pytest.raises(ConfigError, match=message):
        encoder.encode(["a"])


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("NoDim", "expected an attribute dim: int, got str"),
        ("nothing", "expected an attribute name: str, got nothing"),
        ("Mute", r"expected a method encode\(texts\), got none"),
        ("OldStyle", r"expected a factory to call as \(spec, \*, device, threads\), got \(spec\)"),
        ("number", "expected a class or a function, got int"),
        ("Missing", "has no attribute 'Missing'"),
    ],
)
def test_what_is_no_encoder_is_refused_at_once(own_module: str, attribute: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_text_encoder(TextEncoderSpec(encoder=f"{own_module}:{attribute}"))


@pytest.mark.parametrize("path", ["no_such_package.module:Encoder", ":Encoder"])
def test_an_import_path_that_leads_nowhere(path: str) -> None:
    with pytest.raises(ConfigError, match=r"package\.module:Class"):
        create_text_encoder(TextEncoderSpec(encoder=path), trusted=True)


@pytest.mark.usefixtures("empty_registry")
def test_a_registered_encoder_is_told_where_to_run() -> None:
    @register_text_encoder("constant")
    class Constant:
        name, dim, revision = "constant", 3, "1"

        def __init__(self, spec: TextEncoderSpec, *, device: str, threads: int | None) -> None:
            self.place = [len(spec.prefix), int(device.removeprefix("cuda:")), threads]

        def encode(self, texts: Sequence[str]) -> Float32:
            return np.array([self.place] * len(texts), np.float32)

    encoder = create_text_encoder(TextEncoderSpec(encoder="constant", prefix="> "), device="cuda:1", threads=5)
    assert encoder.encode(["a"]).tolist() == [[2, 1, 5]]
    with pytest.raises(ConfigError, match="'constant' is taken"):
        register_text_encoder("constant")(Constant)
    with pytest.raises(ConfigError, match=r"choose .*constant"):
        create_text_encoder(TextEncoderSpec(encoder="other"))


@pytest.mark.usefixtures("empty_registry")
@pytest.mark.parametrize("name", ["hash", "my:encoder"])
def test_a_name_that_cannot_be_registered(name: str) -> None:
    with pytest.raises(ConfigError, match=name):

        @register_text_encoder(name)
        def create(spec: TextEncoderSpec, *, device: str, threads: int | None) -> None: ...


def test_a_wrong_dim_names_both(own_module: str) -> None:
    with pytest.raises(ConfigError, match=r"text_encoder\.dim is 5, but its vectors have 3 numbers"):
        create_text_encoder(TextEncoderSpec(encoder=f"{own_module}:Letters", dim=5))


def test_a_model_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        create_text_encoder(TextEncoderSpec(encoder="nemotron"), text_model_folder=tmp_path / "absent")


def test_a_table_with_a_fallback_from_a_spec(tmp_path: Path) -> None:
    vectors = np.arange(8, dtype=np.float32).reshape(1, 8)
    save_table(tmp_path / "t.npz", ["known"], vectors)
    fallback = TextEncoderSpec(encoder="hash", dim=8)
    spec = TextEncoderSpec(encoder="table", text_model=str(tmp_path / "t.npz"), fallback=fallback)
    got = create_text_encoder(spec).encode(["new", "known"])
    assert np.array_equal(got[1], vectors[0])
    assert np.array_equal(got[:1], create_text_encoder(fallback).encode(["new"]))


def test_a_table_is_checked_against_its_pinned_revision(tmp_path: Path) -> None:
    save_table(tmp_path / "t", ["a"], np.ones((1, 2), np.float32))
    path = str(tmp_path / "t")
    revision = create_text_encoder(TextEncoderSpec(encoder="table", text_model=path)).revision
    pinned = TextEncoderSpec(encoder="table", text_model=path, revision=revision)
    assert create_text_encoder(pinned).encode(["a"]).tolist() == [[1, 1]]
    save_table(tmp_path / "t", ["a"], np.zeros((1, 2), np.float32))
    with pytest.raises(ArtifactError, match=revision):
        create_text_encoder(pinned)


def test_a_table_without_a_path() -> None:
    with pytest.raises(ConfigError, match=r"text_encoder\.text_model"):
        create_text_encoder(TextEncoderSpec(encoder="table"))


WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from pathlib import Path
from pragmatiq_triton.errors import MissingDependencyError
from pragmatiq_triton.text_encoders import TextEncoderSpec, create_text_encoder

table = create_text_encoder(TextEncoderSpec(encoder="table", text_model=sys.argv[1], fallback=TextEncoderSpec(dim=2)))
assert table.encode(["known"]).tolist() == [[1.0, 2.0]]
assert table.encode(["new"]).shape == (1, 2)
try:
    create_text_encoder(TextEncoderSpec(encoder="nemotron"))
except MissingDependencyError as error:
    print(error)
"""


def test_hash_and_table_need_neither_torch_nor_transformers(tmp_path: Path) -> None:
    save_table(tmp_path / "t", ["known"], np.array([[1, 2]], np.float32))
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "t")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert 'pip install "pragmatiq-triton[nemotron]"' in done.stdout
    assert '"pragmatiq-triton[embedder]"' in done.stdout
