"""Jobs -> engine -> calls, continuously: one engine serves many jobs at once and never drains between them.

Owns the order of requests, the look-up before and the record after each call, and what is asked again or no more. Knows nothing of what
a job asks.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from types import TracebackType
from typing import Protocol, Self

from engine.budget import Budget, Spending
from engine.calls import CallStore
from engine.ledger import Prices
from engine.outcomes import Action, next_action
from engine.prefixes import PrefixTree
from engine.protocol import GIVEN_UP, Engine, EngineError, Steps
from engine.records import Completion, Outcome, Request, fail
from engine.restart import KILLED_ENGINE, RestartingEngine

MAX_ABORT_S = 5.0
"""How long the end of a feed that was told to stop is waited for."""
MAX_BLOCKS = 4_000_000
"""Of different prefixes that are counted, about 600 MB; in a job with more nobody knows what could have been reused."""
BACKOFF_S = 0.5
"""Before the second attempt; four times as long before the third."""
STOPPED = "The run was stopped; what was answered is in the call store."
FAILURES = frozenset(Outcome) - {Outcome.OK}


class Job(Protocol):
    """A source of requests that hears of every answer."""

    def requests(self) -> Iterator[Request | None]:
        """Requests in the order that shares most; None while the next ones wait for an answer to those given.

        A job that says None although each of them is answered ends with a RuntimeError: it would wait for ever.
        """
        ...

    def classify(self, completion: Completion) -> Completion:
        """The completion with the outcome that its text deserves; pure; called before a computed call is stored."""
        ...

    def follows(self, completion: Completion) -> bool:
        """Whether the job asks something else where a call failed so: a stored failure is then a step, and not computed again."""
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
    """Calls without an answer, those among them that led to another question."""
    num_skipped: int = 0
    """Not asked: the budget was spent."""
    skipped_tokens: int = 0
    """Prompt tokens of those."""
    num_failed_before: int = 0
    """Calls asked, or skipped, that had failed in an earlier run."""
    num_deaths: int = 0
    """Of the engine."""
    end_of_budget: str | None = None
    """The limit that was reached."""
    prompt_tokens: int = 0
    """Of computed answers only."""
    cached_tokens: int = 0
    completion_tokens: int = 0
    reusable_tokens: int = 0
    """Of the prompts of computed answers, or of those not asked: what a prefix cache could give at best; 0 where too many to tell."""
    busy_seconds: float = 0.0
    """Time spent in the engine's steps."""
    steps: Steps = field(default_factory=Steps)

    @property
    def computed_tokens(self) -> int:
        """Of prompts and answers, those that no cache gave."""
        return self.prompt_tokens - self.cached_tokens + self.completion_tokens

    def __add__(self, other: "Progress") -> "Progress":
        """Of two feeds together."""
        sums = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self) if each.name != "end_of_budget"}
        return Progress(**sums, end_of_budget=self.end_of_budget or other.end_of_budget)

    def count(self, completion: Completion, *, is_stored: bool) -> None:
        self.num_answered += 1
        if completion.outcome is Outcome.SKIPPED_BUDGET:
            self.num_skipped += 1
            self.skipped_tokens += len(completion.request.token_ids)
            return
        self.num_failed += completion.outcome is not Outcome.OK
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
        self._ending = threading.Lock()

    def end(self, error: BaseException | None = None) -> None:
        """End the future, once: the feed's thread and an abort may both come to it."""
        with self._ending:
            if not self.done.done():
                self.done.set_result(None) if error is None else self.done.set_exception(error)

    def _iterate(self) -> Iterator[Request | None]:
        # a generator, so that a job that raises when it is asked for its requests does so in the feed's thread
        yield from self.job.requests()


