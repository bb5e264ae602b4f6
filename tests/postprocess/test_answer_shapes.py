"""Answers of the `edits` protocol in the shapes that capable models give when nothing holds them to a schema."""

import json
from typing import Any

import pytest

from postprocess.edits import anchor_edits, check_edits, parse_edits
from postprocess.records import EditStatus
from tests.postprocess.rows import make_chunk

PASSAGE = """“He don’t want none,” said the keeper; tho letters lay there all
the day—and he could of wept. She go home. It were late, it were
cold … and teh lamp and teh fire had gone out."""
GO = {"quote": "She go home", "replacement": "She goes home", "category": "agreement", "why": "subject and verb"}
OF = {"quote": "could of wept", "replacement": "could have wept", "category": "word", "why": "of/have"}
EDITS = json.dumps({"edits": [GO, OF]}, ensure_ascii=False, indent=2)
BOTH = [("go", "goes"), ("of", "have")]


def read(answer: str) -> list[tuple[str, str]]:
    """Changes of an answer, those without a place with their reason."""
    check_edits(make_chunk(PASSAGE), answer)
    edits = anchor_edits(parse_edits(answer), make_chunk(PASSAGE), proposer="m/edits", row_key="k", confidence=0.5)
    for edit in edits:
        if edit.status is EditStatus.ANCHORED:
            assert PASSAGE[edit.start : edit.end] == edit.original
    return [(edit.original, edit.replacement) if edit.reason is None else ("", edit.reason) for edit in edits]


@pytest.mark.parametrize(
    "answer",
    [
        EDITS,
        f"```json\n{EDITS}\n```",
        f"```JSON\n{EDITS}\n```\n",
        f"Here are the corrections:\n\n```json\n{EDITS}\n```\n\nI left the dialect in the first line alone.",
        f"I looked at {{this}} passage first:\n\n```\nShe go home\n```\n\nSo here is my answer:\n```json\n{EDITS}\n```",
        f"Sure! {EDITS}",
        f"{EDITS}\n\nNote: “don’t want none” is dialect {{and stays}}.",
        f"Let me think about this step by step. The passage has two mistakes.\n\n{EDITS}",
        "```json\n" + EDITS.replace("\n", "\r\n") + "\r\n```",
    ],
)
def test_edits_between_other_words(answer: str) -> None:
    assert read(answer) == BOTH


def answer(*edits: dict[str, Any]) -> str:
    return json.dumps({"edits": [GO | edit for edit in edits]}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        # quotes straightened, dashes and dots typed otherwise, lines joined
        (
            [{"quote": '"He don\'t want none," said', "replacement": '"He doesn\'t want any," said'}],
            [("don’t want none", "doesn’t want any")],
        ),
        ([{"quote": "lay there all the day -- and he could of", "replacement": "lay there all day -- and he could of"}], [("the ", "")]),
        ([{"quote": "it were cold... and", "replacement": "it was cold... and"}], [("were", "was")]),
        ([{"quote": "  She go home.\n", "replacement": "She goes home."}], [("go", "goes")]),
        # a place in numbers, counted wrong
        ([{"quote": "tho letters", "replacement": "the letters", "start": 3, "end": 14}], [("tho", "the")]),
        ([{"quote": "tho letters", "replacement": "the letters", "sentence": 99}], [("tho", "the")]),
        # other names for categories
        ([{"quote": "tho letters", "replacement": "the letters", "category": "Spelling"}], [("tho", "the")]),
        ([{"quote": "tho letters", "replacement": "the letters", "category": "grammar"}], [("tho", "the")]),
        # abbreviated
        ([{"quote": "tho letters … could of wept", "replacement": "the letters … could of wept"}], [("tho", "the")]),
        ([{"quote": "tho letters... could of wept.", "replacement": "tho letters... could have wept."}], [("of", "have")]),
        ([{"quote": "[...] She go home", "replacement": "[...] She goes home"}], [("go", "goes")]),
        ([{"quote": "She go home…", "replacement": "She goes home"}], [("go", "goes")]),
        ([{"quote": "tho letters … could of wept", "replacement": "the letters"}, {}], [("", "quote_abbreviated"), ("go", "goes")]),
        ([{"quote": "said … teh", "replacement": "said … the"}, {}], [("", "quote_ambiguous"), ("go", "goes")]),
        ([{"quote": "She went … home", "replacement": "x … y"}, {}], [("", "quote_not_found"), ("go", "goes")]),
        # as often as it stands there, and not so often
        ([{"quote": "teh", "replacement": "the"}] * 2, [("teh", "the")] * 2),
        ([{"quote": "it were", "replacement": "it was"}, {}], [("were", "was"), ("go", "goes")]),
        ([{"quote": "teh", "replacement": "the"}, {}], [("", "quote_ambiguous"), ("go", "goes")]),
        ([{"quote": "teh", "replacement": "the"}] * 3 + [{}], [("", "quote_ambiguous")] * 3 + [("go", "goes")]),
        ([{}, {}], [("go", "goes")] * 2),
    ],
)
def test_quotes_that_are_not_copied_exactly(edits: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    assert read(answer(*edits)) == expected


def test_the_same_edit_twice_is_for_both_places() -> None:
    edits = anchor_edits(
        parse_edits(answer(*[{"quote": "teh", "replacement": "the"}] * 2)), make_chunk(PASSAGE), proposer="m", row_key=None, confidence=0.5
    )
    assert [edit.start for edit in edits] == [PASSAGE.index("teh lamp"), PASSAGE.index("teh fire")]
