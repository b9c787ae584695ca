"""Where a server's temporary files lie, and that it starts from any path."""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.server.environment import STUB, ServerEnvironment
from pragmatiq_triton.server.layout import lay_out_backend, make_folder


@pytest.fixture
def environment(tmp_path: Path) -> ServerEnvironment:
    """A wheel's files, empty."""
    wheel = tmp_path / "wheel"
    (wheel / "python").mkdir(parents=True)
    (wheel / "python" / "libtriton_python.so").touch()
    stub = wheel / STUB
    stub.touch(0o755)
    return ServerEnvironment(tmp_path, wheel / "tritonserver", wheel / "python", stub, (), ())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def forbid_execution(monkeypatch: pytest.MonkeyPatch, *below: Path) -> None:
    monkeypatch.setattr(
        os,
        "statvfs",
        lambda path: SimpleNamespace(f_flag=os.ST_NOEXEC if any(Path(path).is_relative_to(b) for b in below) else 0),
    )


def test_the_folder_is_for_its_owner_alone() -> None:
    made = make_folder()
    assert made.stat().st_mode & 0o777 == 0o700
    made.rmdir()


@pytest.mark.parametrize("named", ["with space", "ümlaut", "a;b", "absent/below"])
def test_a_temporary_folder_that_the_server_cannot_use_is_passed_over(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "/" not in named:
        (tmp_path / named).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / named))
    made = make_folder()
    assert made.parent in (Path("/tmp"), Path("/var/tmp"))
    made.rmdir()


def test_without_any_folder_all_are_named_with_their_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(ServerError, match=r"/tmp: No space left on device; /var/tmp: No space.*TMPDIR"):
        make_folder()


def test_nothing_is_executed_from_the_temporary_folder(
    environment: ServerEnvironment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_execution(monkeypatch, folder)
    python = lay_out_backend(environment, folder) / "python"
    assert (python / STUB).readlink() == environment.stub
    assert (python / "libtriton_python.so").readlink() == environment.python_backend / "libtriton_python.so"


def test_a_stub_that_is_not_executable_is_copied(environment: ServerEnvironment, folder: Path) -> None:
    environment.stub.chmod(0o644)
    stub = lay_out_backend(environment, folder) / "python" / STUB
    assert not stub.is_symlink()
    assert os.access(stub, os.X_OK)


def test_where_nothing_may_be_executed_both_places_are_named(
    environment: ServerEnvironment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_execution(monkeypatch, folder, environment.stub)
    with pytest.raises(ServerError, match=r"noexec.*TMPDIR"):
        lay_out_backend(environment, folder)
