import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chunkers.records import Category
from engine.outcomes import SchemaError, SemanticError
from postprocess.changes import Change, slide_change, split_words, trim_edit
from postprocess.edits import (
    EDITS_SCHEMA,
    NUMBERED_EDITS_SCHEMA,
    AnswerError,
    ModelEdit,
    anchor_edits,
    check_edits,
    parse_edits,
    reject_answer,
    salvage_edits,
)
from postprocess.exports.critic import render_critic
from postprocess.records import Edit, EditStatus
from tests.postprocess.golden import read_cases
from tests.postprocess.rows import TEXTS, make_chunk

START = 1000


def anchor(text: str, quote: str, replacement: str, sentence: int | None = None) -> Edit:
    sentences, position = [], START
    for part in text.split(". "):
        sentences.append((position, position + len(part) + 1))
        position += len(part) + 2
    model_edit = ModelEdit(sentence=sentence, quote=quote, replacement=replacement, category=Category.WORD, why="because")
    chunk = make_chunk(text, start=START)
    (edit,) = anchor_edits([model_edit], chunk, proposer="m/edits", row_key="k", confidence=0.5, sentences=sentences)
    return edit


@pytest.mark.parametrize(("case", "expected"), read_cases("anchoring.txt"))
def test_anchoring(case: str, expected: str) -> None:
    text, _, change = case.partition(" || ")
    change, _, number = change.partition(" #")
    quote, _, replacement = change.partition(" => ")
    edit = anchor(text, quote, replacement, int(number) if number else None)
    if edit.status is EditStatus.REJECTED:
        assert (edit.start, edit.end) == (None, None)
        assert (edit.original, edit.replacement, edit.reason) == (quote, replacement, expected)
    else:
        assert edit.start is not None
        assert edit.end is not None
        mark = Change(edit.start - START, edit.end - START, edit.original, edit.replacement)
        assert render_critic(text, [slide_change(text, mark)]) == expected


@given(TEXTS, TEXTS)
@example("e\u0301t\u00e9", "e\u0301t")
@example("a\r\nb", "a\nb")
def test_trimming_changes_nothing_but_the_size(original: str, replacement: str) -> None:
    start, end, old, new = trim_edit(original, replacement, 7)
    assert original[start - 7 : end - 7] == old
    assert original[: start - 7] + new + original[end - 7 :] == replacement


@given(TEXTS, TEXTS, TEXTS)
def test_trimming_leaves_whole_words(before: str, old: str, new: str) -> None:
    change = trim_edit(f"{before} {old} z", f"{before} {new} z", 0)
    words = split_words(f"{before} {old} z")
    edges = {0}
    for word in words:
        edges.add(max(edges) + len(word))
    assert {change.start, change.end} <= edges


@given(st.text())
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(split_words(text)) == text


