"""The run's merged tables and every form in which a person reads them."""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any

from chunkers.paths import AnyPath, is_web, path_of
from chunkers.records import Document
from chunkers.shards import read_shard, write_shard
from engine.ledger import Prices
from engine.models import slug_of
from engine.outcomes import Asked
from engine.records import Outcome
from flows.asked import read_asked
from flows.corpus import Corpus, DocumentRow, read_rows, restore_corpus
from flows.costs import cost_lines, group_calls
from flows.errors import ErrorRow, input_error, write_errors
from flows.phases import Phase, measure_phases
from flows.runs import write_file
from flows.style_proposal import write_proposal
from flows.styles import describe_proposal
from postprocess.assemble import select_findings
from postprocess.exports.critic import render_critic
from postprocess.exports.diff import render_diff
from postprocess.exports.html import render_html
from postprocess.exports.report import ReportData, ReportDocument, SummaryLine, TimeSpent, TruthItem
from postprocess.exports.summary_md import render_summary
from postprocess.grade import find_made
from postprocess.records import EDITS, FINDINGS, Edit, Finding, FindingStatus
from postprocess.style_survey import Survey
from postprocess.truth import TruthError, load_truth, match_truth, truth_items
from postprocess.yields import YIELDS, measure_yields

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """What a report says that is in no table."""

    run: str
    flow: str
    model: str
    min_confidence: float
    prices: tuple[tuple[str, Prices], ...]
    """Each model's name with what it costs."""
    currency: str
    proposers: tuple[tuple[str, str], ...] = ()
    """Each model's name with the name of its edits' proposer."""
    times: tuple[TimeSpent, ...] = ()
    """Of what has been done so far."""


def write_reports(folder: AnyPath, corpus: Corpus, errors: list[ErrorRow], context: ReportContext) -> dict[str, Any]:
    """Merge the shards' findings, edits and errors into tables, and measure what each proposer added; write report.html, report.md, and
    a diff and a marked copy a document.

    Returns counts for the manifest: documents, words, chapters, edits, rejected edits by reason, findings, those accepted, errors, inputs
    that could not be read, questions with those that failed for good, and the corrections by people with those found.
    """
    rows = read_rows(corpus.documents_path)
    findings = [finding for path in corpus.shard_paths for finding in read_shard(str(folder / "findings" / path.name), Finding)]
    findings.sort(key=lambda finding: (finding.doc_id, finding.start, finding.end, finding.replacement))
    write_shard(str(folder / "findings.parquet"), FINDINGS, findings)
    edits = [edit for path in corpus.shard_paths for edit in read_shard(str(folder / "edits" / path.name), Edit)]
    write_shard(str(folder / "edits.parquet"), EDITS, edits)
    errors = [*(input_error(unread) for unread in corpus.unread), *errors]
    write_errors(folder / "errors.parquet", errors)

    by_document = {doc_id: list(group) for doc_id, group in groupby(findings, key=attrgetter("doc_id"))}
    names = name_files(rows.values())
    truth: list[TruthItem] = []
    is_right: dict[str, bool] = {}
    has_truth, num_chapters, survey = False, 0, Survey()
    for document in restore_corpus(corpus.shard_paths, corpus.documents_path):
        own = by_document.get(document.doc_id, [])
        survey.add(document)
        num_chapters += sum(block.level in (1, 2) for block in document.blocks)
        if document.table is not None:
            continue  # a million rows want no two million files, and nothing lies beside a row
        _write_copies(folder, names[document.doc_id], document, own, context.min_confidence)
        truth_path = path_of(document.path).with_suffix(".edits.json")
        if not is_web(document.path) and truth_path.is_file():
            try:
                corrections = load_truth(truth_path, document.text)
            except TruthError as error:
                # the document may have been edited since, or the file be another program's: no reason to lose the findings
                logger.warning("%s", error)
                continue
            has_truth = True
            is_right |= {
                finding.finding_id: bool(find_made(document.text, corrections, (finding.start, finding.end, finding.replacement)))
                for finding in own
            }
            truth += truth_items(document, match_truth(document.text, corrections, own))
    num_words, num_accepted = (
        sum(row.num_words for row in rows.values()),
        len(select_findings(findings, min_confidence=context.min_confidence)),
    )
    proposed = write_proposal(folder, survey)
    questions = list(read_asked(folder, (name for name, _ in context.prices)))
    yields = measure_yields(edits, findings, engine_seconds=_sum_seconds(questions, context.proposers), is_right=is_right)
    write_shard(str(folder / "yields.parquet"), YIELDS, yields)
    report = ReportData(
        title=_title(list(rows.values())),
        run=context.run,
        flow=context.flow,
        model=context.model,
        documents=tuple(_report_document(row) for row in rows.values()),
        findings=tuple(findings),
        min_accept=context.min_confidence,
        summary=(
            *cost_lines(questions, context.prices, context.currency, num_words, num_accepted),
            SummaryLine(label="style sheet proposed", value=describe_proposal(proposed)),
        ),
        truth=tuple(truth) if has_truth else None,
        yields=tuple(yields),
        times=(*context.times, TimeSpent(what=Phase.WRITE, seconds=measure_phases()[Phase.WRITE])),
    )
    final = [asked for _, asked in questions if asked.is_final]
    write_file(folder / "report.html", render_html(report))
    write_file(folder / "report.md", render_summary(report))
    return {
        "documents": len(rows),
        "words": num_words,
        "chapters": num_chapters,
        "edits": len(edits),
        "rejected_edits": dict(sorted(Counter(edit.reason for edit in edits if edit.reason).items())),
        "findings": len(findings),
        "accepted": num_accepted,
        "errors": len(errors),
        "unread": len(corpus.unread),
        "asked_calls": len(final),
        "failed_calls": sum(asked.outcome not in (Outcome.OK, Outcome.SKIPPED_BUDGET) for asked in final),
        "corrections": len(truth) if has_truth else None,
        "corrections_found": sum(item.is_found for item in truth) if has_truth else None,
        "style": proposed,
        "files": sorted(name for names_of in names.values() for name in (f"{names_of}.diff", f"{names_of}.critic.md")),
    }


