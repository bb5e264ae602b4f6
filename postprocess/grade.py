"""Findings against the corrections that people made in the same documents: what each one found.

Owns when a finding is right. It counts no figures: evaluate.py does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chunkers.records import Category
from postprocess.records import Finding, FindingStatus
from postprocess.truth import MAX_SHIFT_CHARS, Correction, is_at_place, is_same_change


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A replacement that somebody proposed: a finding of a run, or a suggestion of another tool."""

    start: int
    end: int
    replacement: str
    category: Category
    proposers: tuple[str, ...]
    """Sorted, unique."""
    confidence: float
    """0 to 1; 1 of a tool that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedChange:
    """A change, and which corrections of its document it answers."""

    change: Change
    makes: tuple[int, ...]
    """Indices of the corrections of which it makes the same text."""
    marks: tuple[int, ...]
    """Indices of those at its place, those that it makes among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedDocument:
    """One document with its corrections and what was proposed in it."""

    name: str
    book: str
    group: str | None
    """What it is shown apart with, such as `novels`; None where nobody says."""
    num_words: int
    corrections: tuple[Correction, ...]
    changes: tuple[GradedChange, ...]


def read_changes(findings: Iterable[Finding]) -> list[Change]:
    """Findings as changes, in their order. Of findings that overlap the surest counts: the others are conflicts, which nothing applies."""
    return [
        Change(
            start=finding.start,
            end=finding.end,
            replacement=finding.replacement,
            category=finding.category,
            proposers=finding.proposers,
            confidence=finding.confidence,
        )
        for finding in findings
        if finding.status is not FindingStatus.CONFLICT
    ]


def grade_changes(text: str, corrections: Sequence[Correction], changes: Iterable[Change]) -> tuple[GradedChange, ...]:
    """Every change with the corrections that it makes and marks, in the order given."""
    graded = []
    for change in changes:
        made = find_made(text, corrections, (change.start, change.end, change.replacement))
        marked = [index for index, correction in enumerate(corrections) if index in made or is_at_place(correction, change)]
        graded.append(GradedChange(change=change, makes=made, marks=tuple(marked)))
    return tuple(graded)


def find_made(text: str, corrections: Sequence[Correction], change: tuple[int, int, str]) -> tuple[int, ...]:
    """Indices of the corrections of which a change (start, end, replacement) makes the same text."""
    start, end, _ = change
    return tuple(
        index
        for index, correction in enumerate(corrections)
        if correction.start <= end + MAX_SHIFT_CHARS
        and start <= correction.end + MAX_SHIFT_CHARS
        and is_same_change(text, correction.change, change)
    )
