from pathlib import Path

import pytest

from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.model_folders import ensemble_names, model_names


def write(repository: Path, **configs: str) -> Path:
    """A repository of models with these configs."""
    for name, config in configs.items():
        (repository / name).mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    return repository


def test_models_and_the_ensembles_among_them(tmp_path: Path) -> None:
    repository = write(
        tmp_path / "repository",
        scoring='# What callers call.\nname: "scoring"\nplatform: "ensemble"\n',
        scorer='# Not a\n# platform: "ensemble"\nname: "scorer"\nbackend: "python"\n',
        scoring_fraud='name: "scoring_fraud"\nplatform: "ensemble"\n',
    )
    (repository / "manifest.json").write_text("{}", encoding="utf-8")
    (repository / ".cache").mkdir()
    assert model_names(repository) == ["scorer", "scoring", "scoring_fraud"]
    assert ensemble_names(repository) == ["scoring", "scoring_fraud"]


def test_exported_ensembles_are_found(repository: Path) -> None:
    assert ensemble_names(repository) == ["scoring"]


def test_what_is_no_model_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        model_names(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="holds no models"):
        model_names(tmp_path)
    for name, told in (
        ("run/checkpoints", "this is a run; `pragmatiq export"),
        ("set/tokenizer", "this is a tokenized data set; `pragmatiq pretrain`"),
        ("raw/events", "this is raw data"),
    ):
        made = tmp_path / "others" / name
        made.mkdir(parents=True)
        (made.parent / "meta.json").touch()
        with pytest.raises(ArtifactError, match=told):
            model_names(made.parent)
    (tmp_path / "others").rename(tmp_path / ".others")
    (tmp_path / "half").mkdir()
    with pytest.raises(ArtifactError, match=r"half has no config\.pbtxt"):
        ensemble_names(tmp_path)
