"""What can be tested of the image's benchmark without building one; tests/docker runs its containers."""

import json
import os
from pathlib import Path

import pytest

from bench.image import __main__ as bench


@pytest.fixture
def buildah(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stand-in for buildah that prints what it is given."""

    def says(size: str) -> None:
        program = tmp_path / "buildah"
        program.write_text(f"#!/bin/sh\necho '{json.dumps([{'size': size}])}'\n", encoding="utf-8")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return says


@pytest.mark.parametrize(("size", "expected"), [("613 MB", 613e6), ("2.01 GB", 2.01e9), ("1.58 KB", 1580)])
def test_sizes_are_read_in_their_units(buildah, size: str, expected: float) -> None:
    buildah(size)
    assert bench.image_bytes("some:image") == expected


def test_every_variant_has_its_tokenizer() -> None:
    for config in bench.VARIANTS.values():
        assert (bench.ROOT / "configs" / "data" / config).is_file()
