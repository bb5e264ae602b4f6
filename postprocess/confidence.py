"""From what detectors proposed and a model scored to one confidence: the share of such edits that a proofreader would make.

Owns the calibration: a logistic model of a few readable features, fitted by tests/bench/fit_calibration.py on corrections by people.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rapidfuzz.distance import DamerauLevenshtein

from chunkers.candidates import DEFAULT_PRIOR, PRIOR
from chunkers.records import Candidate, Category
from engine.score import Score
from postprocess.records import Edit, EditStatus, name_edit

MIN_GAIN, MAX_GAIN = -10.0, 20.0
"""Nats; what lies beyond says no more."""
UNASKED_GAIN = -5.0
"""Nats that stand for «the text is too likely as it is to ask»."""

CLASSES = ("spelling", "slip", "mechanical", "harper", "small_words", "grammar")
"""Kinds of proposals for which a gain means something different."""

_CLASS_BY_DETECTOR = {
    "harper:SpellCheck": "spelling",
    "spelling": "spelling",
    "own_words": "spelling",
    "surprise": "slip",
    "confusion:scanno": "slip",
    "confusion:letters": "slip",
    "confusion:neighbour": "slip",
    "spacing:run_together": "slip",
    "spacing:cut_word": "slip",
    "harper:MergeWords": "slip",
    "harper:SplitWords": "slip",
    "quotes": "mechanical",
    "spacing": "mechanical",
    "punctuation": "mechanical",
    "capitals": "mechanical",
    "doubled_words": "mechanical",
    "doubled_phrase": "mechanical",
    "doubled_speech": "mechanical",
    "harper": "harper",
    "small_words": "small_words",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One replacement of one span, by all detectors that proposed it."""

    best: Score
    """The row of the detector with the highest prior."""
    detectors: tuple[str, ...]
    """Sorted."""

    @property
    def prior(self) -> float:
        return prior_of(self.best.detector)

    @property
    def gain(self) -> float:
        return UNASKED_GAIN if self.best.gain is None else max(MIN_GAIN, min(MAX_GAIN, self.best.gain))


def prior_of(detector: str) -> float:
    """Share of a detector's candidates that are right, before a model has looked."""
    return PRIOR.get(detector, DEFAULT_PRIOR)


def class_of(detector: str) -> str:
    """The class of a detector: by its name, else by its family, else grammar."""
    return _CLASS_BY_DETECTOR.get(detector) or _CLASS_BY_DETECTOR.get(detector.partition(":")[0], "grammar")


def features(proposal: Proposal) -> dict[str, float]:
    """What the logistic model sees, by name; features that are 0 are left out."""
    score = proposal.best
    kind = class_of(score.detector)
    found = {"bias": 1.0, "prior": math.log(proposal.prior / (1 - proposal.prior)), "gain": proposal.gain / 5}
    found |= {f"bias:{kind}": 1.0, f"gain:{kind}": proposal.gain / 5}
    if len(proposal.detectors) > 1:
        found["agreement"] = 1.0
    if kind == "spelling":
        found["length"] = min(12, len(score.original)) / 4  # what is short is more often dialect or an old spelling
        if proposal.detectors == ("harper:SpellCheck",):
            found["dictionary_alone"] = 1.0
    if kind in ("spelling", "slip"):
        if DamerauLevenshtein.distance(score.original, score.replacement, score_cutoff=1) == 1:
            found["one_slip"] = 1.0
        if score.original[:1].isupper():
            found["capital"] = 1.0
    return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """Log-odds of a proposal being right, as a sum over its features."""

    weights: Mapping[str, float]

    def confidence(self, proposal: Proposal) -> float:
        """0 to 1, rounded to four places: the last digits of a sum of floats depend on the machine."""
        odds = math.fsum(self.weights.get(name, 0.0) * value for name, value in features(proposal).items())
        return round(1 / (1 + math.exp(-max(-30.0, min(30.0, odds)))), 4)


def load_calibration(path: Path | None = None) -> Calibration:
    """The calibration that comes with galley, or a user's own."""
    source = path if path else resources.files("postprocess").joinpath("calibration.json")
    return Calibration(json.loads(source.read_text("utf-8"))["weights"])


def choose_proposals(scores: Iterable[Score]) -> list[Proposal]:
    """Of the proposals that overlap, the one with the highest gain; sorted by doc_id, start, end, replacement.

    Of several words that might stand in one place at most one is right; the others stay in the scores table.
    """
    grouped: dict[tuple[str, int, int, str], list[Score]] = {}
    for score in scores:
        grouped.setdefault((score.doc_id, score.start, score.end, score.replacement), []).append(score)
    proposals = [
        Proposal(
            best=max(group, key=lambda score: (prior_of(score.detector), score.detector)),
            detectors=tuple(sorted({score.detector for score in group})),
        )
        for group in grouped.values()
    ]
    chosen: list[Proposal] = []
    taken: dict[str, set[int]] = {}
    for proposal in sorted(proposals, key=lambda proposal: (-proposal.gain, -proposal.prior, *_place(proposal))):
        score = proposal.best
        places = set(range(score.start, max(score.end, score.start + 1)))
        if places.isdisjoint(taken.setdefault(score.doc_id, set())):
            taken[score.doc_id] |= places
            chosen.append(proposal)
    return sorted(chosen, key=_place)


def _place(proposal: Proposal) -> tuple[str, int, int, str]:
    return proposal.best.doc_id, proposal.best.start, proposal.best.end, proposal.best.replacement


def edits_from_scores(scores: Iterable[Score], model: str, calibration: Calibration, min_confidence: float) -> list[Edit]:
    """Edits of the chosen proposals at or above `min_confidence`: one by each detector, and one by the model where it gained by the change.

    Sorted by doc_id, start, end, replacement, proposer. The rest stay in the scores table, where every candidate is.
    """
    edits = []
    for proposal in choose_proposals(scores):
        confidence = calibration.confidence(proposal)
        if confidence < min_confidence:
            continue
        proposers = [detector for detector in proposal.detectors if detector != "surprise"]
        if proposal.best.gain is not None and proposal.best.gain > 0:
            proposers.append(f"{model}/score")
        edits += [_edit(proposal.best, proposer, confidence) for proposer in sorted(proposers)]
    return edits


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
