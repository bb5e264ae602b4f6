"""A run's tables as DuckDB views."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import duckdb
from rich.console import Console
from rich.table import Table

from flows.runs import Run

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
            if any(run.folder.glob(pattern)):
                hive = ", hive_partitioning = true" if name == "scores" else ""
                connection.execute(f"create view {name} as select * from read_parquet({_quote(str(run.folder / pattern))}{hive})")
        if any(run.workspace.glob("calls/*/part-*.parquet")):
            pattern = _quote(str(run.workspace / "calls/*/part-*.parquet"))
            connection.execute(f"create view calls as select * from read_parquet({pattern}, hive_partitioning = false)")
        yield connection


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def print_rows(result: duckdb.DuckDBPyConnection, output_format: str, file: TextIO) -> None:
    """Write the rows of a statement just executed as an aligned table, CSV with a header, or one JSON object a line."""
    if result.description is None:
        return
    columns = [column[0] for column in result.description]
    rows = _rows(result)
    if output_format == "table":
        table = Table(*columns, box=None, pad_edge=False, header_style="dim")
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
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
