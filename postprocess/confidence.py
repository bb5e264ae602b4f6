"""From a detector's word and a model's score to one confidence: the share of such edits that a human proofreader would make.

Owns the calibration file. The figures in `calibration.json` were fitted on corrections by people; see its `origin`.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from chunkers.records import Candidate, Category
from engine.score import Score
from postprocess.records import Edit, EditStatus, name_edit

MAX_GAIN = 20.0
"""Nats; a larger gain says no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A logistic model over how a candidate was found and what the model gained by it."""

    bias: dict[str, float]
    """Log-odds by detector; `default` stands for every other."""
    gain: float
    """Log-odds for each nat of gain."""
    unasked: float
    """Log-odds where the model found the text too likely to be asked."""

    def confidence(self, score: Score) -> float:
        """0 to 1."""
        detector = score.detector if score.detector in self.bias else score.detector.partition(":")[0]
        odds = self.bias.get(detector, self.bias["default"])
        odds += self.unasked if score.gain is None else self.gain * max(-MAX_GAIN, min(MAX_GAIN, score.gain))
        return 1 / (1 + math.exp(-odds))


def load_calibration(path: Path | None = None) -> Calibration:
    """The calibration that comes with galley, or a user's own."""
    source = path if path else resources.files("postprocess").joinpath("calibration.json")
    content = json.loads(source.read_text("utf-8"))
    return Calibration(bias=content["bias"], gain=content["gain"], unasked=content["unasked"])


def edits_from_scores(scores: Iterable[Score], model: str, calibration: Calibration, min_confidence: float) -> list[Edit]:
    """Edits of candidates at or above `min_confidence`: one by the detector, and one by the model where it gained by the change.

    Sorted by start, end, replacement, proposer. The rest stay in the scores table, where every candidate is.
    """
    edits: dict[str, Edit] = {}
    for score in scores:
        confidence = calibration.confidence(score)
        if confidence < min_confidence:
            continue
        proposers = [score.detector] if score.detector != "surprise" else []
        if score.gain is not None and score.gain > 0:
            proposers.append(f"{model}/score")
        for proposer in proposers:
            edit = _edit(score, proposer, confidence)
            known = edits.get(edit.edit_id)
            if known is None or known.confidence < confidence:
                edits[edit.edit_id] = edit
    return sorted(edits.values(), key=lambda edit: (edit.start, edit.end, edit.replacement, edit.proposer))


def edits_from_candidates(candidates: Iterable[Candidate], prior: Callable[[str], float], min_confidence: float) -> list[Edit]:
    """Edits of rules that stand on their own, each as sure as its detector has proved to be."""
    return [
        _edit(candidate, candidate.detector, prior(candidate.detector))
        for candidate in candidates
        if prior(candidate.detector) >= min_confidence
    ]


def _edit(found: Score | Candidate, proposer: str, confidence: float) -> Edit:
    return Edit(
        edit_id=name_edit(found.doc_id, found.start, found.end, found.original, found.replacement, proposer),
        doc_id=found.doc_id,
        start=found.start,
        end=found.end,
        original=found.original,
        replacement=found.replacement,
        category=Category(found.category),
        message=found.message,
        proposer=proposer,
        row_key=found.row_key if isinstance(found, Score) else None,
        score=found.gain if isinstance(found, Score) else None,
        confidence=confidence,
        status=EditStatus.ANCHORED,
        reason=None,
    )