class Feed:
    """Runs the engine in a thread of its own from `start` to `close`; jobs may be submitted from any thread meanwhile."""

    def __init__(
        self,
        open_store: Callable[[], CallStore],
        load_engine: Callable[[], AbstractContextManager[Engine]],
        *,
        is_eager: bool,
        spending: Spending | None = None,
        prices: Prices | None = None,
        retried: frozenset[Outcome] = FAILURES,
        retries_killers: bool = False,
        block_size: int | None = None,
    ) -> None:
        """Both run in the feed's thread, so that the caller works on meanwhile; an engine that is not eager loads at the first question
        that the store cannot answer. A stored failure is asked again where its outcome is one of `retried`, else it stands; so does what
        killed the engine twice, but for `retries_killers`. `block_size` is the prefix cache's, in tokens, until an engine tells its own.
        """
        self.progress = Progress()
        self._open_store, self._load_engine, self._is_eager = open_store, load_engine, is_eager
        self._spending, self._prices, self._retried = spending or Spending(Budget()), prices or Prices(), retried
        self._retries_killers = retries_killers
        self._prefixes = PrefixTree(block_size) if block_size else None
        self._submitted: queue.SimpleQueue[_Stream | None] = queue.SimpleQueue()
        self._streams: list[_Stream] = []
        self._waiting: dict[str, list[tuple[_Stream, Request]]] = {}
        self._again: deque[tuple[float, Request]] = deque()
        """Requests that failed for no fault of their own, with the time from which they are asked again."""
        self._is_closing = False
        self._is_aborted = False
        self._is_stale = False
        """Whether others may have written calls that the store does not know of."""
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

    def refresh(self) -> None:
        """Before the next question is asked, take in what other processes have written into the call store; from any thread."""
        self._is_stale = True

    def abort(self) -> None:
        """Stop asking, from any thread: what was answered is kept, every job that waits fails with EngineError. Does not wait."""
        self._is_aborted = True
        error = EngineError(STOPPED)
        # all are let go here: the feed's thread may be loading an engine for minutes
        self._let_go(error)
        for stream in list(self._streams):
            stream.end(error)
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
            with ExitStack() as stack:
                store = stack.enter_context(self._open_store())
                engine: RestartingEngine | None = None
                if self._is_eager:
                    engine = stack.enter_context(self._start_engine())
                while self._admit(wait=True):
                    missing = self._missing(store)
                    first = next(missing, None)
                    if first is None:
                        continue
                    if engine is None:
                        engine = stack.enter_context(self._start_engine())
                    self._answer(engine, store, chain([first], missing))
            if self._is_aborted:
                raise EngineError(STOPPED)
        except BaseException as error:  # noqa: BLE001 - handed to every waiting job, which raises it in its own thread
            end = error
        self._end(end)

    def _start_engine(self) -> RestartingEngine:
        engine = RestartingEngine(self._load_engine, is_stopped=lambda: self._is_aborted)
        self._prefixes = PrefixTree(engine.block_size) if engine.block_size else None
        return engine

    def _answer(self, engine: RestartingEngine, store: CallStore, requests: Iterator[Request | None]) -> None:
        try:
            for completion in engine.run(requests):
                self.progress.busy_seconds, self.progress.num_deaths = engine.busy_seconds, engine.num_deaths
                self.progress.steps = engine.steps
                self._take(completion, engine, store)
                if self._is_aborted:
                    break
        finally:
            store.flush()

    def _take(self, completion: Completion, engine: Engine, store: CallStore) -> None:
        """Classify, keep, and deliver a computed completion, or put its request back."""
        completion = self._classify(completion)
        if completion.prompt_tokens:
            self._count_reuse(completion.request)
        self._spending.add_cost(self._prices.cost_of_tokens(completion))
        store.append(completion, engine_build=engine.build, determinism=engine.determinism)
        request = completion.request
        is_tried_again = completion.finish_reason not in (KILLED_ENGINE, GIVEN_UP)
        if is_tried_again and next_action(completion.outcome, request.attempt) is Action.AGAIN:
            due = time.monotonic() + BACKOFF_S * 4 ** (request.attempt - 1)
            self._again.append((due, replace(request, attempt=request.attempt + 1)))
        else:
            self._deliver(completion)

    def _count_reuse(self, request: Request) -> None:
        if self._prefixes is None:
            return
        self._prefixes.add(request.token_ids, request.sampling.score_from)
        self.progress.reusable_tokens = self._prefixes.reusable_tokens
        if self._prefixes.num_blocks > MAX_BLOCKS:
            self._prefixes, self.progress.reusable_tokens = None, 0

    def _classify(self, completion: Completion) -> Completion:
        """By the first job that waits for it and can; a job that raises ends alone."""
        for stream, request in self._waiting[completion.request.row_key]:
            if stream not in self._streams:
                continue
            try:
                classified = stream.job.classify(replace(completion, request=request))
            except Exception as error:  # noqa: BLE001 - the job's own error ends that job alone
                self._drop(stream, error)
                continue
            return replace(classified, request=completion.request)
        return completion

    def _end(self, error: BaseException) -> None:
        """Fail every job that waits, those submitted after the close among them, and every later one."""
        self._let_go(error)
        left, self._streams = self._streams, []
        for stream in left:
            stream.end(error)

    def _let_go(self, error: BaseException) -> None:
        with self._ending:
            self._error = self._error or error
        while True:
            try:
                stream = self._submitted.get_nowait()
            except queue.Empty:
                return
            if stream:
                stream.end(error)

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
            if again := self._next_again():
                yield again
                continue
            request, stream = self._next_request()
            if request is None or stream is None:
                if self._streams:
                    yield None
                continue
            if request.row_key in self._waiting:
                self._waiting[request.row_key].append((stream, request))
                continue
            if self._is_stale:
                self._is_stale = False
                store.refresh()
            known = store.find(request)
            if known is not None and self._stands(known, stream):
                self.progress.count(known, is_stored=True)
                self._hand_over(stream, known)
                continue
            if stream not in self._streams:
                continue
            self.progress.num_failed_before += known is not None
            if reason := self._spending.find_end():
                self.progress.end_of_budget = reason
                self._skip(stream, request, reason)
                continue
            self._spending.count_call()
            self._waiting[request.row_key] = [(stream, request)]
            yield request

    def _stands(self, known: Completion, stream: _Stream) -> bool:
        """Whether a stored completion is taken for what it is, and not asked again; a job that raises ends alone."""
        if known.outcome is Outcome.OK or known.outcome not in self._retried:
            return True
        if known.finish_reason == KILLED_ENGINE and not self._retries_killers:
            return True
        try:
            return stream.job.follows(known)
        except Exception as error:  # noqa: BLE001 - the job's own error ends that job alone
            self._drop(stream, error)
            return False

    def _skip(self, stream: _Stream, request: Request, reason: str) -> None:
        self._count_reuse(request)
        skipped = fail(request, Outcome.SKIPPED_BUDGET, f"Not asked: {reason} was reached.")
        self.progress.count(skipped, is_stored=False)
        self._hand_over(stream, skipped)

    def _next_again(self) -> Request | None:
        """A request whose time has come; where nothing else is in flight, its time is waited for."""
        if not self._again:
            return None
        due = self._again[0][0] - time.monotonic()
        if due > 0:
            if len(self._waiting) > len(self._again):
                return None
            time.sleep(due)
        return self._again.popleft()[1]

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
            stream.end()

    def _drop(self, stream: _Stream, error: Exception) -> None:
        self._streams.remove(stream)
        stream.end(error)
