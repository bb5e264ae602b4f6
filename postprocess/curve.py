"""How precision and recall go together as the confidence asked for falls, and how sure that is.

Owns the bootstrap: whole books are drawn anew, for the errors of one book are of one kind. All sums are of integers, and the draws
come from a seed, so that the same findings give the same intervals.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from postprocess.figures import WORDS, f_half
from postprocess.grade import GradedDocument

MIN_PRECISION = 0.5
"""Recall is read off the curve where precision is at least this,"""
MAX_FALSE_ALARMS = 20.0
"""and where there are no more false alarms per 10,000 words than this."""
SHARE_OUTSIDE = 0.05
"""An interval leaves out this share of the draws, half of it on each side."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What findings at or above one confidence come to."""

    confidence: float
    precision: float
    recall: float | None
    """None where there are no corrections."""
    false_alarms_per_10k_words: float | None
    """None where there are no words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The range that 95 of 100 draws of the books fall in."""

    low: float
    high: float


class Events:
    """Every finding and every correction that was found, by falling confidence; `steps` are the different confidences."""

    def __init__(self, documents: Sequence[GradedDocument]) -> None:
        findings = sorted(
            (
                (-graded.change.confidence, index, bool(graded.makes))
                for index, document in enumerate(documents)
                for graded in document.changes
            )
        )
        found: list[tuple[float, int]] = []
        for index, document in enumerate(documents):
            surest: dict[int, float] = {}
            for graded in document.changes:
                for made in graded.makes:
                    surest[made] = max(surest.get(made, 0.0), graded.change.confidence)
            found += [(-confidence, index) for confidence in surest.values()]
        found.sort()
        self.steps = sorted({finding[0] for finding in findings})
        self._finding_documents = np.array([index for _, index, _ in findings], dtype=np.int64)
        self._is_right = np.array([is_right for _, _, is_right in findings], dtype=np.int64)
        self._found_documents = np.array([index for _, index in found], dtype=np.int64)
        self._ends = np.searchsorted([finding[0] for finding in findings], self.steps, side="right")
        self._found_ends = np.searchsorted([each[0] for each in found], self.steps, side="right")
        self.num_corrections = np.array([len(document.corrections) for document in documents], dtype=np.int64)
        self.num_words = np.array([document.num_words for document in documents], dtype=np.int64)

    def sums(self, draws: Counts) -> tuple[Counts, Counts, Counts]:
        """At every step the number of findings, of right ones, and of corrections found, each document counted as often as drawn."""
        times = draws[self._finding_documents]
        found = draws[self._found_documents]
        return (
            _sums_at(times, self._ends),
            _sums_at(times * self._is_right, self._ends),
            _sums_at(found, self._found_ends),
        )


def _sums_at(counts: Counts, ends: Counts) -> Counts:
    sums: Counts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return sums[ends]


def draw_curve(documents: Sequence[GradedDocument]) -> tuple[Point, ...]:
    """A point for each confidence that a finding has, the highest first."""
    events = Events(documents)
    if not events.steps:
        return ()
    findings, right, found = events.sums(np.ones(len(documents), dtype=np.int64))
    num_corrections, num_words = int(events.num_corrections.sum()), int(events.num_words.sum())
    return tuple(
        Point(
            confidence=-step,
            precision=int(right[index]) / int(findings[index]),
            recall=int(found[index]) / num_corrections if num_corrections else None,
            false_alarms_per_10k_words=WORDS * int(findings[index] - right[index]) / num_words if num_words else None,
        )
        for index, step in enumerate(events.steps)
    )


def recall_at_precision(curve: Sequence[Point]) -> float | None:
    """The highest recall at a precision of MIN_PRECISION or more; 0.0 where the curve never gets there."""
    return _best_recall(curve, [point for point in curve if point.precision >= MIN_PRECISION])


def recall_at_false_alarms(curve: Sequence[Point]) -> float | None:
    """The highest recall with at most MAX_FALSE_ALARMS false alarms per 10,000 words."""
    return _best_recall(
        curve, [p for p in curve if p.false_alarms_per_10k_words is not None and p.false_alarms_per_10k_words <= MAX_FALSE_ALARMS]
    )


def _best_recall(curve: Sequence[Point], points: Sequence[Point]) -> float | None:
    if curve and curve[0].recall is None:
        return None
    return max((point.recall for point in points if point.recall is not None), default=0.0)


def draw_intervals(documents: Sequence[GradedDocument], threshold: float, *, num_draws: int, seed: int) -> dict[str, Interval]:
    """Intervals by the name of the figure, of those at `threshold` and of the two read off the curve; a figure no draw has is left out."""
    if not documents:
        return {}
    events, random, values = Events(documents), Random(seed), dict[str, list[float]]()
    books = sorted({document.book for document in documents})
    at = sum(-step >= threshold for step in events.steps) - 1
    for _ in range(num_draws):
        drawn_books = Counter(random.choices(books, k=len(books)))
        draws = np.array([drawn_books[document.book] for document in documents], dtype=np.int64)
        num_corrections, num_words = int(draws @ events.num_corrections), int(draws @ events.num_words)
        if not (num_corrections and num_words):
            continue
        findings, right, found = events.sums(draws) if events.steps else (np.zeros(0, dtype=np.int64),) * 3
        num_findings, num_right, num_found = (int(each[at]) if at >= 0 else 0 for each in (findings, right, found))
        precision, recall = num_right / num_findings if num_findings else None, num_found / num_corrections
        drawn = {
            "precision": precision,
            "recall": recall,
            "f05": f_half(precision, recall),
            "findings_per_10k_words": WORDS * num_findings / num_words,
            "false_alarms_per_10k_words": WORDS * (num_findings - num_right) / num_words,
            "recall_at_precision_0.5": _highest(found, right * 2 >= findings) / num_corrections,
            "recall_at_20_false_alarms": _highest(found, (findings - right) * WORDS <= MAX_FALSE_ALARMS * num_words) / num_corrections,
        }
        for name, value in drawn.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: _interval(sorted(drawn_values)) for name, drawn_values in values.items()}


def _highest(found: Counts, is_allowed: npt.NDArray[np.bool_]) -> int:
    return int(np.max(found, where=is_allowed, initial=0))


def _interval(values: Sequence[float]) -> Interval:
    outside = int(len(values) * SHARE_OUTSIDE / 2)
    return Interval(low=values[outside], high=values[-1 - outside])
