"""The lines of a file of records: plain or gzip, with or without a byte order mark, however long."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pragmatiq_triton.errors import DataError

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is no record of any server's (``max_record_bytes`` is 16 MiB unless raised); it is not kept whole."""

_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_FORMATS = {
    b"PAR1": "a parquet file: pragmatiq records makes records of a raw data folder",
    b"\xff\xfe": "UTF-16 text: write it as UTF-8",
    b"\xfe\xff": "UTF-16 text: write it as UTF-8",
    b"PK\x03\x04": "a zip archive: unpack it first, or compress with gzip",
    b"BZh": "compressed by bzip2: unpack it first, or compress with gzip",
    b"\xfd7zXZ": "compressed by xz: unpack it first, or compress with gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first, or compress with gzip",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank; ``raw`` is None where it is over the limit, ``size`` is in bytes."""

    number: int
    raw: bytes | None
    size: int


def read_lines(file: Path) -> Iterator[Line]:
    """The lines that are not blank, without their ends.

    Raises:
        DataError: a file of another format, damaged gzip data, or one that cannot be read.
    """
    number = 0
    try:
        with _opened(file) as lines:
            while line := lines.readline(MAX_LINE_BYTES + 1):
                number += 1
                size, end = len(line), line
                while not end.endswith(b"\n") and size > MAX_LINE_BYTES and (end := lines.readline(1 << 20)):
                    size += len(end)
                if number == 1:
                    line = line.removeprefix(_UTF8_MARK)
                    if line.lstrip().startswith(b"["):
                        raise DataError(
                            f"{file}: a JSON array; expected one record per line: jq -c '.[]' makes that of it"
                        )
                if line.strip():
                    yield Line(number, line.rstrip(b"\r\n") if size <= MAX_LINE_BYTES else None, size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file}: after line {number:,}: the gzip data are damaged or cut off: {error}") from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None
    if number == 0:
        raise DataError(f"{file}: the file is empty; expected one JSON record per line")


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    with file.open("rb") as plain:
        head = plain.peek(8)
        for start, what in _OTHER_FORMATS.items():
            if head.startswith(start):
                raise DataError(f"{file}: {what}; expected one JSON record per line in UTF-8")
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(plain) as unpacked:
                yield cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, unpacked), 1 << 20))
        else:
            yield plain
