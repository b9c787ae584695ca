"""A damaged data set is one line that names the file, before any work."""

import shutil

import numpy as np
import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.tokenizer import TokenizerConfig

from .conftest import write_raw

EPOCH = 1_600_000_000_000_000
EMBED = TokenizerConfig(text_value_mode="embed", text_encoder="hash", text_encoder_dim=8, categorical_threshold=5)
MAPPED = ("tokens", "numbers", "token_cu_seqlens", "event_ts", "event_cu_seqlens", "profile_rows")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    rows = [(f"u{user}", EPOCH + i, "app", {"memo": f"memo {i}"}) for user in range(3) for i in range(9)]
    profiles = [("u0", EPOCH + 99, {"plan": "a"}, [("opened", EPOCH)])]
    tokenize(write_raw(folder, rows, profiles), folder / "tok", EMBED)
    return folder / "tok"


@pytest.fixture
def tok(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "tok")


def everything(tok):
    """What training reads."""
    data = TokenizedDataset(tok)
    ids = [data.event_ids(user) for user in range(data.n_users)]
    return data.user_ids, data.batch(range(data.n_users)), data.texts and data.texts.texts(), ids


def refused(tok, name):
    with pytest.raises(ArtifactError) as error:
        everything(tok)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_the_whole_one_is_read(tok):
    user_ids, _, _, event_ids = everything(tok)
    assert len(user_ids) == 3
    assert [(len(ids), ids.dtype.name) for ids in event_ids] == [(9, "uint64")] * 3


@pytest.mark.parametrize("ids", [np.zeros(26, np.uint64), np.zeros(27, np.int64)], ids=["shorter", "signed"])
def test_damaged_ids_of_events_are_named(tok, ids):
    np.save(tok / "event_ids.npy", ids)
    refused(tok, "event_ids.npy")


def test_a_data_set_without_ids_of_events_is_read(tok):
    (tok / "event_ids.npy").unlink()
    assert not np.any(everything(tok)[3])


@pytest.mark.parametrize("name", MAPPED)
@pytest.mark.parametrize("damage", ["missing", "empty", "header", "cut", "text", "folder"])
def test_a_damaged_array_is_named(tok, name, damage):
    file = tok / f"{name}.npy"
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "missing":
        file.write_bytes({"empty": b"", "header": content[:40], "cut": content[:-8], "text": b"numbers"}[damage])
    refused(tok, f"{name}.npy")


@pytest.mark.parametrize("name", [*MAPPED, "profile", "item_cu_seqlens", "item_ts", "profile_as_of"])
@pytest.mark.parametrize("change", ["dtype", "shape", "objects"])
def test_an_array_of_something_else_is_named(tok, name, change):
    file = tok / f"{name}.npy"
    array = np.load(file)
    changed = {
        "dtype": array.astype(np.float64),
        "shape": array.reshape(*array.shape, 1),
        "objects": array.astype(object),
    }
    np.save(file, changed[change], allow_pickle=True)
    refused(tok, f"{name}.npy")


@pytest.mark.parametrize("name", MAPPED)
def test_an_array_of_another_length_is_named(tok, name):
    file = tok / f"{name}.npy"
    np.save(file, np.load(file)[:-1])
    refused(tok, ".npy")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text"])
def test_damaged_users_are_named(tok, content):
    (tok / "users.parquet").write_bytes(content)
    refused(tok, "users.parquet")


@pytest.mark.parametrize("file", ["meta.json", "texts/encoder.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b"3"])
def test_a_damaged_description_is_named(tok, file, content):
    (tok / file).write_bytes(content)
    refused(tok, "tok")
