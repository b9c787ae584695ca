"""The file of API keys: hashes alone, readable by its owner alone, and refused where it is not one."""

import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.auth import files
from pragmatiq_triton.gateway.auth.api_keys import add_key, hash_of, read_keys
from pragmatiq_triton.gateway.auth.authentication import Authentication
from pragmatiq_triton.gateway.auth.files import Reread
from pragmatiq_triton.gateway.auth.settings import Auth, Tls
from pragmatiq_triton.gateway.errors import UnavailableError
from tests.pragmatiq_triton.gateway.authority import Authority


def test_of_a_key_the_file_holds_its_hash_alone(tmp_path):
    file = tmp_path / "keys.yaml"
    first = add_key(file, "a")
    second = add_key(file, "b.c-d_9")
    assert read_keys(file) == {hash_of(first): "a", hash_of(second): "b.c-d_9"}
    assert first not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="a has a key already: say --replace"):
        add_key(file, "a")
    third = add_key(file, "a", replace=True)
    assert read_keys(file) == {hash_of(third): "a", hash_of(second): "b.c-d_9"}
    for name in ("", "a b", "ä", "../x", "x" * 65):
        with pytest.raises(ConfigError, match="expected a name"):
            add_key(file, name)


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    real = tmp_path / "real.yaml"
    add_key(real, "a")
    link = tmp_path / "keys.yaml"
    link.symlink_to(real)
    add_key(link, "b")
    assert link.is_symlink()
    assert sorted(read_keys(real).values()) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a\n", "expected `name: hash` lines"),
        ("a: 3\n", "a: expected 64 hexadecimal digits"),
        (f"a: {'f' * 64}\nb: {'f' * 64}\n", "b and a have the same key"),
        ("a: [", "API keys cannot be read"),
        ("1: x\n", "1: expected a name"),
        (f"a: {'e' * 64}\na: {'f' * 64}\n", r"keys\.yaml: API keys cannot be read as YAML: 'a' is there twice.*line 1"),
    ],
)
def test_a_file_of_keys_that_is_none_is_refused_with_the_reason(tmp_path, content, problem):
    file = tmp_path / "keys.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=problem):
        read_keys(file)


def test_what_could_not_be_read_for_a_moment_is_read_without_another_change(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text("one")
    refused = []

    def read():
        if refused:
            raise PermissionError(refused[0])
        return file.read_text()

    latest = Reread(read, file, lasts=300)
    file.write_text("another")
    refused.append("not yet")
    assert [latest(), latest(), latest()] == ["one"] * 3
    assert caplog.text.count("not yet; what was read before stays, for 300 s at most") == 1
    assert 0 < latest.unreadable_seconds < 300
    refused.clear()
    assert latest() == "another"
    assert latest.unreadable_seconds == 0


@pytest.mark.parametrize("what", ["keys", "authorities"])
def test_of_a_file_that_is_gone_what_was_read_counts_for_a_while_and_then_no_more(tmp_path, monkeypatch, caplog, what):
    monkeypatch.setattr(files, "_LOOK_SECONDS", 0.0)
    now = [1000.0]
    monkeypatch.setattr(files, "monotonic", lambda: now[0])
    file, authority = tmp_path / "keys.yaml", Authority(tmp_path)
    key = add_key(file, "a")
    gone, setting = (file, "auth.api_keys") if what == "keys" else (authority.file, "tls.client_ca")
    found = Authentication(
        Auth(api_keys=str(file), certificates=("cn:x",), stale_seconds=20), Tls(client_ca=str(authority.file))
    )
    assert found.caller_of({"x-api-key": key}, ()) == "a"
    kept = gone.read_bytes()
    gone.unlink()
    found.look()
    assert f"{gone}: " in caplog.text
    assert "stays, for 20 s at most" in caplog.text
    now[0] += 19.0
    assert found.caller_of({"x-api-key": key}, ()) == "a"
    assert {name: seconds() for name, seconds in found.unreadable.items()} == {
        "auth.api_keys": 0.0, "tls.client_ca": 0.0, setting: 19.0
    }  # fmt: skip
    now[0] += 1.0
    with pytest.raises(UnavailableError, match="cannot be told here at present") as raised:
        found.caller_of({"x-api-key": key}, ())
    assert str(gone) not in str(raised.value)
    if what == "keys":
        assert found.caller_of({}, ("cn:x",)) == "cn:x", "another way that holds"
    found.look()
    assert caplog.text.count("what was read before counts no more") == 1
    gone.write_bytes(kept)
    assert found.caller_of({"x-api-key": key}, ()) == "a"
    assert found.unreadable[setting]() == 0


def test_a_mode_that_was_taken_away_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text("one")
    n_read = []
    latest = Reread(lambda: n_read.append(1), file)
    latest()
    file.chmod(0o000)
    latest()
    assert len(n_read) == 2
