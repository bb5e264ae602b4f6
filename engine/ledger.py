"""What calls cost: engine-seconds and money by kind of work.

Owns prices and the ledger's rows. Sums do not depend on the order of calls: integers, Decimal and `math.fsum`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from chunkers.records import table_schema

COST_STEP = Decimal("1e-10")
MILLION = Decimal(1_000_000)


class Work(StrEnum):
    """What an engine's time goes into."""

    LOAD = "load"
    PREFILL = "prefill"
    """Prompt tokens that were computed."""
    CACHED = "cached"
    """Prompt tokens that came from the prefix cache; they take no engine time."""
    DECODE = "decode"
    """Tokens of answers."""
    IDLE = "idle"
    """An engine was held and had nothing to do."""


class Usage(Protocol):
    """What of a call is paid for; Completion and Asked have it."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def engine_seconds(self) -> float: ...
    @property
    def decode_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Money for engine time or for tokens; None costs nothing."""

    per_engine_hour: Decimal | None = None
    input_per_million: Decimal | None = None
    """Prompt tokens that were computed."""
    cached_per_million: Decimal | None = None
    """Prompt tokens from the prefix cache; None costs what computed ones cost."""
    output_per_million: Decimal | None = None

    @property
    def is_empty(self) -> bool:
        return self.per_engine_hour is None and self.input_per_million is None and self.output_per_million is None

    def cost_of_tokens(self, usage: Usage) -> Decimal:
        """Money for the tokens alone; what a budget adds to the engine's hours."""
        return sum((self.token_cost(usage, kind) for kind in (Work.PREFILL, Work.CACHED, Work.DECODE)), Decimal(0))

    def cost_of(self, usage: Usage) -> Decimal | None:
        """Money for one call, its share of the engine's hour included; None where there are no prices."""
        if self.is_empty:
            return None
        return (self.cost_of_tokens(usage) + self.cost_of_time(usage.engine_seconds)).quantize(COST_STEP)

    def cost_of_time(self, engine_seconds: float) -> Decimal:
        """Money for so much of an engine's time."""
        return (self.per_engine_hour or Decimal(0)) * Decimal(repr(engine_seconds)) / 3600

    def token_cost(self, usage: Usage, kind: Work) -> Decimal:
        """Money for the tokens of one kind."""
        cached_price = self.input_per_million if self.cached_per_million is None else self.cached_per_million
        tokens, price = {
            Work.PREFILL: (usage.prompt_tokens - usage.cached_tokens, self.input_per_million),
            Work.CACHED: (usage.cached_tokens, cached_price),
            Work.DECODE: (usage.completion_tokens, self.output_per_million),
        }[kind]
        return tokens * (price or Decimal(0)) / MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A row of `ledger`."""

    model: str
    kind: Work
    num_calls: int | None
    """None for what is no call's: load and idle."""
    tokens: int | None
    engine_seconds: float
    cost: Decimal | None
    """None where there are no prices."""


LEDGER = table_schema(
    "ledger",
    [
        ("model", pa.string()),
        ("kind", pa.string()),
        ("num_calls", pa.int64()),
        ("tokens", pa.int64()),
        ("engine_seconds", pa.float64()),
        ("cost", pa.decimal128(20, 10)),
    ],
    nullable=frozenset({"num_calls", "tokens", "cost"}),
)
"""Sorted by model, then kind in the order of Work. Each call once, however many chunks asked it, also where its answer was stored."""


def make_ledger(model: str, calls: Mapping[str, Usage], prices: Prices, load_s: float, idle_s: float) -> list[LedgerRow]:
    """The rows of one model; `calls` by row key, each once."""
    used = list(calls.values())
    seconds = {
        Work.PREFILL: math.fsum(call.engine_seconds - call.decode_seconds for call in used),
        Work.CACHED: 0.0,
        Work.DECODE: math.fsum(call.decode_seconds for call in used),
    }
    tokens = {
        Work.PREFILL: sum(call.prompt_tokens - call.cached_tokens for call in used),
        Work.CACHED: sum(call.cached_tokens for call in used),
        Work.DECODE: sum(call.completion_tokens for call in used),
    }
    rows = [_time_row(model, Work.LOAD, load_s, prices)]
    for kind in seconds:
        cost = sum((prices.token_cost(call, kind) for call in used), Decimal(0)) + prices.cost_of_time(seconds[kind])
        rows.append(
            LedgerRow(
                model=model,
                kind=kind,
                num_calls=len(used),
                tokens=tokens[kind],
                engine_seconds=seconds[kind],
                cost=None if prices.is_empty else cost.quantize(COST_STEP),
            )
        )
    return [*rows, _time_row(model, Work.IDLE, idle_s, prices)]


def _time_row(model: str, kind: Work, seconds: float, prices: Prices) -> LedgerRow:
    cost = None if prices.is_empty else prices.cost_of_time(seconds).quantize(COST_STEP)
    return LedgerRow(model=model, kind=kind, num_calls=None, tokens=None, engine_seconds=seconds, cost=cost)


def total_cost(rows: Iterable[LedgerRow]) -> Decimal | None:
    """Money for all rows; None where there are no prices."""
    costs = [row.cost for row in rows if row.cost is not None]
    return sum(costs, Decimal(0)) if costs else None
