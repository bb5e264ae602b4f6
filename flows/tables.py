"""A run's tables as DuckDB views."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.runs import Run
from flows.summary import flatten

FILES = {
    "findings": "findings.parquet",
    "edits": "edits.parquet",
    "errors": "errors.parquet",
    "documents": "documents.parquet",
    "chunks": "chunks/shard-*.parquet",
    "candidates": "candidates/shard-*.parquet",
    "scores": "scores/*/shard-*.parquet",
}
"""View -> files inside the run's folder. `calls` lies in the workspace and holds the calls of all its runs."""


MAX_TABLE_WIDTH = 400
"""Characters of a table that is not written to a terminal; what is wider is cut, CSV and JSON never are."""


@contextmanager
def open_views(run: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with one view for each table that the run has so far."""
    with duckdb.connect() as connection:
        for name, pattern in FILES.items():
            if paths := sorted(run.folder.glob(pattern)):
                connection.execute(f"create view {name} as select * from {_read(paths, is_partitioned=name == 'scores')}")
        if paths := sorted(run.workspace.glob("calls/*/part-*.parquet")):
            connection.execute(f"create view calls as select * from {_read(paths, is_partitioned=False)}")
        yield connection


def _read(paths: list[Path], *, is_partitioned: bool) -> str:
    # a list of names, not a pattern: a workspace may be called `draft [2]`
    names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"read_parquet([{names}], hive_partitioning = {str(is_partitioned).lower()})"


def print_rows(result: duckdb.DuckDBPyConnection | None, output_format: str, file: TextIO) -> None:
    """Write the rows of a statement just executed as an aligned table, CSV with a header, or one JSON object a line."""
    if result is None or result.description is None:
        return
    columns = [column[0] for column in result.description]
    rows = _rows(result)
    if output_format == "table":
        table = Table(*columns, box=None, pad_edge=False, header_style="dim")
        for row in rows:
            table.add_row(*(Text("" if value is None else flatten(str(value))) for value in row))
        Console(file=file, highlight=False, markup=False, width=None if file.isatty() else MAX_TABLE_WIDTH).print(table)
    elif output_format == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    else:
        for row in rows:
            file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, default=str) + "\n")


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[object, ...]]:
    while batch := result.fetchmany(1000):
        yield from batch
