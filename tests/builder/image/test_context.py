import io
import os
import tarfile

import pytest

from pragmatiq_builder.image.context import CHUNK, checkout_files, folder_files, tar_stream
from pragmatiq_builder.progress import Silent
from pragmatiq_triton.errors import ArtifactError
from tests.builder.cli.conftest import ROOT
from tests.builder.image.small_checkout import make_repository, make_snapshot, write_files


def archive(files, dockerfile="FROM scratch\n"):
    return io.BytesIO(b"".join(tar_stream(dockerfile, files, "Sending", Silent())))


def members(files):
    with tarfile.open(fileobj=archive(files)) as tar:
        return {member.name: (member, tar.extractfile(member).read() if member.isfile() else None) for member in tar}


def test_a_checkout_is_sent_as_its_dockerignore_says(checkout):
    names = {name for name, path in checkout_files(checkout).items() if path.is_file()}
    assert names == {"pyproject.toml", "package/__init__.py", "package/日本.py", "docker/server.py"}
    assert members(checkout_files(checkout))["package/日本.py"][1] == b"yen = 1\n"


def test_the_project_s_own_checkout_has_what_its_dockerfile_copies():
    files = checkout_files(ROOT)
    assert {"pyproject.toml", "builder/pragmatiq_builder/cli/app.py", "docker/place_weights.py"} <= files.keys()
    assert not [name for name in files if name.startswith((".git", ".venv", "tests")) or "__pycache__" in name]


def test_a_snapshot_s_links_are_followed_and_hidden_names_left(tmp_path):
    sent = members(folder_files(make_snapshot(tmp_path), "context"))
    contents = {name: content for name, (_, content) in sent.items() if content is not None}
    assert contents == {
        "docker/Dockerfile": b"FROM scratch\n",
        "context/config.json": b"{}",
        "context/model.safetensors": b"weights",
        "context/1_Pooling/config.json": b"pooling",
    }
    assert sent["context/1_Pooling"][0].isdir()


def test_an_empty_folder_is_sent(tmp_path):
    assert members(folder_files(make_repository(tmp_path), "context"))["context/scoring/1"][0].isdir()


def test_everything_is_root_s_and_everyone_may_read_it(tmp_path):
    folder = write_files(tmp_path, {"a": "", "tool": "", "inner/b": ""})
    (folder / "a").chmod(0o600)
    (folder / "tool").chmod(0o700)
    (folder / "inner").chmod(0o700)
    os.utime(folder / "a", (1e9, 1e9))
    sent = {name: member for name, (member, _) in members(folder_files(folder, "context")).items()}
    modes = {name: member.mode for name, member in sent.items() if name.startswith("context/")}
    assert modes == {"context/a": 0o644, "context/tool": 0o755, "context/inner": 0o755, "context/inner/b": 0o644}
    assert {(member.uid, member.gid, member.uname) for member in sent.values()} == {(0, 0, "")}
    assert sent["context/a"].mtime == 1_000_000_000


def test_long_names_and_names_of_other_scripts_arrive(tmp_path):
    name = f"{'d' * 90}/{'f' * 90}/日本-%.txt"
    assert members(folder_files(write_files(tmp_path, {name: "x"}), "context"))[f"context/{name}"][1] == b"x"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, CHUNK, 3 * CHUNK + 7])
def test_weights_go_in_pieces(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "w").write_bytes(content)
    pieces = list(tar_stream("", folder_files(tmp_path, "context"), "", Silent()))
    assert max(map(len, pieces)) <= CHUNK
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("context/w").read() == content


def test_a_file_of_more_than_eight_gibibytes_has_its_size(tmp_path):
    with (tmp_path / "w").open("wb") as file:
        file.truncate(9 << 30)
    stream = tar_stream("", folder_files(tmp_path, "context"), "", Silent())
    begin = b""
    while len(begin) < CHUNK:
        begin += next(stream)
    with tarfile.open(fileobj=io.BytesIO(begin)) as tar:
        while (member := tar.next()) and member.name != "context/w":
            pass
    assert member.size == 9 << 30


def test_a_file_that_shrinks_is_named(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(bytes(3 * CHUNK))
    stream = tar_stream("", folder_files(tmp_path, "context"), "", Silent())
    assert any(len(piece) == CHUNK for piece in stream)
    os.truncate(path, CHUNK)
    with pytest.raises(ArtifactError, match=f"{path} became shorter"):
        list(stream)


@pytest.mark.parametrize("kind", ["dangling", "loop", "pipe"])
def test_what_cannot_be_sent_is_named(tmp_path, kind):
    odd = tmp_path / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to(tmp_path if kind == "loop" else tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=f"{odd}.* cannot be put into the image"):
        archive(folder_files(tmp_path, "context"))
