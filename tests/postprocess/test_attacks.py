"""Models that want to do harm, or do it by mistake: whatever they answer, nothing protected changes and every refusal has its reason."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.readers import parse_document
from chunkers.records import Category, Document
from engine.outcomes import SchemaError, SemanticError
from postprocess.assemble import apply_findings, select_findings
from postprocess.collate import collate_edits
from postprocess.edits import AnswerError, ModelEdit, anchor_edits, check_edits, parse_edits, reject_answer, salvage_edits
from postprocess.guards import guard_edits
from postprocess.records import Edit, EditStatus, Finding
from postprocess.rewrite import anchor_rewrite, check_rewrite
from tests.postprocess.rows import make_chunk

BOOK = """---
title: The Mill
layout: "page"
---

# The *old* mill

He go home by the `mill_road()` and see [the miller](https://example.org/a_b "t") there, who say <em>nothing</em> to him.
It cost $x^2 + y$ pounds, or so *they* said: **all** of it! See ![a wheel](wheel.png), <https://example.org> or www.example.org.

- one thing, and
- an other thing with a note[^1]

> She said: it were late.

| name | cost |
| ---- | ---- |
| mill | nine |

```python
go = "home"
```

<div class="x">He go home.</div>

$$
a = b
$$

He seen it, and {{ page.title }} stayed. C:\\mill\\road is a path; e-mail me@example.org &amp; be quiet.

[^1]: The note go here.

[ref]: https://example.org/ref
"""
LETTER = """He _go_ home, a_b, and it were late. He go home & see 3 < 4.
The path is /etc/passwd, or C:\\mill; write to me@example.org.

  “It were late,” she say.

 * * *

THE END
"""
HARM = (
    "<script>alert(1)</script>", "<b>", "</em>", "<!--", "[x](javascript:alert(1))", "![x](y.png)", "[", "](", "`", "``", "$", "$$",
    "*", "**", "_", "~~", "~", "|", "{{ x }}", "{% x %}", ":::", "\u202e", "\u200b", "\u2066", "\ufeff", "\x00", "\x1b[31m", "\ufffd",
    "\u00ad", "\u2028", "\x85", "../../etc/passwd", "/etc/passwd", "C:\\x", "https://evil.example/", "www.evil.example", "mailto:x@y.z",
    "x@y.example", "\n", "\r\n", "\n\n# Big\n", "---", "\n---\n", "- ", "1. ", "> ", "# ", "    ", "\t", "&lt;", "&amp;", "\\", "!", "^",
    "[^1]", "[^1]:", ":", "A" * 4000, "so " * 50, "", " ", "he", "Home", ",", ".", "—", "’", "“", "=", "+", "1", "%", "/", "@", "#", "é",
    "e\u0301", "\u0301",
)  # fmt: skip


def parse(text: str, name: str) -> Document:
    return parse_document(text.encode(), name)


DOCUMENTS = {name: parse(text, name) for name, text in {"mill.md": BOOK, "letter.txt": LETTER}.items()}


def settle(edits: list[Edit], document: Document) -> list[Finding]:
    """Guarded and collated, with the rules that hold for every edit."""
    guarded = guard_edits(edits, document)
    assert len(guarded) == len(edits)
    findings = collate_edits(guarded, document, min_suggest=0.0)
    places = {(finding.start, finding.end, finding.replacement) for finding in findings}
    for edit in guarded:
        assert (edit.status is EditStatus.REJECTED) == (edit.reason is not None) == ((edit.start, edit.end, edit.replacement) not in places)
    return findings


def assert_unharmed(document: Document, findings: list[Finding]) -> None:
    """After all that can be applied together: the same protected text in the same order, the same blocks, the same lines."""
    applied = apply_findings(document.text, select_findings(findings, min_confidence=0.0))
    read = parse(applied, document.path)
    # white space beside the bars of a table belongs to them
    assert [(span.kind, read.text[span.start : span.end].strip()) for span in read.protected] == [
        (span.kind, document.text[span.start : span.end].strip()) for span in document.protected
    ], applied
    if document.format == "markdown":  # of plain text headings are told by their words
        assert [(block.kind, block.level) for block in read.blocks] == [(block.kind, block.level) for block in document.blocks]
    assert [applied.count(char) for char in "\n\r"] == [document.text.count(char) for char in "\n\r"]
    assert read.encoding == document.encoding


@st.composite
def harmful_texts(draw: st.DrawFn, text: str) -> str:
    """A piece of the text between harm."""
    start = draw(st.integers(0, len(text)))
    piece = text[start : start + draw(st.integers(0, 40))]
    harm = st.sampled_from(HARM)
    return draw(st.sampled_from(["{0}", "{0}{1}", "{1}{0}", "{1}{0}{2}", "{1}"])).format(piece, draw(harm), draw(harm))


@st.composite
def attacks(draw: st.DrawFn) -> tuple[Document, list[dict[str, str]]]:
    """A document, and edits of it: quotes that stand there, replacements that mean harm."""
    document = DOCUMENTS[draw(st.sampled_from(sorted(DOCUMENTS)))]
    text, edits = document.text, []
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text) - 1))
        quote = text[start : start + draw(st.integers(1, 30))]
        how = draw(st.sampled_from(["other", "around", "inside", "invented"]))
        at = draw(st.integers(0, len(quote)))
        harm = draw(st.sampled_from(HARM))
        replacement = {"other": draw(harmful_texts(text)), "around": harm + quote + harm}.get(how, quote[:at] + harm + quote[at:])
        edits.append(
            {"quote": "nowhere " + quote if how == "invented" else quote, "replacement": replacement, "category": "word", "why": harm}
        )
    return document, edits


@settings(max_examples=150, deadline=None)
@given(attacks())
def test_edits_that_mean_harm_do_none(attack: tuple[Document, list[dict[str, str]]]) -> None:
    document, said = attack
    try:
        model_edits = parse_edits(json.dumps({"edits": said}))
    except AnswerError:
        return
    edits = anchor(model_edits, document)
    assert len(edits) == len(said)
    assert_unharmed(document, settle(edits, document))


@st.composite
def harmful_rewrites(draw: st.DrawFn) -> tuple[Document, str]:
    """A document, and its text with harm in some places and pieces left out or doubled in others."""
    document = DOCUMENTS[draw(st.sampled_from(sorted(DOCUMENTS)))]
    text = document.text
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.sampled_from([*HARM, text[start:end] * 2])) + text[end:]
    return document, text


@settings(max_examples=100, deadline=None)
@given(harmful_rewrites(), st.booleans())
def test_rewritten_texts_that_mean_harm_do_none(attack: tuple[Document, str], is_cut: bool) -> None:
    document, answer = attack
    chunk = make_chunk(document.text, doc_id=document.doc_id)
    try:
        edits = anchor_rewrite(answer, chunk, proposer="m/rewrite", row_key="k", confidence=0.5, is_cut=is_cut)
    except AnswerError:
        return
    assert_unharmed(document, settle(edits, document))


def anchor(model_edits: list[ModelEdit], document: Document) -> list[Edit]:
    chunk = make_chunk(document.text, doc_id=document.doc_id)
    return anchor_edits(model_edits, chunk, proposer="m/edits", row_key="k", confidence=0.5)


def say(quote: str, replacement: str) -> ModelEdit:
    return ModelEdit(quote=quote, replacement=replacement, category=Category.WORD)


@pytest.mark.parametrize(
    ("quote", "replacement", "reason"),
    [
        ("`mill_road()`", "`milk_road()`", "protected_code"),
        ('go = "home"', 'go = "house"', "protected_code"),
        ("https://example.org/a_b", "https://evil.example", "protected_link"),
        ("title: The Mill", "title: The Miller", "protected_front_matter"),
        ("$x^2 + y$", "$x^2$", "protected_math"),
        ("<em>nothing</em>", "<em>nothing", "protected_html"),
        ('<div class="x">He go', '<div class="x">He goes', "protected_html"),
        ("{{ page.title }}", "{{ page.name }}", "protected_markup"),
        ("www.example.org", "www.example.com", "protected_url"),
        ("He go home by", "He <b>goes</b> home by", "markup_changed"),
        ("She said", "She see https://evil.example said", "address_changed"),
        ("She said", "She ../../etc/passwd said", "address_changed"),
        ("He seen", "He\u202eseen", "bad_characters"),
        ("He seen", "He\u200b seen", "bad_characters"),
        ("He seen", "He\u2028seen", "bad_characters"),
        ("He seen", "He s" + "o" * 70, "too_large"),
        ("He seen", "He\nseen", "markup_changed"),
        ("the wheel of it", "x", "quote_not_found"),
        ("He go", "He goes", "quote_ambiguous"),
    ],
)
def test_each_refusal_has_its_reason(quote: str, replacement: str, reason: str) -> None:
    document = DOCUMENTS["mill.md"]
    (edit,) = guard_edits(anchor([say(quote, replacement)], document), document)
    assert (edit.status, edit.reason) == (EditStatus.REJECTED, reason)


WORDS = [f"word{number}" for number in range(200)]
PASSAGE = " ".join(WORDS) + "."


def many() -> Iterator[tuple[str, list[ModelEdit]]]:
    """Ten thousand edits of one passage, in ways that might cost more than they should."""
    yield "the same", [say("word7", "ward7")] * 10_000
    yield "all words", [say(WORDS[number % 200], f"ward{number}") for number in range(10_000)]
    yield "nowhere", [say(f"nowhere {number}", "x") for number in range(10_000)]
    yield "the whole passage", [say(PASSAGE, PASSAGE.replace("word7 ", f"ward{number} ")) for number in range(1_000)]
    yield "folded", [say(PASSAGE.replace(" ", "  "), PASSAGE.replace("word7 ", f"ward{number} ")) for number in range(200)]
    yield "overlapping", [say(" ".join(WORDS[number % 150 : number % 150 + 30]), f"x{number}") for number in range(10_000)]
    yield "short quotes", [say("o", "a"), say(".", "!"), say("d", "t")] * 3_000
    yield "abbreviated", [say(f"word1 … word{number % 200}", f"x … y{number}") for number in range(10_000)]
    yield "large", [say(f"word{number % 200}", "x " * 500) for number in range(1_000)]


@pytest.mark.parametrize(("said"), [pytest.param(said, id=name) for name, said in many()])
def test_thousands_of_edits_take_about_a_second(said: list[ModelEdit]) -> None:
    document = parse(PASSAGE, "long.md")
    chunk = make_chunk(PASSAGE, doc_id=document.doc_id)
    answer = json.dumps({"edits": [{"quote": edit.quote, "replacement": edit.replacement, "category": "word"} for edit in said]})
    began = time.perf_counter()
    with suppress(SchemaError, SemanticError):
        check_edits(chunk, answer)
    edits = anchor(parse_edits(answer), document)
    findings = settle(edits, document)
    took = time.perf_counter() - began
    assert len(edits) == len(said)
    assert_unharmed(document, findings)
    # a second where nothing else runs; what is not linear takes minutes
    assert took < 10


def test_a_model_that_changes_every_word_changes_none() -> None:
    document = parse(PASSAGE, "long.md")
    said = [say(word, word.replace("word", "ward")) for word in WORDS]
    edits = anchor(said, document)
    assert {edit.reason for edit in edits} == {"answer_rewritten"}
    assert all(edit.start is not None for edit in edits)
    assert settle(edits, document) == []
    with pytest.raises(SemanticError, match="they change 200 of 200 words"):
        check_edits(make_chunk(PASSAGE), json.dumps({"edits": [edit.model_dump(mode="json") for edit in said]}))
    assert {edit.reason for edit in anchor(said[:60], document)} == {None}, "three words in ten may be mended"
    assert {edit.reason for edit in anchor(said[:61], document)} == {"answer_rewritten"}


@pytest.mark.parametrize(
    "answer",
    [
        "The passage is charming.",
        '{"edits": "all of them"}',
        "[" * 50_000,
        '{"edits": [' * 5_000,
        '{"a":' * 50_000,
        "```json\n" * 20_000,
        '{"edits": [{"quote": "\\ud800", "replacement": "x", "category": "word", "why": ""}]}',
        "<think>" * 10_000,
        "\x00" * 10_000,
    ],
)
def test_what_cannot_be_read_is_refused_at_once(answer: str) -> None:
    began = time.perf_counter()
    with pytest.raises(AnswerError) as caught:
        parse_edits(answer)
    assert salvage_edits(answer) == []
    row = reject_answer(answer, caught.value.reason, make_chunk(PASSAGE), proposer="m/edits", row_key="k", message=str(caught.value))
    assert row.status is EditStatus.REJECTED
    assert time.perf_counter() - began < 2


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200), st.integers(0, 200))
def test_any_text_is_an_answer_or_a_reason(text: str, at: int) -> None:
    chunk = make_chunk(PASSAGE)
    for answer in (
        text,
        PASSAGE[:at] + text + PASSAGE[at:],
        json.dumps({"edits": [{"quote": text, "replacement": text, "category": "x"}]}),
    ):
        for check in (check_edits, check_rewrite):
            with suppress(SchemaError, SemanticError):
                check(chunk, answer)
