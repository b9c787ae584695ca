import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pragmatiq_builder import replacing
from pragmatiq_builder.network import MaskedValueHead, NetworkConfig, PragmaNetwork
from pragmatiq_builder.runs import ModelInfo, create_run, has_checkpoint, load_run, load_trainer, save_checkpoint
from pragmatiq_triton.errors import ArtifactError, NotFiniteError, OutputError
from tests.builder.upstream_case import UPSTREAM, UpstreamCase
from tests.mounts import tmpfs

TOKENIZER = UPSTREAM / "embed/run/tokenizer"
HASH = (TOKENIZER / "tokenizer.hash").read_text(encoding="utf-8").strip()
CONFIG = NetworkConfig(20, 8, 2, 1, 1, 1, text_dim=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    create_run(path, {"seed": 1}, {"name": "mine"}, TOKENIZER)
    return path


@pytest.fixture
def upstream_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(UPSTREAM / "embed/run", tmp_path / "theirs"))


def save(path: Path, step: int, tokenizer_hash: str = HASH) -> None:
    network, head = PragmaNetwork(CONFIG), MaskedValueHead(CONFIG.dim, CONFIG.text_dim)
    for parameter in [*network.parameters(), *head.parameters()]:
        torch.nn.init.constant_(parameter, step)
    save_checkpoint(path, network, head, ModelInfo(CONFIG, tokenizer_hash, "hash"), {"step": step})


def test_an_upstream_run_is_read(upstream: UpstreamCase) -> None:
    run = load_run(upstream.folder / "run")
    is_embed = upstream.folder.name == "embed"
    assert run.origin == "upstream"
    assert run.text_encoder == ("hash" if is_embed else None)
    assert run.network.config.text_dim == (64 if is_embed else 0)
    assert run.tokenizer_hash == upstream.checkpoint["tokenizer_hash"]
    assert not run.network.training


def test_our_run_comes_back_as_it_was_saved(path: Path) -> None:
    save(path, 3)
    run = load_run(path)
    assert (run.name, run.origin, run.text_encoder, run.tokenizer_hash) == ("mine", "pragmatiq-triton", "hash", HASH)
    assert run.network.config == CONFIG
    assert all((tensor == 3).all() for part in (run.network, run.head) for tensor in part.state_dict().values())
    assert load_trainer(path) == {"step": 3}
    assert (path / "tokenizer" / "bpe.json").read_bytes() == (TOKENIZER / "bpe.json").read_bytes()


@pytest.mark.parametrize("way", ["exchange", "renames"])
@pytest.mark.parametrize("survived", range(8))
def test_an_interruption_between_any_two_changes_leaves_a_loadable_checkpoint(
    path: Path, survived: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "renames":
        monkeypatch.setattr(replacing, "_exchanged", lambda *_: False)
    save(path, 1)
    left = survived

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return change(*args, **kwargs)

        return run

    with monkeypatch.context() as patched:
        for owner, name in [
            (shutil, "rmtree"),
            (Path, "rename"),
            (safetensors.torch, "save_file"),
            (torch, "save"),
            (os, "fsync"),
        ]:
            patched.setattr(owner, name, counted(getattr(owner, name)))
        with pytest.raises(KeyboardInterrupt):
            save(path, 2)
    step = load_trainer(path)["step"]
    assert step in (1, 2)
    assert (load_run(path).network.embed.embed.weight == step).all()
    save(path, 5)
    assert load_trainer(path)["step"] == 5
    assert [entry.name for entry in (path / "checkpoints").iterdir()] == ["last"]


def test_a_kill_between_the_two_renames_leaves_the_older_checkpoint(path: Path) -> None:
    save(path, 1)
    checkpoints = path / "checkpoints"
    (checkpoints / "last").rename(checkpoints / ".last.old")
    assert load_trainer(path) == {"step": 1}
    assert (load_run(path).network.embed.embed.weight == 1).all()
    save(path, 2)
    assert load_trainer(path) == {"step": 2}
    assert [entry.name for entry in checkpoints.iterdir()] == ["last"]


@pytest.mark.parametrize("left", [0, 40, 80, 120])
def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path, left: int) -> None:
    config = NetworkConfig(2000, 8, 2, 1, 1, 1, text_dim=3)
    with tmpfs(tmp_path / "small") as small:
        create_run(small / "run", {}, {}, UPSTREAM / "bpe/run/tokenizer")
        network, head = PragmaNetwork(config), MaskedValueHead(config.dim, config.text_dim)
        info = ModelInfo(config, (UPSTREAM / "bpe/run/tokenizer/tokenizer.hash").read_text(encoding="utf-8"), "hash")
        save_checkpoint(small / "run", network, head, info, {"step": 1})
        space = os.statvfs(small)
        (small / "others").write_bytes(bytes(space.f_bavail * space.f_frsize - left * 1024))
        trainer = {"step": 2, "optimizer": torch.zeros(20_000)}
        with pytest.raises(OutputError, match=r"last could not be written: No space left on device"):
            save_checkpoint(small / "run", network, head, info, trainer)
        assert load_trainer(small / "run") == {"step": 1}
        assert [entry.name for entry in (small / "run" / "checkpoints").iterdir()] == ["last"]


