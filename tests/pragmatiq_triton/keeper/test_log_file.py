import os
from pathlib import Path

import pytest

from pragmatiq_triton.keeper.log_file import LogFile


def test_it_is_for_its_owner_alone_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    for line in (b"one\n", b"two\n"):
        log = LogFile(path)
        log.write(line)
        log.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_keeps_the_newest_lines_within_twice_its_half(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    log = LogFile(path, half_bytes=1000)
    for n in range(1000):
        log.write(f"line {n:04}\n".encode())
    log.close()
    halves = [Path(f"{path}.1").read_bytes(), path.read_bytes()]
    assert all(0 < len(half) <= 1000 for half in halves)
    assert b"".join(halves).endswith(b"line 0998\nline 0999\n")
    assert {file.name for file in tmp_path.iterdir()} == {"server.log", "server.log.1"}


def test_a_full_disk_is_counted_and_said_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "server.log"
    log = LogFile(path)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for _ in range(3):
            log.write(b"lost\n")
    log.write(b"there\n")
    log.close()
    assert path.read_text(encoding="utf-8") == "[pragmatiq] 3 lines left out: No space left on device\nthere\n"


def test_what_is_no_file_is_written_to_as_it_is() -> None:
    log = LogFile(Path("/dev/null"), half_bytes=1)
    log.write(b"a line\n")
    log.close()
    assert not Path("/dev/null.1").exists()
