"""An engine that dies is started again, everything else is answered, and what killed it twice is set aside."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from engine.models import Model
from engine.process import EngineSpec, ProcessEngine
from engine.protocol import Engine, EngineError
from engine.records import Completion, Outcome, Request
from engine.restart import KILLED_ENGINE, MAX_FRUITLESS_DEATHS, RestartingEngine
from engine.scripted import ScriptedEngine, echo
from tests.engine.test_feed import ask

Load = Callable[[], AbstractContextManager[Engine]]


def dies_of(*questions: int, batch: int = 16) -> Load:
    """Engines that die when they come to one of the questions, as a process that is killed would: what they hold is lost."""

    def answer(request: Request) -> str:
        if request.token_ids[0] in questions:
            raise EngineError(f"died of {request.token_ids[0]}")
        return echo(request)

    return lambda: ScriptedEngine(answer, batch=batch)


def by_question(completions: Iterator[Completion]) -> dict[int, Completion]:
    found = list(completions)
    answered = {completion.request.token_ids[0]: completion for completion in found}
    assert len(answered) == len(found), "a request was answered twice"
    return answered


@pytest.mark.parametrize("poison", [1, 17, 199, 200])
def test_what_kills_the_engine_twice_is_set_aside_and_all_others_are_answered(poison: int) -> None:
    engine = RestartingEngine(dies_of(poison))
    answered = by_question(engine.run(ask(n) for n in range(1, 201)))
    assert answered.keys() == set(range(1, 201))
    assert [n for n, completion in answered.items() if completion.outcome is not Outcome.OK] == [poison]
    assert answered[poison].finish_reason == KILLED_ENGINE
    assert "killed the engine twice" in str(answered[poison].error)
    assert 2 <= engine.num_deaths <= 4


def test_several_that_kill_are_told_from_their_neighbours() -> None:
    answered = by_question(RestartingEngine(dies_of(5, 6, 90)).run(ask(n) for n in range(1, 101)))
    assert len(answered) == 100
    assert {n for n, completion in answered.items() if completion.outcome is Outcome.ENGINE_ERROR} == {5, 6, 90}


def test_one_death_of_another_cause_costs_nobody_an_answer() -> None:
    engines = iter([ScriptedEngine(dies_after=30), ScriptedEngine()])
    engine = RestartingEngine(lambda: next(engines))
    answered = by_question(engine.run(ask(n) for n in range(1, 101)))
    assert len(answered) == 100
    assert {completion.outcome for completion in answered.values()} == {Outcome.OK}
    assert engine.num_deaths == 1


def test_request_alone_in_the_engine_is_given_a_second_chance() -> None:
    engines = iter([ScriptedEngine(dies_after=0), ScriptedEngine()])
    answered = by_question(RestartingEngine(lambda: next(engines)).run([ask(1)]))
    assert answered[1].outcome is Outcome.OK


def test_engine_that_dies_whatever_it_is_asked_ends_the_run() -> None:
    engine = RestartingEngine(lambda: ScriptedEngine(dies_after=0))
    with pytest.raises(EngineError, match="answered nothing in between"):
        list(engine.run(ask(n) for n in range(1, 500)))
    assert engine.num_deaths == MAX_FRUITLESS_DEATHS + 1


def test_engine_that_does_not_start_again_ends_the_run() -> None:
    loads = iter([ScriptedEngine(dies_after=3)])

    def load() -> ScriptedEngine:
        try:
            return next(loads)
        except StopIteration:
            raise EngineError("no memory left") from None

    with pytest.raises(EngineError, match="no memory left"):
        list(RestartingEngine(load).run(ask(n) for n in range(1, 50)))


def test_engine_that_nobody_wants_any_more_is_not_started_again() -> None:
    engines = iter([ScriptedEngine(dies_after=3)])
    with pytest.raises(EngineError, match="died after 3"):
        list(RestartingEngine(lambda: next(engines), is_stopped=lambda: True).run(ask(n) for n in range(1, 50)))


def test_source_may_wait_for_an_answer_across_a_death() -> None:
    engines = iter([ScriptedEngine(dies_after=1), ScriptedEngine()])
    heard: list[int] = []

    def source() -> Iterator[Request | None]:
        for n in range(1, 6):
            yield ask(n)
            while n not in heard:
                yield None

    for completion in RestartingEngine(lambda: next(engines)).run(source()):
        heard.append(completion.request.token_ids[0])
    assert heard == [1, 2, 3, 4, 5]


def test_process_killed_in_the_middle_is_replaced(model: Model) -> None:
    started: list[ProcessEngine] = []

    def load() -> ProcessEngine:
        spec = EngineSpec(kind="scripted", model=model, engine_args={"seconds_a_call": 0.001})
        started.append(ProcessEngine(spec))
        return started[-1]

    with RestartingEngine(load) as engine:
        answered: dict[int, Completion] = {}
        for completion in engine.run(ask(n) for n in range(1, 501)):
            answered[completion.request.token_ids[0]] = completion
            if len(answered) in (50, 200):
                os.kill(started[-1].pid, signal.SIGKILL)
    assert answered.keys() == set(range(1, 501))
    assert {completion.outcome for completion in answered.values()} == {Outcome.OK}
    assert len(started) == 3
