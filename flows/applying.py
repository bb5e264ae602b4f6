"""`flows apply`: the documents of a run with the accepted findings in them, and proof that nothing else changed."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePosixPath

from flows.corpus import restore_corpus
from flows.runs import Run, RunError, write_file
from flows.summary import read_findings
from postprocess.assemble import AssembleError, apply_findings, invert_findings, parse_decisions, select_findings


def apply_run(run: Run, target: Path, min_confidence: float | None, decisions_path: Path | None) -> Iterator[str]:
    """Write each document corrected, in its own encoding; yields a line for each.

    Before a file is written the applied changes are undone again and compared with the source bytes.
    Raises RunError for an unfinished run or a target that does not fit, AssembleError for decisions that do not.
    """
    if run.state == "unfinished":
        raise RunError(f"{run.name} is not finished; only a finished run can be applied. Run its command again first.")
    decisions = None
    if decisions_path:
        try:
            decisions = parse_decisions(decisions_path.read_bytes())
        except OSError as error:
            raise RunError(f"{decisions_path}: {error.strerror}; --decisions is a file saved from report.html; check the path.") from error
        if decisions.run != run.name:
            raise RunError(
                f"{decisions_path} is of the run {decisions.run!r}, not of {run.name!r}; decisions belong to one run; name that run."
            )
    elif min_confidence is None:
        min_confidence = float(run.read_manifest()["config"]["min_confidence"])
    findings = {doc_id: list(group) for doc_id, group in groupby(read_findings(run), key=attrgetter("doc_id"))}
    select_findings([finding for group in findings.values() for finding in group], min_confidence=min_confidence, decisions=decisions)
    documents = list(restore_corpus(run.shards("chunks"), run.folder / "documents.parquet"))
    if len(documents) > 1 and target.is_file():
        raise RunError(f"{target} is a file, and the run has {len(documents)} documents; give a folder with -o.")
    for document in documents:
        own = findings.get(document.doc_id, [])
        ids = {finding.finding_id for finding in own}
        mine = (
            decisions.model_copy(update={"decisions": {key: value for key, value in decisions.decisions.items() if key in ids}})
            if decisions
            else None
        )
        chosen = select_findings(own, min_confidence=min_confidence, decisions=mine)
        text = apply_findings(document.text, chosen)
        if apply_findings(text, invert_findings(chosen)) != document.text:
            raise AssembleError(
                f"{document.path}: undoing the changes does not give the source back; nothing was written; please report this."
            )
        path = target / PurePosixPath(document.path).name if len(documents) > 1 or target.is_dir() else target
        write_file(path, document.encode(text))
        yield f"{path}: {len(chosen)} of {len(own)} findings applied"
