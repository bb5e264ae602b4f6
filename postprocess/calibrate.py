"""Fits the calibration: how often proposals like this one were right, in documents that people have corrected.

Owns the fitting and its proof by leaving books out; confidence.py owns what a calibration is. Errors that people left in the text count
against the proposals that find them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from postprocess.confidence import Calibration, Proposal, features
from postprocess.grade import find_made
from postprocess.truth import Correction

RIDGE = {"bias": 0.001, "gain": 0.01, "prior": 0.1}
"""Weights of the terms that every proposal has are all but free; those of classes and details are held near 0."""
MAX_STEPS = 60

Array = npt.NDArray[np.float64]


class CalibrationError(ValueError):
    """Nothing can be fitted on these proposals: what was met, the rule, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """The text of a document and what people corrected in it."""

    text: str
    corrections: Sequence[Correction]


def find_right(proposals: Sequence[Proposal], documents: Mapping[str, Corrected]) -> list[bool]:
    """For each proposal whether it makes the text that a person made; documents by doc_id."""
    right = []
    for proposal in proposals:
        score, document = proposal.best, documents[proposal.best.doc_id]
        right.append(bool(find_made(document.text, document.corrections, (score.start, score.end, score.replacement))))
    return right


def fit_calibration(proposals: Sequence[Proposal], right: Sequence[bool]) -> Calibration:
    """The calibration that fits proposals best of which `right` says whether they were right.

    Raises CalibrationError where all or none of them are right.
    """
    if len(set(right)) < 2:
        raise CalibrationError(
            f"{sum(right)} of {len(right)} proposals are right; a fit needs some that are and some that are not; "
            "give runs over more corrected documents."
        )
    found = [features(proposal) for proposal in proposals]
    names = sorted({name for each in found for name in each})
    table = np.array([[each.get(name, 0.0) for name in names] for each in found])
    ridge = np.array([RIDGE.get(name, 1.0) for name in names])
    weights = _fit(table, np.array(right, dtype=np.float64), ridge)
    return Calibration(dict(zip(names, np.round(weights, 4).tolist(), strict=True)))


def cross_validate(proposals: Sequence[Proposal], right: Sequence[bool], books: Sequence[str]) -> list[float]:
    """The confidence of each proposal by a calibration that was fitted on the other books alone; `books` says whose each proposal is.

    Raises CalibrationError where there are fewer than two books, or the others of one have nothing to fit on.
    """
    labels = sorted(set(books))
    if len(labels) < 2:
        raise CalibrationError(
            f"All proposals are of {'one book' if labels else 'no book'}; a book is judged by what was fitted on the others, "
            "so there must be two or more; give more documents, or a books file that tells them apart."
        )
    confidences = [0.0] * len(proposals)
    for label in labels:
        others = [index for index, book in enumerate(books) if book != label]
        calibration = fit_calibration([proposals[index] for index in others], [right[index] for index in others])
        for index, book in enumerate(books):
            if book == label:
                confidences[index] = calibration.confidence(proposals[index])
    return confidences


def render_calibration(calibration: Calibration, origin: str) -> str:
    """The file that `load_calibration` reads; `origin` says for people what it was fitted on."""
    return json.dumps({"origin": origin} | asdict(calibration), indent=1, ensure_ascii=False) + "\n"


def _predict(table: Array, weights: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(table @ weights, -30, 30))), dtype=np.float64)


def _fit(table: Array, right: Array, ridge: Array) -> Array:
    """Logistic regression with a ridge for each weight, by Newton's method."""
    weights = np.zeros(table.shape[1])
    for _ in range(MAX_STEPS):
        chance = _predict(table, weights)
        gradient = table.T @ (chance - right) + ridge * weights
        curvature = (table.T * (chance * (1 - chance))) @ table + np.diag(ridge)
        weights -= np.linalg.solve(curvature, gradient)
    return weights
