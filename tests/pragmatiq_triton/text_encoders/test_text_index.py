from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.text_encoders import text_index
from pragmatiq_triton.text_encoders.text_index import TextIndex

from .texts import TEXTS

DISTINCT = [*sorted(set(TEXTS)), "\ud800", "\ufffd", "a\x00"]

texts = st.text(st.characters(), max_size=5)


@given(st.lists(texts, unique=True, max_size=20), st.lists(texts, max_size=20))
def test_rows_are_those_of_the_strings(known: list[str], asked: list[str]) -> None:
    index = TextIndex.build(known)
    expected = [known.index(text) if text in known else -1 for text in asked]
    assert index.rows(asked).tolist() == expected
    assert index.rows(known).tolist() == list(range(len(known)))


def test_colliding_digests_never_give_a_wrong_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_index, "_digests", lambda encoded: np.zeros(len(encoded), np.uint64))
    index = TextIndex.build(DISTINCT)
    assert index.rows([*reversed(DISTINCT), "absent"]).tolist() == [*reversed(range(len(DISTINCT))), -1]


@pytest.mark.parametrize("known", [DISTINCT, [""], []])
def test_a_saved_index_is_the_same_and_mapped(tmp_path: Path, known: list[str]) -> None:
    TextIndex.build(known).save(tmp_path / "index")
    index = TextIndex.load(tmp_path / "index")
    assert len(index) == len(known)
    assert index.rows([*known, "absent"]).tolist() == [*range(len(known)), -1]
    assert isinstance(index.digests.base, np.memmap)


def test_a_repeated_string_is_refused() -> None:
    with pytest.raises(ArtifactError, match="'b' is in rows 1 and 2"):
        TextIndex.build(["a", "b", "b"])


@pytest.mark.parametrize("name", ["texts.bin", "text_offsets.npy", "digests.npy"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    TextIndex.build(DISTINCT).save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: no such file; the table is incomplete"):
        TextIndex.load(tmp_path)


@pytest.mark.parametrize("name", ["text_offsets.npy", "digests.npy"])
def test_a_file_that_is_no_array_is_named(tmp_path: Path, name: str) -> None:
    TextIndex.build(DISTINCT).save(tmp_path)
    (tmp_path / name).write_bytes(b"no array")
    with pytest.raises(ArtifactError, match=f"{name}: expected a .npy array"):
        TextIndex.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("digests.npy", np.zeros((3, 3), np.uint64), r"expected uint64 \[n, 2\], got uint64 \[3, 3\]"),
        ("digests.npy", np.zeros((3, 2), np.int64), r"expected uint64 \[n, 2\], got int64 \[3, 2\]"),
        ("text_offsets.npy", np.zeros(3, np.int64), r"expected int64 \[3\] that ends at 2, .* got int64 \[3\] .* at 0"),
        ("text_offsets.npy", np.array([0, 2]), r"expected int64 \[3\] .* got int64 \[2\]"),
        ("text_offsets.npy", np.zeros(0, np.int64), "ends at nothing"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    TextIndex.build(["a", "b"]).save(tmp_path)
    np.save(tmp_path / name, array)
    with pytest.raises(ArtifactError, match=message):
        TextIndex.load(tmp_path)


def test_an_interrupted_save_over_an_old_table_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TextIndex.build(["old"]).save(tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(text_index.np, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        TextIndex.build(["new"]).save(tmp_path)
    with pytest.raises(ArtifactError, match="incomplete"):
        TextIndex.load(tmp_path)
