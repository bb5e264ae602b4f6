"""Who computes: the engines of this process. A cluster's workers (cluster.py) have the same face."""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, cast

from flows.engines import HostedModel, ModelState, abort_engines, close_engines
from flows.phases import Phase, measure_phases

if TYPE_CHECKING:
    from prefect.futures import PrefectConcurrentFuture, PrefectFuture
    from prefect.task_runners import TaskRunner

MAX_SHARDS_AT_ONCE = 4
"""Shards in work at the same time in one process: enough that the engine never waits for the next one's candidates."""


class Workers(Protocol):
    """One process or many."""

    def task_runner(self) -> "TaskRunner[Any]":
        """Where a flow's tasks run."""
        ...

    def place(self, index: int, *, at_engine: bool = False) -> AbstractContextManager[Any]:
        """Around the submission of a task about the shard of this number: earlier shards come first; some tasks need an engine."""
        ...

    def start(self, server: "Future[str]", *, is_eager: bool) -> None:
        """Begin to load the first model's engine where `is_eager`; any other loads at the first question that nobody has answered.

        `server` ends with the address of Prefect's.
        """
        ...

    def recover(self, error: BaseException) -> bool:
        """Whether what ended a flow was that the workers were lost, and there are some again: then the flow goes on where it was."""
        ...

    def finish(self, model: str, shards: "Sequence[PrefectFuture[Any]]") -> None:
        """Wait until no shard needs the model's engine any more, and let go of it. Raises what ended one of them."""
        ...

    def look(self) -> list[ModelState]:
        """What each model did so far, in the order in which they are asked."""
        ...

    def look_apart(self) -> list[tuple[str, ModelState]]:
        """The same for each worker that has begun with a model: its name, and what it did."""
        ...

    def measure(self) -> list[ModelState]:
        """What each model did in all; once the flow has ended."""
        ...

    def phases(self) -> dict[Phase, float]:
        """Seconds of work that needs no engine."""
        ...

    def abort(self) -> None:
        """Let everything go that waits for an answer, and ask nothing more; what was answered is kept. Safe in a signal handler."""
        ...

    def close(self) -> None:
        """End the engines once they have answered everything."""
        ...


class ProcessWorkers:
    """The engines of this process."""

    def __init__(self, hosted: Sequence[HostedModel]) -> None:
        self._hosted = {model.name: model for model in hosted}

    def task_runner(self) -> "TaskRunner[Any]":
        """As the protocol says."""
        from prefect.task_runners import ThreadPoolTaskRunner  # here: it takes 2 s, in which engine and server start

        return ThreadPoolTaskRunner(max_workers=MAX_SHARDS_AT_ONCE)

    def place(self, index: int, *, at_engine: bool = False) -> AbstractContextManager[Any]:
        """As the protocol says: threads take tasks in the order of their submission."""
        return nullcontext()

    def start(self, server: "Future[str]", *, is_eager: bool) -> None:
        """As the protocol says."""
        next(iter(self._hosted.values())).start(is_eager=is_eager)

    def recover(self, error: BaseException) -> bool:
        """As the protocol says: a process cannot lose itself."""
        return False

    def finish(self, model: str, shards: "Sequence[PrefectFuture[Any]]") -> None:
        """As the protocol says; while the next engine loads, the last answers become tables."""
        self._hosted[model].await_shards(cast("Sequence[PrefectConcurrentFuture[Any]]", shards))
        self._hosted[model].close()

    def look(self) -> list[ModelState]:
        """As the protocol says."""
        return [model.state for model in self._hosted.values()]

    def measure(self) -> list[ModelState]:
        """As the protocol says."""
        return self.look()

    def look_apart(self) -> list[tuple[str, ModelState]]:
        """As the protocol says."""
        return [("here", state) for state in self.look() if state.num_chunks]

    def phases(self) -> dict[Phase, float]:
        """As the protocol says."""
        return measure_phases()

    def abort(self) -> None:
        """As the protocol says."""
        abort_engines()

    def close(self) -> None:
        """As the protocol says."""
        close_engines()


_current: list[Workers] = []


def set_workers(workers: Workers) -> None:
    """From now on these compute, for the one run of this process."""
    _current[:] = [workers]


def workers() -> Workers:
    """Those that compute in this process's run."""
    return _current[0]
