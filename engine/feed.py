"""Jobs -> engine -> calls, continuously: one engine serves many jobs at once and never drains between them.

Owns the order of requests, the look-up before and the record after each call. Knows nothing of what a job asks.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol, Self

from engine.calls import CallStore
from engine.protocol import Engine
from engine.records import Completion, Outcome, Request

logger = logging.getLogger(__name__)


class Job(Protocol):
    """A source of requests that hears of every answer."""

    def requests(self) -> Iterator[Request | None]:
        """Requests in the order that shares most; None while the next ones wait for an answer to those given."""
        ...

    def receive(self, completion: Completion) -> None:
        """Called once for each request given, from the feed's thread, also when the answer came from the store."""
        ...


@dataclass(slots=True)
class Progress:
    """Counts of one feed so far; read from other threads, never written there."""

    num_answered: int = 0
    num_stored: int = 0
    """Answers that were found, not computed."""
    num_failed: int = 0
    prompt_tokens: int = 0
    """Of computed answers only."""
    cached_tokens: int = 0
    completion_tokens: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=dict)

    def count(self, completion: Completion, *, is_stored: bool) -> None:
        self.num_answered += 1
        self.num_failed += completion.outcome is not Outcome.OK
        self.outcomes[completion.outcome] = self.outcomes.get(completion.outcome, 0) + 1
        if is_stored:
            self.num_stored += 1
            return
        self.prompt_tokens += completion.prompt_tokens
        self.cached_tokens += completion.cached_tokens
        self.completion_tokens += completion.completion_tokens


class _Stream:
    """One submitted job: what it has been asked, and the future that ends with it."""

    def __init__(self, job: Job) -> None:
        self.job, self.source, self.done = job, job.requests(), Future[None]()
        self.num_waiting = 0
        self.is_exhausted = False


class Feed:
    """Runs the engine in a thread of its own from `start` to `close`; jobs may be submitted from any thread meanwhile."""

    def __init__(self, load: Callable[[], tuple[AbstractContextManager[Engine], CallStore]]) -> None:
        """`load` makes the engine and the store; it runs in the feed's thread, so that the caller works on while weights load."""
        self.progress = Progress()
        self.busy_seconds = 0.0
        self.is_loaded = threading.Event()
        self._load = load
        self._submitted: queue.SimpleQueue[_Stream | None] = queue.SimpleQueue()
        self._streams: list[_Stream] = []
        self._waiting: dict[str, list[tuple[_Stream, Request]]] = {}
        self._is_closing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def submit(self, job: Job) -> "Future[None]":
        """Add a job; the future ends when every request of it is answered, or with what ended the engine."""
        stream = _Stream(job)
        if self._error:
            stream.done.set_exception(self._error)
        else:
            self._submitted.put(stream)
        return stream.done

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._submitted.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            context, store = self._load()
            with context as engine:
                self.is_loaded.set()
                try:
                    while self._admit(wait=True):
                        for completion in engine.run(self._missing(store)):
                            store.append(completion)
                            self.busy_seconds = engine.busy_seconds
                            self._deliver(completion)
                finally:
                    store.flush()
        except BaseException as error:  # noqa: BLE001 - handed to every waiting job, which raises it in its own thread
            self._error = error
            self.is_loaded.set()
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._admit(wait=False)
        for stream in self._streams:
            stream.done.set_exception(error)
        self._streams.clear()

    def _admit(self, *, wait: bool) -> bool:
        """Take what was submitted; True while there is a job. Waits for one only when the engine has nothing else to do."""
        while not self._is_closing:
            try:
                stream = self._submitted.get(block=wait and not self._streams)
            except queue.Empty:
                break
            if stream is None:
                self._is_closing = True
            else:
                self._streams.append(stream)
        return bool(self._streams)

    def _missing(self, store: CallStore) -> Iterator[Request | None]:
        """Requests of all jobs that nobody has answered yet: the oldest job first, the next one while it waits."""
        while self._admit(wait=False):
            request, stream = self._next_request()
            if request is None or stream is None:
                if self._streams:
                    yield None
                continue
            if known := store.find(request):
                self.progress.count(known, is_stored=True)
                self._hand_over(stream, known)
            elif request.row_key in self._waiting:
                self._waiting[request.row_key].append((stream, request))
            else:
                self._waiting[request.row_key] = [(stream, request)]
                yield request

    def _next_request(self) -> tuple[Request | None, _Stream | None]:
        for stream in list(self._streams):
            if stream.is_exhausted:
                continue
            try:
                request = next(stream.source)
            except StopIteration:
                stream.is_exhausted = True
                self._end_if_answered(stream)
                continue
            except Exception as error:  # noqa: BLE001 - the job's own error ends that job alone
                self._drop(stream, error)
                continue
            if request is not None:
                stream.num_waiting += 1
                return request, stream
        return None, None

    def _deliver(self, completion: Completion) -> None:
        self.progress.count(completion, is_stored=False)
        for stream, request in self._waiting.pop(completion.request.row_key):
            self._hand_over(stream, replace(completion, request=request))

    def _hand_over(self, stream: _Stream, completion: Completion) -> None:
        stream.num_waiting -= 1
        if stream not in self._streams:
            return
        try:
            stream.job.receive(completion)
        except Exception as error:  # noqa: BLE001 - the job's own error ends that job alone
            self._drop(stream, error)
            return
        self._end_if_answered(stream)

    def _end_if_answered(self, stream: _Stream) -> None:
        if stream.is_exhausted and not stream.num_waiting and stream in self._streams:
            self._streams.remove(stream)
            stream.done.set_result(None)

    def _drop(self, stream: _Stream, error: Exception) -> None:
        self._streams.remove(stream)
        stream.done.set_exception(error)
