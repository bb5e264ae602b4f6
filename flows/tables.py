"""A run's tables as DuckDB views, and those of all runs of a workspace."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chunkers.paths import AnyPath, ObjectPath
from chunkers.records import CANDIDATES, CHUNKS, DOCUMENTS, table_schema
from engine.ledger import LEDGER
from engine.parts import PartFolder
from engine.records import CALLS
from engine.score import SCORES
from flows.asked import REQUESTS
from flows.errors import ERRORS
from flows.printable import flatten
from flows.runs import Run, RunError, ask_each, list_runs
from flows.styles import STYLES
from postprocess.records import EDITS, FINDINGS
from postprocess.yields import YIELDS

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
SCHEMAS = {
    "findings": FINDINGS,
    "edits": EDITS,
    "errors": ERRORS,
    "documents": DOCUMENTS,
    "styles": STYLES,
    "chunks": CHUNKS,
    "candidates": CANDIDATES,
    "scores": SCORES,
    "requests": REQUESTS,
    "ledger": LEDGER,
    "yields": YIELDS,
}
"""View -> columns that it has over all runs, also where those are of an older version or there is none."""
ENDED = frozenset({"done", "partial"})
"""States of the runs whose rows are in the views over all runs: the tables of another are not whole."""
RUNS = table_schema(
    "runs",
    [
        ("run", pa.string()),
        ("flow", pa.string()),
        ("name", pa.string()),
        ("state", pa.string()),
        ("started_at", pa.timestamp("us", tz="UTC")),
        ("finished_at", pa.timestamp("us", tz="UTC")),
        ("wall_s", pa.float64()),
        ("exit_code", pa.int64()),
        ("inputs", pa.list_(pa.string())),
        ("models", pa.list_(pa.string())),
        ("cwd", pa.string()),
    ],
    nullable=frozenset({"flow", "name", "started_at", "finished_at", "wall_s", "exit_code", "inputs", "models", "cwd"}),
)
"""The latest first. What is null is not in the run's manifest: it has not ended, or its manifest cannot be read."""
LATEST = """
select cwd, path, arg_max(doc_id, started_at) as doc_id, arg_max(run, started_at) as run
from documents join runs using (run) where started_at is not null group by cwd, path
"""
"""For each file, as it was named from the folder where it was read, the run that read it last."""


FORMATS = ("table", "csv", "json")
"""In which rows are printed."""
MAX_TABLE_WIDTH = 400
"""Characters of a table that is not written to a terminal; what is wider is cut, CSV and JSON never are."""


@contextmanager
def open_views(run: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with one view for each table that the run has so far."""
    with duckdb.connect() as connection:
        if isinstance(run.folder, ObjectPath):
            connection.register_filesystem(run.folder.open_snapshot())  # ours: DuckDB's own has to be downloaded
        files = run.list_tables(FILES.values())
        for name, pattern in FILES.items():
            if paths := files[pattern]:
                connection.execute(f"create view {name} as select * from {_read(paths, is_partitioned=name in PARTITIONED)}")
        if paths := list_calls(run.workspace):
            own = " semi join requests using (row_key)" if files[FILES["requests"]] else ""
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
    return _ask(partial(open_views, run), ask)


def ask_workspace(workspace: AnyPath, ask: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
    """The same of the views over all runs of a workspace."""
    return _ask(partial(open_workspace, workspace), ask)


def _ask(
    open_them: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]], ask: Callable[[duckdb.DuckDBPyConnection], Answer]
) -> Answer:
    for _ in range(2):
        with suppress(duckdb.IOException), open_them() as connection:
            return ask(connection)
    with open_them() as connection:
        return ask(connection)


@contextmanager
def open_workspace(workspace: AnyPath) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with a view for each table over all runs of a workspace that have ended, with the name of its `run` in each row.

    Besides: `runs`, all of them; `latest`, for each file the run that read it last; `calls`, all of the workspace, each once, whichever
    runs asked them. Columns that older runs have not are null there.
    """
    runs = list_runs(workspace)
    rows = ask_each(runs, _run_row)
    ended = [run for run, row in zip(runs, rows, strict=True) if row["state"] in ENDED]
    files = ask_each(ended, lambda run: run.list_tables(FILES.values()))
    with duckdb.connect() as connection:
        if isinstance(workspace, ObjectPath):
            connection.register_filesystem(workspace.open_snapshot())  # ours: DuckDB's own has to be downloaded
        connection.from_arrow(pa.Table.from_pylist(rows, schema=RUNS)).create("runs")
        connection.execute("create schema empty")
        for name, pattern in FILES.items():
            paths = [path for of_run in files for path in of_run[pattern]]
            columns = [pa.field("run", pa.string()), *SCHEMAS[name], *([pa.field("model", pa.string())] if name in PARTITIONED else [])]
            source = _read(paths, is_partitioned=name in PARTITIONED, file_column="run")
            # the folder's name in `RUNS/NAME/…/FILE.parquet`
            own_name = f"split_part(substr(run, {len(str(workspace / 'runs')) + 2}), '/', 1) as run"
            _create_view(connection, name, pa.schema(columns), f"select {own_name}, * exclude (run) from {source}" if paths else None)
        paths = list_calls(workspace)
        _create_view(connection, "calls", CALLS, f"select * from {_read(paths, is_partitioned=False)}" if paths else None)
        connection.execute(f"create view latest as {LATEST}")
        yield connection


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, columns: pa.Schema, query: str | None) -> None:
    connection.from_arrow(columns.empty_table()).create(f"empty.{name}")
    rows = "" if query is None else f"{query} union all by name "
    connection.execute(f"create view {name} as {rows}from empty.{name}")


def _run_row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run.name, "state": run.state}
    try:
        manifest = run.read_manifest()
    except RunError:
        return row
    flow, time = manifest.get("flow"), manifest.get("time", {})
    return row | {
        "flow": flow,
        "name": run.name.removeprefix(f"{flow}-").rpartition("-")[0] or None,
        "started_at": _parse_time(manifest.get("created_at")),
        "finished_at": _parse_time(manifest.get("finished_at")),
        "wall_s": time.get("wall_s"),
        "exit_code": manifest.get("exit_code"),
        "inputs": manifest.get("inputs"),
        "models": [model["name"] for model in manifest.get("models", [])],
        "cwd": manifest.get("cwd"),
    }


def _parse_time(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromisoformat(told)


def _read(paths: Sequence[AnyPath], *, is_partitioned: bool, file_column: str | None = None) -> str:
    # a list of names, not a pattern: a workspace may be called `draft [2]`
    names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    # a model may be called `7`
    partitioning = f"hive_partitioning = {str(is_partitioned).lower()}, hive_types_autocast = false"
    filename = "" if file_column is None else f", filename = '{file_column}'"
    return f"read_parquet([{names}], {partitioning}, union_by_name = true{filename})"


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
