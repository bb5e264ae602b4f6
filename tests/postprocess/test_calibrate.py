"""The fit of the calibration, and its proof by leaving books out."""

import json
from pathlib import Path

import pytest

from engine.score import Score
from postprocess.calibrate import CalibrationError, Corrected, cross_validate, find_right, fit_calibration, render_calibration
from postprocess.confidence import Proposal, choose_proposals, load_calibration
from postprocess.truth import Correction
from tests.postprocess.test_confidence import TEXT, make_score

BOOKS = ("a", "b", "c")


def propose(gain: float, *, doc_id: str = "d", replacement: str = "the") -> Proposal:
    score: Score = make_score(replacement=replacement, gain=gain, doc_id=doc_id)
    (proposal,) = choose_proposals([score])
    return proposal


PROPOSALS = [propose(gain) for gain in range(-6, 12) for _ in BOOKS]
RIGHT = [proposal.gain > 2 + (index % 5 == 0) * 4 for index, proposal in enumerate(PROPOSALS)]
"""The more gain the likelier, with some noise, so that the fit ends anywhere at all."""
BOOK_OF = list(BOOKS) * 18


def test_what_was_right_more_often_is_surer() -> None:
    calibration = fit_calibration(PROPOSALS, RIGHT)
    low, middle, high = (calibration.confidence(propose(gain)) for gain in (-5.0, 3.0, 10.0))
    assert low < 0.1 < middle < 0.9 < high
    shares = [calibration.confidence(proposal) for proposal in PROPOSALS]
    assert sum(shares) == pytest.approx(sum(RIGHT), abs=1.5), "on what it was fitted on it promises as many as there are"


def test_a_book_is_judged_by_the_others_alone() -> None:
    held_out = cross_validate(PROPOSALS, RIGHT, BOOK_OF)
    # book b says the opposite of what it said: the others' confidences change, its own must not
    turned = [not right if book == "b" else right for right, book in zip(RIGHT, BOOK_OF, strict=True)]
    other = cross_validate(PROPOSALS, turned, BOOK_OF)
    own = [index for index, book in enumerate(BOOK_OF) if book == "b"]
    assert [held_out[index] for index in own] == [other[index] for index in own]
    assert held_out[0] != other[0]
    without = [index for index, book in enumerate(BOOK_OF) if book != "b"]
    calibration = fit_calibration([PROPOSALS[index] for index in without], [RIGHT[index] for index in without])
    assert [held_out[index] for index in own] == [calibration.confidence(PROPOSALS[index]) for index in own]


def test_one_book_cannot_be_left_out() -> None:
    with pytest.raises(CalibrationError, match="two or more"):
        cross_validate(PROPOSALS, RIGHT, ["a"] * len(PROPOSALS))
    with pytest.raises(CalibrationError, match="no book"):
        cross_validate([], [], [])


@pytest.mark.parametrize("is_right", [True, False])
def test_a_fit_needs_right_and_wrong_proposals(is_right: bool) -> None:
    with pytest.raises(CalibrationError, match=f"{3 * is_right} of 3 proposals are right"):
        fit_calibration(PROPOSALS[:3], [is_right] * 3)


def test_right_is_what_makes_the_text_that_a_person_made() -> None:
    start = TEXT.index("teh")
    corrections = [Correction(start=start, end=start + 3, original="teh", corrected="the", type="SPELL")]
    documents = {"d": Corrected(text=TEXT, corrections=corrections), "e": Corrected(text=TEXT, corrections=[])}
    proposals = [propose(1.0), propose(1.0, replacement="tea"), propose(1.0, doc_id="e")]
    assert find_right(proposals, documents) == [True, False, False]


def test_file_is_read_back_as_it_was_fitted(tmp_path: Path) -> None:
    calibration = fit_calibration(PROPOSALS, RIGHT)
    path = tmp_path / "calibration.json"
    path.write_text(render_calibration(calibration, "three books"), "utf-8")
    assert json.loads(path.read_text("utf-8"))["origin"] == "three books"
    read = load_calibration(path)
    assert [read.confidence(proposal) for proposal in PROPOSALS] == [calibration.confidence(proposal) for proposal in PROPOSALS]
