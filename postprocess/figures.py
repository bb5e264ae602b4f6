"""Precision, recall, F0.5 and false alarms of findings on documents that people have corrected.

A finding is right where it makes exactly the text that a person made; one that only marks the place counts half where that is said. Every
other finding is a false alarm, a real error that people left in the text among them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

from postprocess.grade import GradedChange, GradedDocument
from postprocess.truth import Correction

WORDS = 10_000
"""Findings and false alarms are told for so many words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What findings at or above one confidence come to."""

    num_words: int
    num_corrections: int
    num_findings: int
    num_right: int
    """Findings that make what a person made."""
    num_marking: int
    """Findings that only mark the place of a correction."""
    num_found: int
    """Corrections that a finding makes."""
    num_marked: int
    """Corrections at whose place there are only findings that make something else."""

    @property
    def precision(self) -> float | None:
        return self.num_right / self.num_findings if self.num_findings else None

    @property
    def recall(self) -> float | None:
        return self.num_found / self.num_corrections if self.num_corrections else None

    @property
    def f05(self) -> float | None:
        return f_half(self.precision, self.recall)

    @property
    def precision_half(self) -> float | None:
        """With half a point for a finding that only marks the place."""
        return (self.num_right + self.num_marking / 2) / self.num_findings if self.num_findings else None

    @property
    def recall_half(self) -> float | None:
        """With half a point for a correction that is only marked."""
        return (self.num_found + self.num_marked / 2) / self.num_corrections if self.num_corrections else None

    @property
    def f05_half(self) -> float | None:
        return f_half(self.precision_half, self.recall_half)

    @property
    def num_false_alarms(self) -> int:
        return self.num_findings - self.num_right

    @property
    def findings_per_10k_words(self) -> float | None:
        return WORDS * self.num_findings / self.num_words if self.num_words else None

    @property
    def false_alarms_per_10k_words(self) -> float | None:
        return WORDS * self.num_false_alarms / self.num_words if self.num_words else None


def f_half(precision: float | None, recall: float | None) -> float | None:
    """F0.5, which weighs precision twice as much as recall; None where one of them is unknown."""
    if precision is None or recall is None:
        return None
    return 1.25 * precision * recall / (0.25 * precision + recall) if precision + recall else 0.0


def count(
    documents: Iterable[GradedDocument],
    min_confidence: float,
    *,
    of_change: Callable[[GradedChange], bool] = lambda _: True,
    of_correction: Callable[[Correction], bool] = lambda _: True,
) -> Figures:
    """Figures of the findings at or above `min_confidence` for which `of_change` holds, and of the corrections for which `of_correction`
    does. A finding is right by whatever correction it makes, and a correction is found by whatever finding makes it.
    """
    num_words = num_corrections = num_findings = num_right = num_marking = num_found = num_marked = 0
    for document in documents:
        sure = [graded for graded in document.changes if graded.change.confidence >= min_confidence]
        changes = [graded for graded in sure if of_change(graded)]
        wanted = {index for index, correction in enumerate(document.corrections) if of_correction(correction)}
        made = wanted.intersection(chain.from_iterable(graded.makes for graded in sure))
        marked = wanted.intersection(chain.from_iterable(graded.marks for graded in sure)) - made
        num_words += document.num_words
        num_corrections += len(wanted)
        num_findings += len(changes)
        num_right += sum(bool(graded.makes) for graded in changes)
        num_marking += sum(bool(graded.marks) and not graded.makes for graded in changes)
        num_found += len(made)
        num_marked += len(marked)
    return Figures(
        num_words=num_words,
        num_corrections=num_corrections,
        num_findings=num_findings,
        num_right=num_right,
        num_marking=num_marking,
        num_found=num_found,
        num_marked=num_marked,
    )