def damaged_upstream(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    file = folder / "checkpoints/last.pt"
    torch.save(change(torch.load(file, weights_only=True)), file)
    return folder


def with_weight(stored: dict[str, Any], tensor: Any) -> dict[str, Any]:
    return {**stored, "model": {**stored["model"], "embed.embed.weight": tensor}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stored: [stored], "holds a list, expected a dict"),
        (lambda stored: {**stored, "model_config": {**stored["model_config"], "beams": 4}}, "beams"),
        (lambda stored: {**stored, "model_config": {**stored["model_config"], "dim": "64"}}, "TypeError"),
        (lambda stored: {**stored, "model_config": {**stored["model_config"], "n_heads": 0}}, "ZeroDivisionError"),
        (lambda stored: {**stored, "model_config": {**stored["model_config"], "n_heads": 5}}, "does not split"),
        (lambda stored: {**stored, "model_config": {**stored["model_config"], "vocab_size": -1}}, "cannot be read"),
        (lambda stored: {**stored, "model_config": [1]}, "cannot be read"),
        (lambda stored: {name: value for name, value in stored.items() if name != "head"}, "'head'"),
        (lambda stored: {**stored, "model": []}, "cannot be read"),
        (lambda stored: {**stored, "model": None}, "cannot be read"),
        (lambda stored: with_weight(stored, torch.zeros(3, 3)), "size mismatch"),
        (lambda stored: with_weight(stored, torch.zeros(3, 3, dtype=torch.int64)), "torch.int64, expected floating"),
        (lambda stored: with_weight(stored, "weights"), "str, expected floating"),
    ],
)
def test_an_odd_upstream_checkpoint_is_one_line_that_names_the_file(
    upstream_copy: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message) as refused:
        load_run(damaged_upstream(upstream_copy, change))
    assert str(upstream_copy / "checkpoints/last.pt") in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"PK\x03\x04 not a zip", b"\x80\x02]q\x00.", None])
def test_a_checkpoint_that_is_none_is_one_line(upstream_copy: Path, content: bytes | None) -> None:
    file = upstream_copy / "checkpoints/last.pt"
    file.unlink()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"last\.pt: (cannot be read|holds)"):
        load_run(upstream_copy)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"', "{", "\0"])
def test_a_tokenizer_that_is_no_object_is_one_line(path: Path, content: str) -> None:
    save(path, 1)
    (path / "tokenizer/tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match="tokenizer"):
        load_run(path)


def test_weights_of_another_tokenizer_are_refused(path: Path) -> None:
    save(path, 1, tokenizer_hash="beef")
    with pytest.raises(ArtifactError, match=rf"trained with tokenizer beef, but .* holds {HASH}"):
        load_run(path)


def test_upstream_weights_of_another_tokenizer_are_refused(upstream_copy: Path) -> None:
    shutil.rmtree(upstream_copy / "tokenizer")
    shutil.copytree(UPSTREAM / "bpe/run/tokenizer", upstream_copy / "tokenizer")
    with pytest.raises(ArtifactError, match=rf"trained with tokenizer {HASH}, but"):
        load_run(upstream_copy)


def test_an_altered_tokenizer_is_refused(path: Path) -> None:
    save(path, 1)
    file = path / "tokenizer/tokenizer.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**state, "vocab_size": 1}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=rf"tokenizer.hash says {HASH}"):
        load_run(path)


def test_a_tokenizer_without_pieces_needs_no_bpe_file(path: Path) -> None:
    state = {"format_version": 1, "config": {"text_value_mode": "embed"}}
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (path / "tokenizer/tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    (path / "tokenizer/tokenizer.hash").write_text(digest + "\n", encoding="utf-8")
    (path / "tokenizer/bpe.json").unlink()
    save(path, 1, digest)
    assert load_run(path).tokenizer_hash == digest


@pytest.mark.parametrize("name", ["tokenizer/tokenizer.json", "tokenizer/tokenizer.hash", "checkpoints/last.pt"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_upstream_run_names_the_file(upstream_copy: Path, name: str, damage: str) -> None:
    file = upstream_copy / name
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=Path(name).name):
        load_run(upstream_copy)


@pytest.mark.parametrize(("name", "read"), [("model.safetensors", load_run), ("trainer.pt", load_trainer)])
def test_a_damaged_checkpoint_of_ours_names_the_file(path: Path, name: str, read: Callable[[Path], Any]) -> None:
    save(path, 1)
    file = path / "checkpoints/last" / name
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ArtifactError, match=rf"{name}: cannot be read"):
        read(path)


def test_another_upstream_format_is_refused(upstream_copy: Path) -> None:
    file = upstream_copy / "checkpoints/last.pt"
    torch.save({**torch.load(file, weights_only=True), "format": 3}, file)
    with pytest.raises(ArtifactError, match=r"format 3, expected 2"):
        load_run(upstream_copy)


def test_weights_of_another_shape_are_refused(upstream_copy: Path) -> None:
    file = upstream_copy / "checkpoints/last.pt"
    stored = torch.load(file, weights_only=True)
    stored["model_config"]["depth_event"] = 3
    torch.save(stored, file)
    with pytest.raises(ArtifactError, match=r"last.pt: cannot be read .*event_encoder.blocks.2"):
        load_run(upstream_copy)


def test_a_run_without_a_checkpoint_says_so(path: Path) -> None:
    assert not has_checkpoint(path)
    with pytest.raises(ArtifactError, match="no checkpoint"):
        load_run(path)
    with pytest.raises(ArtifactError, match="no checkpoint to resume from"):
        load_trainer(path)


@pytest.mark.parametrize("part", ["network", "head"])
def test_a_weight_that_is_not_finite_is_named(path: Path, part: str) -> None:
    save(path, 3)
    file = path / "checkpoints" / "last" / "model.safetensors"
    tensors, metadata = safetensors.torch.load_file(file), safetensors.safe_open(file, "pt").metadata()
    name = sorted(name for name in tensors if name.startswith(part))[0]
    tensors[name].view(-1)[0] = torch.nan
    safetensors.torch.save_file(tensors, file, metadata)
    with pytest.raises(NotFiniteError, match=f"{file}: the weight {name.removeprefix(part + '.')} holds NaN"):
        load_run(path)
