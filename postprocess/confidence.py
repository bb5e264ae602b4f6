"""From what detectors proposed and a model scored to one confidence: the share of such edits that a proofreader would make.

Owns the calibration: a logistic model of a few readable features, fitted by `flows calibrate` on corrections by people.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from rapidfuzz.distance import DamerauLevenshtein

from chunkers.candidates import DEFAULT_PRIOR, PRIOR
from chunkers.candidates.lexicon import load_lexicon
from chunkers.paths import AnyPath
from chunkers.records import Candidate, Category
from engine.score import Score
from postprocess.records import Edit, EditStatus, name_edit

MIN_GAIN, MAX_GAIN = -8.0, 8.0
"""Nats; what lies beyond says no more."""
MAX_SURPRISE = 16.0
"""Nats, likewise."""
UNASKED_GAIN = -8.0
"""Nats that stand for «the text is too likely as it is to ask»."""
BENDS = (-2.0, 0.0, 2.0, 5.0)
"""Gains at which the odds may change their slope."""

CLASSES = ("spelling", "slip", "mechanical", "harper", "small_words", "grammar", "consistency")
"""Kinds of proposals for which a gain means something different."""
OWN = frozenset({"surprise", "copy"})
"""What a model proposes itself: its edits are the model's, not a rule's."""

_CLASS_BY_DETECTOR = {
    "harper:SpellCheck": "spelling",
    "spelling": "spelling",
    "own_words": "spelling",
    "misspelled": "spelling",
    "own_names": "spelling",
    "surprise": "slip",
    "confusion:scanno": "slip",
    "confusion:letters": "slip",
    "confusion:neighbour": "slip",
    "spacing:run_together": "slip",
    "spacing:cut_word": "slip",
    "harper:MergeWords": "slip",
    "harper:SplitWords": "slip",
    "own_phrases": "slip",
    "its": "slip",
    "article:and": "slip",
    "quotes": "mechanical",
    "spacing": "mechanical",
    "punctuation": "mechanical",
    "capitals": "mechanical",
    "doubled_words": "mechanical",
    "doubled_phrase": "mechanical",
    "doubled_speech": "mechanical",
    "brackets": "mechanical",
    "clauses": "mechanical",
    "harper": "harper",
    "small_words": "small_words",
    "clash": "small_words",
    "missing": "small_words",
    "variants": "consistency",
    "marks": "consistency",
    "dialect": "consistency",
}

_CLASS_BY_CATEGORY = {
    Category.SPELL: "spelling",
    Category.WORD: "slip",
    Category.AGREEMENT: "grammar",
    Category.MISSING: "small_words",
    Category.EXTRA: "small_words",
}


_WORD = re.compile(r"[^\W\d_]+(?:[’'][^\W\d_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One replacement of one span, by all detectors that proposed it."""

    best: Score
    """The row of the detector with the highest prior; a rule's before a model's own."""
    detectors: tuple[str, ...]
    """Sorted."""
    num_alike: int = 1
    """How often the document has the same change proposed, this one included."""
    lead: float = 0.0
    """Nats by which its gain exceeds that of the best other change of the same place; negative where another gains more."""

    @property
    def prior(self) -> float:
        return prior_of(self.best.detector)

    @property
    def gain(self) -> float:
        return UNASKED_GAIN if self.best.gain is None else max(MIN_GAIN, min(MAX_GAIN, self.best.gain))


def prior_of(detector: str) -> float:
    """Share of a detector's candidates that are right, before a model has looked."""
    return PRIOR.get(detector, DEFAULT_PRIOR)


def class_of(detector: str, category: Category | None = None) -> str:
    """The class of a detector: by its name, else by its family, else grammar; of a model's own copy by what it changes."""
    if detector == "copy" and category is not None:
        return _CLASS_BY_CATEGORY.get(category, "mechanical")
    return _CLASS_BY_DETECTOR.get(detector) or _CLASS_BY_DETECTOR.get(detector.partition(":")[0], "grammar")


def features(proposal: Proposal) -> dict[str, float]:
    """What the logistic model sees, by name; features that are 0 are left out."""
    score = proposal.best
    category = Category(score.category)
    kind = class_of(score.detector, category)
    gain, surprise = proposal.gain, min(MAX_SURPRISE, max(0.0, score.surprise or 0.0))
    rules = [detector for detector in proposal.detectors if detector not in OWN]
    found = {
        "bias": 1.0,
        "gain": gain / 5,
        "surprise": math.log1p(surprise),
        f"bias:{kind}": 1.0,
        f"gain:{kind}": gain / 5,
        f"category:{category}": 1.0,
    }
    for bend in BENDS:
        if gain > bend:
            found[f"gain>{bend:g}"] = (gain - bend) / 5
    if proposal.lead < 0:
        found["behind"] = max(-10.0, proposal.lead) / 5
    if score.gain is None:
        found["unasked"] = 1.0
    if rules:
        found["prior"] = math.log(proposal.prior / (1 - proposal.prior))
        found["rule"] = 1.0
    if len(rules) > 1:
        found["agreement"] = 1.0
    if len(rules) < len(proposal.detectors):
        found["own"] = 1.0
        if rules:
            found["own_and_rule"] = 1.0
    if proposal.num_alike > 1:
        found["alike"] = math.log(proposal.num_alike)  # what recurs is the author's way more often than a slip
    found |= _word_features(score.original, score.replacement)
    if kind == "spelling" and rules == ["harper:SpellCheck"] and "own" not in found:
        found["dictionary_alone"] = 1.0
    return found


