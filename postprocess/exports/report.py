"""What a report says, before it takes a form: the run, its documents, its findings, and how they compare with a human's corrections."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from chunkers.records import Category
from postprocess.places import MAX_CONTEXT_CHARS
from postprocess.records import Finding
from postprocess.yields import Yield, describe_yield

_FIRST_WORD = re.compile(r"^\S*\s+")
_LAST_WORD = re.compile(r"\s+\S*$")


class Band(StrEnum):
    """How sure a finding is, for tables."""

    SURE = "0.8 and over"
    LIKELY = "0.5 to 0.8"
    UNSURE = "under 0.5"


CATEGORY_LABELS = {
    Category.SPELL: "spelling",
    Category.WORD: "wrong word",
    Category.MISSING: "missing word",
    Category.EXTRA: "extra word",
    Category.AGREEMENT: "agreement",
    Category.PUNCT: "punctuation",
    Category.QUOTE: "quotation marks",
    Category.SPACE: "spacing",
    Category.CASE: "capitals",
}
"""What a reader calls a category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDocument:
    """A document as a reader of the report knows it."""

    doc_id: str
    name: str
    """Short name: the file's, without its folder."""
    title: str | None
    num_words: int
    num_chars: int
    """Code points; a finding's offset over this is its place in the document's map."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthItem:
    """One correction that a human made, and whether the run found it."""

    doc_id: str
    line: int
    original: str
    replacement: str
    category: Category
    is_found: bool
    context_before: str = ""
    """Cut as a finding's, by Places.cut_before and cut_after."""
    context_after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryLine:
    """One measured fact of the run, such as «tokens a second» and «412»."""

    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpent:
    """For how long one kind of work of the run's last command went on."""

    what: str
    """As shown: `reading`, `engine work: qwen3-8b`."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything a report shows; nothing in it but `times` depends on when or where it is written."""

    title: str
    run: str
    """Name of the run; a file of decisions carries it."""
    flow: str
    model: str
    """As shown: `qwen3-8b`, `smollm2-135m + rules`."""
    documents: tuple[ReportDocument, ...]
    """In the order in which they are shown; every finding is of one of them."""
    findings: tuple[Finding, ...]
    min_accept: float
    """The threshold that separates accepted from suggested."""
    summary: tuple[SummaryLine, ...] = ()
    truth: tuple[TruthItem, ...] | None = None
    """A human's corrections of the same documents; None where there are none to compare with."""
    yields: tuple[Yield, ...] = ()
    """What each proposer added, sorted by proposer."""
    times: tuple[TimeSpent, ...] = ()
    """In the order in which they are shown; some go on at the same time."""


YIELD_COLUMNS = ("proposer", "edits", "rejected", "findings", "accepted", "alone: accepted", "suggested", "right", "false", "engine s")
"""Of the table of yields; `right` and `false` are of what was its alone, where there are corrections by people."""


def yield_cells(row: Yield) -> tuple[str, ...]:
    """A row of the table of yields, in the order of YIELD_COLUMNS."""
    right, wrong = (
        None if accepted is None or suggested is None else accepted + suggested
        for accepted, suggested in ((row.accepted_right, row.suggested_right), (row.accepted_false, row.suggested_false))
    )
    counts = (row.num_edits, row.num_rejected, row.num_findings, row.num_accepted, row.alone_accepted, row.alone_suggested, right, wrong)
    seconds = "" if row.engine_seconds is None else f"{row.engine_seconds:,.1f}"
    return row.proposer, *("" if count is None else f"{count:,}" for count in counts), seconds


def describe_models(yields: Iterable[Yield]) -> list[str]:
    """A sentence for each model: what it added, or that it added nothing."""
    return [f"{row.proposer} {describe_yield(row)}." for row in yields if row.engine_seconds is not None]


def find_band(confidence: float) -> Band:
    return Band.SURE if confidence >= 0.8 else Band.LIKELY if confidence >= 0.5 else Band.UNSURE


def report_counts(findings: Iterable[Finding]) -> dict[Category, dict[Band, int]]:
    """Number of findings by category and band: every category that occurs, in the order of Category, with every band in order."""
    counts: dict[Category, dict[Band, int]] = {category: dict.fromkeys(Band, 0) for category in Category}
    for finding in findings:
        counts[finding.category][find_band(finding.confidence)] += 1
    return {category: bands for category, bands in counts.items() if any(bands.values())}


def order_report(report: ReportData) -> list[Finding]:
    """The report's findings by document in the report's order, start, end, replacement. Raises ValueError for an unknown document."""
    ranks = {document.doc_id: rank for rank, document in enumerate(report.documents)}
    for finding in report.findings:
        if finding.doc_id not in ranks:
            raise ValueError(
                f"finding {finding.finding_id[:8]} is of document {finding.doc_id[:8]}, which the report does not list; "
                "a report lists every document of its findings; add it to ReportData.documents."
            )
    return sorted(report.findings, key=lambda f: (ranks[f.doc_id], f.start, f.end, f.replacement))


def cut_context(before: str, after: str) -> tuple[str, str]:
    """Text before and after a span, as long as a finding's context may be: cut at a whole word and marked with an ellipsis."""
    if len(before) >= MAX_CONTEXT_CHARS:
        before = "…" + _FIRST_WORD.sub("", before)
    if len(after) >= MAX_CONTEXT_CHARS:
        after = _LAST_WORD.sub("", after) + "…"
    return before, after