def _sum_seconds(questions: Iterable[tuple[str, Asked]], proposers: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Engine-seconds by proposer, each call once."""
    calls = group_calls(questions)
    return {proposer: math.fsum(call.engine_seconds for call in calls.get(slug_of(name), {}).values()) for name, proposer in proposers}


def _write_copies(folder: AnyPath, name: str, document: Document, findings: list[Finding], min_confidence: float) -> None:
    accepted = select_findings(findings, min_confidence=min_confidence)
    shown = [finding for finding in findings if finding.status is not FindingStatus.CONFLICT]
    write_file(folder / f"{name}.diff", render_diff(PurePosixPath(document.path).name, document.text, accepted))
    write_file(folder / f"{name}.critic.md", render_critic(document.text, shown))


def name_files(rows: Iterable[DocumentRow]) -> dict[str, str]:
    """A file name without suffix for each document that is a file: of safe characters only, each once, whatever they are called."""
    names: dict[str, str] = {}
    used = {"report"}
    for row in rows:
        if row.table is not None:
            continue  # what a row calls itself names no file
        stem = re.sub(r"[^\w.-]+", "-", PurePosixPath(row.path).stem).strip(".-")[:60] or "document"
        name = names[row.doc_id] = f"{stem}-{row.doc_id[:8]}" if stem in used else stem
        used.add(name)
    return names


def _title(rows: list[DocumentRow]) -> str:
    if len(rows) == 1:
        return rows[0].title or PurePosixPath(rows[0].path).name
    return f"{len(rows)} documents"


def _report_document(row: DocumentRow) -> ReportDocument:
    return ReportDocument(
        doc_id=row.doc_id,
        name=PurePosixPath(row.path).name if row.table is None else f"{PurePosixPath(row.table).name}{row.path.removeprefix(row.table)}",
        title=row.title,
        num_words=row.num_words,
        num_chars=row.num_chars,
        notes=row.notes,
    )
