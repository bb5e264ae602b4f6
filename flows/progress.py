"""What a run says while it works: on stderr a line that moves in a terminal and a line now and then elsewhere; the same to its log and
to `progress.json`, for other processes."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from chunkers.paths import StorageError
from engine.feed import Progress
from flows.engines import ModelState
from flows.runs import Run

if TYPE_CHECKING:
    from flows.workers import Workers

logger = logging.getLogger(__name__)

PLAIN_EVERY_S = 15.0
MOVING_EVERY_S = 0.5
MIN_ESTIMATE_S = 10.0
"""Of judging, before there is a rate to tell the time left from."""


def measure_models(states: Iterable[ModelState]) -> dict[str, dict[str, float | int]]:
    """What each model took so far: its counts, and seconds of loading, work and waiting."""
    return {state.name: _measure(state) for state in states}


def _measure(state: ModelState) -> dict[str, float | int]:
    progress = state.progress
    return {
        "load_s": round(state.load_seconds, 3),
        "busy_s": round(progress.busy_seconds, 3),
        "idle_s": round(max(0.0, state.held_seconds - state.load_seconds - progress.busy_seconds), 3),
        "num_calls": progress.num_answered,
        "num_stored": progress.num_stored,
        "num_failed": progress.num_failed,
        "num_skipped": progress.num_skipped,
        "num_deaths": progress.num_deaths,
        "computed_tokens": progress.computed_tokens,
    }


class SaidLine:
    """A line that moves in a terminal, and is said now and then elsewhere, until closed."""

    def __init__(
        self,
        console: Console,
        line: Callable[[], str],
        is_due: Callable[[], bool],
        table: Callable[[], RenderableType | None] = lambda: None,
    ) -> None:
        """`is_due` is asked twice a second, and elsewhere than in a terminal whether the line is to be said now.

        `table` is what a terminal shows under the line, where there is anything.
        """
        self._console, self._line, self._is_due, self._table = console, line, is_due, table
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        if self._console.is_terminal:
            spinner = Spinner("dots", Text(self._line()), style="status.spinner")
            with Live(spinner, console=self._console, refresh_per_second=12.5, transient=True) as live:
                while not self._stop.wait(MOVING_EVERY_S):
                    spinner.update(text=Text(self._line()))
                    table = self._table()
                    live.update(spinner if table is None else Group(spinner, table))
                    self._is_due()
        else:
            while not self._stop.wait(MOVING_EVERY_S):
                if self._is_due():
                    self._console.print(self._line(), highlight=False, markup=False, soft_wrap=True)


class ProgressLine:
    """Says how far the models have come until closed."""

    def __init__(self, console: Console, team: "Workers", run: Run, started_at: datetime) -> None:
        self._team, self._run_folder = team, run
        self._started, self._started_at = time.monotonic(), started_at
        self._said_at = self._written_at = 0.0
        self._judging_since: dict[str, float] = {}
        self._said = SaidLine(console, self._line, self._note, self._table)

    def __enter__(self) -> Self:
        self._said.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._said.__exit__(kind, error, trace)
        if not isinstance(error, StorageError):  # it would be waited for once more
            self._note()

    def _note(self) -> bool:
        """Write the line to the run's log and `progress.json` where it is time; True where it was written to the log."""
        now = time.monotonic()
        try:
            if now - self._written_at >= self._run_folder.progress_every_s:
                self._written_at = now
                self._run_folder.write_progress(self._describe())
            if now - max(self._said_at, self._started) < PLAIN_EVERY_S:
                return False
            self._said_at = now
            self._run_folder.log(self._line())
        except OSError as error:
            # what the run is about meets the same disk, and ends with it; a line of progress is no reason to
            logger.debug("progress could not be written: %s", error)
            return False
        return True

    def _describe(self) -> dict[str, Any]:
        return {
            "started_at": self._started_at.isoformat(),
            "updated_at": datetime.now(UTC).isoformat(),
            "wall_s": round(time.monotonic() - self._started, 2),
            "line": self._line(),
            "models": measure_models(self._team.look()),
        }

    def _table(self) -> Table | None:
        """A row for each worker and model; None for a single one, of which the line says all."""
        states = self._team.look_apart()
        return describe_workers(states) if len(states) > 1 else None

    def _line(self) -> str:
        seconds = time.monotonic() - self._started
        elapsed = format_minutes(seconds)
        for state in reversed(self._team.look()):
            progress = state.progress
            if not progress.num_answered:
                continue
            seconds_judging = time.monotonic() - self._judging_since.setdefault(state.name, time.monotonic())
            num_read = state.num_read
            failed = f" · {progress.num_failed:,} failed" if progress.num_failed else ""
            failed += f" · {progress.num_skipped:,} not asked" if progress.num_skipped else ""
            chunks = f"{num_read:,} of {state.num_chunks:,} chunks read"
            share = progress.num_answered / expect_calls(num_read, state.num_chunks, state.num_further)
            left = describe_left(seconds_judging, share)
            counts = f"{chunks} · {progress.num_answered:,} calls · {describe_rate(progress)}{failed}"
            return f"{elapsed}  {state.name}: {share:.0%} · {counts}{f' · {left}' if left else ''}"
        return f"{elapsed}  the engine loads, documents are read"


def describe_workers(states: Sequence[tuple[str, ModelState]]) -> Table:
    """What each worker did with each model so far; the share cached is of the tokens of prompts."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("worker", "model"):
        table.add_column(column, no_wrap=True)
    for column in ("chunks read", "calls", "tokens/s", "cached", "failed", "engine"):
        table.add_column(column, justify="right", no_wrap=True)
    for worker, state in states:
        progress = state.progress
        rate = f"{progress.computed_tokens / progress.busy_seconds:,.0f}" if progress.busy_seconds else ""
        cached = f"{progress.cached_tokens / progress.prompt_tokens:.0%}" if progress.prompt_tokens else ""
        engine = (
            "loads"
            if not state.load_seconds and not progress.num_answered
            else f"restarted {progress.num_deaths}×"
            if progress.num_deaths
            else ""
        )
        chunks = f"{state.num_read:,} of {state.num_chunks:,}"
        cells = (worker, state.name, chunks, f"{progress.num_answered:,}", rate, cached, f"{progress.num_failed:,}", engine)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def expect_calls(num_read: int, num_chunks: int, num_further: int) -> float:
    """Calls of a run in all, at least 1: one a chunk and those that follow, of which chunks not read yet bring as many as those read."""
    return max(1.0, num_chunks + num_further * num_chunks / max(1, num_read))


def describe_rate(progress: Progress) -> str:
    """How fast an engine computed so far."""
    return f"{progress.computed_tokens / progress.busy_seconds:,.0f} tokens/s" if progress.busy_seconds else "from the store"


def describe_left(seconds: float, share: float) -> str | None:
    """How long the rest will take, where `share` took so long; None where all is done, and before there is enough to tell it from."""
    return f"about {format_minutes(seconds * (1 - share) / share)} left" if share < 1 and seconds > MIN_ESTIMATE_S else None


def format_minutes(seconds: float) -> str:
    """Such as 12:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
