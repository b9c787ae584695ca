import hashlib
import json
from pathlib import Path

import pytest

from tests.builder.training.memory_dataset import MemoryDataset


@pytest.fixture
def tokenizer(tmp_path: Path) -> tuple[Path, str]:
    """A tokenizer folder with the three files of the smallest legal content, and its hash."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    state = {"format_version": 1, "config": {"text_value_mode": "embed"}}
    digest = hashlib.sha256((json.dumps(state, sort_keys=True) + "{}").encode()).hexdigest()
    for name, text in {"tokenizer.json": json.dumps(state), "bpe.json": "{}", "tokenizer.hash": digest}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder, digest


@pytest.fixture
def data(tokenizer: tuple[Path, str]) -> MemoryDataset:
    return MemoryDataset(*tokenizer)


@pytest.fixture
def text_data(tokenizer: tuple[Path, str]) -> MemoryDataset:
    return MemoryDataset(*tokenizer, n_users=150, text_dim=16)
