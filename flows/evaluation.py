"""A run over corrected documents as graded findings: all that it weighed, below the threshold of a finding too."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from chunkers.paths import AnyPath
from chunkers.records import Document
from chunkers.shards import read_shard
from engine.models import slug_of
from engine.score import Score
from flows.collation import collate_documents, find_calibration, propose_edits
from flows.config import RunConfig
from flows.corpus import read_rows, restore_corpus
from flows.corrected import CorrectedDocument, CorrectedError
from flows.runs import Run
from postprocess.calibrate import CalibrationError, Corrected, cross_validate, find_right
from postprocess.confidence import Proposal, choose_proposals
from postprocess.grade import Change, GradedDocument, grade_changes, read_changes
from postprocess.records import Edit

Key = tuple[str, str, int, int, str]
"""Model, doc_id, start, end and replacement of a scored proposal."""


def read_documents(run: Run) -> list[Document]:
    """The documents of a run, as they were when it read them."""
    return list(restore_corpus(run.shards(), run.folder / "documents.parquet"))


def read_proposals(run: Run, config: RunConfig) -> list[tuple[str, Proposal]]:
    """Every proposal of a run that a model scored, with the model, by model and then by shard."""
    return [
        (model, proposal)
        for model in sorted(config.model)
        if config.find_model(model).protocol == "score"
        for shard in run.shards()
        for proposal in choose_proposals(read_shard(str(_judged_path(run, config, model, shard)), Score))
    ]


def leave_books_out(run: Run, config: RunConfig, documents: Sequence[CorrectedDocument]) -> dict[Key, float]:
    """The confidence of every scored proposal by a calibration that was fitted on the other books alone.

    Raises CalibrationError where the run has no such proposals, or too few books.
    """
    found = read_proposals(run, config)
    if not found:
        raise CalibrationError(
            f"{run.name} has no scored proposals; only they are calibrated; run with a model of the score protocol, "
            "or leave --cross-validate out."
        )
    proposals = [proposal for _, proposal in found]
    books = {each.document.doc_id: each.book for each in documents}
    confidences = cross_validate(
        proposals, find_right(proposals, texts_by_id(documents)), [books[proposal.best.doc_id] for proposal in proposals]
    )
    return {_key(model, proposal.best): confidence for (model, proposal), confidence in zip(found, confidences, strict=True)}


def texts_by_id(documents: Iterable[CorrectedDocument]) -> dict[str, Corrected]:
    """Text and corrections by doc_id."""
    return {each.document.doc_id: Corrected(text=each.document.text, corrections=each.corrections) for each in documents}


def grade_run(
    run: Run, config: RunConfig, documents: Sequence[CorrectedDocument], held_out: dict[Key, float] | None = None
) -> list[GradedDocument]:
    """Everything that a run weighed, guarded and collated as its findings are, against the corrections; documents in the order given.

    `held_out` are confidences to take instead of the calibration's.
    """
    return _grade_edits(run, config, documents, lambda shard: _edits_of(run, config, shard, held_out))


def grade_answers(run: Run, config: RunConfig, model: str, documents: Sequence[CorrectedDocument]) -> list[GradedDocument]:
    """What one model proposed on its own, without a rule, guarded and collated as a run's findings are; as of other tools, all counts.

    Raises CorrectedError for a document that the run did not read as it is here.
    """
    read = {row.doc_id for row in read_rows(run.folder / "documents.parquet").values()}
    if changed := [each.document.path for each in documents if each.document.doc_id not in read]:
        raise CorrectedError(
            f"{changed[0]} is not as {run.name} read it; a model alone is measured on the files of now; give documents instead of --run."
        )

    def edits_of(shard: AnyPath) -> Iterator[Edit]:
        # the confidence of what nobody scored is below the threshold of ours, whatever the model is worth
        return (replace(edit, confidence=1.0) for edit in read_shard(str(_judged_path(run, config, model, shard)), Edit))

    return _grade_edits(run, config, documents, edits_of)


def _grade_edits(
    run: Run, config: RunConfig, documents: Sequence[CorrectedDocument], edits_of: Callable[[AnyPath], Iterable[Edit]]
) -> list[GradedDocument]:
    changes: dict[str, list[Change]] = {}
    for shard in run.shards():
        judged = _judged_paths(run, config, shard)
        for _, findings in collate_documents(shard, run.folder / "documents.parquet", edits_of(shard), judged, config, 0.0):
            if findings:
                changes[findings[0].doc_id] = read_changes(findings)
    return [grade(each, changes.get(each.document.doc_id, [])) for each in documents]


def grade(corrected: CorrectedDocument, changes: Iterable[Change]) -> GradedDocument:
    """A document's changes, graded."""
    document = corrected.document
    return GradedDocument(
        name=corrected.name,
        book=corrected.book,
        group=corrected.group,
        num_words=document.num_words,
        corrections=tuple(corrected.corrections),
        changes=grade_changes(document.text, corrected.corrections, changes),
    )


def _edits_of(run: Run, config: RunConfig, shard: AnyPath, held_out: dict[Key, float] | None) -> Iterator[Edit]:
    judged = _judged_paths(run, config, shard)
    candidates_path, calibration = run.folder / "candidates" / shard.name, find_calibration(config)
    if held_out is None:
        yield from propose_edits(candidates_path, judged, config, calibration, 0.0)
        return
    for model, path in sorted(judged.items()):
        if config.find_model(model).protocol != "score":
            yield from read_shard(str(path), Edit)
            continue
        for edit in propose_edits(candidates_path, {model: path}, config, calibration, 0.0):
            yield replace(edit, confidence=held_out[_key(model, edit)])


def _judged_paths(run: Run, config: RunConfig, shard: AnyPath) -> dict[str, AnyPath]:
    return {model: _judged_path(run, config, model, shard) for model in config.model}


def _judged_path(run: Run, config: RunConfig, model: str, shard: AnyPath) -> AnyPath:
    table = "scores" if config.find_model(model).protocol == "score" else "answers"
    return run.folder / table / f"model={slug_of(model)}" / shard.name


def _key(model: str, found: Score | Edit) -> Key:
    return model, found.doc_id, found.start or 0, found.end or 0, found.replacement
