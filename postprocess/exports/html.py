"""The findings of a run as one page that needs nothing else: no network, no other file.

Owns what goes into report.html and that none of it can act: every text is escaped or data, and the page's policy lets only its own
script and style in, by their hashes.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

from chunkers.records import Category
from postprocess.exports.report import (
    CATEGORY_LABELS,
    YIELD_COLUMNS,
    ReportData,
    TruthItem,
    cut_context,
    describe_models,
    order_report,
    yield_cells,
)
from postprocess.records import Finding

_SURROGATE = re.compile("[\ud800-\udfff]")


def render_html(report: ReportData) -> str:
    """The whole page; the same report gives the same characters. Lone surrogates, as in odd file names, become U+FFFD.

    Raises ValueError for a finding whose document the report does not list.
    """
    findings = order_report(report)
    style, script = _read_part("report.css"), _read_part("report.js")
    page = Template(_read_part("report.html")).substitute(
        page_title=escape(f"{report.title}: {len(findings):,} findings"),
        title=escape(report.title),
        flow=escape(report.flow),
        run=escape(report.run),
        facts="".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in _list_facts(report)),
        notes=_render_notes(report),
        yields=_render_yields(report),
        times=_render_times(report),
        style=style,
        style_hash=_hash_source(style),
        script=script,
        script_hash=_hash_source(script),
        data=_dump_data(report, findings),
    )
    return _SURROGATE.sub("\ufffd", page)


def _list_facts(report: ReportData) -> Iterable[tuple[str, str]]:
    if len(report.documents) > 1:
        yield "documents", f"{len(report.documents):,}"
    yield "words", f"{sum(document.num_words for document in report.documents):,}"
    yield "findings", f"{len(report.findings):,}"
    num_sure = sum(finding.confidence >= report.min_accept for finding in report.findings)
    yield f"at {report.min_accept:g} and over", f"{num_sure:,}"
    yield "model", report.model
    yield from ((line.label, line.value) for line in report.summary)


def _render_notes(report: ReportData) -> str:
    notes = "".join(
        f"<li><bdi>{escape(document.name)}</bdi>: {escape(note)}</li>" for document in report.documents for note in document.notes
    )
    return f'<ul class="notes">{notes}</ul>' if notes else ""


def _render_yields(report: ReportData) -> str:
    if not report.yields:
        return ""
    head = "".join(f"<th scope=col>{escape(column)}</th>" for column in YIELD_COLUMNS)
    rows = "".join("<tr>" + "".join(f"<td><bdi>{escape(cell)}</bdi></td>" for cell in yield_cells(row)) + "</tr>" for row in report.yields)
    sentences = "".join(
        f"<li{' class=idle' if row.is_idle_model else ''}><bdi>{escape(sentence)}</bdi></li>"
        for row, sentence in zip(
            (row for row in report.yields if row.engine_seconds is not None), describe_models(report.yields), strict=True
        )
    )
    return (
        f'<section id="yields" class="panel told"><details><summary>What each proposer added</summary><div class="scroll"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>{rows}</tbody></table></div><p>alone: findings that nobody else had</p></details>"
        f"<ul>{sentences}</ul></section>"
    )


def _render_times(report: ReportData) -> str:
    if not report.times:
        return ""
    longest = max(spent.seconds for spent in report.times) or 1.0
    rows = "".join(
        f"<tr><td><bdi>{escape(spent.what)}</bdi></td><td>{spent.seconds:,.1f} s</td>"
        f'<td><svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect class="sure" height="4" '
        f'width="{100 * spent.seconds / longest:.1f}"/></svg></td></tr>'
        for spent in report.times
    )
    return (
        f'<section id="times" class="panel told"><details><summary>Where the time went</summary><div class="scroll"><table><tbody>{rows}'
        "</tbody></table></div><p>Of the last command; detectors go on while engines start and work.</p></details></section>"
    )


def _dump_data(report: ReportData, findings: list[Finding]) -> str:
    indexes = {document.doc_id: index for index, document in enumerate(report.documents)}
    present = {finding.category for finding in findings} | {item.category for item in report.truth or ()}
    data = {
        "run": report.run,
        "digest": sha256("".join(finding.finding_id for finding in findings).encode()).hexdigest()[:16],
        "minAccept": report.min_accept,
        "categories": {category: CATEGORY_LABELS[category] for category in Category if category in present},
        "documents": [
            {"name": document.name, "title": document.title, "chars": document.num_chars, "words": document.num_words}
            for document in report.documents
        ],
        "findings": [_dump_finding(finding, indexes) for finding in findings],
        "truth": None if report.truth is None else [_dump_truth(item, indexes) for item in report.truth],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # Inside a script element only `<` can end the data or open a comment
    return text.replace("<", "\\u003c")


def _dump_finding(finding: Finding, indexes: dict[str, int]) -> dict[str, object]:
    before, after = cut_context(finding.context_before, finding.context_after)
    return {
        "id": finding.finding_id,
        "document": indexes[finding.doc_id],
        "start": finding.start,
        "end": finding.end,
        "line": finding.line,
        "chapter": finding.chapter,
        "original": finding.original,
        "replacement": finding.replacement,
        "category": finding.category,
        "message": finding.message,
        "proposers": finding.proposers,
        "silent": finding.silent,
        "dissenters": finding.dissenters,
        "confidence": finding.confidence,
        "status": finding.status,
        "before": before,
        "after": after,
    }


def _dump_truth(item: TruthItem, indexes: dict[str, int]) -> dict[str, object]:
    before, after = cut_context(item.context_before, item.context_after)
    return {
        "document": indexes[item.doc_id],
        "line": item.line,
        "original": item.original,
        "replacement": item.replacement,
        "category": item.category,
        "isFound": item.is_found,
        "before": before,
        "after": after,
    }


def _read_part(name: str) -> str:
    return files("postprocess.exports").joinpath(name).read_text(encoding="utf-8")


def _hash_source(source: str) -> str:
    return "sha256-" + b64encode(sha256(source.encode()).digest()).decode()
