"""What a doctor says of one thing: how it is, what was met, what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How it is."""

    OK = "ok"
    WARN = "warn"
    """It works, and something is to be known."""
    FAIL = "fail"
    """What needs it does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line."""

    subject: str
    health: Health
    met: str
    advice: str = ""
    """What to do; empty where nothing is."""


def ok(subject: str, met: str) -> Check:
    return Check(subject=subject, health=Health.OK, met=met)


def warn(subject: str, met: str, advice: str) -> Check:
    return Check(subject=subject, health=Health.WARN, met=met, advice=advice)


def fail(subject: str, met: str, advice: str) -> Check:
    return Check(subject=subject, health=Health.FAIL, met=met, advice=advice)


def fail_by(subject: str, error: BaseException) -> Check:
    """Of an error in three parts, the last is what to do."""
    met, _, advice = str(error).strip().rpartition("; ")
    return fail(subject, met or advice, advice if met else "")
