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


def print_rows(relation: duckdb.DuckDBPyRelation | None, output_format: str, file: TextIO) -> None:
    """Write a result as an aligned table, CSV with a header, or one JSON object a line. None (a statement without rows) writes nothing."""
    if relation is None:
        return
    if output_format == "table":
        table = Table(*relation.columns, box=None, pad_edge=False, header_style="dim")
        while batch := relation.fetchmany(1000):
            for row in batch:
                table.add_row(*("" if value is None else str(value) for value in row))
        Console(file=file, highlight=False, markup=False, width=None if file.isatty() else 400).print(table)
        return
    if output_format == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(relation.columns)
        while batch := relation.fetchmany(1000):
            writer.writerows(batch)
        return
    while batch := relation.fetchmany(1000):
        for row in batch:
            file.write(json.dumps(dict(zip(relation.columns, row, strict=True)), ensure_ascii=False, default=str) + "\n")
