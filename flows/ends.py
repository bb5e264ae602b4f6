"""How a run ended: its exit code and the reason in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from engine.feed import Progress
from flows.config import RunConfig


class ExitCode(IntEnum):
    """What the command ends with; 130 and 143 are stops by SIGINT and SIGTERM."""

    DONE = 0
    FINDINGS = 1
    """Done, with findings as --fail-on names them."""
    USAGE = 2
    """Usage, configuration or input error; nothing was computed."""
    FAILED_ROWS = 3
    """Done, with more failed rows than --max-error-rate allows."""
    BUDGET = 4
    """Stopped by --max-cost, --max-engine-hours or --deadline; resumable."""
    ENGINE = 5
    """Engine, worker or disk failure after retries; resumable."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run whose tables and reports are written."""

    code: ExitCode
    reason: str | None
    """For a person; None where all is well."""


def find_end(counts: dict[str, Any], config: RunConfig, progress: Sequence[Progress]) -> End:
    """The end that a run's counts and its engines' progress come to; a spent budget before failed rows before findings."""
    if reasons := [each.end_of_budget for each in progress if each.end_of_budget]:
        num_skipped = sum(each.num_skipped for each in progress)
        return End(
            ExitCode.BUDGET, f"Stopped at {reasons[0]}: {num_skipped:,} calls were not asked. What was found so far is in the report."
        )
    for failed, asked, noun in (
        (counts["failed_calls"], counts["asked_calls"], "calls"),
        (counts["unread"], counts["unread"] + counts["documents"], "inputs"),
    ):
        if failed and failed > config.max_error_rate * asked:
            share = f"{failed:,} of {asked:,} {noun} failed, which is more than --max-error-rate {config.max_error_rate:g}"
            return End(ExitCode.FAILED_ROWS, f"{share}. `flows errors` lists them; the rest is in the report.")
    blocking = {"never": 0, "accepted": counts["accepted"], "any": counts["findings"]}[config.fail_on]
    if blocking:
        return End(ExitCode.FINDINGS, f"{blocking:,} findings at or above --fail-on {config.fail_on}.")
    return End(ExitCode.DONE, None)
