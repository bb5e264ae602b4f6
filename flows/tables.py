"""A run's tables as DuckDB views."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, TypeVar

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chunkers.paths import AnyPath, ObjectPath
from engine.parts import PartFolder
from flows.printable import flatten
from flows.runs import Run

Answer = TypeVar("Answer")

FILES = {
    "findings": "findings.parquet",
    "edits": "edits.parquet",
    "errors": "errors.parquet",
    "documents": "documents.parquet",
    "styles": "styles.parquet",
    "chunks": "chunks/shard-*.parquet",
    "candidates": "candidates/shard-*.parquet",
    "scores": "scores/*/shard-*.parquet",
    "requests": "requests/*/shard-*.parquet",
    "ledger": "ledger.parquet",
    "yields": "yields.parquet",
}
"""View -> files inside the run's folder. `calls` lies in the workspace: the view has those that the run asked, once it has asked."""
PARTITIONED = frozenset({"scores", "requests"})
"""Views with a column `model` from the folders' names."""


FORMATS = ("table", "csv", "json")
"""In which rows are printed."""
MAX_TABLE_WIDTH = 400
"""Characters of a table that is not written to a terminal; what is wider is cut, CSV and JSON never are."""


@contextmanager
def open_views(run: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with one view for each table that the run has so far."""
    with duckdb.connect() as connection:
        if isinstance(run.folder, ObjectPath):
            connection.register_filesystem(run.folder.open_filesystem())  # ours: DuckDB's own has to be downloaded
        for name, pattern in FILES.items():
            if paths := run.list_files(pattern):
                connection.execute(f"create view {name} as select * from {_read(paths, is_partitioned=name in PARTITIONED)}")
        if paths := list_calls(run.workspace):
            own = " semi join requests using (row_key)" if run.list_files(FILES["requests"]) else ""
            # parts of an older version of the call table lack columns
            added = "select null::varchar as messages, null::varchar as engine_settings where false"
            calls = f"(select * from {_read(paths, is_partitioned=False)} union all by name {added})"
            connection.execute(f"create view calls as select * from {calls}{own}")
        yield connection


def list_calls(workspace: AnyPath) -> list[AnyPath]:
    """The files of the call table in which each call counts once, sorted; a run that goes on may merge some before they are read."""
    folders: list[AnyPath] = (
        sorted(workspace.glob("calls/model=*")) if isinstance(workspace, Path) else list((workspace / "calls").iterdir())
    )
    return [folder / name for folder in folders for name in PartFolder(str(folder)).list_counted()]


def ask_views(run: Run, ask: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
    """What `ask` makes of the run's views; asked again where a part of the calls was merged into another meanwhile."""
    for _ in range(2):
        with suppress(duckdb.IOException), open_views(run) as connection:
            return ask(connection)
    with open_views(run) as connection:
        return ask(connection)


def _read(paths: Sequence[AnyPath], *, is_partitioned: bool) -> str:
    # a list of names, not a pattern: a workspace may be called `draft [2]`
    names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"read_parquet([{names}], hive_partitioning = {str(is_partitioned).lower()}, union_by_name = true)"


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
