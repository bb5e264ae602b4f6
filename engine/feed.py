"""Jobs -> engine -> calls, continuously: one engine serves many jobs at once and never drains between them.

Owns the order of requests, the look-up before and the record after each call. Knows nothing of what a job asks.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from types import TracebackType
from typing import Protocol, Self

from engine.calls import CallStore
from engine.protocol import Engine, EngineError
from engine.records import Completion, Outcome, Request

MAX_ABORT_S = 5.0
"""How long the end of a feed that was told to stop is waited for."""


class Job(Protocol):
    """A source of requests that hears of every answer."""

    def requests(self) -> Iterator[Request | None]:
        """Requests in the order that shares most; None while the next ones wait for an answer to those given.

        A job that says None although each of them is answered ends with a RuntimeError: it would wait for ever.
        """
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
    busy_seconds: float = 0.0
    """Time spent in the engine's steps."""
    templates: Counter[str] = field(default_factory=Counter)
    """Answers by the template of their request."""

    def count(self, completion: Completion, *, is_stored: bool) -> None:
        self.num_answered += 1
        self.num_failed += completion.outcome is not Outcome.OK
        self.templates[completion.request.template] += 1
        if is_stored:
            self.num_stored += 1
            return
        self.prompt_tokens += completion.prompt_tokens
        self.cached_tokens += completion.cached_tokens
        self.completion_tokens += completion.completion_tokens


class _Stream:
    """One submitted job: what it has been asked, and the future that ends with it."""

    def __init__(self, job: Job) -> None:
        self.job, self.source, self.done = job, self._iterate(), Future[None]()
        self.done.set_running_or_notify_cancel()  # nobody but the feed ends it
        self.num_waiting = 0
        self.is_exhausted = False

    def _iterate(self) -> Iterator[Request | None]:
        # a generator, so that a job that raises when it is asked for its requests does so in the feed's thread
        yield from self.job.requests()


class Feed:
    """Runs the engine in a thread of its own from `start` to `close`; jobs may be submitted from any thread meanwhile."""

    def __init__(
        self, open_store: Callable[[], CallStore], load_engine: Callable[[], AbstractContextManager[Engine]], *, is_eager: bool
    ) -> None:
        """Both run in the feed's thread, so that the caller works on meanwhile; an engine that is not eager loads at the first question
        that the store cannot answer.
        """
        self.progress = Progress()
        self._open_store, self._load_engine, self._is_eager = open_store, load_engine, is_eager
        self._submitted: queue.SimpleQueue[_Stream | None] = queue.SimpleQueue()
        self._streams: list[_Stream] = []
        self._waiting: dict[str, list[tuple[_Stream, Request]]] = {}
        self._is_closing = False
        self._is_aborted = False
        self._error: BaseException | None = None
        # held while a job is handed in and while the feed ends: no job lands in a queue that nobody reads any more
        self._ending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def submit(self, job: Job) -> "Future[None]":
        """Add a job; the future ends when every request of it is answered, or with what ended the job or the feed."""
        stream = _Stream(job)
        with self._ending:
            if self._error:
                stream.done.set_exception(self._error)
            else:
                self._submitted.put(stream)
        return stream.done

    def abort(self) -> None:
        """Stop asking, from any thread: what was answered is kept, every job that waits fails with EngineError. Does not wait."""
        self._is_aborted = True
        # those not taken yet are let go here: the feed's thread may be loading an engine for minutes
        self._let_go(EngineError("The run was stopped; what was answered is in the call store."))
        self._submitted.put(None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._submitted.put(None)
        # an engine that is still loading cannot be told to stop; its thread ends with the process
        self._thread.join(MAX_ABORT_S if self._is_aborted else None)

    def _run(self) -> None:
        end: BaseException = EngineError("The feed is closed and answers nothing more; open another one.")
        try:
            store = self._open_store()
            with ExitStack() as stack:
                engine: Engine | None = None
                if self._is_eager:
                    engine = stack.enter_context(self._load_engine())
                while self._admit(wait=True):
                    missing = self._missing(store)
                    first = next(missing, None)
                    if first is None:
                        continue
                    if engine is None:
                        engine = stack.enter_context(self._load_engine())
                    self._answer(engine, store, chain([first], missing))
            if self._is_aborted:
                raise EngineError("The run was stopped; what was answered is in the call store.")
        except BaseException as error:  # noqa: BLE001 - handed to every waiting job, which raises it in its own thread
            end = error
        self._end(end)

    def _answer(self, engine: Engine, store: CallStore, requests: Iterator[Request | None]) -> None:
        try:
            for completion in engine.run(requests):
                store.append(completion, engine)
                self.progress.busy_seconds = engine.busy_seconds
                self._deliver(completion)
                if self._is_aborted:
                    break
        finally:
            store.flush()

    def _end(self, error: BaseException) -> None:
        """Fail every job that waits, those submitted after the close among them, and every later one."""
        self._let_go(error)
        left, self._streams = self._streams, []
        for stream in left:
            stream.done.set_exception(error)

    def _let_go(self, error: BaseException) -> None:
        with self._ending:
            self._error = self._error or error
        while True:
            try:
                stream = self._submitted.get_nowait()
            except queue.Empty:
                return
            if stream:
                stream.done.set_exception(error)

    def _admit(self, *, wait: bool) -> bool:
        """Take what was submitted; True while there is a job. Waits for one only when the engine has nothing else to do."""
        while not self._is_closing and not self._is_aborted:
            try:
                stream = self._submitted.get(block=wait and not self._streams)
            except queue.Empty:
                break
            if stream is None:
                self._is_closing = True
            else:
                self._streams.append(stream)
        return bool(self._streams) and not self._is_aborted

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
            if not stream.num_waiting:
                self._drop(stream, RuntimeError("The job has nothing to ask although every request it gave is answered."))
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
