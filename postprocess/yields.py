"""What each proposer added to a run: findings that nobody else had, how many of them are right, and what they cost.

Owns who counts as another proposer. Takes edits as guards.py left them and findings as collate.py made them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from chunkers.records import table_schema
from postprocess.records import Edit, EditStatus, Finding, FindingStatus, family_of, is_voter


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """What one proposer brought: a row of `yields`."""

    proposer: str
    """A family of rules, such as `harper`, or a model with its protocol."""
    num_edits: int
    """Those that were rejected among them."""
    num_rejected: int
    num_findings: int
    """In which it has a part, conflicts among them."""
    num_accepted: int
    alone_accepted: int
    """Accepted findings that nobody else had."""
    alone_suggested: int
    """The same of suggested ones."""
    accepted_right: int | None
    """Of `alone_accepted`, those that make the text that people made; None where no document has corrections by people."""
    accepted_false: int | None
    """Of `alone_accepted`, the others in documents with corrections."""
    suggested_right: int | None
    suggested_false: int | None
    engine_seconds: float | None
    """Of its calls, each counted once; None for rules."""

    @property
    def num_alone(self) -> int:
        return self.alone_accepted + self.alone_suggested

    @property
    def is_idle_model(self) -> bool:
        """Whether it is a model that looked for mistakes itself, and without which the run would have found the same."""
        return is_voter(self.proposer) and not self.num_alone


YIELDS = table_schema(
    "yields",
    [
        ("proposer", pa.string()),
        ("num_edits", pa.int64()),
        ("num_rejected", pa.int64()),
        ("num_findings", pa.int64()),
        ("num_accepted", pa.int64()),
        ("alone_accepted", pa.int64()),
        ("alone_suggested", pa.int64()),
        ("accepted_right", pa.int64()),
        ("accepted_false", pa.int64()),
        ("suggested_right", pa.int64()),
        ("suggested_false", pa.int64()),
        ("engine_seconds", pa.float64()),
    ],
    nullable=frozenset({"accepted_right", "accepted_false", "suggested_right", "suggested_false", "engine_seconds"}),
)
"""Sorted by proposer."""


def measure_yields(
    edits: Iterable[Edit], findings: Sequence[Finding], *, engine_seconds: Mapping[str, float], is_right: Mapping[str, bool]
) -> list[Yield]:
    """One row for each proposer, sorted by name: every one that has an edit, and every model of `engine_seconds`, whatever it found.

    `is_right` has the findings, by finding_id, of documents with corrections by people. A finding is a proposer's alone if it would not
    be there without it: a model that scores brings none that a rule found, and its own are those that no rule had.
    """
    num_edits: Counter[str] = Counter()
    num_rejected: Counter[str] = Counter()
    for edit in edits:
        num_edits[family_of(edit.proposer)] += 1
        num_rejected[family_of(edit.proposer)] += edit.status is EditStatus.REJECTED
    having = [(finding, frozenset(map(family_of, finding.proposers))) for finding in findings]
    names = num_edits.keys() | engine_seconds.keys() | {name for _, families in having for name in families}
    shared: dict[str, list[Finding]] = {name: [] for name in names}
    alone: dict[str, list[Finding]] = {name: [] for name in names}
    for finding, families in having:
        for name in families:
            shared[name].append(finding)
            if not _find_others(name, families):
                alone[name].append(finding)
    return [
        _make_yield(name, num_edits[name], num_rejected[name], shared[name], alone[name], engine_seconds.get(name), is_right)
        for name in sorted(names)
    ]


def _find_others(name: str, families: frozenset[str]) -> frozenset[str]:
    """Who else would have brought the finding: whom a model that scores confirms, not the model that confirms."""
    return frozenset(other for other in families - {name} if "/" not in other or is_voter(other) or "/" in name)


def _make_yield(
    name: str,
    num_edits: int,
    num_rejected: int,
    shared: Sequence[Finding],
    alone: Sequence[Finding],
    engine_seconds: float | None,
    is_right: Mapping[str, bool],
) -> Yield:
    counts = Counter((finding.status, is_right.get(finding.finding_id)) for finding in alone)
    accepted, suggested = (
        {right: counts[status, right] for right in (True, False, None)} for status in (FindingStatus.ACCEPTED, FindingStatus.SUGGESTED)
    )
    has_truth = bool(is_right)
    return Yield(
        proposer=name,
        num_edits=num_edits,
        num_rejected=num_rejected,
        num_findings=len(shared),
        num_accepted=sum(finding.status is FindingStatus.ACCEPTED for finding in shared),
        alone_accepted=sum(accepted.values()),
        alone_suggested=sum(suggested.values()),
        accepted_right=accepted[True] if has_truth else None,
        accepted_false=accepted[False] if has_truth else None,
        suggested_right=suggested[True] if has_truth else None,
        suggested_false=suggested[False] if has_truth else None,
        engine_seconds=engine_seconds,
    )


def describe_yield(row: Yield) -> str:
    """A sentence: «added 14 accepted findings nobody else had (11 right, 3 false) and 2 suggested, 212 engine-seconds»."""
    seconds = "" if row.engine_seconds is None else f", {row.engine_seconds:,.0f} engine-seconds"
    if not row.num_alone:
        if row.engine_seconds is not None and not is_voter(row.proposer):
            return f"judged what rules proposed, and added nothing of its own{seconds}"
        if not row.num_edits:
            return f"added nothing: it proposed nothing{seconds}"
        edits = f"{_count(row.num_edits, 'edit')}, {row.num_rejected:,} rejected"
        return f"added nothing: {edits}, {_count(row.num_findings, 'finding')} that others had too{seconds}"
    parts = []
    if row.alone_accepted:
        parts.append(f"{_count(row.alone_accepted, 'accepted finding')} nobody else had{_grade(row.accepted_right, row.accepted_false)}")
    if row.alone_suggested:
        noun = f"{row.alone_suggested:,} suggested" if parts else f"{_count(row.alone_suggested, 'suggested finding')} nobody else had"
        parts.append(noun + _grade(row.suggested_right, row.suggested_false))
    return f"added {' and '.join(parts)}{seconds}"


def _grade(num_right: int | None, num_false: int | None) -> str:
    return "" if num_right is None else f" ({num_right:,} right, {num_false:,} false)"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
