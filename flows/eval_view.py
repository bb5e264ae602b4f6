"""An evaluation as JSON and as tables for a terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from flows.measure import Measured, Measurement
from flows.printable import flatten
from postprocess.curve import Interval
from postprocess.evaluate import Evaluation, Yield
from postprocess.exports.report import CATEGORY_LABELS
from postprocess.figures import Figures

MAX_PROPOSERS = 30
"""Lines of the table of proposers; --json has all."""
DIGITS = 4
_RATES = (
    "precision",
    "recall",
    "f05",
    "findings_per_10k_words",
    "false_alarms_per_10k_words",
    "precision_half",
    "recall_half",
    "f05_half",
)


def describe(measurement: Measurement) -> dict[str, Any]:
    """One JSON object: the figures of our own findings at its top, unless only others were measured, and those of the others below."""
    found: dict[str, Any] = {
        "documents": measurement.num_documents,
        "books": measurement.num_books,
        "books_file": measurement.books_path,
        "words": measurement.num_words,
        "corrections": measurement.num_corrections,
        "corrections_evident": measurement.num_evident,
        "min_confidence": measurement.min_accept,
        "min_suggest": measurement.min_suggest,
        "num_draws": measurement.num_draws,
        "seed": measurement.seed,
    }
    if measurement.own is not None:
        found |= {"run": measurement.run, "models": list(measurement.models), "calibration": measurement.calibration}
        found |= _describe_evaluation(measurement.own.evaluation)
    return found | {
        "baselines": {
            name: {"label": each.label, "seconds": each.seconds} | _describe_evaluation(each.evaluation)
            for name, each in measurement.baselines.items()
        }
    }


def _describe_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    return _describe_figures(evaluation.accepted) | {
        "intervals": {name: [_round(each.low), _round(each.high)] for name, each in evaluation.intervals.items()},
        "recall_at_precision_0.5": _round(evaluation.recall_at_precision),
        "recall_at_20_false_alarms": _round(evaluation.recall_at_false_alarms),
        "evident": _describe_figures(evaluation.evident)
        | {
            "recall_at_precision_0.5": _round(evaluation.evident_recall_at_precision),
            "recall_at_20_false_alarms": _round(evaluation.evident_recall_at_false_alarms),
        },
        "suggested": _describe_figures(evaluation.suggested),
        "curve": [{key: _round(value) for key, value in asdict(point).items()} for point in evaluation.curve],
        "reliability": [
            {
                "low": band.low,
                "high": band.high,
                "findings": band.num_findings,
                "right": band.num_right,
                "share_right": _round(band.num_right / band.num_findings if band.num_findings else None),
                "mean_confidence": _round(band.mean_confidence),
            }
            for band in evaluation.bands
        ],
        "categories": {
            each.category.value: {"accepted": _describe_figures(each.accepted), "suggested": _describe_figures(each.suggested)}
            for each in evaluation.categories
        },
        "proposers": {each.proposer: _describe_yield(each) for each in evaluation.proposers},
        "groups": {label: _describe_evaluation(group) for label, group in evaluation.groups.items()},
    }


def _describe_yield(each: Yield) -> dict[str, Any]:
    return {
        "accepted": _describe_figures(each.accepted),
        "suggested": _describe_figures(each.suggested),
        "alone": each.num_alone,
        "right_alone": each.num_right_alone,
    }


def _describe_figures(figures: Figures) -> dict[str, Any]:
    return {name: _round(getattr(figures, name)) for name in _RATES} | {
        "words": figures.num_words,
        "corrections": figures.num_corrections,
        "findings": figures.num_findings,
        "right": figures.num_right,
        "only_marking": figures.num_marking,
        "found": figures.num_found,
        "only_marked": figures.num_marked,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def render_measurement(measurement: Measurement) -> RenderableType:
    """Everything that a person wants to see first; --json has the rest."""
    named = f" ({flatten(measurement.books_path)})" if measurement.books_path else ", each document counted as one"
    parts: list[RenderableType] = [
        Text(
            f"{measurement.num_documents:,} documents of {measurement.num_books:,} books{named}, {measurement.num_words:,} words, "
            f"{measurement.num_corrections:,} corrections by people, {measurement.num_evident:,} of them evident",
            style="bold",
        )
    ]
    own = measurement.own
    if own is not None:
        parts += [
            Text(flatten(f"run {measurement.run} · {', '.join(measurement.models)} · confidence: {measurement.calibration}")),
            Text(),
            _rates_table(own.evaluation, measurement),
            Text(),
            _bands_table(own.evaluation),
            Text(),
            _categories_table(own.evaluation),
            Text(),
            _proposers_table(own.evaluation),
        ]
    if measurement.baselines:
        parts += [Text(), _baselines_table(measurement)]
    parts.append(
        Text(
            "A finding is right where it makes exactly the text that a person made; half: half a point where it only marks the place. "
            "All others are false alarms, real errors that people left in among them.",
            style="dim",
        )
    )
    return Group(*parts)


def _table(*columns: str) -> Table:
    # a group's label is a user's text, no markup
    table = Table(*(Column(Text(flatten(column))) for column in columns), box=None, pad_edge=False, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _rates_table(evaluation: Evaluation, measurement: Measurement) -> Table:
    table = _table("", "all", "95 % of draws", *evaluation.groups)
    columns = [evaluation, *evaluation.groups.values()]

    def add(name: str, values: list[str], interval: Interval | None = None, digits: int = 3) -> None:
        shown = f"{interval.low:.{digits}f} to {interval.high:.{digits}f}" if interval else ""
        table.add_row(name, values[0], shown, *values[1:])

    at = f"at confidence {measurement.min_accept:g} and above"
    add(f"findings {at}", [f"{each.accepted.num_findings:,}" for each in columns])
    for name, key, digits in (
        ("precision", "precision", 3),
        ("recall", "recall", 3),
        ("F0.5", "f05", 3),
        ("findings per 10,000 words", "findings_per_10k_words", 1),
        ("false alarms per 10,000 words", "false_alarms_per_10k_words", 1),
    ):
        values = [_show(getattr(each.accepted, key), digits) for each in columns]
        add(f"  {name}", values, evaluation.intervals.get(key), digits)
    for name, key in (("precision, half", "precision_half"), ("recall, half", "recall_half"), ("F0.5, half", "f05_half")):
        add(f"  {name}", [_show(getattr(each.accepted, key)) for each in columns])
    add("  recall of evident corrections", [_show(each.evident.recall) for each in columns])
    add(f"recall at all confidences from {measurement.min_suggest:g}", [_show(each.suggested.recall) for each in columns])
    add("  false alarms per 10,000 words", [_show(each.suggested.false_alarms_per_10k_words, 1) for each in columns])
    at_precision = [_show(each.recall_at_precision) for each in columns]
    add("recall at precision 0.5", at_precision, evaluation.intervals.get("recall_at_precision_0.5"))
    add("  of evident corrections", [_show(each.evident_recall_at_precision) for each in columns])
    at_alarms = [_show(each.recall_at_false_alarms) for each in columns]
    add("recall at 20 false alarms per 10,000 words", at_alarms, evaluation.intervals.get("recall_at_20_false_alarms"))
    add("  of evident corrections", [_show(each.evident_recall_at_false_alarms) for each in columns])
    return table


def _bands_table(evaluation: Evaluation) -> Table:
    table = _table("confidence", "findings", "right", "share right", "mean confidence")
    for band in evaluation.bands:
        if band.num_findings:
            share = _show(band.num_right / band.num_findings)
            name = f"{band.low:g} to {band.high:g}" if band.high < 1 else f"{band.low:g} and over"
            table.add_row(name, f"{band.num_findings:,}", f"{band.num_right:,}", share, _show(band.mean_confidence))
    return table


def _categories_table(evaluation: Evaluation) -> Table:
    table = _table("", "corrections", "found by accepted", "by all", "only marked", "accepted", "right", "all findings", "right")
    for each in evaluation.categories:
        accepted, suggested = each.accepted, each.suggested
        numbers = (
            suggested.num_corrections,
            accepted.num_found,
            suggested.num_found,
            suggested.num_marked,
            accepted.num_findings,
            accepted.num_right,
            suggested.num_findings,
            suggested.num_right,
        )
        table.add_row(CATEGORY_LABELS[each.category], *(f"{number:,}" for number in numbers))
    return table


def _proposers_table(evaluation: Evaluation) -> Table:
    table = _table("proposer", "accepted", "right", "all findings", "right", "nobody else's", "right")
    shown = [each for each in evaluation.proposers if each.suggested.num_findings]
    for each in shown[:MAX_PROPOSERS]:
        accepted, suggested = each.accepted, each.suggested
        numbers = (
            accepted.num_findings,
            accepted.num_right,
            suggested.num_findings,
            suggested.num_right,
            each.num_alone,
            each.num_right_alone,
        )
        table.add_row(Text(flatten(each.proposer)), *(f"{number:,}" for number in numbers))
    if (num_more := len(shown) - MAX_PROPOSERS) > 0:
        table.add_row(f"… and {num_more}, with --json")
    return table


def _baselines_table(measurement: Measurement) -> Table:
    table = _table("", "findings", "precision", "recall", "evident", "half", "F0.5", "false alarms per 10,000 words", "seconds")
    for name, figures, seconds in _compared(measurement):
        accepted = figures.accepted
        cells = (
            _show(accepted.precision),
            _show(accepted.recall),
            _show(figures.evident.recall),
            _show(accepted.recall_half),
            _show(accepted.f05),
            _show(accepted.false_alarms_per_10k_words, 1),
        )
        table.add_row(Text(flatten(name)), f"{accepted.num_findings:,}", *cells, "" if seconds is None else f"{seconds:,.0f}")
    return table


def _compared(measurement: Measurement) -> Iterator[tuple[str, Evaluation, float | None]]:
    measured: Mapping[str, Measured] = measurement.baselines
    for each in measured.values():
        yield from _with_groups(each.label, each)
    if measurement.own is not None:
        yield from _with_groups(f"galley, {measurement.min_accept:g} and above", measurement.own)


def _with_groups(label: str, measured: Measured) -> Iterator[tuple[str, Evaluation, float | None]]:
    yield label, measured.evaluation, measured.seconds
    for group, evaluation in measured.evaluation.groups.items():
        yield f"  {group}", evaluation, None


def _show(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
