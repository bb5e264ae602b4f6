"""Findings against corrections: figures worked by hand, the curve against a count at every threshold, intervals that stay the same."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.records import Category
from postprocess.curve import draw_curve, draw_intervals
from postprocess.evaluate import Evaluation, evaluate
from postprocess.figures import count, f_half
from postprocess.grade import Change, GradedDocument, grade_changes, read_changes
from postprocess.records import FindingStatus
from postprocess.truth import Correction
from tests.postprocess.rows import make_finding

TEXT = "She sat at table and put tho the box away.\nIt was emtpy , he said. Teh end of teh the tale."


def correct(original: str, corrected: str, type: str = "WORD", *, evident: bool = True) -> Correction:
    start = TEXT.index(original)
    return Correction(start=start, end=start + len(original), original=original, corrected=corrected, type=type, evident=evident)


def change(original: str, replacement: str, confidence: float, *proposers: str, category: Category = Category.WORD) -> Change:
    start = TEXT.index(original)
    return Change(
        start=start,
        end=start + len(original),
        replacement=replacement,
        category=category,
        proposers=proposers or ("rule",),
        confidence=confidence,
    )


def grade(
    name: str, corrections: list[Correction], changes: list[Change], *, words: int = 1000, group: str | None = None
) -> GradedDocument:
    return GradedDocument(
        name=name,
        book=name,
        group=group,
        num_words=words,
        corrections=tuple(corrections),
        changes=grade_changes(TEXT, corrections, changes),
    )


ONE = grade(
    "one",
    [correct("emtpy", "empty", "SPELL"), correct("tho ", "", "EXTRA"), correct("sat", "sits", "AGREEMENT/FORM", evident=False)],
    [
        change("emtpy", "empty", 0.9, "speller", category=Category.SPELL),
        change(" tho", "", 0.6, "rule", "speller", category=Category.EXTRA),
        change("sat", "sits", 0.85, "model"),
        change("away", "aweigh", 0.8, "model"),
        change("table", "a table", 0.3, "rule"),
    ],
)
TWO = grade("two", [correct("Teh", "The", "SPELL")], [change("Teh", "Tea", 0.95, "speller", category=Category.SPELL)])


def measure(documents: list[GradedDocument], min_accept: float = 0.8) -> Evaluation:
    return evaluate(documents, min_accept=min_accept, min_suggest=0.1, num_draws=100, seed=1)


def test_figures_at_a_threshold_by_hand() -> None:
    found = measure([ONE, TWO])
    accepted = found.accepted
    # at 0.8: empty right, sits right, aweigh wrong, Tea only marks; 4 corrections, 2 of them made, 1 more marked; 2,000 words
    assert (accepted.num_findings, accepted.num_right, accepted.num_marking) == (4, 2, 1)
    assert (accepted.num_corrections, accepted.num_found, accepted.num_marked) == (4, 2, 1)
    assert (accepted.precision, accepted.recall) == (0.5, 0.5)
    assert accepted.f05 == pytest.approx(0.5)
    assert (accepted.precision_half, accepted.recall_half) == (2.5 / 4, 2.5 / 4)
    assert accepted.false_alarms_per_10k_words == 10, "what only marks the place is a false alarm too"
    assert accepted.findings_per_10k_words == 20
    assert (found.suggested.num_findings, found.suggested.num_found) == (6, 3)


def test_f_half_weighs_precision_twice() -> None:
    assert f_half(0.5, 0.2) == pytest.approx(1.25 * 0.5 * 0.2 / (0.25 * 0.5 + 0.2))
    assert f_half(0.0, 0.0) == 0.0
    assert f_half(None, 0.2) is None


def test_evident_corrections_alone() -> None:
    evident = measure([ONE, TWO]).evident
    # «sits» can be known from nowhere: the correction does not count, and who made it is neither right nor wrong
    assert (evident.num_corrections, evident.num_found, evident.num_findings, evident.num_right) == (3, 1, 3, 1)


def test_a_finding_counts_in_its_category_and_a_correction_in_its_own() -> None:
    categories = {each.category: each for each in measure([ONE, TWO]).categories}
    spell, agreement, word = categories[Category.SPELL], categories[Category.AGREEMENT], categories[Category.WORD]
    assert (spell.accepted.num_corrections, spell.accepted.num_found, spell.accepted.num_findings, spell.accepted.num_right) == (2, 1, 2, 1)
    assert (agreement.accepted.num_corrections, agreement.accepted.num_found, agreement.accepted.num_findings) == (1, 1, 0), (
        "as a wrong word"
    )
    assert (word.accepted.num_corrections, word.accepted.num_findings, word.accepted.num_right) == (0, 2, 1)


def test_yield_of_a_proposer_is_what_nobody_else_had() -> None:
    found = {each.proposer: each for each in measure([ONE, TWO]).proposers}
    assert [each.proposer for each in measure([ONE, TWO]).proposers] == ["speller", "model", "rule"], "by right findings, then by name"
    speller, rule = found["speller"], found["rule"]
    assert (speller.suggested.num_findings, speller.suggested.num_right, speller.num_alone, speller.num_right_alone) == (3, 2, 2, 1)
    assert (rule.suggested.num_findings, rule.suggested.num_right, rule.num_alone, rule.num_right_alone) == (2, 1, 1, 0)
    assert rule.accepted.num_findings == 0


def test_model_that_scores_what_a_rule_found_is_no_second_proposer() -> None:
    changes = [
        change("emtpy", "empty", 0.9, "m/score", "speller"),
        change("Teh", "The", 0.9, "m/score", "n/edits"),
        change("away", "off", 0.9, "m/score"),
        change("sat", "sits", 0.9, "m/score", "rule", "speller"),
    ]
    found = {each.proposer: each.num_alone for each in measure([grade("one", [], changes)]).proposers}
    assert found == {"m/score": 1, "n/edits": 1, "rule": 0, "speller": 1}


def test_bands_hold_every_finding_once() -> None:
    bands = {band.low: band for band in measure([ONE, TWO]).bands}
    assert (bands[0.9].num_findings, bands[0.9].num_right, bands[0.9].mean_confidence) == (2, 1, pytest.approx(0.925))
    assert (bands[0.8].num_findings, bands[0.8].num_right) == (2, 1)
    assert sum(band.num_findings for band in bands.values()) == 6
    assert bands[0.0].mean_confidence is None
    certain = measure([grade("sure", [correct("emtpy", "empty")], [change("emtpy", "empty", 1.0)])])
    assert [band.num_findings for band in certain.bands] == [1] + [0] * (len(certain.bands) - 1)


def test_recall_is_read_off_the_curve() -> None:
    found = measure([ONE, TWO])
    # 0.95 wrong, 0.9 right, 0.85 right, 0.8 wrong, 0.6 right, 0.3 wrong: 3 of 6 right at the end
    assert [(point.confidence, point.precision, point.recall) for point in found.curve] == [
        (0.95, 0.0, 0.0),
        (0.9, 0.5, 0.25),
        (0.85, pytest.approx(2 / 3), 0.5),
        (0.8, 0.5, 0.5),
        (0.6, 0.6, 0.75),
        (0.3, 0.5, 0.75),
    ]
    assert found.recall_at_precision == 0.75
    assert found.recall_at_false_alarms == 0.75, "3 false alarms in 2,000 words are 15 in 10,000"
    sparse = measure([grade("one", list(ONE.corrections), [graded.change for graded in ONE.changes], words=200)])
    assert sparse.recall_at_false_alarms == pytest.approx(2 / 3), "1 false alarm in 200 words is 50 in 10,000: only what is above 0.8"


def test_groups_are_shown_apart_where_there_are_several() -> None:
    novel, manual = (
        grade(name, [correct("emtpy", "empty")], changes, group=group)
        for name, group, changes in (("n", "novels", []), ("m", "manuals", [change("emtpy", "empty", 0.9)]))
    )
    found = measure([novel, manual])
    assert {label: group.accepted.recall for label, group in found.groups.items()} == {"manuals": 1.0, "novels": 0.0}
    assert found.accepted.recall == 0.5
    assert not measure([novel]).groups
    assert (found.groups["novels"].accepted.precision, found.groups["novels"].accepted.f05) == (None, None), "nothing was found"


def test_nothing_to_measure_is_no_error() -> None:
    for documents in ([], [grade("empty", [], [], words=0)], [grade("clean", [], [change("away", "off", 0.9)])]):
        found = measure(documents)
        assert found.accepted.recall is None
        assert found.intervals == {}


def test_conflicts_are_no_findings() -> None:
    start = TEXT.index("emtpy")
    findings = [
        make_finding(TEXT, start, start + 5, "empty"),
        make_finding(TEXT, start, start + 5, "entry", status=FindingStatus.CONFLICT),
        make_finding(TEXT, 0, 3, "He", status=FindingStatus.SUGGESTED, confidence=0.2),
    ]
    assert [(each.replacement, each.confidence) for each in read_changes(findings)] == [("empty", 0.9), ("He", 0.2)]


def test_doubled_word_may_lose_either_of_the_two() -> None:
    text = "of the the tale"
    corrections = [Correction(start=7, end=11, original="the ", corrected="", type="EXTRA")]
    first = Change(start=3, end=7, replacement="", category=Category.EXTRA, proposers=("rule",), confidence=1.0)
    (graded,) = grade_changes(text, corrections, [first])
    assert graded.makes == (0,)


CONFIDENCES = st.sampled_from([0.1, 0.25, 0.5, 0.5, 0.8, 1.0])
CHANGES = st.builds(
    change, st.sampled_from(["emtpy", "Teh", "tho ", " tho", "away"]), st.sampled_from(["empty", "The", "", "x"]), CONFIDENCES
)
CORRECTIONS = st.lists(
    st.sampled_from([correct("emtpy", "empty"), correct("Teh", "The"), correct("tho ", "", evident=False)]), unique_by=lambda c: c.start
)
DOCUMENTS = st.lists(
    st.tuples(CORRECTIONS, st.lists(CHANGES, max_size=6), st.integers(1, 500)).map(
        lambda made: grade("d", made[0], made[1], words=made[2])
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60)
@given(documents=DOCUMENTS)
def test_curve_is_the_count_at_each_confidence(documents: list[GradedDocument]) -> None:
    curve = draw_curve(documents)
    given_confidences = {graded.change.confidence for graded in chain.from_iterable(document.changes for document in documents)}
    assert [point.confidence for point in curve] == sorted(given_confidences, reverse=True)
    for point in curve:
        counted = count(documents, point.confidence)
        assert (point.precision, point.recall) == (counted.precision, counted.recall)
        assert point.false_alarms_per_10k_words == counted.false_alarms_per_10k_words


def test_intervals_are_those_of_whole_documents_and_come_from_the_seed() -> None:
    documents = [ONE, TWO, grade("three", [correct("emtpy", "empty")], []), grade("four", [], [change("away", "off", 0.9)])] * 3
    drawn = draw_intervals(documents, 0.8, num_draws=300, seed=7)
    assert drawn == draw_intervals(documents, 0.8, num_draws=300, seed=7)
    assert drawn != draw_intervals(documents, 0.8, num_draws=300, seed=8)
    counted = count(documents, 0.8)
    for name in ("precision", "recall", "f05", "findings_per_10k_words", "false_alarms_per_10k_words"):
        assert drawn[name].low < getattr(counted, name) < drawn[name].high
    one_kind = draw_intervals([ONE] * 5, 0.8, num_draws=100, seed=1)
    assert (one_kind["recall"].low, one_kind["recall"].high) == (pytest.approx(2 / 3), pytest.approx(2 / 3)), (
        "each draw is the same document"
    )
    assert one_kind["recall_at_precision_0.5"].low == pytest.approx(1.0)
    assert one_kind["recall_at_20_false_alarms"].low == pytest.approx(1.0), "at 0.6 one false alarm in 1,000 words"
