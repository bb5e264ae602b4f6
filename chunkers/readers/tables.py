"""A table of documents: each row of a Parquet file, or each line of a JSONL file, is one. Owns how a row is read and what it is called.

Rows are streamed. What a row says of itself is shown and proofread: it decides no path, no format and no name of a file.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq

import chunkers.storage  # noqa: F401 - leads fsspec to a store
from chunkers.paths import StorageError
from chunkers.records import DocumentError

LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES = frozenset({".parquet", *LINE_SUFFIXES})
ID_COLUMNS = ("id", "url")
"""What a row is called by where nobody says; the first that there is."""
MAX_ID_CHARS = 200
MAX_LINE_BYTES = 256 << 20
"""A longer line is no document; nothing longer is held in memory."""
BATCH_ROWS = 64
"""Rows of a Parquet file in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumns:
    """Where in a table the documents stand."""

    text: str = "text"
    id: str | None = None
    """None for `id` or `url`, where the table has one."""
    format: str = "text"
    """`text` or `markdown`: what every text of the table is read as."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table."""

    number: int
    """From 1."""
    id: str | None
    """None where it has none, or none that is a text or a number."""
    text: str | None
    """None where `problem` says why there is none."""
    problem: str | None


@dataclass(frozen=True, slots=True)
class TableLine:
    """A line of a JSONL file, or a part of one."""

    number: int
    """From 1; the same for all parts of a line."""
    data: bytes
    """With its end."""
    is_whole: bool
    """Not where it is as long as MAX_LINE_BYTES."""


def is_table(path: str) -> bool:
    """Whether the rows of a file are documents, by its name."""
    return PurePosixPath(path).suffix.lower() in TABLE_SUFFIXES


def is_lines(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in LINE_SUFFIXES


def name_row(path: str, row: TableRow) -> str:
    """`FILE#ID`, else `FILE#NUMBER`: for a reader, never opened."""
    return f"{path}#{row.number if row.id is None else row.id}"


def open_table(path: str) -> IO[bytes]:
    """Opens a file of this machine or an fsspec URL. Raises DocumentError where it cannot be opened, StorageError as its store does."""
    try:
        file: IO[bytes] = fsspec.open(path, "rb").open() if "://" in path else Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise DocumentError(f"{path}: no such file; an input is a file that exists; check the path") from error
    except (OSError, ValueError, ImportError) as error:
        raise DocumentError(f"{path}: cannot be opened ({error}); an input is a readable file or an fsspec URL; check it") from error
    return file


def open_parquet(file: IO[bytes], path: str, columns: TableColumns) -> pq.ParquetFile:
    """The file as a table of documents. Raises DocumentError where it is none, or has no such columns of text."""
    try:
        # a page at a time: a row group may be as large as the file
        table = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DocumentError(f"{path}: not a whole Parquet file ({error}); a table is one; write it anew") from error
    schema = table.schema_arrow
    for name, option in ((columns.text, "text"), (columns.id, "id")):
        if name is not None and schema.get_field_index(name) < 0:
            held = ", ".join(schema.names[:20])
            raise DocumentError(f"{path}: no column {name!r} (there are: {held}); documents stand in one; name it as --{option}-column")
    kind = schema.field(columns.text).type
    if not _is_text(kind):
        raise DocumentError(f"{path}: the column {columns.text!r} is {kind}, not text; documents are texts; name another as --text-column")
    return table


def read_rows(path: str, columns: TableColumns) -> Iterator[TableRow]:
    """Yields the rows of a table in their order; of a JSONL file those of its lines that are not blank.

    Raises DocumentError where the file is missing, broken or no such table: a Parquet file that breaks off may do so after some rows.
    """
    with open_table(path) as file:
        yield from _read_lines(file, columns) if is_lines(path) else _read_parquet(file, path, columns)


def _read_parquet(file: IO[bytes], path: str, columns: TableColumns) -> Iterator[TableRow]:
    table = open_parquet(file, path, columns)
    ids = (columns.id,) if columns.id is not None else ID_COLUMNS
    id_column = next((name for name in ids if name in table.schema_arrow.names and name != columns.text), None)
    wanted = [columns.text, *([] if id_column is None else [id_column])]
    number = 0
    try:
        for batch in table.iter_batches(BATCH_ROWS, columns=wanted):
            names = [None] * len(batch) if id_column is None else batch.column(id_column).to_pylist()
            for name, text in zip(names, batch.column(columns.text).to_pylist(), strict=True):
                number += 1
                yield _make_row(number, name, text, columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, StorageError):
            raise
        raise DocumentError(f"{path}: cannot be read from row {number + 1} on ({error}); a table is whole; write it anew") from error


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _read_lines(file: IO[bytes], columns: TableColumns) -> Iterator[TableRow]:
    last = 0
    for line in iterate_lines(file):
        if line.is_whole and line.data.strip():
            yield read_line(line, columns)
        elif not line.is_whole and line.number != last:
            yield TableRow(line.number, None, None, f"a line of {MAX_LINE_BYTES >> 20} MiB or more; a document is shorter; part it")
        last = line.number


def iterate_lines(file: IO[bytes]) -> Iterator[TableLine]:
    """Yields the lines of a file; one that is too long in parts."""
    number, is_begun = 0, False
    while data := file.readline(MAX_LINE_BYTES):
        number += not is_begun
        is_ended = data.endswith(b"\n")
        is_whole = not is_begun and (is_ended or len(data) < MAX_LINE_BYTES)
        yield TableLine(number, data, is_whole)
        is_begun = not is_ended


def read_line(line: TableLine, columns: TableColumns) -> TableRow:
    """A whole line of a JSONL file as a row."""
    number = line.number
    try:
        found = json.loads(line.data)
    except (ValueError, RecursionError) as error:
        return TableRow(number, None, None, f"no JSON ({error}); a line is a JSON object; mend it")
    if not isinstance(found, dict):
        return TableRow(number, None, None, f"a {type(found).__name__}; a line is a JSON object with the text in it; mend it")
    ids = (columns.id,) if columns.id is not None else ID_COLUMNS
    name = next((found[key] for key in ids if found.get(key) is not None), None)
    return _make_row(number, name, found.get(columns.text), columns)


def _make_row(number: int, name: Any, text: Any, columns: TableColumns) -> TableRow:
    told = _tell_id(name)
    if text is None:
        return TableRow(number, told, None, f"no {columns.text!r}; a document has a text; name its column as --text-column")
    if not isinstance(text, str):
        return TableRow(number, told, None, f"{columns.text!r} is a {type(text).__name__}; a document is a text; mend it")
    try:
        text.encode()
    except UnicodeEncodeError:
        return TableRow(number, told, None, "half of a surrogate pair, which is no character; texts are Unicode; mend it")
    return TableRow(number, told, text, None)


def _tell_id(name: Any) -> str | None:
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        return None
    return str(name)[:MAX_ID_CHARS].encode("utf-8", "replace").decode()
