"""A file is written as a whole, and what it replaces is said."""

import os

import pytest

from pragmatiq_builder.raw.records import write_records
from pragmatiq_builder.synth import generate
from pragmatiq_builder.writing import whole_file, write_file
from pragmatiq_triton.errors import OutputError
from tests.builder.counting import Counting
from tests.mounts import tmpfs


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    for content in (b"old", b"new"):
        with whole_file(tmp_path / "file") as file:
            file.write(content)
    assert (tmp_path / "file").read_bytes() == b"new"
    write_file(tmp_path / "file", b"newest")
    assert ((tmp_path / "file").read_bytes(), names(tmp_path)) == (b"newest", ["file"])


def interrupted(path):
    with whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_an_interruption_leaves_the_older_file_and_nothing_else(tmp_path):
    write_file(tmp_path / "file", b"old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "file")
    assert ((tmp_path / "file").read_bytes(), names(tmp_path)) == (b"old", ["file"])


def test_a_link_stays_and_a_device_stays(tmp_path):
    (tmp_path / "link").symlink_to("target")
    with whole_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"
    with whole_file(tmp_path / "null") as file:
        file.write(b"")
    (tmp_path / "null").unlink()
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(tmp_path / "pipe") as file:
        file.write(b"line")
    assert os.read(reader, 9) == b"line"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_leaves_the_older_file(tmp_path):
    with tmpfs(tmp_path / "small") as small:
        write_file(small / "file", b"old")
        for write in (write_file, lambda path, content: whole(path, content)):
            with pytest.raises(OutputError, match="No space left on device"):
                write(small / "file", bytes(2 << 20))
            assert ((small / "file").read_bytes(), names(small)) == (b"old", ["file"])


def whole(path, content):
    with whole_file(path) as file:
        file.write(content)


def test_data_and_records_that_are_replaced_are_said(tmp_path):
    said = [Counting() for _ in range(4)]
    for progress in said[:2]:
        generate(tmp_path / "synth", 2, progress=progress)
    for progress in said[2:]:
        write_records(tmp_path / "synth", tmp_path / "records.jsonl", progress=progress)
    labels = ", ".join(f"labels/{task}.parquet" for task in ("fraud", "default_12m", "churn_6m"))
    assert [progress.lines for progress in said] == [
        [],
        [f"replaced in {tmp_path / 'synth'}: events.parquet, profiles.parquet, {labels}"],
        [],
        [f"replaced: {tmp_path / 'records.jsonl'}"],
    ]
