"""For how long each kind of work of a command went on, besides what engines do. A process runs one command, so there is one clock."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from postprocess.exports.report import TimeSpent

MIN_SHOWN_S = 0.05


class Phase(StrEnum):
    """Work that needs no engine."""

    START = "starting"
    """Prefect and its server; engines start beside it."""
    READ = "reading"
    """Documents and chunks."""
    DETECT = "detectors"
    """Goes on while engines start and work."""
    COLLATE = "collating"
    WRITE = "writing"
    """The run's own tables and its reports."""


_seconds = dict.fromkeys(Phase, 0.0)
_num_active = dict.fromkeys(Phase, 0)
_started: dict[Phase, float] = {}
_lock = threading.Lock()


@contextmanager
def timed(phase: Phase) -> Iterator[None]:
    """Counts the time inside; what several threads do at once counts once."""
    with _lock:
        if not _num_active[phase]:
            _started[phase] = time.monotonic()
        _num_active[phase] += 1
    try:
        yield
    finally:
        with _lock:
            _num_active[phase] -= 1
            if not _num_active[phase]:
                _seconds[phase] += time.monotonic() - _started[phase]


def measure_phases() -> dict[Phase, float]:
    """Seconds of each phase so far, those that go on among them, in the order of Phase."""
    with _lock:
        now = time.monotonic()
        return {phase: _seconds[phase] + (now - _started[phase] if _num_active[phase] else 0.0) for phase in Phase}


def spent_times(models: Mapping[str, Mapping[str, Any]], phases: Mapping[str, float]) -> tuple[TimeSpent, ...]:
    """Phases before engines, each model's engine as `measure_models` says, phases after them; what took hardly any is left out."""
    engines = [
        TimeSpent(what=f"{label}: {name}", seconds=measured[key])
        for name, measured in models.items()
        for label, key in (("engine start", "load_s"), ("engine work", "busy_s"), ("engine idle", "idle_s"))
    ]
    times = {phase: TimeSpent(what=phase, seconds=phases[phase]) for phase in Phase if phase in phases}
    before, after = (Phase.START, Phase.READ, Phase.DETECT), (Phase.COLLATE, Phase.WRITE)
    ordered = [*(times[phase] for phase in before if phase in times), *engines, *(times[phase] for phase in after if phase in times)]
    return tuple(spent for spent in ordered if spent.seconds >= MIN_SHOWN_S)


def reset_phases() -> None:
    """A command begins."""
    with _lock:
        _seconds.update(dict.fromkeys(Phase, 0.0))
