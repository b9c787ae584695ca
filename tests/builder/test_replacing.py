"""Whatever happens, the folder that is to be replaced is either the old one or the new one, whole."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from pragmatiq_builder import replacing
from pragmatiq_builder.progress import Silent
from pragmatiq_builder.replacing import replaced_folder
from pragmatiq_triton.errors import ArtifactError, ConfigError, OutputError
from tests.mounts import bind, read_only, tmpfs


class Lines(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def nothing(_):
    """Everything may be replaced."""


def write(out, content, **options):
    with replaced_folder(out, "model repository", nothing, **options) as new:
        (new / "a").write_text(content, encoding="utf-8")
        (new / "b").mkdir()
        (new / "b" / "c").write_text(content, encoding="utf-8")


def fail(out, error, **options):
    with replaced_folder(out, "data set", nothing, **options) as new:
        (new / "a").write_text("half", encoding="utf-8")
        (new / "b").mkdir()
        raise error


def read(out):
    return [(out / name).read_text(encoding="utf-8") for name in ("a", "b/c")]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["exchange", "renames"])
def way(request, monkeypatch):
    """Both ways of replacing: in one step, and in two where the file system cannot."""
    if request.param == "renames":
        monkeypatch.setattr(replacing, "_exchanged", lambda *_: False)


def test_a_folder_is_written_and_replaced(tmp_path, way):
    out = tmp_path / "deep" / "er" / "out"
    write(out, "old")
    out.chmod(0o750)
    opened = (out / "a").open(encoding="utf-8")
    write(out, "new")
    assert read(out) == ["new", "new"]
    assert names(out.parent) == ["out"]
    assert out.stat().st_mode & 0o777 == 0o750
    with opened:
        assert opened.read() == "old"


def test_an_error_leaves_the_old_one_and_nothing_else(tmp_path, way):
    out = tmp_path / "out"
    write(out, "old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(out, error)
    assert read(out) == ["old", "old"]
    assert names(tmp_path) == ["out"]


def test_an_error_leaves_no_folder_that_was_made_for_it(tmp_path):
    with pytest.raises(ValueError, match="no"), replaced_folder(tmp_path / "x" / "y", "data set", nothing):
        raise ValueError("no")
    assert names(tmp_path) == []


def test_an_interruption_between_the_renames_puts_the_old_one_back(tmp_path, monkeypatch):
    monkeypatch.setattr(replacing, "_exchanged", lambda *_: False)
    out, rename = tmp_path / "out", type(tmp_path).rename
    write(out, "old")

    def interrupted(path, target):
        if path.name == ".out.new":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(out, "new")
    assert read(out) == ["old", "old"]
    assert names(tmp_path) == ["out"]


def test_a_kill_between_the_renames_is_undone_at_the_next_start(tmp_path):
    out, progress = tmp_path / "out", Lines()
    write(out, "old")
    out.rename(tmp_path / ".out.old")
    with pytest.raises(ValueError, match="stop"), replaced_folder(out, "data set", nothing, progress=progress):
        raise ValueError("stop")
    assert read(out) == ["old", "old"]
    assert progress.lines == [f"{out} was put back: a kill had cut its replacement in two"]


def test_what_a_kill_left_is_removed_and_said(tmp_path):
    left = tmp_path / ".out.new" / "half"
    left.mkdir(parents=True)
    progress = Lines()
    write(tmp_path / "out", "new", progress=progress)
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["a", "b"]
    assert progress.lines == [f"removed what an interrupted run left in {left.parent}"]


def test_what_is_to_be_kept_survives_an_error(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fail(out, KeyboardInterrupt, keeps=["b"])
    with replaced_folder(out, "data set", nothing, keeps=["b"]) as new:
        assert names(new) == ["b"]
    assert names(tmp_path) == ["out"]


def test_a_second_writer_is_refused_by_the_process_that_writes(tmp_path):
    out = tmp_path / "out"
    with replaced_folder(out, "model repository", nothing) as new:
        (new / "a").touch()
        with pytest.raises(OutputError, match=rf"process {os.getpid()} is writing this model repository"):
            write(out, "second")
    assert names(out) == ["a"]


def test_a_folder_that_is_not_ours_is_refused_before_the_work(tmp_path):
    out = tmp_path / "out"
    write(out, "old")

    def refuse(place):
        raise ArtifactError(f"{place}: not ours")

    with pytest.raises(ArtifactError, match="not ours"), replaced_folder(out, "data set", refuse):
        pytest.fail("the work began")
    assert (read(out), names(tmp_path)) == (["old", "old"], ["out"])


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    target, link, progress = tmp_path / "elsewhere" / "v1", tmp_path / "current", Lines()
    write(target, "old")
    link.symlink_to("elsewhere/v1")
    write(link, "new", progress=progress)
    assert str(link.readlink()) == "elsewhere/v1"
    assert read(target) == ["new", "new"]
    assert (names(tmp_path), names(target.parent)) == (["current", "elsewhere"], ["v1"])
    assert progress.lines == [f"{link} is a symbolic link, and stays one: {target} was written"]


def test_a_symbolic_link_to_nothing_gets_its_target(tmp_path):
    link = tmp_path / "current"
    link.symlink_to("v1")
    write(link, "new")
    assert read(tmp_path / "v1") == ["new", "new"]


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match="lead nowhere"):
        write(tmp_path / "a", "new")


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_way_is_refused(tmp_path, out):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="file"):
        write(tmp_path / out, "new")
    assert names(tmp_path) == ["file"]


def test_a_mount_point_is_refused_with_what_to_do(tmp_path):
    with tmpfs(tmp_path / "live") as live:
        (live / "manifest.json").write_text("{}", encoding="utf-8")
        with pytest.raises(ConfigError, match=rf"is a mount point.* give a folder below it, such as {live}/repository"):
            write(live, "new")
        assert names(live) == ["manifest.json"]
        write(live / "repository", "new")
        assert read(live / "repository") == ["new", "new"]


def test_a_mount_of_a_folder_of_the_same_disk_is_refused(tmp_path):
    write(tmp_path / "source", "old")
    with bind(tmp_path / "source", tmp_path / "a live ü") as live, pytest.raises(ConfigError, match="is a mount point"):
        write(live, "new")
    assert read(tmp_path / "source") == ["old", "old"]


def test_a_folder_with_a_mount_in_it_is_refused(tmp_path):
    out = tmp_path / "out"
    write(out, "old")
    with tmpfs(out / "inner") as inner:
        (inner / "kept").touch()
        with pytest.raises(ConfigError, match="another file system is mounted in it"):
            write(out, "new")
        assert names(inner) == ["kept"]


def test_a_link_to_a_mount_point_is_refused(tmp_path):
    with tmpfs(tmp_path / "volume") as volume:
        (tmp_path / "current").symlink_to(volume)
        with pytest.raises(ConfigError, match=r"current \(.*volume\) is a mount point"):
            write(tmp_path / "current", "new")


def test_a_read_only_place_is_refused(tmp_path):
    write(tmp_path / "disk" / "out", "old")
    with read_only(tmp_path / "disk") as disk, pytest.raises(ConfigError, match="is read-only"):
        write(disk / "out", "new")
    assert read(tmp_path / "disk" / "out") == ["old", "old"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_permission_is_refused(tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o555)
    with pytest.raises(ConfigError, match="not yours to write"):
        write(tmp_path / "theirs" / "out", "new")


def test_too_little_room_is_refused_before_the_work(tmp_path):
    with tmpfs(tmp_path / "small") as small:
        write(small / "out", "old")
        with pytest.raises(ConfigError, match=r"takes about 5\.0 MiB .* has \d\.\d MiB free"):
            write(small / "out", "new", room=5 * 2**20)
        assert read(small / "out") == ["old", "old"]


def test_a_full_disk_is_one_line_and_the_old_one_stays(tmp_path):
    with tmpfs(tmp_path / "small") as small:
        write(small / "out", "old")
        with pytest.raises(OutputError, match="No space left on device"):
            write(small / "out", "x" * 2**20)
        assert read(small / "out") == ["old", "old"]
        assert names(small) == ["out"]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EPERM])
def test_an_exchange_that_the_system_refuses_is_one_line_and_the_old_one_stays(tmp_path, monkeypatch, code):
    out = tmp_path / "out"
    write(out, "old")

    def refused(one, other):
        raise OSError(code, os.strerror(code), str(other))

    monkeypatch.setattr(replacing, "_exchanged", refused)
    with pytest.raises(OutputError, match=rf"could not be written: {os.strerror(code)}"):
        write(out, "new")
    assert (read(out), names(tmp_path)) == (["old", "old"], ["out"])


def test_other_errors_of_the_system_are_not_hidden(tmp_path):
    with pytest.raises(FileNotFoundError), replaced_folder(tmp_path / "out", "data set", nothing):
        (tmp_path / "input").read_bytes()


WRITER = """
import sys
from pathlib import Path
from pragmatiq_builder import replacing
if sys.argv[2] == "renames":
    replacing._exchanged = lambda *_: False
out, generation = Path(sys.argv[1]), 0
while True:
    generation += 1
    with replacing.replaced_folder(out, "model repository", lambda _: None) as new:
        for name in range(20):
            (new / str(name)).write_text(str(generation), encoding="utf-8")
    print("turn", flush=True)
"""


@pytest.mark.parametrize("way", ["exchange", "renames"])
def test_a_kill_at_any_moment_leaves_one_whole_folder(tmp_path, way):
    out = tmp_path / "out"
    for turn in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, out, way], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.0017 * turn)
            process.send_signal(signal.SIGKILL)
        if way == "exchange":
            assert len(names(out)) == 20
        with pytest.raises(ValueError, match="look"), replaced_folder(out, "model repository", nothing):
            raise ValueError("look")
        assert len({(out / str(name)).read_text(encoding="utf-8") for name in range(20)}) == 1
        assert names(tmp_path) == ["out"]
