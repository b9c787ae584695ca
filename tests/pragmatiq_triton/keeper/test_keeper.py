"""The keeper's process, over stand-ins of a server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pragmatiq_triton.keeper.remains import (
    SHARED_MEMORY,
    claim,
    make_regions_private,
    new_server_id,
    processes,
    remove_of_dead_servers,
)
from pragmatiq_triton.server.kept import Keeper
from pragmatiq_triton.server.layout import make_folder
from tests.mounts import tmpfs

FLOOD = "import sys\nfor n in range(200_000): sys.stdout.write(f'E0102 03:04:05.{n:06} 7 a.cc:1] no descriptor\\n')\n"


@pytest.fixture
def server_id() -> Iterator[str]:
    name = new_server_id()
    yield name
    for path in SHARED_MEMORY.glob(f"{name}*"):
        path.unlink()


def stand_in(server_id: str) -> "subprocess.Popen[bytes]":
    """A process that has the name and the id of a server in its command line, and sleeps."""
    words = ["tritonserver", "-c", "import time; time.sleep(600)", f"--id={server_id}"]
    return subprocess.Popen(words, executable=sys.executable, start_new_session=True)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.02)
    assert condition()


def test_a_flood_of_lines_is_cut_short_and_does_not_hold_the_server_up(server_id: str, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    keeper = Keeper(server_id, make_folder(), log)
    subprocess.run([sys.executable, "-c", FLOOD], stdout=keeper.output, check=True, timeout=60)
    os.write(keeper.output, b"the last words, without a line break")
    keeper.started()
    tail = keeper.finish()
    lines = log.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 1000
    assert sum(int(line.split()[1].replace(",", "")) for line in lines if "lines left out" in line) > 199_000
    assert "the last words, without a line break\n" in tail


@pytest.mark.parametrize("by", ["finish", "kill"])
def test_nothing_is_left_when_its_owner_lets_go_or_is_killed(server_id: str, by: str, tmp_path: Path) -> None:
    folder = make_folder()
    server = stand_in(server_id)
    region = SHARED_MEMORY / f"{server_id}-region"
    region.touch()
    if by == "finish":
        keeper = Keeper(server_id, folder, tmp_path / "log")
        keeper.started()
        keeper.finish()
    else:
        script = (
            "import sys, time; from pathlib import Path; from pragmatiq_triton.server.kept import Keeper\n"
            "Keeper(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])).started(); print('up', flush=True)\n"
            "time.sleep(600)"
        )
        words = [sys.executable, "-c", script, server_id, str(folder), str(tmp_path / "log")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as owner:
            assert owner.stdout is not None
            owner.stdout.readline()
            owner.kill()
    assert server.wait(10) == -signal.SIGKILL
    until(lambda: not folder.exists())
    assert list(SHARED_MEMORY.glob(f"{server_id}*")) == []


def test_what_a_dead_owner_and_a_dead_keeper_left_is_removed(server_id: str) -> None:
    folder = make_folder()
    server = stand_in(server_id)
    (SHARED_MEMORY / f"{server_id}-region").touch()
    lock = claim(server_id, folder)
    assert server_id not in remove_of_dead_servers()
    until(lambda: processes(server_id) == [server.pid])
    os.close(lock)
    assert server_id in remove_of_dead_servers()
    assert server.wait(10) == -signal.SIGKILL
    assert not folder.exists()
    assert list(SHARED_MEMORY.glob(f"{server_id}*")) == []


def test_a_lock_that_names_a_folder_of_others_removes_the_lock_alone(server_id: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    os.close(claim(server_id, precious))
    assert server_id in remove_of_dead_servers()
    assert precious.is_dir()


def test_a_link_in_place_of_a_lock_is_not_followed(server_id: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("x", encoding="utf-8")
    (SHARED_MEMORY / f"{server_id}.lock").symlink_to(target)
    assert server_id not in remove_of_dead_servers()
    assert target.read_text(encoding="utf-8") == "x"


def test_regions_are_for_their_owner_alone(server_id: str) -> None:
    region = SHARED_MEMORY / f"{server_id}-region"
    region.touch(0o644)
    make_regions_private(server_id)
    assert region.stat().st_mode & 0o777 == 0o600


def test_a_program_that_only_mentions_the_id_is_no_process_of_the_server(server_id: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", server_id]) as other:
        assert processes(server_id) == []
        other.kill()


def test_shared_memory_that_is_full_is_named_and_nothing_is_left_there(
    server_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tmpfs(tmp_path / "shm", "64k") as small:
        (small / "full").write_bytes(bytes(64 * 1024))
        monkeypatch.setattr("pragmatiq_triton.keeper.remains.SHARED_MEMORY", small)
        with pytest.raises(OSError, match=f"No space left on device: '{small}/.{server_id}.lock'"):
            claim(server_id, tmp_path)
        assert [path.name for path in small.iterdir()] == ["full"]
