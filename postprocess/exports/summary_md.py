"""The findings of a run as Markdown, for a terminal, a pull request or a printer."""

import re

from postprocess.exports.report import (
    CATEGORY_LABELS,
    YIELD_COLUMNS,
    Band,
    ReportData,
    cut_context,
    describe_models,
    order_report,
    report_counts,
    yield_cells,
)
from postprocess.records import Finding, FindingStatus

_MARKUP = re.compile(r"([\\`*_\[\]<>#|~&$])")
_LINE_MARKER = re.compile(r"^(\d{0,9})([-+=.)])")


def render_summary(report: ReportData) -> str:
    """Counts by category and confidence, then every finding under its document and chapter, with its line and the text around it.

    Raises ValueError for a finding whose document the report does not list.
    """
    findings = order_report(report)
    names = {document.doc_id: document.title or document.name for document in report.documents}
    lines = [f"# {_escape(report.title)}", "", *_list_facts(report), *_list_counts(findings)]
    doc_id = chapter = None
    for finding in findings:
        if finding.doc_id != doc_id:
            doc_id, chapter = finding.doc_id, None
            lines += [f"## {_escape(names[doc_id])}", ""]
        if finding.chapter is not None and finding.chapter != chapter:
            chapter = finding.chapter
            lines += [f"### {_escape(chapter)}", ""]
        lines += _list_finding(finding)
    lines += [*_list_yields(report), *_list_times(report)]
    if report.summary:
        lines += ["## What it took", "", *(f"- {_escape(line.label)}: {_escape(line.value)}" for line in report.summary)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _list_facts(report: ReportData) -> list[str]:
    num_words = sum(document.num_words for document in report.documents)
    facts = [
        ("flow", report.flow),
        ("model", report.model),
        ("run", report.run),
        ("words", f"{num_words:,}"),
        ("findings", f"{len(report.findings):,}"),
        ("applied from", f"{report.min_accept:g}"),
    ]
    if report.truth is not None:
        num_found = sum(item.is_found for item in report.truth)
        facts.append(("a human's corrections found", f"{num_found:,} of {len(report.truth):,}"))
    notes = [f"- {_escape_marker(_escape(document.name))}: {_escape(note)}" for document in report.documents for note in document.notes]
    return [*(f"- {_escape(label)}: {_escape(value)}" for label, value in facts), *notes, ""]


def _list_counts(findings: list[Finding]) -> list[str]:
    counts = report_counts(findings)
    if not counts:
        return ["Nothing was found.", ""]
    rows = [f"| category | {' | '.join(Band)} | all |", "|---|" + "--:|" * (len(Band) + 1)]
    for category, bands in counts.items():
        rows.append(f"| {CATEGORY_LABELS[category]} | {' | '.join(map(str, bands.values()))} | {sum(bands.values())} |")
    sums = [sum(bands[band] for bands in counts.values()) for band in Band]
    return [*rows, f"| all | {' | '.join(map(str, sums))} | {sum(sums)} |", ""]


def _list_yields(report: ReportData) -> list[str]:
    if not report.yields:
        return []
    rows = [f"| {' | '.join(YIELD_COLUMNS)} |", "|---|" + "--:|" * (len(YIELD_COLUMNS) - 1)]
    rows += [f"| {' | '.join(map(_escape, yield_cells(row)))} |" for row in report.yields]
    sentences = [f"- {_escape(sentence)}" for sentence in describe_models(report.yields)]
    return ["## What each proposer added", "", *rows, "", *sentences, *([""] if sentences else [])]


def _list_times(report: ReportData) -> list[str]:
    if not report.times:
        return []
    rows = [f"- {_escape(spent.what)}: {spent.seconds:,.1f} s" for spent in report.times]
    return ["## Where the time went", "", *rows, "", "Of the last command; detectors go on while engines start and work.", ""]


def _list_finding(finding: Finding) -> list[str]:
    before, after = cut_context(finding.context_before, finding.context_after)
    facts = [f"line {finding.line}", CATEGORY_LABELS[finding.category], f"{finding.confidence:.2f}", ", ".join(finding.proposers)]
    if finding.status is FindingStatus.CONFLICT:
        facts.append("in conflict with a surer finding")
    if finding.dissenters:
        facts.append(f"{', '.join(finding.dissenters)}: something else here")
    if finding.silent:
        facts.append(f"{', '.join(finding.silent)}: nothing here")
    message = f": {_escape(finding.message)}" if finding.message else ""
    quote = _escape(before) + _show_change(finding) + _escape(after)
    return [f"- {_escape(' · '.join(facts))}{message}", f"  > {_escape_marker(quote)}", ""]


def _show_change(finding: Finding) -> str:
    old, new = _show_code(finding.original), _show_code(finding.replacement)
    if not old:
        return f"[+ {new}]"
    return f"[{old} → {new}]" if new else f"[− {old}]"


def _show_code(text: str) -> str:
    """A code span that holds any text; spaces at its edges and line ends are made visible."""
    if not text:
        return ""
    shown = re.sub(r"\r\n|\r|\n", "↵", text)
    shown = re.sub(r"^\s+|\s+$", lambda match: "␣" * len(match[0]), shown)
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", shown)), default=0))
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def _escape(text: str) -> str:
    """Text on one line, its markup shown as it is; a space at either end stays."""
    return _MARKUP.sub(r"\\\1", re.sub(r"\s+", " ", text))


def _escape_marker(line: str) -> str:
    """The same line, not a list item or a heading's underline."""
    return _LINE_MARKER.sub(r"\1\\\2", line.strip())
