"""The feed: every request of every job is answered once, whatever the others do and whatever ends the engine."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.budget import Budget, Spending
from engine.calls import CallStore, row_key
from engine.endpoint import EndpointEngine
from engine.feed import Feed
from engine.models import Model
from engine.protocol import Engine, EngineError
from engine.records import Completion, Outcome, Request, Sampling, fail
from engine.restart import KILLED_ENGINE
from engine.scripted import ScriptedEngine, echo
from tests.chat_server import Answer, ChatServer, refuse

MODEL = Model(name="m", folder=Path("/nowhere"), revision="r", weights_sha256="ab", quantization="none")
TIMEOUT_S = 20.0


def ask(
    question: int, *, chunk_id: str = "c", template: str = "t", num_tokens: int = 4, token_ids: tuple[int, ...] | None = None
) -> Request:
    token_ids, sampling = token_ids or (question,) * num_tokens, Sampling(max_tokens=20)
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

    def classify(self, completion: Completion) -> Completion:
        return completion

    def follows(self, completion: Completion) -> bool:
        return False

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

    def open_one(load_engine: Load = ScriptedEngine, *, is_eager: bool = False, **settings: Any) -> Feed:
        feeds.append(Feed(lambda: open_store(workspace), load_engine, is_eager=is_eager, **settings).__enter__())
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
        store.append(completion, engine_build=engine.build, determinism=engine.determinism)
    store.flush()


def close(feed: Feed) -> None:
    closing = threading.Thread(target=feed.__exit__, args=(None, None, None), daemon=True)
    closing.start()
    closing.join(TIMEOUT_S)
    assert not closing.is_alive(), "the feed does not end"


def once(load: Load) -> Load:
    """An engine that cannot be started again when it has died."""
    loads = iter([load])

    def load_once() -> AbstractContextManager[Engine]:
        try:
            return next(loads)()
        except StopIteration:
            raise EngineError("the engine cannot be started again") from None

    return load_once


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


def flaky(num_failures: int, outcome: Outcome = Outcome.TIMEOUT) -> Load:
    """An engine whose every question fails so many times before it is answered."""
    asked = Counter[str]()

    class Flaky(ScriptedEngine):
        def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
            for completion in super().run(requests):
                asked[completion.request.row_key] += 1
                is_failed = asked[completion.request.row_key] <= num_failures
                yield replace(completion, outcome=outcome, text=None, error="Too late.") if is_failed else completion

    return Flaky


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.ENGINE_ERROR])
def test_request_that_fails_for_no_fault_of_its_own_is_asked_again(open_feed: Open, workspace: Path, outcome: Outcome) -> None:
    job, feed = ListJob(ask(n) for n in range(5)), open_feed(flaky(2, outcome))
    await_end(feed.submit(job))
    assert {completion.outcome for completion in job.heard} == {Outcome.OK}
    assert feed.progress.num_failed == 0
    close(feed)
    rows = [row for part in workspace.glob("calls/*/part-*.parquet") for row in pq.read_table(part, partitioning=None).to_pylist()]
    assert Counter((row["attempt"], row["outcome"]) for row in rows) == {(1, outcome): 5, (2, outcome): 5, (3, "ok"): 5}


def test_request_that_goes_on_failing_is_an_outcome(open_feed: Open) -> None:
    job, answered = ListJob([ask(1), ask(2)]), ListJob([ask(1)])
    await_end(open_feed(flaky(3)).submit(job))
    assert [completion.outcome for completion in job.heard] == [Outcome.TIMEOUT] * 2
    assert {completion.request.attempt for completion in job.heard} == {1}, "a job hears of its own request"
    await_end(open_feed().submit(answered))
    assert [completion.outcome for completion in answered.heard] == [Outcome.OK]


class SteppingJob(ListJob):
    """Asks a second question where the first is refused, and counts its failures."""

    def classify(self, completion: Completion) -> Completion:
        is_first = completion.request.token_ids[0] == 1
        return replace(completion, outcome=Outcome.TRUNCATED) if is_first else completion

    def follows(self, completion: Completion) -> bool:
        return completion.outcome is Outcome.TRUNCATED

    def requests(self) -> Iterator[Request | None]:
        yield ask(1)
        while not self.heard:
            yield None
        yield ask(2)


def test_failure_that_is_only_a_step_is_not_computed_again(open_feed: Open) -> None:
    answers, first, second = Answers(), SteppingJob([]), SteppingJob([])
    feed = open_feed(lambda: ScriptedEngine(answers))
    await_end(feed.submit(first))
    close(feed)
    await_end(open_feed(lambda: ScriptedEngine(answers)).submit(second))
    assert answers.counts == {1: 1, 2: 1}
    outcomes = [completion.outcome for completion in second.heard]
    assert outcomes == [completion.outcome for completion in first.heard] == [Outcome.TRUNCATED, Outcome.OK]


def test_only_the_named_outcomes_are_asked_again(open_feed: Open, workspace: Path) -> None:
    with open_store(workspace) as store:
        for n, outcome in ((1, Outcome.TRUNCATED), (2, Outcome.REFUSED), (3, Outcome.OK)):
            (completion,) = ScriptedEngine().run([ask(n)])
            store.append(replace(completion, outcome=outcome), engine_build="b", determinism="none")
    answers, job = Answers(), ListJob(ask(n) for n in (1, 2, 3))
    feed = open_feed(lambda: ScriptedEngine(answers), retried=frozenset({Outcome.REFUSED}))
    await_end(feed.submit(job))
    assert answers.counts == {2: 1}
    assert sorted(completion.outcome for completion in job.heard) == ["ok", "ok", "truncated"]
    assert feed.progress.num_failed_before == 1


@pytest.mark.parametrize("retries_killers", [False, True])
def test_what_killed_the_engine_is_asked_again_only_where_it_is_meant(open_feed: Open, workspace: Path, retries_killers: bool) -> None:
    with open_store(workspace) as store:
        store.append(fail(ask(1), Outcome.ENGINE_ERROR, "it did", finish_reason=KILLED_ENGINE), engine_build="b", determinism="none")
        store.append(fail(ask(2), Outcome.ENGINE_ERROR, "refused"), engine_build="b", determinism="none")
    answers, job = Answers(), ListJob([ask(1), ask(2)])
    await_end(open_feed(lambda: ScriptedEngine(answers), retries_killers=retries_killers).submit(job))
    assert answers.counts == ({1: 1, 2: 1} if retries_killers else {2: 1})


@pytest.mark.parametrize(("answer", "num_tries"), [(refuse(400, "no"), 1), (refuse(500, "out of order"), 3)])
def test_what_an_engine_has_asked_again_by_itself_is_not_asked_again(open_feed: Open, answer: Answer, num_tries: int) -> None:
    job = ListJob([replace(ask(1), messages=(("user", "hello"),))])
    with ChatServer(lambda asked: answer) as server:
        await_end(open_feed(lambda: EndpointEngine(MODEL, base_url=server.url, max_retries=2, first_wait_s=0.01)).submit(job))
    assert [completion.outcome for completion in job.heard] == [Outcome.ENGINE_ERROR]
    assert len(server.asked) == num_tries


def test_budget_stops_asking_finishes_what_is_in_flight_and_the_next_run_goes_on(open_feed: Open) -> None:
    answers, job = Answers(), ListJob(ask(n) for n in range(100))
    feed = open_feed(lambda: ScriptedEngine(answers), spending=Spending(Budget(max_calls=30)))
    await_end(feed.submit(job))
    outcomes = Counter(completion.outcome for completion in job.heard)
    assert outcomes == {Outcome.OK: 30, Outcome.SKIPPED_BUDGET: 70}
    assert feed.progress.end_of_budget == "max_calls=30"
    assert (feed.progress.num_skipped, feed.progress.num_failed) == (70, 0)
    close(feed)
    later = ListJob(ask(n) for n in range(100))
    await_end(open_feed(lambda: ScriptedEngine(answers)).submit(later))
    assert answers.counts == dict.fromkeys(range(100), 1), "what was skipped is no call, and nothing is computed twice"


def test_run_with_nothing_to_spend_loads_no_engine_and_tells_what_is_missing(open_feed: Open, workspace: Path) -> None:
    answer_before(workspace, [ask(n) for n in range(10)])

    def load() -> Engine:
        raise AssertionError("an engine was loaded")

    feed = open_feed(load, spending=Spending(Budget(max_calls=0)))
    await_end(feed.submit(ListJob(ask(n) for n in range(30))))
    assert (feed.progress.num_stored, feed.progress.num_skipped, feed.progress.skipped_tokens) == (10, 20, 80)


def test_poisoned_rows_cost_only_themselves(open_feed: Open) -> None:
    """10,000 rows; one is refused by the engine, one kills it, the answer of one never ends."""
    rejected, killer, endless = 1234, 5000, 9999

    def answer(request: Request) -> str:
        if request.token_ids[0] == killer:
            raise EngineError("killed")
        return "x" * 1000 if request.token_ids[0] == endless else echo(request)

    def reject(request: Request) -> str | None:
        return "no such token" if request.token_ids[0] == rejected else None

    job = ListJob(ask(n) for n in range(10_000))
    feed = open_feed(lambda: ScriptedEngine(answer, reject=reject, batch=128))
    feed.submit(job).result(120)
    assert len(job.heard) == 10_000
    failed = {completion.request.token_ids[0]: completion.outcome for completion in job.heard if completion.outcome is not Outcome.OK}
    assert failed == {rejected: Outcome.ENGINE_ERROR, killer: Outcome.ENGINE_ERROR, endless: Outcome.TRUNCATED}
    assert feed.progress.num_failed == 3
    assert 2 <= feed.progress.num_deaths <= 5


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
    feed = open_feed(once(lambda: ScriptedEngine(answers, dies_after=25)))
    futures = [feed.submit(ListJob([ask(100 * n + k) for k in range(20)])) for n in range(3)]
    answers.is_free.set()
    await_end(futures[0])
    for future in futures[1:]:
        with pytest.raises(EngineError, match="cannot be started again"):
            future.result(TIMEOUT_S)
    with pytest.raises(EngineError, match="cannot be started again"):
        feed.submit(ListJob([ask(1)])).result(TIMEOUT_S)
    store = open_store(workspace)
    assert sum(store.find(ask(100 * n + k)) is not None for n in range(3) for k in range(20)) == 25


def test_killed_run_goes_on_where_it_was(open_feed: Open) -> None:
    with pytest.raises(EngineError):
        open_feed(once(lambda: ScriptedEngine(dies_after=25))).submit(ListJob(ask(n) for n in range(60))).result(TIMEOUT_S)
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
            feed = open_feed(once(lambda: ScriptedEngine(dies_after=0)))
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
    close(feed)
    assert open_store(workspace).find(ask(0)) is not None


@pytest.mark.parametrize("is_eager", [True, False])
def test_abort_does_not_wait_for_an_engine_that_loads(workspace: Path, is_eager: bool) -> None:
    may_load, is_loading = threading.Event(), threading.Event()

    def load_slowly() -> ScriptedEngine:
        is_loading.set()
        assert may_load.wait(30)
        return ScriptedEngine()

    feed = Feed(lambda: open_store(workspace), load_slowly, is_eager=is_eager)
    with feed:
        before = feed.submit(ListJob([ask(1)]))
        assert is_loading.wait(5)
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
    assert progress.prompt_tokens == 11 * 4 + 30
    assert progress.completion_tokens == 11 * 2, "«4 tokens» are two tokens of the scripted engine"


def test_feed_counts_what_a_prefix_cache_could_give(open_feed: Open) -> None:
    """Ten prompts of 100 tokens that begin with the same 70: two whole blocks of 32 in nine of them; what is stored counts nothing."""
    common = tuple(range(1, 71))
    requests = [ask(number, token_ids=(*common, *range(1000 + 30 * number, 1030 + 30 * number))) for number in range(10)]
    for expected in (9 * 64, 0):
        feed = open_feed()
        await_end(feed.submit(ListJob(requests)))
        close(feed)
        assert feed.progress.reusable_tokens == expected
