"""An engine that is started again when it dies, behind the Engine protocol; and the search for the request that killed it.

Owns what happens to requests that were in flight at a death. Who starts an engine, and where, is the caller's.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import Self

from engine.protocol import Engine, EngineError, EngineRefusedError, Steps
from engine.records import Completion, Outcome, Request, fail

logger = logging.getLogger(__name__)

KILLED_ENGINE = "killed_engine"
"""`finish_reason` of a request that is set aside: asking it once more would kill the engine once more."""
NUM_PARTS = 8
"""Suspects are asked again in so many groups: of 256 one is left after three deaths more, and if it was none of them little is lost."""
MAX_FRUITLESS_DEATHS = 8
"""Deaths without an answer in between, after which the fault is the engine's: the search for one request takes five at most."""


class RestartingEngine:
    """Answers every request although the engine dies; one that dies with one request alone, the second time for it, sets that aside."""

    def __init__(
        self, load_engine: Callable[[], AbstractContextManager[Engine]], *, is_stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Loads the first engine; no further one where `is_stopped` says that nobody wants it. Raises EngineError when it cannot."""
        self._load_engine, self._is_stopped = load_engine, is_stopped
        self._context = load_engine()
        self._engine = self._context.__enter__()
        self._busy_seconds_before, self._steps_before = 0.0, Steps()
        self.num_deaths = 0
        self._num_fruitless = 0

    @property
    def build(self) -> str:
        """As the protocol says."""
        return self._engine.build

    @property
    def determinism(self) -> str:
        """As the protocol says."""
        return self._engine.determinism

    @property
    def max_in_flight(self) -> int:
        """As the protocol says."""
        return self._engine.max_in_flight

    @property
    def busy_seconds(self) -> float:
        """Of every engine so far; what a dead one was computing when it died is in it as far as it was heard."""
        return self._busy_seconds_before + self._engine.busy_seconds

    @property
    def steps(self) -> Steps:
        """Of every engine so far."""
        return self._steps_before + self._engine.steps

    @property
    def block_size(self) -> int | None:
        """As the protocol says."""
        return self._engine.block_size

    def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """As the protocol says; raises EngineError only where the engine cannot be started again, or dies whatever it is asked."""
        in_flight: dict[str, Request] = {}
        source = _track(requests, in_flight)
        while True:
            try:
                yield from self._answer(source, in_flight)
            except EngineError as error:
                suspects = list(in_flight.values())
                self._restart(error, len(suspects))
                yield from self._search(suspects, in_flight)
            else:
                return

    def _answer(self, requests: Iterable[Request | None], in_flight: dict[str, Request]) -> Iterator[Completion]:
        with closing(self._engine.run(requests)) as completions:  # type: ignore[type-var]
            for completion in completions:
                self._num_fruitless = 0
                del in_flight[completion.request.row_key]
                yield completion

    def _search(self, suspects: Sequence[Request], in_flight: dict[str, Request]) -> Iterator[Completion]:
        """Ask the suspects group by group; a group that kills the engine is parted, one request that does it alone is set aside."""
        groups = deque(_part(suspects))
        while groups:
            group = groups.popleft()
            try:
                yield from self._answer(group, in_flight)
            except EngineError as error:
                left = [request for request in group if request.row_key in in_flight]
                self._restart(error, len(left))
                if len(left) > 1:
                    groups.extendleft(reversed(_part(left)))
                    continue
                for request in left:
                    del in_flight[request.row_key]
                    yield _set_aside(request, error)

    def _restart(self, error: EngineError, num_left: int) -> None:
        self.num_deaths += 1
        self._num_fruitless += 1
        if self._num_fruitless > MAX_FRUITLESS_DEATHS:
            raise EngineError(f"The engine died {self._num_fruitless} times and answered nothing in between: {error}") from error
        if self._is_stopped() or isinstance(error, EngineRefusedError):
            raise error
        logger.warning("%s It is started again, and %d calls that were in flight are asked again.", error, num_left)
        self._busy_seconds_before, self._steps_before = self.busy_seconds, self.steps
        self._context.__exit__(None, None, None)
        self._context = self._load_engine()
        self._engine = self._context.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._context.__exit__(kind, error, trace)


def _track(requests: Iterable[Request | None], in_flight: dict[str, Request]) -> Iterator[Request | None]:
    for request in requests:
        if request is not None:
            in_flight[request.row_key] = request
        yield request


def _part(requests: Sequence[Request]) -> list[Sequence[Request]]:
    size = -(-len(requests) // NUM_PARTS)
    return [requests[first : first + size] for first in range(0, len(requests), max(1, size))]


def _set_aside(request: Request, error: EngineError) -> Completion:
    message = f"It killed the engine twice, the second time alone in it, and is set aside; the other calls went on. {error}"
    return fail(request, Outcome.ENGINE_ERROR, message, finish_reason=KILLED_ENGINE)
