"""What models and rules said of one shard becomes its edits and findings."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from chunkers.paths import AnyPath, StorageError, path_of
from chunkers.records import Candidate
from chunkers.shards import read_shard, write_shard
from engine.score import Score
from flows.config import ConfigError, RunConfig
from flows.corpus import restore_documents
from flows.judge import edit_order, read_candidates
from postprocess.collate import Voter, collate_edits
from postprocess.confidence import Calibration, edits_from_candidates, edits_from_scores, load_calibration, prior_of
from postprocess.guards import guard_edits
from postprocess.records import EDITS, FINDINGS, VOTING, Answered, Edit, Finding
from postprocess.style_edits import edits_of_style

Row = TypeVar("Row", Edit, Answered)

MIN_KEPT_CONFIDENCE = 0.05
"""A scored candidate below stays in the scores table and becomes no edit: there are a hundred of them for each that is right."""


def collate_shard(
    shard_path: AnyPath, documents_path: AnyPath, candidates_path: AnyPath, judged: dict[str, AnyPath], config: RunConfig
) -> AnyPath:
    """Write the shard's edits and findings; returns the findings' path.

    `judged` maps a model's name to its scores or answers. Where no model scored, rules stand for themselves with the precision that
    was measured for each.
    """
    folder = shard_path.parent.parent
    edits: list[Edit] = []
    findings: list[Finding] = []
    proposed = propose_edits(candidates_path, judged, config, find_calibration(config), MIN_KEPT_CONFIDENCE)
    for guarded, collated in collate_documents(shard_path, documents_path, proposed, judged, config, config.min_suggest):
        edits += guarded
        findings += collated
    write_shard(str(folder / "edits" / shard_path.name), EDITS, sorted(edits, key=edit_order))
    target = folder / "findings" / shard_path.name
    write_shard(str(target), FINDINGS, findings)
    return target


def collate_documents(
    shard_path: AnyPath, documents_path: AnyPath, edits: Iterable[Edit], judged: dict[str, AnyPath], config: RunConfig, min_suggest: float
) -> Iterator[tuple[list[Edit], list[Finding]]]:
    """The guarded edits and the findings of each document of a shard, in its order. Raises ValueError for an edit of another document."""
    proposed = _group_rows(edits)
    answered = _read_answered(judged, config)
    for document, _ in restore_documents(shard_path, documents_path):
        guarded = guard_edits([*proposed.pop(document.doc_id, []), *edits_of_style(document)], document)
        voters = _find_voters(document.doc_id, answered, config)
        yield guarded, collate_edits(guarded, document, min_accept=config.min_confidence, min_suggest=min_suggest, voters=voters)
    if proposed:
        raise ValueError(
            f"{sum(map(len, proposed.values()))} edits are of documents that {shard_path} does not hold; every edit must belong to one."
        )


def answered_path(judged_path: AnyPath) -> AnyPath:
    """Beside a shard of answers: the passages that they are about."""
    return judged_path.with_name(judged_path.name.replace("shard", "answered"))


def _read_answered(judged: dict[str, AnyPath], config: RunConfig) -> dict[str, dict[str, list[Answered]]]:
    """By name of a model that votes, then by doc_id."""
    return {
        model: _group_rows(read_shard(str(answered_path(path)), Answered))
        for model, path in sorted(judged.items())
        if config.find_model(model).protocol in VOTING
    }


def _find_voters(doc_id: str, answered: dict[str, dict[str, list[Answered]]], config: RunConfig) -> list[Voter]:
    """Two names of one source, as with two quantisations or protocols, are one witness."""
    return [
        Voter(
            proposer=f"{model}/{(found := config.find_model(model)).protocol}",
            origin=found.source,
            answered=tuple((row.start, row.end) for row in rows.get(doc_id, ())),
        )
        for model, rows in answered.items()
    ]


def find_calibration(config: RunConfig) -> Calibration:
    """The user's own calibration, else the one that comes with galley. Raises ConfigError where the file is none."""
    if config.calibration is None:
        return load_calibration()
    try:
        return load_calibration(path_of(config.calibration))
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"calibration={config.calibration} cannot be used ({type(error).__name__}: {error}); it is a file that `flows calibrate` "
            "wrote; mend the path, or remove the key for the calibration that comes with galley."
        ) from error


def propose_edits(
    candidates_path: AnyPath, judged: dict[str, AnyPath], config: RunConfig, calibration: Calibration, min_confidence: float
) -> Iterator[Edit]:
    """Edits of one shard before they are guarded: of every model, and of rules on their own where none has scored."""
    is_scored = False
    for model, path in sorted(judged.items()):
        if config.find_model(model).protocol == "score":
            is_scored = True
            yield from edits_from_scores(read_shard(str(path), Score), model, calibration, min_confidence)
        else:
            yield from read_shard(str(path), Edit)
    if not is_scored:
        yield from edits_from_candidates(_all_candidates(candidates_path), prior_of, min_confidence)


def _all_candidates(path: AnyPath) -> Iterator[Candidate]:
    for candidates in read_candidates(path).values():
        yield from candidates


def _group_rows(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """By doc_id, in their order."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.doc_id, []).append(row)
    return grouped
