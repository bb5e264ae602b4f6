"""Corrections by a person against what a run found: cases worked by hand."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_finding

from chunkers.readers import parse_document
from chunkers.records import Category
from postprocess.truth import Correction, TruthError, is_same_change, load_truth, match_truth, truth_items

TEXT = "She sat at table and put tho the box away.\nIt was emtpy , he said."


def correct(original: str, corrected: str, *, text: str = TEXT, type: str = "WORD") -> Correction:
    """`before|original|after`, `before|after` for an insertion, or the original alone."""
    before, middle, after = {1: ["", *original.split("|"), ""], 2: original.replace("|", "||").split("|"), 3: original.split("|")}[
        original.count("|") + 1
    ]
    start = text.index(before + middle + after) + len(before)
    return Correction(start=start, end=start + len(middle), original=middle, corrected=corrected, type=type)


CASES = [
    # correction, finding: found?, marked?
    (("emtpy", "empty"), ("emtpy", "empty"), True, True),
    (("emtpy", "empty"), ("e|mt|py", "mpt"), False, True),
    (("emtpy", "empty"), ("e|mtp|y", "mpt"), True, True),
    (("emtpy", "empty"), ("was emtpy", "was empty"), True, True),
    (("emtpy", "empty"), ("emtpy", "entry"), False, True),
    (("emtpy", "empty"), ("was", "is"), False, False),
    (("emtpy", "empty"), ("|was |", "is "), False, False),
    (("emtpy", "empty"), ("emtpy| |,", ""), False, False),
    (("emtpy", "empty"), ("emtpy|", "!"), False, True),
    (("emtpy", "empty"), ("emtpy ,", "empty,"), False, True),
    # a missing word, put before the space or after it
    (("at |table", "the "), ("at |table", "the "), True, True),
    (("at |table", "the "), ("at| table", " the"), True, True),
    (("at |table", "the "), ("|table|", "the table"), True, True),
    (("at |table", "the "), ("at| table", " a"), False, True),
    (("at |table", "the "), ("at |table", "a "), False, True),
    (("at |table", "the "), ("sat |at| table", "on"), False, False),
    (("at |table", "the "), ("|table| and", "tables"), False, True),
    # a word too many: either of two, with the space before it or after it
    (("put |tho |the", ""), ("put| tho| the", ""), True, True),
    (("put |tho |the", ""), ("put |tho the|", "the"), True, True),
    (("put |tho |the", ""), ("tho| the| box", ""), False, True),
    (("put |tho |the", ""), ("the |box", "old "), False, False),
]


@pytest.mark.parametrize(("correction", "finding", "is_found", "is_marked"), CASES)
def test_match(correction: tuple[str, str], finding: tuple[str, str], is_found: bool, is_marked: bool) -> None:
    change = correct(*finding)
    found = make_finding(TEXT, change.start, change.end, change.corrected)
    (match,) = match_truth(TEXT, [correct(*correction)], [found])
    assert (match.is_found, match.is_marked) == (is_found, is_marked)


def test_every_correction_has_one_match_in_order() -> None:
    corrections = [correct("at |table", "the "), correct("put |tho |the", ""), correct("emtpy", "empty")]
    start = TEXT.index("emtpy")
    findings = [make_finding(TEXT, start, start + 5, "entry"), make_finding(TEXT, start, start + 5, "empty")]
    matches = match_truth(TEXT, corrections, findings)
    assert [match.correction for match in matches] == corrections
    assert [match.is_found for match in matches] == [False, False, True], "the best finding counts"
    assert [match.is_marked for match in matches] == [False, False, True]


CHANGES = st.tuples(st.integers(0, 8), st.integers(0, 8), st.text("ab ", max_size=3)).map(lambda c: (min(c[:2]), max(c[:2]), c[2]))


@given(text=st.text("ab ", min_size=8, max_size=8), one=CHANGES, other=CHANGES)
def test_same_changes_are_those_that_make_the_same_text(text: str, one: tuple[int, int, str], other: tuple[int, int, str]) -> None:
    made = [text[:start] + replacement + text[end:] for start, end, replacement in (one, other)]
    assert is_same_change(text, one, other) == (made[0] == made[1])


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_corrections_are_read_by_place(tmp_path: Path) -> None:
    corrections = [correct("emtpy", "empty", type="SPELL"), correct("at |table", "the ", type="MISSING")]
    path = write(tmp_path / "book.edits.json", [{**correction.model_dump(), "note": "kept by nobody"} for correction in corrections])
    assert load_truth(path, TEXT) == corrections[::-1]


ROW = {"start": 4, "end": 7, "original": "sat", "corrected": "sits"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no JSON",
        {"edits": []},
        [ROW, 3],
        [{name: value for name, value in ROW.items() if name != "corrected"}],
        [ROW | {"start": "four"}],
        [ROW | {"start": None}],
    ],
)
def test_file_that_is_no_list_of_corrections_is_an_error(tmp_path: Path, content: object) -> None:
    path = write(tmp_path / "wrong.edits.json", content)
    with pytest.raises(TruthError, match=re.escape(str(path)) + ".*no list of corrections"):
        load_truth(path, TEXT)


def test_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "wrong.edits.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TruthError, match="no list of corrections"):
        load_truth(path, TEXT)


@pytest.mark.parametrize(
    "change",
    [
        {"start": 5},
        {"original": "Sat"},
        {"start": 4 - len(TEXT), "end": 7 - len(TEXT)},
        {"start": 7, "end": 4, "original": ""},
        {"start": len(TEXT) - 5, "end": len(TEXT) + 5, "original": "said."},
        {"start": len(TEXT) + 1, "end": len(TEXT) + 1, "original": ""},
    ],
)
def test_correction_of_another_text_is_an_error(tmp_path: Path, change: dict[str, object]) -> None:
    path = write(tmp_path / "other.edits.json", [ROW | change])
    with pytest.raises(TruthError, match="does not stand at"):
        load_truth(path, TEXT)


def test_report_shows_the_line_and_what_is_around() -> None:
    corrections = [
        correct("sat", "sits", type="AGREEMENT/FORM"),
        correct("emtpy", "empty", type="SPELL"),
        correct("said", "said", type="?"),
    ]
    items = truth_items(parse_document(TEXT.encode(), "text.md"), match_truth(TEXT, corrections, []))
    assert [item.line for item in items] == [1, 2, 2]
    assert [item.category for item in items] == [Category.AGREEMENT, Category.SPELL, Category.WORD]
    assert (items[1].original, items[1].replacement) == ("emtpy", "empty")
    assert items[1].context_before.endswith("It was ")
    assert items[1].context_after == " , he said."
    assert items[0].context_after.startswith(" at table and put tho the box away.")
    assert not any(item.is_found for item in items)
