"""Confidence: what makes a proposal surer, which of several is chosen, and whose edit it becomes."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkers.candidates import DEFAULT_PRIOR, PRIOR
from chunkers.records import Candidate, Category
from engine.score import Score
from postprocess.confidence import (
    CLASSES,
    MAX_GAIN,
    MIN_GAIN,
    Calibration,
    Proposal,
    choose_proposals,
    class_of,
    edits_from_candidates,
    edits_from_scores,
    load_calibration,
    prior_of,
)
from postprocess.records import EditStatus

TEXT = "She sat at teh table, and the the cat sat by her side all day long."
DETECTORS = ["harper:SpellCheck", "surprise", "doubled_words", "harper:AnA", "small_words", "article", "variants:accent"]
GIVEN = Calibration({"bias": -2.0, "prior": 0.5, "gain": 1.0, "agreement": 0.7})
"""Weights by hand, so that nothing here depends on what was fitted last."""


def make_score(
    start: int = 11, end: int = 14, replacement: str = "the", *, gain: float | None = 3.0, detector: str = "spelling", doc_id: str = "d"
) -> Score:
    candidate = make_candidate(start, end, replacement, detector)
    return Score(
        candidate_id=candidate.candidate_id,
        doc_id=doc_id,
        start=start,
        end=end,
        original=candidate.original,
        replacement=replacement,
        category="spell",
        detector=detector,
        message="",
        row_key=None if gain is None else "ab",
        gain=gain,
        surprise=5.0,
    )


def make_candidate(start: int, end: int, replacement: str, detector: str) -> Candidate:
    return Candidate(
        doc_id="d",
        start=start,
        end=end,
        original=TEXT[start:end],
        replacement=replacement,
        category=Category.SPELL,
        detector=detector,
        message="Why.",
    )


def confidence(calibration: Calibration, *scores: Score) -> float:
    (proposal,) = choose_proposals(scores)
    return calibration.confidence(proposal)


def test_there_is_a_detector_of_every_class() -> None:
    assert {class_of(detector) for detector in DETECTORS} == set(CLASSES)


@pytest.mark.parametrize("detector", DETECTORS)
def test_more_gain_is_never_less_sure(detector: str) -> None:
    calibration = load_calibration()
    gains = [-50.0, MIN_GAIN, -3.0, -0.5, 0.0, 0.5, 3.0, 8.0, MAX_GAIN, 50.0]
    found = [confidence(calibration, make_score(gain=gain, detector=detector)) for gain in gains]
    assert found == sorted(found)
    assert found[-1] > found[0], "the model has a say"
    assert all(0 <= each <= 1 for each in found)
    assert (found[0], found[-1]) == (found[1], found[-2]), "beyond the limits a gain says no more"


@pytest.mark.parametrize("detector", DETECTORS)
def test_unasked_is_less_sure_than_a_good_gain(detector: str) -> None:
    calibration = load_calibration()
    unasked = confidence(calibration, make_score(gain=None, detector=detector))
    assert unasked < confidence(calibration, make_score(gain=5.0, detector=detector))


def test_detector_counts_by_its_name_then_its_family_then_as_any_other() -> None:
    assert class_of("harper:SpellCheck") == "spelling"
    assert class_of("harper:NewRule") == "harper"
    assert class_of("punctuation:new") == "mechanical"
    assert class_of("unheard:of") == class_of("unheard") == "grammar"
    weights = {"prior": 1.0, "bias:harper": 3.0}
    unknown, of_family = (confidence(Calibration(weights), make_score(detector=detector)) for detector in ("unheard:of", "harper:NewRule"))
    assert unknown == pytest.approx(DEFAULT_PRIOR, abs=1e-4), "with the prior alone the confidence is the prior"
    assert of_family > unknown


def test_what_a_model_copied_counts_by_what_it_changes() -> None:
    classes = {category: class_of("copy", category) for category in Category}
    assert classes[Category.SPELL] == "spelling"
    assert classes[Category.AGREEMENT] == "grammar"
    assert classes[Category.MISSING] == classes[Category.EXTRA] == "small_words"
    assert classes[Category.QUOTE] == classes[Category.SPACE] == "mechanical"
    assert set(classes.values()) <= set(CLASSES)
    assert class_of("spelling", Category.WORD) == "spelling", "a rule counts by its name"


def test_another_change_that_gains_more_makes_less_sure() -> None:
    calibration = Calibration({"gain": 1.0, "behind": 1.0})
    alone, rival = make_score(gain=3.0), make_score(replacement="tea", gain=2.0)
    assert {proposal.lead for proposal in choose_proposals([alone])} == {0.0}
    (ahead,) = choose_proposals([alone, rival])
    assert (ahead.lead, calibration.confidence(ahead)) == (1.0, confidence(calibration, alone))
    behind = Proposal(best=rival, detectors=("spelling",), lead=-1.0)
    assert calibration.confidence(behind) < confidence(calibration, rival)


def test_what_recurs_is_counted_in_its_document() -> None:
    scores = [make_score(doc_id=doc_id, start=start, end=start + 3) for doc_id, start in [("d", 11), ("d", 29), ("e", 11)]]
    scores = [replace(score, original="teh") for score in scores]
    assert [proposal.num_alike for proposal in choose_proposals(scores)] == [2, 2, 1]


def test_detector_that_is_mostly_right_is_surer() -> None:
    ranked = sorted(PRIOR, key=lambda detector: PRIOR[detector])
    assert PRIOR[ranked[0]] < PRIOR[ranked[-1]]
    worst, best = (confidence(GIVEN, make_score(detector=detector)) for detector in (ranked[0], ranked[-1]))
    assert worst < best


def test_two_detectors_are_surer_than_either() -> None:
    one, other = make_score(detector="spelling"), make_score(detector="harper:SpellCheck")
    assert confidence(GIVEN, one, other) > max(confidence(GIVEN, one), confidence(GIVEN, other))
    assert confidence(GIVEN, one, other) == confidence(GIVEN, other, one)
    assert confidence(GIVEN, one, one) == confidence(GIVEN, one), "one detector does not agree with itself"


def test_best_detector_speaks_for_the_others() -> None:
    ranked = sorted(PRIOR, key=lambda detector: PRIOR[detector])
    scores = [make_score(detector=ranked[0]), make_score(detector=ranked[-1]), make_score(detector=ranked[1])]
    (proposal,) = choose_proposals(scores)
    assert (proposal.best.detector, proposal.detectors) == (ranked[-1], tuple(sorted((ranked[0], ranked[-1], ranked[1]))))
    (proposal,) = choose_proposals([make_score(detector="copy"), make_score(detector=ranked[0]), make_score(detector="surprise")])
    assert proposal.best.detector == ranked[0], "a rule has something to say of it"
    (proposal,) = choose_proposals([make_score(detector="copy"), make_score(detector="about")])
    assert proposal.prior == prior_of("copy") == DEFAULT_PRIOR
    assert proposal.best.detector == "about", "also where it is right no more often, and its name comes first"


def test_who_proposed_it_and_how_often_weighs() -> None:
    rule, own = make_score(detector="spelling"), make_score(detector="copy")
    for weights, wanted in [
        ({"own": 1.0}, [0.5, 0.7311, 0.7311]),
        ({"rule": 1.0}, [0.7311, 0.5, 0.7311]),
        ({"own_and_rule": 1.0}, [0.5, 0.5, 0.7311]),
    ]:
        assert [confidence(Calibration(weights), *scores) for scores in ([rule], [own], [rule, own])] == wanted, weights
    once, thrice = (Proposal(best=rule, detectors=("spelling",), num_alike=times) for times in (1, 3))
    weighed = Calibration({"alike": -1.0})
    assert weighed.confidence(once) == 0.5
    assert weighed.confidence(thrice) == pytest.approx(0.25), "odds of one in three"


def test_confidence_by_hand() -> None:
    # log-odds -1 + 0.5 * ln(prior / (1 - prior)) + 1 * 5 / 5: the root of the prior odds
    detector = "unheard"
    proposal = Proposal(best=make_score(gain=5.0, detector=detector), detectors=(detector,))
    prior = proposal.prior
    odds = (prior / (1 - prior)) ** 0.5
    assert Calibration({**GIVEN.weights, "bias": -1.0}).confidence(proposal) == pytest.approx(odds / (1 + odds), abs=1e-4)


def test_extreme_weights_do_not_overflow() -> None:
    assert confidence(Calibration({"gain": 1e9}), make_score(gain=1.0)) == 1.0
    assert confidence(Calibration({"gain": 1e9}), make_score(gain=-1.0)) == 0.0


def test_users_own_calibration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"origin": "mine", "weights": {"bias": 0.0}}))
    assert confidence(load_calibration(path), make_score()) == 0.5


@pytest.mark.parametrize("weights", ['{"bias": NaN}', '{"bias": "1"}', '{"bias": -Infinity}', "[1.0]"])
def test_calibration_that_is_none_is_refused(tmp_path: Path, weights: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text('{"origin": "mine", "weights": ' + weights + "}")
    with pytest.raises(ValueError, match="no table of finite numbers"):
        load_calibration(path)


PLACES = st.tuples(st.integers(0, 12), st.integers(0, 4)).map(lambda place: (place[0], place[0] + place[1]))
SCORES = st.builds(
    lambda place, replacement, gain, detector, doc_id: make_score(*place, replacement, gain=gain, detector=detector, doc_id=doc_id),
    PLACES,
    st.sampled_from(["", "a", "the"]),
    st.sampled_from([None, -1.0, 0.0, 2.0, 2.0, 7.0]),
    st.sampled_from(DETECTORS),
    st.sampled_from("de"),
)


@given(scores=st.lists(SCORES, max_size=12))
def test_chosen_proposals_do_not_overlap_and_none_could_be_added(scores: list[Score]) -> None:
    chosen = [proposal.best for proposal in choose_proposals(scores)]
    assert [(score.doc_id, score.start, score.end, score.replacement) for score in chosen] == sorted(
        (score.doc_id, score.start, score.end, score.replacement) for score in chosen
    )
    for before, after in pairwise(chosen):
        assert before.doc_id != after.doc_id or before.end <= after.start
    for score in scores:
        rivals = [each for each in chosen if each.doc_id == score.doc_id and overlap(each, score)]
        assert rivals, "a place that somebody proposed is somebody's"


def overlap(one: Score, other: Score) -> bool:
    return one.start < max(other.end, other.start + 1) and other.start < max(one.end, one.start + 1)


@given(scores=st.lists(SCORES, max_size=12), data=st.data())
def test_choice_does_not_depend_on_the_order_of_rows(scores: list[Score], data: st.DataObject) -> None:
    unique = list({(score.doc_id, score.start, score.end, score.replacement): score for score in scores}.values())
    assert choose_proposals(data.draw(st.permutations(unique))) == choose_proposals(unique)


def test_of_two_words_for_one_place_the_likelier_is_chosen() -> None:
    scores = [make_score(replacement="tea", gain=2.0), make_score(replacement="the", gain=9.0), make_score(10, 15, " ten ", gain=5.0)]
    assert [proposal.best.replacement for proposal in choose_proposals(scores)] == ["the"]


def test_detectors_and_model_propose_with_one_confidence() -> None:
    scores = [make_score(detector="spelling"), make_score(detector="harper:SpellCheck"), make_score(detector="surprise")]
    edits = edits_from_scores(scores, "m", GIVEN, 0.0)
    assert [edit.proposer for edit in edits] == ["harper:SpellCheck", "m/score", "spelling"], "a surprise is the model's own word"
    assert len({edit.edit_id for edit in edits}) == 3
    assert {(edit.confidence, edit.score, edit.row_key, edit.status) for edit in edits} == {
        (confidence(GIVEN, *scores), 3.0, "ab", EditStatus.ANCHORED)
    }


@pytest.mark.parametrize("gain", [None, -1.0, 0.0])
def test_model_that_gains_nothing_proposes_nothing(gain: float | None) -> None:
    assert [edit.proposer for edit in edits_from_scores([make_score(gain=gain)], "m", GIVEN, 0.0)] == ["spelling"]
    assert not edits_from_scores([make_score(gain=gain, detector="surprise")], "m", GIVEN, 0.0)
    copied = edits_from_scores([make_score(gain=gain, detector="copy")], "m", GIVEN, 0.0)
    assert [edit.proposer for edit in copied] == ["m/score"], "what the model put into its copy is its own, whatever it gains"


def test_edits_below_the_limit_are_left_out() -> None:
    score = make_score()
    limit = confidence(GIVEN, score)
    assert edits_from_scores([score], "m", GIVEN, limit)
    assert not edits_from_scores([score], "m", GIVEN, limit + 0.0001)


def test_rules_stand_for_themselves_by_what_they_proved() -> None:
    candidates = [make_candidate(11, 14, "the", "good"), make_candidate(26, 30, "", "bad")]
    (edit,) = edits_from_candidates(candidates, {"good": 0.7, "bad": 0.1}.__getitem__, 0.5)
    assert (edit.proposer, edit.confidence, edit.score, edit.row_key) == ("good", 0.7, None, None)
    assert (edit.start, edit.end, edit.original, edit.replacement, edit.message) == (11, 14, "teh", "the", "Why.")
