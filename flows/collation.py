"""What models and rules said of one shard becomes its edits and findings."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from chunkers.records import Candidate
from chunkers.shards import read_shard, write_shard
from engine.score import Score
from flows.config import RunConfig
from flows.corpus import restore_documents
from flows.judge import edit_order, read_candidates
from postprocess.collate import collate_edits
from postprocess.confidence import edits_from_candidates, edits_from_scores, load_calibration, prior_of
from postprocess.guards import guard_edits
from postprocess.records import EDITS, FINDINGS, Edit, Finding

MIN_KEPT_CONFIDENCE = 0.05
"""A scored candidate below stays in the scores table and becomes no edit: there are a hundred of them for each that is right."""


def collate_shard(shard_path: Path, documents_path: Path, candidates_path: Path, judged: dict[str, Path], config: RunConfig) -> Path:
    """Write the shard's edits and findings; returns the findings' path.

    `judged` maps a model's name to its scores or answers. Where no model scored, rules stand for themselves with the precision that
    was measured for each.
    """
    folder = shard_path.parent.parent
    edits: list[Edit] = []
    findings: list[Finding] = []
    proposed = _group(_proposed_edits(candidates_path, judged, config))
    for document, _ in restore_documents(shard_path, documents_path):
        guarded = guard_edits(proposed.pop(document.doc_id, []), document)
        edits += guarded
        findings += collate_edits(guarded, document, min_accept=config.min_confidence, min_suggest=config.min_suggest)
    if proposed:
        raise ValueError(
            f"{sum(map(len, proposed.values()))} edits are of documents that {shard_path} does not hold; every edit must belong to one."
        )
    write_shard(str(folder / "edits" / shard_path.name), EDITS, sorted(edits, key=edit_order))
    target = folder / "findings" / shard_path.name
    write_shard(str(target), FINDINGS, findings)
    return target


def _proposed_edits(candidates_path: Path, judged: dict[str, Path], config: RunConfig) -> Iterator[Edit]:
    is_scored = False
    for model, path in sorted(judged.items()):
        if config.find_model(model).protocol == "score":
            is_scored = True
            yield from edits_from_scores(read_shard(str(path), Score), model, load_calibration(), MIN_KEPT_CONFIDENCE)
        else:
            yield from read_shard(str(path), Edit)
    if not is_scored:
        yield from edits_from_candidates(_all_candidates(candidates_path), prior_of, MIN_KEPT_CONFIDENCE)


def _all_candidates(path: Path) -> Iterator[Candidate]:
    for candidates in read_candidates(path).values():
        yield from candidates


def _group(edits: Iterable[Edit]) -> dict[str, list[Edit]]:
    grouped: dict[str, list[Edit]] = {}
    for edit in edits:
        grouped.setdefault(edit.doc_id, []).append(edit)
    return grouped
