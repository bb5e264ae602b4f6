"""What a run says on stderr while it works: a line that moves in a terminal, a line now and then elsewhere."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from engine.score import READ_TEMPLATE
from flows.engines import HostedModel
from flows.judge import PROMPT_NAME

PLAIN_EVERY_S = 15.0
MOVING_EVERY_S = 0.5
MIN_ESTIMATE_S = 10.0
"""Of judging, before there is a rate to tell the time left from."""


class ProgressLine:
    """Prints how far the models have come until closed."""

    def __init__(self, console: Console, hosted: Sequence[HostedModel]) -> None:
        self._console, self._hosted = console, hosted
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._judging_since: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        if self._console.is_terminal:
            with self._console.status(Text(self._line())) as status:
                while not self._stop.wait(MOVING_EVERY_S):
                    status.update(Text(self._line()))
        else:
            while not self._stop.wait(PLAIN_EVERY_S):
                self._console.print(self._line(), highlight=False, markup=False, soft_wrap=True)

    def _line(self) -> str:
        seconds = time.monotonic() - self._started
        elapsed = _minutes(seconds)
        for hosted in reversed(self._hosted):
            progress = hosted.progress
            if not progress.num_answered:
                continue
            seconds_judging = time.monotonic() - self._judging_since.setdefault(hosted.name, time.monotonic())
            num_read = progress.templates[READ_TEMPLATE] + progress.templates[PROMPT_NAME]
            num_computed = progress.prompt_tokens - progress.cached_tokens + progress.completion_tokens
            rate = f"{num_computed / progress.busy_seconds:,.0f} tokens/s" if progress.busy_seconds else "from the store"
            failed = f" · {progress.num_failed:,} failed" if progress.num_failed else ""
            chunks = f"{num_read:,} of {hosted.num_chunks:,} chunks read"
            share = progress.num_answered / expect_calls(num_read, hosted.num_chunks, sum(job.num_variants for job in hosted.score_jobs))
            left = (
                f" · about {_minutes(seconds_judging * (1 - share) / share)} left" if share < 1 and seconds_judging > MIN_ESTIMATE_S else ""
            )
            return f"{elapsed}  {hosted.name}: {share:.0%} · {chunks} · {progress.num_answered:,} calls · {rate}{failed}{left}"
        return f"{elapsed}  the engine loads, documents are read"


def expect_calls(num_read: int, num_chunks: int, num_variants: int) -> float:
    """Calls of a run in all, at least 1: one a chunk, and its candidates', of which chunks not read yet bring as many as those read."""
    return max(1.0, num_chunks + num_variants * num_chunks / max(1, num_read))


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
