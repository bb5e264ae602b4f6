"""One call of a run as a person reads it: prompt, raw answer, what was read from it, and what became of each edit."""

import json
from collections.abc import Iterator
from typing import Any

import duckdb
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.config import RunConfig
from flows.engines import host_model
from flows.printable import flatten, printable
from flows.runs import Run, RunError
from flows.tables import ask_views

MIN_KEY = 6
"""Characters of a row key that are enough to name it, where no other begins so."""


def render_call(run: Run, key: str, config: RunConfig) -> RenderableType:
    """Every attempt at the call whose row key begins with `key`. Raises RunError where none does, or several do."""
    return ask_views(run, lambda views: _render(views, run, key, config))


def _render(connection: duckdb.DuckDBPyConnection, run: Run, key: str, config: RunConfig) -> RenderableType:
    rows = _find_rows(connection, run, key)
    row_key = rows[0]["row_key"]
    parts: list[RenderableType] = [Text(f"call {row_key}", style="bold"), _heading("prompt"), Text(printable(_prompt(rows[0], config)))]
    for row in rows:
        parts += _render_answer(row)
    return Group(*parts, *_render_edits(connection, row_key), *_render_scores(connection, row_key))


def _prompt(row: dict[str, Any], config: RunConfig) -> str:
    """As the model was given it: messages, or the text of the token ids."""
    if row["messages"] is not None:
        return "\n\n".join(f"{role}: {content}" for role, content in json.loads(row["messages"]))
    if row["model"] not in config.model:
        return f"token ids {row['prompt_ids']}"
    return host_model(row["model"], config).tokenizer.decode(row["prompt_ids"])


def _find_rows(connection: duckdb.DuckDBPyConnection, run: Run, key: str) -> list[dict[str, Any]]:
    if len(key) < MIN_KEY or not all(char in "0123456789abcdef" for char in key):
        raise RunError(
            f"{key!r} names no call; a row key is 64 hex digits, of which the first {MIN_KEY} or more are given; see `flows sql`."
        )
    try:
        found = connection.execute("select * from calls where starts_with(row_key, ?) order by created_at, worker, attempt", [key])
    except duckdb.CatalogException:
        raise RunError(f"{run.name} has no calls yet. Run its command first.") from None
    columns = [column[0] for column in found.description or ()]
    rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    keys = sorted({row["row_key"] for row in rows})
    if not keys:
        raise RunError(f"No call of {run.name} begins with {key}. `flows sql {run.name} 'select row_key, outcome from calls'` lists them.")
    if len(keys) > 1:
        raise RunError(f"{len(keys)} calls begin with {key}, such as {keys[0][:16]} and {keys[1][:16]}. Give more of the key.")
    return rows


def _render_answer(row: dict[str, Any]) -> Iterator[RenderableType]:
    seconds = f"{row['engine_seconds']:.3f} s ({row['decode_seconds']:.3f} for the answer)"
    tokens = f"{row['prompt_tokens']} prompt tokens ({row['cached_tokens']} cached), {row['completion_tokens']} answered"
    yield _heading(f"attempt {row['attempt']}: {row['outcome']}")
    yield Text(f"{row['model']} · {row['template']} {row['template_version']} · {tokens} · {seconds}", style="dim")
    yield Text(
        f"{row['engine_build']}, determinism {row['determinism']}, {row['created_at']:%Y-%m-%d %H:%M:%S}, {row['worker']}", style="dim"
    )
    yield Text(f"sampling {json.dumps({key: value for key, value in json.loads(row['sampling']).items() if value})}", style="dim")
    if row["error"]:
        yield Text(printable(row["error"]), style="red")
    if row["text"] is not None:
        yield Text(printable(row["text"]))
    elif row["logprobs"]:
        yield Text(f"log-probability of the last {len(row['logprobs'])} tokens: {sum(row['logprobs']):.3f} nats")


def _render_edits(connection: duckdb.DuckDBPyConnection, row_key: str) -> Iterator[RenderableType]:
    rows = _query_if_there(
        connection,
        "select e.original, e.replacement, e.category, e.message, coalesce(f.status, e.reason, e.status) from edits e "
        "left join findings f on f.doc_id = e.doc_id and f.start = e.start and f.end = e.end and f.replacement = e.replacement "
        "where e.row_key = ? order by e.start, e.original, e.replacement",
        row_key,
    )
    if rows:
        yield from _table("edits", ("original", "replacement", "category", "why", "what became of it"), rows)


def _render_scores(connection: duckdb.DuckDBPyConnection, row_key: str) -> Iterator[RenderableType]:
    rows = _query_if_there(
        connection,
        "select s.original, s.replacement, s.detector, round(s.gain, 3), coalesce(f.status, e.reason, e.status, 'too unlikely to keep') "
        "from scores s left join edits e on e.doc_id = s.doc_id and e.start = s.start and e.end = s.end and e.replacement = s.replacement "
        "and e.row_key = s.row_key left join findings f on f.doc_id = s.doc_id and f.start = s.start and f.end = s.end "
        "and f.replacement = s.replacement where s.row_key = ? order by s.start, s.replacement, s.detector",
        row_key,
    )
    if rows:
        yield from _table("candidates judged by it", ("original", "replacement", "detector", "gain", "what became of it"), rows)


def _query_if_there(connection: duckdb.DuckDBPyConnection, query: str, row_key: str) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query, [row_key]).fetchall()
    except duckdb.CatalogException:  # the run has not come so far, or another protocol has no such table
        return []


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Iterator[RenderableType]:
    table = Table(*columns, box=None, pad_edge=False, header_style="dim")
    for row in dict.fromkeys(rows):
        table.add_row(*(Text(flatten("" if value is None else str(value))) for value in row))
    yield from (_heading(title), table)


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")
