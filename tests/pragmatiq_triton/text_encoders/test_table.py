import json
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError, NotFiniteError
from pragmatiq_triton.text_encoders.hash import HashEncoder
from pragmatiq_triton.text_encoders.table import TableEncoder, save_table

from .texts import TEXTS

UPSTREAM = Path(__file__).parents[2] / "data" / "upstream" / "embed" / "text_vectors.npz"
KNOWN = [*sorted(set(TEXTS)), "\ud800"]


@pytest.fixture(params=["table", "table.npz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Both forms of a table."""
    return tmp_path / "new" / str(request.param)


@pytest.fixture(params=[np.float32, np.float16])
def vectors(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((len(KNOWN), 5)).astype(request.param)


def test_a_saved_table_gives_its_vectors_to_the_bit(path: Path, vectors: np.ndarray) -> None:
    save_table(path, KNOWN, vectors)
    encoder = TableEncoder.load(path)
    order = np.random.default_rng(1).permutation(2 * len(KNOWN)) % len(KNOWN)
    got = encoder.encode([KNOWN[i] for i in order])
    assert got.dtype == np.float32
    assert np.array_equal(got, vectors[order].astype(np.float32))
    assert np.array_equal(np.concatenate([encoder.encode([text]) for text in KNOWN]), vectors.astype(np.float32))
    assert encoder.encode([]).shape == (0, 5)
    assert (encoder.name, encoder.dim) == ("table", 5)


def test_upstreams_vectors_load_as_a_table(path: Path) -> None:
    with np.load(UPSTREAM) as arrays:
        texts, vectors = json.loads(str(arrays["texts"])), arrays["vectors"]
    encoder = TableEncoder.load(UPSTREAM)
    assert np.array_equal(encoder.encode(texts), vectors)
    save_table(path, texts, vectors)
    assert np.array_equal(TableEncoder.load(path).encode(texts), vectors)


def test_texts_may_be_a_plain_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", texts=np.array(["März", ""]), vectors=np.eye(2, dtype=np.float32))
    assert TableEncoder.load(tmp_path / "t.npz").encode(["", "März"]).tolist() == [[0, 1], [1, 0]]


def test_a_large_table_stays_on_disk(tmp_path: Path) -> None:
    save_table(tmp_path / "t", ["a"], np.ones((1, 3), np.float32))
    assert isinstance(TableEncoder.load(tmp_path / "t")._vectors.base, np.memmap)


def test_the_vectors_are_a_copy(path: Path) -> None:
    save_table(path, ["a", "b"], np.ones((2, 3), np.float32))
    encoder = TableEncoder.load(path)
    encoder.encode(["a", "b"])[:] = 7
    assert encoder.encode(["a", "b"]).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_strings_that_the_table_lacks_go_to_the_fallback(vectors: np.ndarray) -> None:
    fallback = HashEncoder(dim=5)
    encoder = TableEncoder(KNOWN, vectors, fallback)
    texts = ["new", KNOWN[3], "", "newer", "new"]
    got = encoder.encode(texts)
    assert np.array_equal(got[[0, 3, 4]], fallback.encode(["new", "newer", "new"]))
    assert np.array_equal(got[[1, 2]], vectors[[3, KNOWN.index("")]].astype(np.float32))
    assert np.array_equal(np.concatenate([encoder.encode([text]) for text in texts]), got)
    assert encoder.contains(texts).tolist() == [False, True, True, False, False]


def test_without_a_fallback_the_string_is_named() -> None:
    encoder = TableEncoder(["a"], np.ones((1, 2), np.float32))
    with pytest.raises(DataError, match=r"of 1 strings lacks 'x{60}\.\.\.' \(and 1 more\).*text_encoder.fallback"):
        encoder.encode(["a", "x" * 1000, "y"])


def test_a_fallback_of_another_dim() -> None:
    with pytest.raises(ConfigError, match="its vectors have 2 numbers, those of its fallback 'hash' have 3"):
        TableEncoder(["a"], np.ones((1, 2), np.float32), HashEncoder(dim=3))


def test_an_empty_table(path: Path) -> None:
    save_table(path, [], np.zeros((0, 4), np.float32))
    encoder = TableEncoder.load(path, HashEncoder(dim=4))
    assert np.array_equal(encoder.encode(["a"]), HashEncoder(dim=4).encode(["a"]))
    assert encoder.revision.startswith("sha256:")


def test_the_revision_is_that_of_the_content(tmp_path: Path, vectors: np.ndarray) -> None:
    def revision(name: str, texts: list[str], vectors: np.ndarray) -> str:
        save_table(tmp_path / name, texts, vectors)
        return TableEncoder.load(tmp_path / name).revision

    original = revision("t", KNOWN, vectors)
    assert revision("t.npz", KNOWN, vectors) == original
    assert TableEncoder(KNOWN, vectors).revision == original
    assert revision("u", KNOWN[::-1], vectors) != original
    assert revision("v", KNOWN, vectors + 1) != original


@pytest.mark.parametrize(
    "vectors", [np.zeros((2, 3), np.float32), np.zeros(1, np.float32), np.zeros((1, 3)), np.zeros((1, 3), np.int32)]
)
def test_vectors_that_do_not_fit(path: Path, vectors: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match=r"expected float32 or float16 \[1, dim\], got"):
        TableEncoder(["a"], vectors)
    with pytest.raises(ArtifactError, match=r"expected float32 or float16 \[1, dim\], got"):
        save_table(path, ["a"], vectors)
    assert not path.exists()


def test_a_repeated_string_is_refused(path: Path) -> None:
    with pytest.raises(ArtifactError, match="'a' is in rows 0 and 1"):
        save_table(path, ["a", "a"], np.zeros((2, 3), np.float32))
    assert not path.exists()


def test_a_table_that_is_not_there(path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such text vector table"):
        TableEncoder.load(path)


def test_a_folder_without_vectors(tmp_path: Path) -> None:
    save_table(tmp_path, ["a"], np.ones((1, 2), np.float32))
    (tmp_path / "vectors.npy").unlink()
    with pytest.raises(ArtifactError, match=r"vectors\.npy: no such file"):
        TableEncoder.load(tmp_path)


def test_vectors_of_another_table(tmp_path: Path) -> None:
    save_table(tmp_path, ["a"], np.ones((1, 2), np.float32))
    np.save(tmp_path / "vectors.npy", np.ones((2, 2), np.float32))
    with pytest.raises(ArtifactError, match=rf"{tmp_path}: .*expected float32 or float16 \[1, dim\]"):
        TableEncoder.load(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"texts": np.array("[]")}, "expected the arrays 'texts' and 'vectors'"),
        ({"texts": np.array("{"), "vectors": np.zeros((0, 1), np.float32)}, "texts: expected a JSON list"),
        ({"texts": np.array('["a", 1]'), "vectors": np.zeros((2, 1), np.float32)}, "expected a JSON list of strings"),
        ({"texts": np.array('{"a": 1}'), "vectors": np.zeros((1, 1), np.float32)}, "expected a JSON list of strings"),
        ({"texts": np.array([b"a"]), "vectors": np.zeros((1, 1), np.float32)}, r"1-d unicode array, got \|S1 \[1\]"),
        ({"texts": np.array([["a"]]), "vectors": np.zeros((1, 1), np.float32)}, r"got <U1 \[1, 1\]"),
        ({"texts": np.array(["a"], object), "vectors": np.zeros((1, 1), np.float32)}, "expected an .npz file"),
        ({"texts": np.array(["a", "a"]), "vectors": np.zeros((2, 1), np.float32)}, "'a' is in rows 0 and 1"),
    ],
)
def test_a_wrong_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(ArtifactError, match=message) as error:
        TableEncoder.load(tmp_path / "t.npz")
    assert str(tmp_path / "t.npz") in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_a_damaged_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"expected an \.npz file"):
        TableEncoder.load(tmp_path / "t.npz")


def test_an_npy_in_place_of_an_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.zeros((2, 2), np.float32))
    with pytest.raises(ArtifactError, match=r"expected an \.npz file"):
        TableEncoder.load(tmp_path / "t.npy")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_table_with_a_vector_that_is_not_finite_is_not_written(path: Path, vectors: np.ndarray, value: float) -> None:
    vectors[2, 1] = value
    with pytest.raises(NotFiniteError, match=rf"1 of {len(KNOWN)} rows hold NaN or infinity, the first is row 2, "):
        save_table(path, KNOWN, vectors)
    assert not path.exists()


def test_an_npz_with_a_vector_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", texts=np.array(["rent", "coffee"]), vectors=np.array([[0, 1], [2, np.nan]], "f4"))
    with pytest.raises(NotFiniteError, match=r"t\.npz: vectors: 1 of 2 rows .* row 1, 'coffee'; compute"):
        TableEncoder.load(tmp_path / "t.npz")
