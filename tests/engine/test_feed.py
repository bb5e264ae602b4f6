"""The feed: every request of every job is answered once, whatever the others do and whatever ends the engine."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from engine.calls import CallStore, row_key
from engine.feed import Feed
from engine.models import Model
from engine.protocol import Engine, EngineError
from engine.records import Completion, Outcome, Request, Sampling
from engine.scripted import ScriptedEngine, echo

MODEL = Model(name="m", folder=Path("/nowhere"), revision="r", weights_sha256="ab", quantization="none")
TIMEOUT_S = 20.0


def ask(question: int, *, chunk_id: str = "c", template: str = "t", num_tokens: int = 4) -> Request:
    token_ids, sampling = (question,) * num_tokens, Sampling(max_tokens=20)
    return Request(
        row_key=row_key(MODEL, "scripted", token_ids, sampling),
        doc_id="d",
        chunk_id=chunk_id,
        template=template,
        template_version=1,
        token_ids=token_ids,
        sampling=sampling,
    )


class ListJob:
    """Asks what it was given and keeps what it hears."""

    def __init__(self, requests: Iterable[Request | None]) -> None:
        self.asked, self.heard = requests, list[Completion]()

    def requests(self) -> Iterator[Request | None]:
        yield from self.asked

    def receive(self, completion: Completion) -> None:
        self.heard.append(completion)

    @property
    def chunk_ids(self) -> list[str]:
        return sorted(completion.request.chunk_id for completion in self.heard)


class Answers:
    """What an engine was asked, counted by the question; waits before an answer while `is_free` is not set."""

    def __init__(self) -> None:
        self.counts = Counter[int]()
        self.is_asked, self.is_free = threading.Event(), threading.Event()
        self.is_free.set()

    def __call__(self, request: Request) -> str:
        self.counts[request.token_ids[0]] += 1
        self.is_asked.set()
        assert self.is_free.wait(TIMEOUT_S)
        return echo(request)


def await_end(*futures: "Future[None]") -> None:
    for future in futures:
        future.result(TIMEOUT_S)


Load = Callable[[], AbstractContextManager[Engine]]
Open = Callable[..., Feed]


@pytest.fixture
def open_feed(workspace: Path) -> Iterator[Open]:
    """A started feed that is closed at the end, within a time limit."""
    feeds: list[Feed] = []

    def open_one(load_engine: Load = ScriptedEngine, *, is_eager: bool = False) -> Feed:
        feeds.append(Feed(lambda: open_store(workspace), load_engine, is_eager=is_eager).__enter__())
        return feeds[-1]

    yield open_one
    for feed in feeds:
        close(feed)


def open_store(workspace: Path) -> CallStore:
    return CallStore(str(workspace), MODEL, worker="w")


def answer_before(workspace: Path, requests: Iterable[Request]) -> None:
    """What an earlier run would have left in the store."""
    store, engine = open_store(workspace), ScriptedEngine()
    for completion in engine.run(requests):
        store.append(completion, engine)
    store.flush()


def close(feed: Feed) -> None:
    closing = threading.Thread(target=feed.__exit__, args=(None, None, None), daemon=True)
    closing.start()
    closing.join(TIMEOUT_S)
    assert not closing.is_alive(), "the feed does not end"


def test_every_request_of_several_jobs_is_answered_once(open_feed: Open) -> None:
    jobs = [ListJob([ask(100 * n + k, chunk_id=f"{n} {k:02}") for k in range(30)]) for n in range(4)]
    feed = open_feed()
    await_end(*[feed.submit(job) for job in jobs])
    assert [job.chunk_ids for job in jobs] == [[f"{n} {k:02}" for k in range(30)] for n in range(4)]


def test_jobs_come_from_several_threads(open_feed: Open) -> None:
    feed, jobs = open_feed(), [ListJob([ask(n, chunk_id=f"{n}")]) for n in range(16)]
    futures: dict[int, Future[None]] = {}
    threads = [threading.Thread(target=lambda n=n: futures.update({n: feed.submit(jobs[n])})) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    await_end(*futures.values())
    assert [job.chunk_ids for job in jobs] == [[f"{n}"] for n in range(16)]


def test_same_question_is_computed_once_and_answered_to_each(open_feed: Open) -> None:
    answers = Answers()
    one, other = ListJob([ask(1, chunk_id="one"), ask(1, chunk_id="again")]), ListJob([ask(1, chunk_id="other", template="u")])
    feed = open_feed(lambda: ScriptedEngine(answers))
    answers.is_free.clear()
    futures = [feed.submit(one), feed.submit(other)]
    answers.is_free.set()
    await_end(*futures)
    assert answers.counts == {1: 1}
    assert (one.chunk_ids, other.chunk_ids) == (["again", "one"], ["other"])
    assert [completion.request.template for completion in other.heard] == ["u"]


def test_stored_answers_need_no_engine(open_feed: Open, workspace: Path) -> None:
    answer_before(workspace, [ask(1), ask(2)])

    def load() -> Engine:
        raise AssertionError("an engine was loaded although every answer is stored")

    job, feed = ListJob([ask(2, chunk_id="b"), ask(1, chunk_id="a")]), open_feed(load)
    await_end(feed.submit(job))
    assert job.chunk_ids == ["a", "b"]
    assert (feed.progress.num_answered, feed.progress.num_stored) == (2, 2)


def test_only_what_is_missing_is_computed(open_feed: Open, workspace: Path) -> None:
    answer_before(workspace, [ask(n) for n in range(0, 20, 2)])
    answers, job = Answers(), ListJob(ask(n) for n in range(20))
    await_end(open_feed(lambda: ScriptedEngine(answers)).submit(job))
    assert answers.counts == dict.fromkeys(range(1, 20, 2), 1)
    assert len(job.heard) == 20


def test_failed_call_is_answered_and_asked_again_next_time(open_feed: Open) -> None:
    too_long, job, feed = (
        ask(1, num_tokens=30),
        ListJob([ask(1, num_tokens=30), ask(2)]),
        open_feed(lambda: ScriptedEngine(max_model_len=20)),
    )
    await_end(feed.submit(job))
    assert {completion.outcome for completion in job.heard} == {Outcome.INPUT_TOO_LONG, Outcome.OK}
    assert feed.progress.num_failed == 1
    later = ListJob([too_long])
    await_end(open_feed().submit(later))
    assert [completion.outcome for completion in later.heard] == [Outcome.OK]


def test_eager_engine_loads_before_there_is_a_job(open_feed: Open) -> None:
    is_loaded = threading.Event()

    def load() -> ScriptedEngine:
        is_loaded.set()
        return ScriptedEngine()

    open_feed(load, is_eager=True)
    assert is_loaded.wait(TIMEOUT_S)


class RaisingJob(ListJob):
    """Raises in `requests` after what it was given, or at the first answer."""

    def __init__(self, requests: Iterable[Request | None], *, at: str) -> None:
        super().__init__(requests)
        self.at = at

    def requests(self) -> Iterator[Request | None]:
        if self.at == "call":
            raise ValueError("at call")
        return self._iterate()

    def _iterate(self) -> Iterator[Request | None]:
        yield from self.asked
        if self.at == "requests":
            raise ValueError("at requests")

    def receive(self, completion: Completion) -> None:
        if self.at == "receive":
            raise ValueError("at receive")


@pytest.mark.parametrize("at", ["call", "requests", "receive"])
def test_error_of_a_job_ends_that_job_alone(open_feed: Open, at: str) -> None:
    before, after = ListJob(ask(n) for n in range(50)), ListJob(ask(n) for n in range(50, 100))
    feed = open_feed()
    futures = [feed.submit(job) for job in (before, RaisingJob([ask(1), ask(200), ask(201)], at=at), after)]
    with pytest.raises(ValueError, match=f"at {at}"):
        futures[1].result(TIMEOUT_S)
    await_end(futures[0], futures[2])
    assert (len(before.heard), len(after.heard)) == (50, 50)


@pytest.mark.parametrize("is_first", [True, False])
def test_job_that_waits_for_nothing_ends_alone(open_feed: Open, is_first: bool) -> None:
    stuck, job = ListJob([ask(300), None, None, None, None, None]), ListJob(ask(n) for n in range(50))
    feed = open_feed(lambda: ScriptedEngine(batch=1))
    # with nothing else to compute too
    with pytest.raises(RuntimeError, match="every request it gave is answered"):
        feed.submit(ListJob([None])).result(TIMEOUT_S)
    futures = {each: feed.submit(each) for each in ((stuck, job) if is_first else (job, stuck))}
    with pytest.raises(RuntimeError, match="every request it gave is answered"):
        futures[stuck].result(TIMEOUT_S)
    await_end(futures[job])
    assert len(job.heard) == 50


class WaitingJob(ListJob):
    """Asks its second question once the first is answered."""

    def requests(self) -> Iterator[Request | None]:
        yield ask(1, chunk_id="first")
        while not self.heard:
            yield None
        yield ask(2, chunk_id="second")


@pytest.mark.parametrize("num_others", [0, 60])
def test_job_may_wait_for_its_answer_while_others_ask(open_feed: Open, num_others: int) -> None:
    waiting, other = WaitingJob([]), ListJob(ask(n) for n in range(3, 3 + num_others))
    feed = open_feed(lambda: ScriptedEngine(batch=2))
    await_end(feed.submit(waiting), feed.submit(other))
    assert [completion.request.chunk_id for completion in waiting.heard] == ["first", "second"]
    assert len(other.heard) == num_others


def test_dead_engine_fails_every_job_and_keeps_what_it_answered(open_feed: Open, workspace: Path) -> None:
    answers = Answers()
    answers.is_free.clear()
    feed = open_feed(lambda: ScriptedEngine(answers, dies_after=25))
    futures = [feed.submit(ListJob([ask(100 * n + k) for k in range(20)])) for n in range(3)]
    answers.is_free.set()
    await_end(futures[0])
    for future in futures[1:]:
        with pytest.raises(EngineError, match="died after 25"):
            future.result(TIMEOUT_S)
    with pytest.raises(EngineError, match="died after 25"):
        feed.submit(ListJob([ask(1)])).result(TIMEOUT_S)
    store = open_store(workspace)
    assert sum(store.find(ask(100 * n + k)) is not None for n in range(3) for k in range(20)) == 25


def test_killed_run_goes_on_where_it_was(open_feed: Open) -> None:
    with pytest.raises(EngineError):
        open_feed(lambda: ScriptedEngine(dies_after=25)).submit(ListJob(ask(n) for n in range(60))).result(TIMEOUT_S)
    answers, job = Answers(), ListJob(ask(n) for n in range(60))
    await_end(open_feed(lambda: ScriptedEngine(answers)).submit(job))
    assert len(job.heard) == 60
    assert answers.counts.total() == 35


@pytest.mark.parametrize("is_eager", [True, False])
def test_engine_that_does_not_load_fails_every_job(open_feed: Open, is_eager: bool) -> None:
    def load() -> Engine:
        raise EngineError("no room for the weights")

    feed = open_feed(load, is_eager=is_eager)
    for future in [feed.submit(ListJob([ask(n)])) for n in range(5)]:
        with pytest.raises(EngineError, match="no room"):
            future.result(TIMEOUT_S)


def test_store_that_does_not_open_fails_every_job(workspace: Path) -> None:
    workspace.write_text("a file where the workspace should be")
    (workspace.parent / "calls").write_text("")

    def open_nothing() -> CallStore:
        raise OSError("no such disk")

    with Feed(open_nothing, ScriptedEngine, is_eager=False) as feed, pytest.raises(OSError, match="no such disk"):
        feed.submit(ListJob([ask(1)])).result(TIMEOUT_S)


def test_no_job_is_forgotten_while_the_engine_dies(open_feed: Open) -> None:
    # the gap between the last look at the queue and the end of the thread is narrow: this hammers on it, and meets it only at times
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            feed = open_feed(lambda: ScriptedEngine(dies_after=0))
            futures = [feed.submit(ListJob([ask(1)]))]
            while not futures[-1].done():
                futures.append(feed.submit(ListJob([ask(1)])))
            for future in futures:
                with pytest.raises(EngineError):
                    future.result(TIMEOUT_S)
    finally:
        sys.setswitchinterval(interval)


def test_aborted_feed_fails_what_waits_and_keeps_what_it_answered(open_feed: Open, workspace: Path) -> None:
    answers = Answers()
    answers.is_free.clear()
    feed = open_feed(lambda: ScriptedEngine(answers, batch=1))
    futures = [feed.submit(ListJob([ask(100 * n + k) for k in range(50)])) for n in range(2)]
    assert answers.is_asked.wait(TIMEOUT_S)
    feed.abort()
    futures.append(feed.submit(ListJob([ask(500)])))
    answers.is_free.set()
    for future in futures:
        with pytest.raises(EngineError, match="stopped"):
            future.result(TIMEOUT_S)
    assert open_store(workspace).find(ask(0)) is not None


def test_abort_does_not_wait_for_an_engine_that_loads(workspace: Path) -> None:
    may_load = threading.Event()

    def load_slowly() -> ScriptedEngine:
        assert may_load.wait(30)
        return ScriptedEngine()

    feed = Feed(lambda: open_store(workspace), load_slowly, is_eager=True)
    with feed:
        before = feed.submit(ListJob([ask(1)]))
        feed.abort()
        after = feed.submit(ListJob([ask(2)]))
        for future in (before, after):
            with pytest.raises(EngineError, match="was stopped"):
                future.result(timeout=5)
        may_load.set()


def test_job_is_taken_while_the_engine_is_busy(open_feed: Open) -> None:
    """The first job waits for the second: an engine that was drained between jobs would never end it."""
    second = ListJob([ask(1)])
    is_submitted = threading.Event()

    def endless() -> Iterator[Request]:
        n = 2
        while not (is_submitted.is_set() and second.heard):
            yield ask(n)
            n += 1
            assert n < 100_000, "the second job is not taken while the first has questions"

    feed = open_feed(lambda: ScriptedEngine(batch=1))
    first = feed.submit(_Polite(endless()))
    futures = [first, feed.submit(second)]
    is_submitted.set()
    await_end(*futures)


class _Polite(ListJob):
    """Lets the others ask after each of its questions."""

    def requests(self) -> Iterator[Request | None]:
        for request in self.asked:
            num_heard = len(self.heard)
            yield request
            while len(self.heard) == num_heard:
                yield None


def test_close_waits_for_what_is_under_way(open_feed: Open) -> None:
    answers, job = Answers(), ListJob(ask(n) for n in range(100))
    answers.is_free.clear()
    feed = open_feed(lambda: ScriptedEngine(answers))
    future = feed.submit(job)
    assert answers.is_asked.wait(TIMEOUT_S)
    closing = threading.Thread(target=feed.__exit__, args=(None, None, None), daemon=True)
    closing.start()
    answers.is_free.set()
    closing.join(TIMEOUT_S)
    assert not closing.is_alive()
    assert future.done()
    assert len(job.heard) == 100


def test_job_for_a_closed_feed_is_an_error(open_feed: Open) -> None:
    feed = open_feed()
    close(feed)
    with pytest.raises(EngineError, match="closed"):
        feed.submit(ListJob([ask(1)])).result(TIMEOUT_S)


def test_future_that_somebody_cancels_takes_nobody_along(open_feed: Open) -> None:
    answers = Answers()
    answers.is_free.clear()
    feed = open_feed(lambda: ScriptedEngine(answers))
    given_up, job = feed.submit(ListJob([ask(1)])), ListJob([ask(2)])
    future = feed.submit(job)
    given_up.cancel()
    answers.is_free.set()
    await_end(future)
    assert len(job.heard) == 1


def test_progress_adds_up(open_feed: Open) -> None:
    feed = open_feed(lambda: ScriptedEngine(max_model_len=20))
    requests: list[Any] = [ask(n, template="even" if n % 2 == 0 else "odd") for n in range(11)]
    jobs = [ListJob([*requests, ask(50, num_tokens=30, template="long")]), ListJob(requests)]
    await_end(feed.submit(jobs[0]))
    await_end(feed.submit(jobs[1]))
    progress = feed.progress
    assert (progress.num_answered, progress.num_stored, progress.num_failed) == (23, 11, 1)
    assert progress.templates == {"even": 12, "odd": 10, "long": 1}
    assert progress.prompt_tokens == 11 * 4 + 30
    assert progress.completion_tokens == 11 * 2, "«4 tokens» are two tokens of the scripted engine"
