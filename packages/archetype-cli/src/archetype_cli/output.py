"""Writes answers: a table for people, and json, jsonl, csv, arrow or parquet for programs.

Data goes to standard output or to a file. The JSON form has a schema version, which changes when a name or a meaning does.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from archetype_cli.answer import Answer, Facts
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.json_value import encoded, jsonable
from archetype_cli.safe_text import shown
from archetype_cli.table import fact_lines, table_lines

SCHEMA_VERSION = 1
BINARY = ("arrow", "parquet")


def write(answer: Answer | Facts, form: str, path: str | None = None) -> None:
    """Write an answer in a format, to standard output or whole to a file."""
    if path is None or path == "-":
        if form in BINARY:
            if sys.stdout.isatty():
                raise Failure(
                    f"{form} is binary and would garble the terminal",
                    "redirect it, or use --output FILE",
                    ExitCode.USAGE,
                )
            _write(answer, form, sys.stdout.buffer, is_terminal=False)
            sys.stdout.buffer.flush()
            return
        _write_text(answer, form, sys.stdout)
        sys.stdout.flush()
        return
    with _whole_file(Path(path)) as file:
        _write(answer, form, file, is_terminal=False)


def _write(answer: Answer | Facts, form: str, file: IO[bytes], *, is_terminal: bool) -> None:
    if form not in BINARY:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True, errors="backslashreplace")
        _write_text(answer, form, text, is_terminal=is_terminal)
        text.detach()
        return
    _write_arrow(answer, form, file)


def _write_text(answer: Answer | Facts, form: str, file: IO[str], *, is_terminal: bool | None = None) -> None:
    tty = file.isatty() if is_terminal is None else is_terminal
    lines: Iterator[str]
    if form == "json":
        lines = _json_lines(answer)
    elif form == "jsonl":
        lines = map(encoded, [answer.facts] if isinstance(answer, Facts) else answer.rows)
    else:
        lines = (_csv_lines if form == "csv" else _table_lines)(answer, tty)
    for line in lines:
        file.write(line + "\n")


def _table_lines(answer: Answer | Facts, tty: bool) -> Iterator[str]:
    if isinstance(answer, Facts):
        yield from fact_lines(answer.facts, answer.hidden)
        return
    columns = [name for name in answer.columns if name not in answer.hidden]
    yield from table_lines(columns, answer.rows, is_terminal=tty)
    if answer.note and tty:
        yield answer.note


def _json_lines(answer: Answer | Facts) -> Iterator[str]:
    """One object. Its rows are written one a line, while they arrive."""
    head = f'{{"schema_version": {SCHEMA_VERSION}, "kind": {json.dumps(answer.kind)}'
    if isinstance(answer, Facts):
        yield f'{head}, "item": {encoded(answer.facts)}}}'
        return
    line = f'{head}, "items": ['
    is_first = True
    for row in answer.rows:
        yield line if is_first else f"{line},"
        line = encoded(row)
        is_first = False
    if is_first:
        yield f"{line}]}}"
    else:
        yield line
        yield "]}"


def _csv_lines(answer: Answer | Facts, tty: bool) -> Iterator[str]:
    """Values as they are: programs read them. Only on a terminal, control characters are spelled out."""
    if isinstance(answer, Facts):
        answer = Answer(answer.kind, list(answer.facts), [answer.facts])
    buffer = io.StringIO()
    # Cells with any character of the line terminator are quoted, so it has both; what is written ends with one.
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(answer.columns)
    yield buffer.getvalue()[:-2]
    for row in answer.rows:
        buffer.seek(0)
        buffer.truncate()
        cells = [_csv_cell(row.get(name)) for name in answer.columns]
        writer.writerow([shown(cell) if tty else cell for cell in cells])
        yield buffer.getvalue()[:-2]


def _csv_cell(value: Any) -> str:
    """Return a value as CSV has it: nothing for null, JSON for nested values."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    plain = jsonable(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _write_arrow(answer: Answer | Facts, form: str, file: IO[bytes]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from archetype_cli.arrow_form import of_rows, plain
    except ImportError as failure:
        raise Failure(
            f"the format {form} needs pyarrow", "pip install 'archetype-cli[local]'", ExitCode.NOT_INSTALLED
        ) from failure
    if isinstance(answer, Facts):
        answer = Answer(answer.kind, list(answer.facts), [answer.facts])
    if answer.batches is not None:
        reader = plain(answer.batches())
    else:
        reader = plain(of_rows(list(answer.rows), answer.columns).to_reader())
    if form == "arrow":
        with pa.ipc.new_stream(file, reader.schema) as stream:
            for batch in reader:
                stream.write_batch(batch)
        return
    with pq.ParquetWriter(file, reader.schema) as parquet:
        for batch in reader:
            parquet.write_batch(batch)


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is complete, and not at all if writing fails."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as failure:
        # Of the file that was asked for, and not of the one beside it.
        raise type(failure)(failure.errno, failure.strerror, str(path)) from failure
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
