"""What a run says on stderr while it works: a line that moves in a terminal, a line now and then elsewhere."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console

from engine.score import READ_TEMPLATE
from flows.engines import HostedModel
from flows.judge import PROMPT_NAME

PLAIN_EVERY_S = 15.0
MOVING_EVERY_S = 0.5


class ProgressLine:
    """Prints how far the models have come until closed."""

    def __init__(self, console: Console, hosted: Sequence[HostedModel]) -> None:
        self._console, self._hosted = console, hosted
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        if self._console.is_terminal:
            with self._console.status(self._line()) as status:
                while not self._stop.wait(MOVING_EVERY_S):
                    status.update(self._line())
        else:
            while not self._stop.wait(PLAIN_EVERY_S):
                self._console.print(self._line(), highlight=False)

    def _line(self) -> str:
        seconds = int(time.monotonic() - self._started)
        elapsed = f"{seconds // 60}:{seconds % 60:02}"
        for hosted in reversed(self._hosted):
            progress = hosted.progress
            if not progress.num_answered:
                continue
            num_read = progress.templates[READ_TEMPLATE] + progress.templates[PROMPT_NAME]
            num_computed = progress.prompt_tokens - progress.cached_tokens + progress.completion_tokens
            rate = f"{num_computed / progress.busy_seconds:,.0f} tokens/s" if progress.busy_seconds else "from the store"
            failed = f" · {progress.num_failed:,} failed" if progress.num_failed else ""
            chunks = f"{num_read:,} of {hosted.num_chunks:,} chunks read"
            return f"{elapsed}  {hosted.name}: {chunks} · {progress.num_answered:,} calls · {rate}{failed}"
        return f"{elapsed}  the engine loads, documents are read"
