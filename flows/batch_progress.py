"""What `flows batch` says while it works: a line that moves in a terminal, one now and then elsewhere."""

import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console

from engine.records import Outcome
from flows.engines import HostedModel
from flows.progress import PLAIN_EVERY_S, SaidLine, describe_left, describe_rate, format_minutes


@dataclass(slots=True)
class BatchCounts:
    """Rows so far; written by one thread, read by others."""

    num_rows: int = 0
    """In all."""
    num_answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Rows without an answer, by code; those that were not asked among them."""

    @property
    def num_skipped(self) -> int:
        """Not asked: a limit was reached."""
        return self.failed[Outcome.SKIPPED_BUDGET.value]

    @property
    def num_failed(self) -> int:
        return self.failed.total() - self.num_skipped

    @property
    def num_ended(self) -> int:
        return self.num_answered + self.failed.total()


class BatchProgress:
    """Says how far the rows have come until closed."""

    def __init__(self, console: Console, hosted: HostedModel, counts: BatchCounts) -> None:
        self._hosted, self._counts = hosted, counts
        self._started, self._answering_since = time.monotonic(), 0.0
        self._said_at = self._started
        self._said = SaidLine(console, self.line, self._is_due)

    def __enter__(self) -> Self:
        self._said.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._said.__exit__(kind, error, trace)

    def _is_due(self) -> bool:
        if time.monotonic() - self._said_at < PLAIN_EVERY_S:
            return False
        self._said_at = time.monotonic()
        return True

    def line(self) -> str:
        """How far it is."""
        counts, progress, now = self._counts, self._hosted.progress, time.monotonic()
        elapsed, num_ended = format_minutes(now - self._started), counts.num_ended
        if not num_ended:
            return f"{elapsed}  {self._hosted.name}: {counts.num_rows:,} rows · the engine loads"
        self._answering_since = self._answering_since or now
        share, seconds = num_ended / max(1, counts.num_rows), now - self._answering_since
        parts = [
            f"{self._hosted.name}: {share:.0%}",
            f"{num_ended:,} of {counts.num_rows:,} rows",
            describe_rate(progress),
        ]
        if counts.num_failed:
            parts.append(f"{counts.num_failed:,} failed")
        if counts.num_skipped:
            parts.append(f"{counts.num_skipped:,} not asked")
        if left := describe_left(seconds, share):
            parts.append(left)
        return f"{elapsed}  {' · '.join(parts)}"
