"""The engine's own process: what it cannot do is said, whatever ends it is heard, and it never outlives who asked for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.models import Model
from engine.process import EngineSpec, ProcessEngine
from engine.protocol import EngineError
from engine.records import Completion, Outcome, Request
from tests.engine.test_feed import ask

ROOT = Path(__file__).parents[2]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def await_death(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline, "the engine's process lives on"
        time.sleep(0.02)


@pytest.fixture
def engine(model: Model) -> Iterator[ProcessEngine]:
    with ProcessEngine(EngineSpec(kind="scripted", model=model, engine_args={"seconds_a_call": 0.0005})) as process:
        yield process


def test_run_that_is_left_early_lets_the_next_one_start_clean(engine: ProcessEngine) -> None:
    for first in range(1, 400, 100):
        running = engine.run(ask(n) for n in range(first, first + 5000))
        for _ in range(20):
            next(running)
        running.close()  # type: ignore[attr-defined]
    answered = [completion.request.token_ids[0] for completion in engine.run(ask(n) for n in range(20_001, 20_101))]
    assert sorted(answered) == list(range(20_001, 20_101))


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_killed_process_is_an_engine_error_that_names_the_signal(engine: ProcessEngine, signum: signal.Signals) -> None:
    running = engine.run(ask(n) for n in range(1, 100_000))
    next(running)
    os.kill(engine.pid, signum)
    with pytest.raises(EngineError, match=f"killed by signal {signum.value}"):
        list(running)
    with pytest.raises(EngineError):
        list(engine.run([ask(1)]))


def test_closing_ends_the_process(model: Model) -> None:
    with ProcessEngine(EngineSpec(kind="scripted", model=model)) as engine:
        pid = engine.pid
        assert is_alive(pid)
    assert not is_alive(pid)


def test_wrong_engine_argument_is_said(model: Model) -> None:
    with pytest.raises(EngineError, match="no_such_option"):
        ProcessEngine(EngineSpec(kind="scripted", model=model, engine_args={"no_such_option": 1}))


def test_rejected_and_endless_requests_are_outcomes(model: Model) -> None:
    from chunkers.tokens import Tokenizer

    tokenizer = Tokenizer(model.tokenizer_path)
    spec = EngineSpec(kind="scripted", model=model, engine_args={"reject_word": "xyzzy", "endless_word": "plugh"})
    texts = ["a plain page", "a page with xyzzy", "a page with plugh"]
    with ProcessEngine(spec) as engine:
        asked = [ask(n, token_ids=tuple(tokenizer.encode_with_offsets(text).ids)) for n, text in enumerate(texts)]
        outcomes = {completion.request.row_key: completion.outcome for completion in engine.run(asked)}
    assert [outcomes[request.row_key] for request in asked] == [Outcome.OK, Outcome.ENGINE_ERROR, Outcome.TRUNCATED]


def test_modules_in_the_folder_that_a_user_works_in_are_not_the_engine_s(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("queue.py", "numpy.py", "engine.py"):
        (tmp_path / name).write_text("raise SystemExit('somebody else's module was run')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with ProcessEngine(EngineSpec(kind="scripted", model=model)) as engine:
        assert len(list(engine.run([ask(1)]))) == 1


ORPHAN = """
import sys
from engine.models import EMBEDDED, resolve_model
from engine.process import EngineSpec, ProcessEngine
from tests.engine.test_feed import ask
engine = ProcessEngine(EngineSpec(kind="scripted", model=resolve_model(EMBEDDED), engine_args={"%s": 30.0}))
next(engine.run(ask(n) for n in range(1, 1000)))
"""


@pytest.mark.parametrize("busy_with", ["seconds_to_load", "seconds_a_call"])
def test_engine_ends_with_a_parent_that_is_killed_whatever_it_is_doing(model: Model, busy_with: str) -> None:
    command = [sys.executable, "-c", ORPHAN % busy_with]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}) as parent:
        deadline = time.monotonic() + 30
        while not (found := subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True, text=True, check=False).stdout):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pid = int(found)
        time.sleep(1.0)
        assert is_alive(pid)
        parent.kill()
        parent.wait()
    await_death(pid)


def test_steps_that_wait_for_a_slow_source_are_stalls_and_those_of_an_empty_one_are_none(engine: ProcessEngine) -> None:
    """It holds 16 requests, and computes 8 of them a step: with fewer than 4, while the source has more, it stalls."""

    def slow() -> Iterator[Request]:
        for number in range(1, 33):
            if number == 17:  # all that it can hold are with it, and soon answered
                time.sleep(1)
            yield ask(number)

    assert len(list(engine.run(slow()))) == 32
    assert engine.steps.num >= 4
    stalled = engine.steps.num_stalled
    assert stalled >= 1

    def waiting() -> Iterator[Request | None]:
        for number in range(101, 111):
            yield ask(number)
            while len(answered) < number - 100:
                yield None  # nothing to be had until it is answered

    answered: list[Completion] = []
    for completion in engine.run(waiting()):
        answered.append(completion)
    assert len(answered) == 10
    assert engine.steps.num_stalled == stalled
