"""Merging parts that are sorted by user, so that a user may have rows in several, such as one for each month."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from pragmatiq_builder.raw.parts import Part
from pragmatiq_builder.raw.text import UnreadableError, texts
from pragmatiq_triton.errors import DataError

MOST_PARTS = 400
"""Each part that is merged is an open file."""
_ROWS = 65_536


def sorted_as(parts: Sequence[Part]) -> pa.DataType | None:
    """How the users of every part are in ascending order: as strings or as int64; None where they are in none.

    The other columns are not read, but this one is: what is wrong with a part is left to reading it.
    """
    kinds = set()
    for part in parts:
        try:
            with part.open() as file:
                if (
                    file.schema_arrow.names.count("user_id") != 1
                    or file.schema_arrow.field("user_id").type == pa.uint64()
                ):
                    return None
                kinds.add(pa.int64() if pt.is_integer(file.schema_arrow.field("user_id").type) else pa.string())
                if len(kinds) > 1 or not _ascends(part, file):
                    return None
        except (DataError, UnreadableError):
            return None
    return kinds.pop() if len(parts) <= MOST_PARTS else None


def merged(streams: list[Iterator[pa.Table]], order: pa.DataType) -> Iterator[pa.Table]:
    """Tables of whole users in ascending order, each user's rows in the order of the streams.

    ``order``: what the streams' column ``user_id``, string, is sorted as.
    """
    sources = [_Stream(stream, order) for stream in streams]
    for source in sources:
        source.refill()
    while sources := [source for source in sources if source.rows.num_rows]:
        going_on = [source.last for source in sources if not source.has_ended]
        if not going_on:
            yield _by_user([source.rows for source in sources], order)
            return
        # No stream has rows to come of a user before the first of the last ones.
        bound = min(going_on)
        ready = [taken for source in sources if (taken := source.take_before(bound)).num_rows]
        if ready:
            yield _by_user(ready, order)
        for source in sources:
            if not source.has_ended and (not source.rows.num_rows or source.last == bound):
                source.refill()


class _Stream:
    """The rows of a part that were read and not yet taken."""

    def __init__(self, stream: Iterator[pa.Table], order: pa.DataType) -> None:
        self.rows = pa.table({"user_id": pa.array([], pa.string())})
        self.has_ended = False
        self._stream = stream
        self._order = order

    @property
    def last(self) -> Any:
        return self.rows["user_id"][-1:].cast(self._order)[0].as_py()

    def refill(self) -> None:
        """Read on until there is a row more, or no more."""
        for table in self._stream:
            if table.num_rows:
                self.rows = pa.concat_tables([self.rows, table]) if self.rows.num_rows else table
                return
        self.has_ended = True

    def take_before(self, bound: Any) -> pa.Table:
        """Remove and return the rows of users before ``bound``."""
        before = pc.sum(pc.less(self.rows["user_id"].cast(self._order), pa.scalar(bound, self._order))).as_py() or 0
        taken, self.rows = self.rows.slice(0, before), self.rows.slice(before)
        return taken


def _by_user(tables: list[pa.Table], order: pa.DataType) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table["user_id"].cast(order))) if len(tables) > 1 else table


def _ascends(part: Part, file: pq.ParquetFile) -> bool:
    """Whether no user is before the one above; a missing one is out of order."""
    last = None
    for rows in part.rows(file, ["user_id"], _ROWS):
        column = rows.batch.column(0)
        users = column if pt.is_integer(column.type) else texts(column, scalars=False)[0]
        if users.null_count:
            return False
        if last is not None:
            users = pa.concat_arrays([last, users])
        if len(users) > 1 and not pc.all(pc.less_equal(users[:-1], users[1:])).as_py():
            return False
        last = users[-1:]
    return True
