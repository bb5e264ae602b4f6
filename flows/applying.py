"""`flows apply`: the documents of a run with the accepted findings in them, and proof that nothing else changed."""

from collections import Counter
from itertools import groupby
from operator import attrgetter
from pathlib import PurePosixPath

from chunkers.paths import AnyPath, path_of
from chunkers.records import Document
from flows.applied_tables import apply_table, check_target, find_tables
from flows.corpus import restore_corpus
from flows.runs import Run, RunError, write_file
from flows.summary import read_findings
from postprocess.assemble import AssembleError, Decisions, apply_findings, invert_findings, parse_decisions, select_findings
from postprocess.records import Finding


def apply_run(run: Run, target: AnyPath, min_confidence: float | None, decisions_path: AnyPath | None) -> list[str]:
    """Write each document corrected, in its own encoding; returns a line for each.

    Before the first file is written the changes of all documents are undone again and compared with the sources; those of a table's rows
    one by one, before its copy has its name.
    Raises RunError for an unfinished run or a target that does not fit, AssembleError for decisions that do not.
    """
    if run.state == "unfinished":
        raise RunError(f"{run.name} is not finished; only a finished run can be applied. Run its command again first.")
    decisions = _read_decisions(decisions_path, run) if decisions_path else None
    if decisions is None and min_confidence is None:
        min_confidence = float(run.read_manifest()["config"]["min_confidence"])
    findings = read_findings(run)
    chosen = select_findings(findings, min_confidence=min_confidence, decisions=decisions)
    by_document = {doc_id: list(group) for doc_id, group in groupby(chosen, key=attrgetter("doc_id"))}
    totals = Counter(finding.doc_id for finding in findings)
    every = restore_corpus(run.shards(), run.folder / "documents.parquet")
    documents, tables = [document for document in every if document.table is None], find_tables(run)
    targets = _targets([*(document.path for document in documents), *tables], target)
    for table, path in zip(tables, targets[len(documents) :], strict=True):
        check_target(table, path)
    corrected, lines = {}, []
    for document, path in zip(documents, targets, strict=False):
        own = by_document.get(document.doc_id, [])
        corrected[path] = _correct(document, own)
        lines.append(f"{path}: {len(own)} of {totals[document.doc_id]} findings applied")
    for path, content in corrected.items():
        write_file(path, content)
    return lines + [
        apply_table(run, table, path, by_document, totals) for table, path in zip(tables, targets[len(documents) :], strict=True)
    ]


def _read_decisions(path: AnyPath, run: Run) -> Decisions:
    try:
        decisions = parse_decisions(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}; --decisions is a file saved from report.html; check the path.") from error
    if decisions.run != run.name:
        raise RunError(f"{path} is of the run {decisions.run!r}, not of {run.name!r}; decisions belong to one run; name that run.")
    return decisions


def _targets(sources: list[str], target: AnyPath) -> list[AnyPath]:
    """Where each file goes, in their order; no two to one place, and none onto a source."""
    if len(sources) > 1 and target.is_file():
        raise RunError(f"{target} is a file, and the run has {len(sources)} documents; give a folder with -o.")
    is_folder = len(sources) > 1 or target.is_dir()
    kept = {path_of(source).resolve(): source for source in sources}
    targets: dict[AnyPath, None] = {}
    for source in sources:
        path = target / PurePosixPath(source).name if is_folder else target
        if path in targets:
            raise RunError(
                f"Two documents of the run are called {path.name}, and {target} holds one of a name; run their folders one by one."
            )
        if (own := kept.get(path.resolve())) is not None:
            raise RunError(f"{path} is a source of the run ({own}); a source is never overwritten; give another place with -o.")
        targets[path] = None
    return list(targets)


def _correct(document: Document, findings: list[Finding]) -> bytes:
    text = apply_findings(document.text, findings)
    if apply_findings(text, invert_findings(findings)) != document.text:
        raise AssembleError(f"{document.path}: undoing the changes does not give the source back; nothing was written; please report this.")
    try:
        return document.encode(text)
    except UnicodeEncodeError as error:
        odd = error.object[error.start : error.end]
        raise AssembleError(
            f"{document.path}: {odd!r} cannot be written in {document.encoding}, the encoding of the source, which a document keeps; "
            "decide for other words there, or save the source as UTF-8 and run again."
        ) from error