@given(TEXTS, st.data())
def test_an_anchored_edit_stands_where_it_says(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    quote = text[start : data.draw(st.integers(start, len(text)))]
    edit = anchor(text, quote, data.draw(TEXTS))
    if edit.start is not None and edit.end is not None:
        assert text[edit.start - START : edit.end - START] == edit.original
        assert edit.original != edit.replacement
    else:
        assert edit.reason in {"quote_ambiguous", "quote_not_found", "empty_quote", "no_change"}


EDIT = {"quote": "He go", "replacement": "He goes", "category": "agreement", "why": "subject"}
EDITS = json.dumps({"edits": [EDIT, EDIT | {"quote": 'a "b" {c} \\', "why": ""}]})


@pytest.mark.parametrize("answer", [EDITS, f"  {EDITS}\n", f"```json\n{EDITS}\n```", f"```\n{EDITS}\n```\n"])
def test_a_whole_answer_is_read(answer: str) -> None:
    assert [edit.quote for edit in parse_edits(answer)] == ["He go", 'a "b" {c} \\']


@pytest.mark.parametrize(
    ("answer", "reason", "place"),
    [
        ("", "answer_not_json", "the answer"),
        ("The text is fine.", "answer_not_json", "the answer"),
        (EDITS[:-1], "answer_not_json", "the answer"),
        ("[" * 100_000, "answer_not_json", "the answer"),
        ("[]", "answer_not_schema", "the answer"),
        ('{"edits": [{"quote": "a"}]}', "answer_not_schema", "edits.0.replacement"),
        (json.dumps({"edits": [EDIT | {"category": "style"}]}), "answer_not_schema", "edits.0.category"),
        (json.dumps({"edits": [EDIT | {"sure": True}]}), "answer_not_schema", "edits.0.sure"),
    ],
)
def test_an_answer_that_cannot_be_read_says_where(answer: str, reason: str, place: str) -> None:
    with pytest.raises(AnswerError, match=rf"^{place}: .*; answer again in that form") as caught:
        parse_edits(answer)
    assert caught.value.reason == reason
    row = reject_answer(answer, reason, make_chunk("text"), proposer="m/edits", row_key="k", message=str(caught.value))
    assert (row.status, row.reason, row.start, row.end) == (EditStatus.REJECTED, reason, None, None)


@given(st.integers(0, len(EDITS)))
def test_a_cut_answer_gives_its_complete_edits(cut: int) -> None:
    complete = [index for index in range(len(EDITS)) if EDITS[: index + 1].endswith('"}')]
    assert salvage_edits(EDITS[:cut]) == parse_edits(EDITS)[: sum(end < cut for end in complete)]


@pytest.mark.parametrize("answer", ['{"edits": [{"quote": "a"}, ', '{"edits": [{"a": ' + "[" * 100_000, "no", '{"edits": 3'])
def test_nothing_is_salvaged_by_guess(answer: str) -> None:
    assert salvage_edits(answer) == []


def edits_of(*quotes: str, replacement: str = "He goes") -> str:
    return json.dumps({"edits": [EDIT | {"quote": quote, "replacement": replacement} for quote in quotes]})


PASSAGE = "He go home. He go “there” and he said so, and he said so."


@pytest.mark.parametrize(
    "answer",
    [
        '{"edits": []}',
        edits_of("He go home"),
        edits_of("nowhere", "", "he said", 'go "there"'),
        edits_of("He go home", replacement="He go home"),
    ],
)
def test_an_answer_with_one_quote_that_has_a_place_is_good(answer: str) -> None:
    check_edits(make_chunk(PASSAGE), answer)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (edits_of("nowhere", "he said"), "«nowhere» is not in the passage"),
        (edits_of("he said", "nowhere"), "«he said» stands in the passage more than once"),
        (edits_of(" "), "« » is empty"),
        (edits_of("long " * 60), f"«{'long ' * 48}…» is not in the passage"),
    ],
)
def test_an_answer_without_a_quote_that_has_a_place_names_the_first(answer: str, problem: str) -> None:
    with pytest.raises(SemanticError, match=rf"^edits\.0\.quote: {re.escape(problem)}; a quote .*; answer again"):
        check_edits(make_chunk(PASSAGE), answer)


def test_an_answer_that_cannot_be_read_is_against_the_schema() -> None:
    with pytest.raises(SchemaError, match=r"^edits.0.replacement: .*; answer again"):
        check_edits(make_chunk(PASSAGE), '{"edits": [{"quote": "He go home"}]}')


def test_the_schemas_say_what_the_reader_takes() -> None:
    Draft202012Validator.check_schema(EDITS_SCHEMA)
    Draft202012Validator.check_schema(NUMBERED_EDITS_SCHEMA)
    Draft202012Validator(EDITS_SCHEMA).validate(json.loads(EDITS))
    numbered = {"edits": [{"sentence": 2} | EDIT]}
    Draft202012Validator(NUMBERED_EDITS_SCHEMA).validate(numbered)
    assert parse_edits(json.dumps(numbered))[0].sentence == 2
    assert not Draft202012Validator(EDITS_SCHEMA).is_valid({"edits": [EDIT | {"quote": ""}]})
