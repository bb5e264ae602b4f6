"""The errors table: every input and every call that did not come through."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from chunkers.paths import AnyPath
from chunkers.readers import Unread
from chunkers.records import table_schema
from chunkers.shards import write_shard
from engine.records import Completion

ERRORS = table_schema(
    "errors",
    [
        ("path", pa.string()),
        ("doc_id", pa.string()),
        ("chunk_id", pa.string()),
        ("model", pa.string()),
        ("row_key", pa.string()),
        ("outcome", pa.string()),
        ("message", pa.string()),
    ],
    nullable=frozenset({"path", "doc_id", "chunk_id", "model", "row_key"}),
)
"""Sorted by path, doc_id, chunk_id, model, row_key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """A row of `errors`."""

    path: str | None = None
    """Of an input that could not be read; None for a call."""
    doc_id: str | None = None
    chunk_id: str | None = None
    model: str | None = None
    row_key: str | None = None
    outcome: str
    """`unreadable` for an input, else the call's outcome."""
    message: str


def call_error(completion: Completion, model: str) -> ErrorRow:
    """The row of a failed call."""
    request = completion.request
    return ErrorRow(
        doc_id=request.doc_id,
        chunk_id=request.chunk_id,
        model=model,
        row_key=request.row_key,
        outcome=completion.outcome.value,
        message=completion.error or "",
    )


def input_error(unread: Unread) -> ErrorRow:
    """The row of an input that could not be read."""
    return ErrorRow(path=unread.path, outcome="unreadable", message=unread.message)


def write_errors(path: AnyPath, rows: Iterable[ErrorRow]) -> None:
    """Write error rows in their total order."""
    write_shard(
        str(path),
        ERRORS,
        sorted(rows, key=lambda row: [str(value or "") for value in (row.path, row.doc_id, row.chunk_id, row.model, row.row_key)]),
    )