def _word_features(original: str, replacement: str) -> dict[str, float]:
    """Of a change of one word for another: how well known either is, and how alike they look."""
    if not (_WORD.fullmatch(original) and _WORD.fullmatch(replacement)):
        return {}
    lexicon, found = load_lexicon(), {"word": 1.0}
    before, after = original.lower().replace("’", "'"), replacement.lower().replace("’", "'")
    if not lexicon.is_known(before):
        found["unknown"] = 1.0
    else:
        found["commoner"] = max(-8.0, min(8.0, lexicon.log_word(after) - lexicon.log_word(before))) / 5
    if not lexicon.is_known(after):
        found["unknown_after"] = 1.0
    if original[:1].isupper():
        found["capital"] = 1.0
        if "unknown" in found:
            found["capital_unknown"] = 1.0
    distance = DamerauLevenshtein.distance(before, after, score_cutoff=3)
    found[f"distance:{min(distance, 3)}"] = 1.0
    found["length"] = min(12, len(original)) / 4  # what is short is more often dialect or an old spelling
    return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """Log-odds of a proposal being right, as a sum over its features."""

    weights: Mapping[str, float]

    def confidence(self, proposal: Proposal) -> float:
        """0 to 1, rounded to four places: the last digits of a sum of floats depend on the machine."""
        odds = math.fsum(self.weights.get(name, 0.0) * value for name, value in features(proposal).items())
        return round(1 / (1 + math.exp(-max(-30.0, min(30.0, odds)))), 4)


def load_calibration(path: AnyPath | None = None) -> Calibration:
    """The calibration that comes with galley, or a user's own. Raises OSError, KeyError, TypeError or ValueError where the file is none."""
    source = path if path else resources.files("postprocess").joinpath("calibration.json")
    weights = json.loads(source.read_text("utf-8"))["weights"]
    if not isinstance(weights, dict) or not all(isinstance(weight, int | float) and math.isfinite(weight) for weight in weights.values()):
        raise ValueError("its weights are no table of finite numbers")
    return Calibration(weights)


def choose_proposals(scores: Iterable[Score]) -> list[Proposal]:
    """Of the proposals that overlap, the one with the highest gain; sorted by doc_id, start, end, replacement.

    Of several words that might stand in one place at most one is right; the others stay in the scores table.
    """
    grouped: dict[tuple[str, int, int, str], list[Score]] = {}
    for score in scores:
        grouped.setdefault((score.doc_id, score.start, score.end, score.replacement), []).append(score)
    alike = Counter((doc_id, group[0].original.lower(), replacement.lower()) for (doc_id, _, _, replacement), group in grouped.items())
    leads = _find_leads(grouped)
    proposals = [
        Proposal(
            best=max(group, key=lambda score: (score.detector not in OWN, prior_of(score.detector), score.detector)),
            detectors=tuple(sorted({score.detector for score in group})),
            num_alike=alike[key[0], group[0].original.lower(), key[3].lower()],
            lead=leads[key],
        )
        for key, group in grouped.items()
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


def _find_leads(grouped: Mapping[tuple[str, int, int, str], list[Score]]) -> dict[tuple[str, int, int, str], float]:
    """For each change by how much its gain exceeds that of the best other one that shares a character with it."""
    places: dict[tuple[str, int], list[tuple[float, tuple[str, int, int, str]]]] = {}
    gains = {key: MIN_GAIN if group[0].gain is None else group[0].gain for key, group in grouped.items()}
    for key, gain in gains.items():
        doc_id, start, end, _ = key
        for position in range(start, max(end, start + 1)):
            places.setdefault((doc_id, position), []).append((gain, key))
    leads = {}
    for key, gain in gains.items():
        doc_id, start, end, _ = key
        others = [other for position in range(start, max(end, start + 1)) for other, owner in places[doc_id, position] if owner != key]
        leads[key] = gain - max(others) if others else 0.0
    return leads


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
        proposers = [detector for detector in proposal.detectors if detector not in OWN]
        if "copy" in proposal.detectors or (proposal.best.gain is not None and proposal.best.gain > 0):
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
