"""Whole answers in formats other than JSON, in parts: memory holds some ticks of an answer, never all of it."""

from __future__ import annotations

import io
import tempfile
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pyarrow as pa
from litestar.response import Stream

from archetype_server.rows import ARROW, CSV, NDJSON, ordered, plain

if TYPE_CHECKING:
    from daft import DataFrame

PART_ROWS = 1 << 18
"""About so many rows are read at a time."""
_BATCH_ROWS = 1 << 16
_FILE_BYTES = 1 << 20


async def whole(table: pa.Table, form: str, headers: Mapping[str, str] | None = None) -> Stream:
    """Return the answer that has all rows of a table."""

    async def one() -> AsyncIterator[pa.Table]:
        yield table

    return await streamed(one(), form, headers)


async def of_ticks(frame: DataFrame, ticks: range, form: str) -> Stream:
    """Return the answer that has the rows of a frame, some ticks at a time; ``ticks`` are those that it may have."""
    return await streamed(_by_ticks(frame, ticks), form)


async def streamed(parts: AsyncIterator[pa.Table], form: str, headers: Mapping[str, str] | None = None) -> Stream:
    """Return the answer that has the rows of some tables. The first is read before, so that what fails early is a problem."""
    first = await anext(parts)

    async def all_parts() -> AsyncIterator[pa.Table]:
        yield first
        async for one in parts:
            yield one

    give = _encoded if form in (ARROW, CSV, NDJSON) else _parquet
    return Stream(give(all_parts(), first.schema, form), media_type=form, headers=dict(headers or {}))


async def _by_ticks(frame: DataFrame, ticks: range) -> AsyncIterator[pa.Table]:
    """The rows of a frame by tick and entity. The fewer rows ticks have, the more of them are read at a time."""
    from daft import col, lit

    begin, count, is_begun = ticks.start, 1, False
    while begin < ticks.stop or not is_begun:
        end = min(begin + count, max(ticks.stop, begin + 1)) - 1
        part = frame.where((col("tick") >= lit(begin)) & (col("tick") <= lit(end)))
        table = await to_thread(lambda chosen: ordered(chosen.to_arrow()), part)
        if table.num_rows or not is_begun:
            yield table
        is_begun = True
        fits = PART_ROWS * count // max(1, table.num_rows)
        begin, count = end + 1, max(1, min(4 * count, fits))


async def _encoded(parts: AsyncIterator[pa.Table], schema: pa.Schema, form: str) -> AsyncIterator[bytes]:
    encoders: dict[str, Callable[[pa.Schema], _Encoder]] = {ARROW: _Arrow, CSV: _Csv, NDJSON: _Lines}
    encoder = encoders[form](schema)
    async for table in parts:
        for begin in range(0, table.num_rows, _BATCH_ROWS):
            yield await to_thread(encoder.rows, table.slice(begin, _BATCH_ROWS))
    if last := await to_thread(encoder.end):
        yield last


async def _parquet(parts: AsyncIterator[pa.Table], schema: pa.Schema, _: str) -> AsyncIterator[bytes]:
    """Parquet ends with its table of contents and is written to a file first, which has no name and goes with the answer."""
    from pyarrow import parquet

    file = await to_thread(tempfile.TemporaryFile)
    try:
        writer = parquet.ParquetWriter(file, schema)
        async for table in parts:
            await to_thread(writer.write_table, table)
        await to_thread(writer.close)
        await to_thread(file.seek, 0)
        while chunk := await to_thread(file.read, _FILE_BYTES):
            yield chunk
    finally:
        await to_thread(file.close)


class _Encoder(Protocol):
    """Turns rows into bytes, part by part."""

    def rows(self, table: pa.Table) -> bytes: ...

    def end(self) -> bytes: ...


class _Drain(io.RawIOBase):
    """A file that gives what was written since it was last asked."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._size

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Arrow:
    def __init__(self, schema: pa.Schema) -> None:
        self._drain = _Drain()
        self._writer = pa.ipc.new_stream(self._drain, schema)

    def rows(self, table: pa.Table) -> bytes:
        self._writer.write_table(table)
        return self._drain.take()

    def end(self) -> bytes:
        self._writer.close()
        return self._drain.take()


class _Csv:
    def __init__(self, schema: pa.Schema) -> None:
        from pyarrow import csv

        self._drain = _Drain()
        texts = [pa.field(one.name, pa.large_string()) if _is_textual(one.type) else one for one in schema]
        self._writer = csv.CSVWriter(self._drain, pa.schema(texts))

    def rows(self, table: pa.Table) -> bytes:
        # Nested values and bytes have no form of their own in CSV.
        for place, column in enumerate(table.schema):
            if _is_textual(column.type):
                values = [row[column.name] for row in plain(table.select([column.name]))]
                table = table.set_column(place, column.name, pa.array(map(_text, values), pa.large_string()))
        self._writer.write_table(table)
        return self._drain.take()

    def end(self) -> bytes:
        self._writer.close()
        return self._drain.take()


class _Lines:
    def __init__(self, schema: pa.Schema) -> None:
        del schema  # every line names its columns
        self._encoder = msgspec.json.Encoder()

    def rows(self, table: pa.Table) -> bytes:
        return self._encoder.encode_lines(plain(table))

    def end(self) -> bytes:
        return b""


def _is_textual(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
