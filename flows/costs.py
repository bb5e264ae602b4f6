"""What a run cost: its ledger table, and the lines with which its report ends."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from chunkers.shards import read_shard, write_shard
from engine.ledger import LEDGER, LedgerRow, Prices, make_ledger, total_cost
from engine.models import slug_of
from engine.outcomes import Asked
from flows.asked import read_asked
from flows.runs import Run
from postprocess.exports.report import SummaryLine


def group_calls(questions: Iterable[tuple[str, Asked]]) -> dict[str, dict[str, Asked]]:
    """The calls that questions rest on, by slug of the model and row key, each once however often it was asked."""
    calls: dict[str, dict[str, Asked]] = {}
    for slug, asked in questions:
        calls.setdefault(slug, {})[asked.row_key] = asked
    return calls


def write_ledger(run: Run, models: Sequence[tuple[str, Prices]], executions: Sequence[dict[str, Any]]) -> None:
    """Write `ledger.parquet`: calls as they are in the run's tables, loading and idle time of every command that worked on the run."""
    calls = group_calls(read_asked(run.folder, (name for name, _ in models)))
    rows: list[LedgerRow] = []
    for name, prices in models:
        measured = [execution["models"][name] for execution in executions if name in execution["models"]]
        load_s, idle_s = (sum(each[key] for each in measured) for key in ("load_s", "idle_s"))
        rows += make_ledger(name, calls.get(slug_of(name), {}), prices, load_s, idle_s)
    write_shard(str(run.folder / "ledger.parquet"), LEDGER, rows)


def read_ledger(run: Run) -> list[LedgerRow]:
    """The rows of a finished run's ledger."""
    return list(read_shard(str(run.folder / "ledger.parquet"), LedgerRow))


def cost_lines(
    questions: Iterable[tuple[str, Asked]], models: Sequence[tuple[str, Prices]], currency: str, num_words: int, num_accepted: int
) -> tuple[SummaryLine, ...]:
    """Engine work in all, and money where there are prices, else time, in all, per 1,000 words and per accepted finding; from calls alone.

    Loading and idle time are not in it: they are each command's, not the answers', and stand in the ledger.
    """
    calls = group_calls(questions)
    rows = [row for name, prices in models for row in make_ledger(name, calls.get(slug_of(name), {}), prices, 0.0, 0.0)]
    work_s, cost = math.fsum(row.engine_seconds for row in rows), total_cost(rows)
    total, unit = (Decimal(repr(work_s)), "s") if cost is None else (cost, currency)
    lines = [SummaryLine(label="engine work", value=f"{work_s:,.1f} s")]
    if cost is not None:
        lines.append(SummaryLine(label="cost", value=f"{cost:,.4f} {currency}"))
    if num_words:
        lines.append(SummaryLine(label="per 1,000 words", value=f"{total * 1000 / num_words:,.4f} {unit}"))
    each = f"{total / num_accepted:,.4f} {unit}" if num_accepted else "none accepted"
    return (*lines, SummaryLine(label="per accepted finding", value=each))
