import os
import stat
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.cache import fingerprints as module
from pragmatiq_triton.cache.fingerprints import KEY_FILE, Fingerprints, secret
from pragmatiq_triton.errors import ConfigError

ONE, OTHER = Fingerprints(bytes(32)), Fingerprints(bytes([1]) * 32)

tokens = st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.sampled_from([0, -1])), max_size=3).map(
    lambda rows: np.array(rows, np.int32).reshape(-1, 4).tobytes()
)
texts = st.lists(st.sampled_from(["", "a", "aa", "\0", "\x01\0\0\0\0\0\0\0", "é", "日本"]), max_size=3)


@given(st.tuples(tokens, texts), st.tuples(tokens, texts))
def test_fingerprints_are_equal_where_the_contents_are(a, b):
    assert (ONE(*a) == ONE(*b)) == (a == b)
    assert ONE(*a) != OTHER(*a)
    assert len(ONE(*a)) == 16


def test_what_is_a_text_cannot_pass_for_a_token():
    row = np.array([[5, 2, 0, 0]], np.int32).tobytes()
    assert len({ONE(row + row, []), ONE(row, [row.decode("latin-1")]), ONE(row, ["", ""]), ONE(row, [""])}) == 4


def test_without_a_folder_every_secret_is_another():
    assert len({secret(None), secret(None)}) == 2
    assert len(secret(None)) == 32


def test_a_folder_keeps_one_secret_that_its_owner_alone_may_read(tmp_path):
    first = secret(tmp_path)
    assert secret(tmp_path) == first
    assert len(first) == 32
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_who_comes_second_takes_the_secret_of_the_first(tmp_path, monkeypatch):
    others = []

    def token_bytes(n):
        if not others:
            others.append(b"")
            others.append(secret(tmp_path))
        return os.urandom(n)

    monkeypatch.setattr(module.secrets, "token_bytes", token_bytes)
    assert secret(tmp_path) == others[1]
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_all_that_start_at_once_have_the_same_secret(tmp_path):
    found, barrier = [], threading.Barrier(8)

    def start():
        barrier.wait()
        found.append(secret(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_key_file_of_another_size_is_refused(tmp_path, content):
    (tmp_path / KEY_FILE).write_bytes(content)
    (tmp_path / KEY_FILE).chmod(0o600)
    with pytest.raises(ConfigError, match=rf"{KEY_FILE}: expected 32 bytes.*delete it"):
        secret(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_that_others_reach_is_refused(tmp_path, mode):
    secret(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode 0600\), got mode {mode:04o}; delete it"):
        secret(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone/fingerprint\.key: expected a folder"):
        secret(tmp_path / "gone")
