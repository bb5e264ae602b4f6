"""How well findings do on documents that people have corrected: by kind, by proposer, by confidence, and by group of documents."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from chunkers.records import Category
from postprocess.curve import Interval, Point, draw_curve, draw_intervals, recall_at_false_alarms, recall_at_precision
from postprocess.figures import Figures, count
from postprocess.grade import GradedDocument

BANDS = (0.9, 0.8, 0.65, 0.5, 0.3, 0.2, 0.1, 0.05, 0.0)
"""Lower ends of the bands of confidence; the highest reaches to 1."""
JUDGE = "/score"
"""Ends the name of a model that scores what others propose."""
NUM_DRAWS = 1000
SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryFigures:
    """Findings of one category, and the corrections of that type whoever found them."""

    category: Category
    accepted: Figures
    """At or above the threshold for accepting."""
    suggested: Figures
    """At or above the threshold for a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """What one proposer adds."""

    proposer: str
    accepted: Figures
    suggested: Figures
    num_alone: int
    """Suggested findings that nobody else proposed; a model that scored what a rule found is no second proposer."""
    num_right_alone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Findings of one band of confidence: a calibrated one is right as often as it says."""

    low: float
    high: float
    """Not in the band, except 1."""
    num_findings: int
    num_right: int
    mean_confidence: float | None
    """None where the band is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that is said about one set of findings."""

    num_documents: int
    num_books: int
    accepted: Figures
    """At the threshold that is asked for, which is the default one where nobody says another."""
    suggested: Figures
    """All that becomes a finding."""
    evident: Figures
    """As `accepted`, with those corrections alone that can be known from the text; a finding that makes one of the others is left out."""
    intervals: dict[str, Interval]
    """Of `accepted`, and of what is read off the curve."""
    curve: tuple[Point, ...]
    recall_at_precision: float | None
    recall_at_false_alarms: float | None
    evident_recall_at_precision: float | None
    evident_recall_at_false_alarms: float | None
    bands: tuple[Band, ...]
    categories: tuple[CategoryFigures, ...]
    proposers: tuple[Yield, ...]
    groups: dict[str, "Evaluation"]
    """The same for each group of documents, where they have some."""


def evaluate(
    documents: Sequence[GradedDocument], *, min_accept: float, min_suggest: float, num_draws: int = NUM_DRAWS, seed: int = SEED
) -> Evaluation:
    """The figures of graded documents; the same for the same documents in the same order."""
    curve = draw_curve(documents)
    evident = [_keep_evident(document) for document in documents]
    evident_curve = draw_curve(evident)
    groups = {document.group for document in documents}
    labels = sorted(group for group in groups if group is not None) if len(groups) > 1 else []
    return Evaluation(
        num_documents=len(documents),
        num_books=len({document.book for document in documents}),
        accepted=count(documents, min_accept),
        suggested=count(documents, min_suggest),
        evident=count(evident, min_accept),
        intervals=draw_intervals(documents, min_accept, num_draws=num_draws, seed=seed),
        curve=curve,
        recall_at_precision=recall_at_precision(curve),
        recall_at_false_alarms=recall_at_false_alarms(curve),
        evident_recall_at_precision=recall_at_precision(evident_curve),
        evident_recall_at_false_alarms=recall_at_false_alarms(evident_curve),
        bands=count_bands((graded.change.confidence, bool(graded.makes)) for document in documents for graded in document.changes),
        categories=_count_categories(documents, min_accept, min_suggest),
        proposers=_count_yields(documents, min_accept, min_suggest),
        groups={
            label: evaluate(
                [replace(document, group=None) for document in documents if document.group == label],
                min_accept=min_accept,
                min_suggest=min_suggest,
                num_draws=num_draws,
                seed=seed,
            )
            for label in labels
        },
    )


def _keep_evident(document: GradedDocument) -> GradedDocument:
    """With the evident corrections alone; a finding that makes one of the others is left out, neither right nor wrong."""
    kept = [index for index, correction in enumerate(document.corrections) if correction.evident]
    moved = {index: at for at, index in enumerate(kept)}
    changes = [
        replace(
            graded,
            makes=tuple(moved[index] for index in graded.makes if index in moved),
            marks=tuple(moved[index] for index in graded.marks if index in moved),
        )
        for graded in document.changes
        if not graded.makes or any(index in moved for index in graded.makes)
    ]
    return replace(document, corrections=tuple(document.corrections[index] for index in kept), changes=tuple(changes))


def count_bands(graded: Iterable[tuple[float, bool]]) -> tuple[Band, ...]:
    """Every band of BANDS, from confidences and whether what they were said of was right."""
    rows, bands, high = list(graded), [], 1.0
    for low in BANDS:
        inside = [(confidence, is_right) for confidence, is_right in rows if low <= confidence and (confidence < high or high == 1.0)]
        bands.append(
            Band(
                low=low,
                high=high,
                num_findings=len(inside),
                num_right=sum(is_right for _, is_right in inside),
                mean_confidence=math.fsum(confidence for confidence, _ in inside) / len(inside) if inside else None,
            )
        )
        high = low
    return tuple(bands)


def _count_categories(documents: Sequence[GradedDocument], min_accept: float, min_suggest: float) -> tuple[CategoryFigures, ...]:
    """In the order of Category; those without a finding and a correction are left out."""
    counted = []
    for category in Category:
        accepted, suggested = (
            count(
                documents,
                threshold,
                of_change=lambda graded, wanted=category: graded.change.category is wanted,  # type: ignore[misc]
                of_correction=lambda correction, wanted=category: correction.category is wanted,  # type: ignore[misc]
            )
            for threshold in (min_accept, min_suggest)
        )
        if suggested.num_corrections or suggested.num_findings:
            counted.append(CategoryFigures(category=category, accepted=accepted, suggested=suggested))
    return tuple(counted)


def _count_yields(documents: Sequence[GradedDocument], min_accept: float, min_suggest: float) -> tuple[Yield, ...]:
    """By falling number of right suggested findings, then by name."""
    names = sorted({name for document in documents for graded in document.changes for name in graded.change.proposers})
    counted = []
    for name in names:
        own = [replace(document, changes=tuple(g for g in document.changes if name in g.change.proposers)) for document in documents]
        alone = count(own, min_suggest, of_change=lambda graded, name=name: _is_alone(name, graded.change.proposers))  # type: ignore[misc]
        counted.append(
            Yield(
                proposer=name,
                accepted=count(own, min_accept),
                suggested=count(own, min_suggest),
                num_alone=alone.num_findings,
                num_right_alone=alone.num_right,
            )
        )
    return tuple(sorted(counted, key=lambda each: (-each.suggested.num_right, each.proposer)))


def _is_alone(name: str, proposers: Sequence[str]) -> bool:
    return all(other == name or (other.endswith(JUDGE) and not name.endswith(JUDGE)) for other in proposers)
