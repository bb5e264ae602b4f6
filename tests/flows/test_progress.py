"""What a terminal shows of several workers."""

from dataclasses import replace
from io import StringIO

from rich.console import Console

from engine.feed import Progress
from flows.engines import ModelState
from flows.progress import describe_workers

STATE = ModelState(
    name="fake",
    progress=Progress(num_answered=1200, num_failed=3, prompt_tokens=1000, cached_tokens=750, completion_tokens=50, busy_seconds=2.0),
    load_seconds=10.0,
    held_seconds=20.0,
    num_chunks=40,
    num_read=30,
    num_further=0,
    engine_build="scripted 1",
)


def test_each_worker_has_its_row() -> None:
    loading = replace(STATE, progress=Progress(), load_seconds=0.0, num_read=0)
    restarted = replace(STATE, progress=replace(STATE.progress, num_deaths=2))
    console = Console(file=StringIO(), width=120)
    console.print(describe_workers([("head:17", STATE), ("node:4", loading), ("node:5", restarted)]))
    assert isinstance(console.file, StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines == [
        "worker   model  chunks read  calls  tokens/s  cached  failed        engine",
        "head:17  fake      30 of 40  1,200       150     75%       3",
        "node:4   fake       0 of 40      0                         0         loads",
        "node:5   fake      30 of 40  1,200       150     75%       3  restarted 2×",
    ]


def test_states_of_two_workers_add_up() -> None:
    both = STATE + replace(STATE, progress=replace(STATE.progress, end_of_budget="max_cost"), engine_build=None)
    assert (both.num_chunks, both.num_read, both.held_seconds, both.engine_build) == (80, 60, 40.0, "scripted 1")
    assert (both.progress.num_answered, both.progress.computed_tokens, both.progress.end_of_budget) == (2400, 600, "max_cost")
