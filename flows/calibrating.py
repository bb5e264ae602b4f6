"""Runs over corrected documents become one calibration, and a report of how far it can be trusted."""

from collections.abc import Iterator, Sequence

from flows.config import RunConfig
from flows.corrected import CorrectedDocument
from flows.evaluation import read_proposals, texts_by_id
from flows.runs import Run
from postprocess.calibrate import CalibrationError, cross_validate, find_right, fit_calibration, render_calibration
from postprocess.confidence import Proposal
from postprocess.evaluate import count_bands

Corpus = tuple[Run, RunConfig, list[CorrectedDocument]]
"""A run, its settings, and its documents."""


def calibrate_runs(corpora: Sequence[Corpus]) -> tuple[str, list[str]]:
    """The calibration's file and the report's lines. A document that several runs read counts once for each model's proposals.

    Raises CalibrationError where the runs hold too little.
    """
    proposals: list[Proposal] = []
    documents: dict[str, CorrectedDocument] = {}
    seen: set[tuple[str, str]] = set()
    for run, config, corrected in corpora:
        documents |= {each.document.doc_id: each for each in corrected}
        found = [(model, each) for model, each in read_proposals(run, config) if (model, each.best.doc_id) not in seen]
        seen |= {(model, each.best.doc_id) for model, each in found}
        proposals += [each for _, each in found]
    if not proposals:
        raise CalibrationError(
            f"{', '.join(run.name for run, *_ in corpora)}: no scored proposals; only they are calibrated; run with a model of the score "
            "protocol over corrected documents."
        )
    right = find_right(proposals, texts_by_id(documents.values()))
    books = [documents[proposal.best.doc_id].book for proposal in proposals]
    num_books = len({each.book for each in documents.values()})
    num_words = sum(each.document.num_words for each in documents.values())
    num_corrections = sum(len(each.corrections) for each in documents.values())
    origin = f"{len(documents)} documents of {num_books} books, {num_words:,} words, {num_corrections} corrections by people"
    content = render_calibration(fit_calibration(proposals, right), origin)
    return content, list(_report(origin, right, cross_validate(proposals, right, books)))


def _report(origin: str, right: Sequence[bool], confidences: Sequence[float]) -> Iterator[str]:
    yield origin
    yield f"{len(right):,} proposals, {sum(right):,} right; by cross-validation over books:"
    for band in count_bands(zip(confidences, right, strict=True)):
        if band.mean_confidence is not None:
            share = f"{band.num_right:,} of {band.num_findings:,} right ({band.num_right / band.num_findings:.0%})"
            yield f"  {band.low:.2f} to {band.high:.2f}: {share}, mean confidence {band.mean_confidence:.2f}"
