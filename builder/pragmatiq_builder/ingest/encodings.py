"""Text tables that are not UTF-8: finding out which encoding they have, and rewriting them."""

import codecs
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from pragmatiq_triton.errors import ConfigError, DataError

UTF8 = "utf-8"
SAMPLE_BYTES = 4 << 20
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WESTERN = "cp1252"
"""What bytes that are no UTF-8 are taken for: Windows' encoding of western Europe, which contains Latin-1's letters."""


def encoding_of(file: Path) -> str:
    """``utf-8``, or what the file's byte order mark says, or ``cp1252`` if its bytes are no UTF-8.

    A large file is looked at in its first and, if it is not compressed, its middle and last 4 MiB.
    """
    for part in _samples(file):
        for mark, name in _MARKS.items():
            if part.at == 0 and part.content.startswith(mark):
                return name
        if not _is_utf8(part.content, begins=part.at == 0):
            return _WESTERN
    return UTF8


def as_utf8(file: Path, encoding: str, folder: Path) -> Path:
    """``file``, or a copy of it in ``folder`` that is UTF-8; bytes that the encoding does not have become U+FFFD.

    Raises:
        ConfigError: no such encoding.
        DataError: the file cannot be read.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise ConfigError(
            f"{file}: csv.encoding: expected one that Python knows, such as cp1252 or utf-16, got {encoding!r}"
        ) from None
    if name in (UTF8, "ascii"):
        return file
    copy = folder / f"{len([*folder.iterdir()])}.csv"
    try:
        with opened(file) as read, copy.open("w", encoding=UTF8, newline="") as written:
            decoder = codecs.getincrementaldecoder(name)("replace")
            while content := read.read(1 << 20):
                written.write(decoder.decode(content))
            written.write(decoder.decode(b"", final=True))
    except (OSError, EOFError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    return copy


def has_two_line_ends(file: Path, skip: int) -> bool:
    """Whether of the ``skip`` lines above the names of the columns, the names and the first row some end otherwise."""
    with opened(file) as stream:
        lines = stream.read(1 << 16).split(b"\n")[:-1][: skip + 2]
    return len({line.endswith(b"\r") for line in lines}) == 2


def with_one_line_end(file: Path, folder: Path) -> Path:
    """A copy of ``file`` in ``folder`` in which CRLF is LF: DuckDB reads no row behind another line end."""
    copy = folder / f"{len([*folder.iterdir()])}.csv"
    with opened(file) as read, copy.open("wb") as written:
        rest = b""
        while content := read.read(1 << 20):
            content = rest + content
            rest = b"\r" if content.endswith(b"\r") else b""
            written.write(content[: len(content) - len(rest)].replace(b"\r\n", b"\n"))
        written.write(rest)
    return copy


def packing_of(file: Path) -> str:
    """``gzip``, ``zstd`` or ``none``, by the first bytes."""
    with file.open("rb") as stream:
        head = stream.read(4)
    return "gzip" if head.startswith(b"\x1f\x8b") else "zstd" if head == b"\x28\xb5\x2f\xfd" else "none"


def opened(file: Path) -> IO[bytes]:
    """The bytes of a plain, gzip or zstd file."""
    packing = packing_of(file)
    if packing == "gzip":
        return cast(IO[bytes], gzip.open(file))
    if packing == "zstd":
        import pyarrow as pa

        return cast(IO[bytes], pa.input_stream(str(file), compression="zstd"))
    return file.open("rb")


class _Part:
    def __init__(self, at: int, content: bytes) -> None:
        self.at = at
        self.content = content


def _samples(file: Path) -> Iterator[_Part]:
    with opened(file) as stream:
        yield _Part(0, stream.read(SAMPLE_BYTES))
    size = file.stat().st_size
    if packing_of(file) != "none" or size <= SAMPLE_BYTES:
        return
    with file.open("rb") as plain:
        for at in (size // 2, max(size - SAMPLE_BYTES, SAMPLE_BYTES)):
            plain.seek(at)
            yield _Part(at, plain.read(SAMPLE_BYTES))


def _is_utf8(content: bytes, begins: bool) -> bool:
    if not begins:
        # A sample may begin inside of a character.
        while content and content[0] & 0xC0 == 0x80:
            content = content[1:]
    try:
        codecs.getincrementaldecoder(UTF8)().decode(content, final=False)
    except UnicodeDecodeError:
        return False
    return True
