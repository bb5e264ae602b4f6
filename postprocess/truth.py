"""Corrections that a person made in the same document, and which of them a run found."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from chunkers.paths import AnyPath, StorageError
from chunkers.records import Category, Document
from postprocess.exports.report import TruthItem
from postprocess.places import Places
from postprocess.records import Finding

_CATEGORIES = {category.name: category for category in Category} | {"AGREEMENT/FORM": Category.AGREEMENT}


MAX_SHIFT_CHARS = 80
"""An insertion or deletion may stand as far from a correction that makes the same text, as one of two «the the» does."""


class TruthError(ValueError):
    """A file of corrections that cannot be used: what was met, the rule, what to do."""


class Correction(BaseModel):
    """One correction by a person; offsets in code points of the uncorrected text."""

    model_config = ConfigDict(frozen=True)

    start: int
    end: int
    original: str
    corrected: str
    type: str = "WORD"
    """SPELL, WORD, MISSING, EXTRA, AGREEMENT/FORM, PUNCT, CASE, SPACE or QUOTE."""
    evident: bool = True
    """False where the error cannot be known from the text: only the scan or the author tells."""

    @property
    def category(self) -> Category:
        """Its type as a finding's category; WORD for an unknown one."""
        return _CATEGORIES.get(self.type, Category.WORD)

    @property
    def change(self) -> tuple[int, int, str]:
        """Start, end and what a person put there."""
        return self.start, self.end, self.corrected


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A correction and the best finding at its place."""

    correction: Correction
    is_found: bool
    """A finding turns the text into what the person made of it."""
    is_marked: bool
    """A finding changes the place, to this or to something else."""


def load_truth(path: AnyPath, text: str) -> list[Correction]:
    """Corrections sorted by place. Raises TruthError where the file is no list of corrections, or one does not stand in the text."""
    try:
        corrections = TypeAdapter(list[Correction]).validate_python(json.loads(path.read_text("utf-8")))
    except StorageError:
        raise
    except (OSError, ValueError, ValidationError) as error:
        raise TruthError(
            f"{path}: no list of corrections ({error}); each has start, end, original, corrected; mend or remove it."
        ) from error
    for correction in corrections:
        start, end = correction.start, correction.end
        if not 0 <= start <= end <= len(text) or text[start:end] != correction.original:
            raise TruthError(
                f"{path}: {correction.original!r} does not stand at {start}:{end}; corrections belong to the exact "
                "text beside them; mend or remove the file."
            )
    return sorted(corrections, key=lambda correction: (correction.start, correction.end))


def match_truth(text: str, corrections: Iterable[Correction], findings: Sequence[Finding]) -> list[Match]:
    """One match for each correction, in order."""
    matches = []
    for correction in corrections:
        near = [
            finding
            for finding in findings
            if finding.start <= correction.end + MAX_SHIFT_CHARS and correction.start <= finding.end + MAX_SHIFT_CHARS
        ]
        is_found = any(is_same_change(text, correction.change, (finding.start, finding.end, finding.replacement)) for finding in near)
        matches.append(
            Match(correction=correction, is_found=is_found, is_marked=is_found or any(is_at_place(correction, finding) for finding in near))
        )
    return matches


class Place(Protocol):
    """What has a start and an end."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


def is_at_place(one: Place, other: Place) -> bool:
    """Whether a change is at the place of another, not beside it: the spans overlap, an insertion touches a span, or two insertions
    are on the two sides of one space.
    """
    gap = max(one.start - other.end, other.start - one.end)
    return gap < (one.start == one.end) + (other.start == other.end)


def is_same_change(text: str, one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    """Whether two changes, each (start, end, replacement), make the same text."""
    start, end = min(one[0], other[0]), max(one[1], other[1])
    return text[start : one[0]] + one[2] + text[one[1] : end] == text[start : other[0]] + other[2] + text[other[1] : end]


def truth_items(document: Document, matches: Iterable[Match]) -> list[TruthItem]:
    """Matches as the report shows them, with their place and their surroundings as a finding's."""
    places = Places(document)
    return [
        TruthItem(
            doc_id=document.doc_id,
            line=places.find_line(match.correction.start)[0],
            original=match.correction.original,
            replacement=match.correction.corrected,
            category=match.correction.category,
            is_found=match.is_found,
            context_before=places.cut_before(match.correction.start),
            context_after=places.cut_after(match.correction.start, match.correction.end),
        )
        for match in matches
    ]
