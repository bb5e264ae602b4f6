import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkers.records import Span
from postprocess.changes import Change, slide_change
from postprocess.guards import GuardError, guard_edits
from postprocess.records import EditStatus
from tests.postprocess.golden import read_cases
from tests.postprocess.rows import TEXTS, make_document, make_edit

MARK = re.compile(
    r"\{(?:~~(?P<old>.*?)~>(?P<new>.*?)~~|--(?P<gone>.*?)--|\+\+(?P<added>.*?)\+\+)\}|⟦(?P<kind>\w+):|(?P<close>⟧)", re.DOTALL
)


def read_marks(marked: str) -> tuple[str, Change, tuple[Span, ...]]:
    """Text, change and protected spans; a mark may hold the beginning or end of a span."""
    old = new = ""
    text, spans, position, opened = "", [], 0, [(0, "")]
    change = Change(0, 0, "", "")
    for match in MARK.finditer(marked):
        text += marked[position : match.start()]
        position = match.end()
        if match["kind"]:
            opened.append((len(text), match["kind"]))
        elif match["close"]:
            start, kind = opened.pop()
            spans.append(Span(start=start, end=len(text), kind=kind))
        else:
            old, new = (match["old"] or match["gone"] or ""), (match["new"] or match["added"] or "")
            if inner := re.search(r"⟦(\w+):(.*)⟧", old):
                spans.append(Span(start=len(text) + inner.start(), end=len(text) + inner.start() + len(inner[2]), kind=inner[1]))
                old = re.sub(r"⟦\w+:|⟧", "", old)
            change = Change(len(text), len(text) + len(old), old, new)
            text += old
    return text + marked[position:], change, tuple(sorted(spans, key=lambda span: span.start))


@pytest.mark.parametrize(("marked", "expected"), read_cases("guards.txt"))
def test_guards(marked: str, expected: str) -> None:
    text, change, spans = read_marks(marked.removeprefix("(text) "))
    document = make_document(text, protected=spans, format="text" if marked.startswith("(text) ") else "markdown")
    (guarded,) = guard_edits([make_edit(document, change.start, change.end, change.replacement)], document)
    assert (guarded.reason or "kept") == expected
    assert guarded.status is (EditStatus.ANCHORED if expected == "kept" else EditStatus.REJECTED)


def test_lone_surrogates_are_bad_characters() -> None:
    document = make_document("A word.")
    (guarded,) = guard_edits([make_edit(document, 2, 6, "wo\ud800rd")], document)
    assert guarded.reason == "bad_characters"


@pytest.mark.parametrize(("start", "end"), [(2, 5), (-5, -1), (5, 100), (6, 2)])
def test_an_edit_that_does_not_stand_at_its_span_is_stale(start: int, end: int) -> None:
    document = make_document("A word.")
    (guarded,) = guard_edits([make_edit(document, start, end, "x", original="word")], document)
    assert guarded.reason == "stale_offset"


def test_what_was_rejected_passes_and_order_stays() -> None:
    document = make_document("He go home.")
    rejected = replace(make_edit(document, 0, 0, "x", original="gone", reason="quote_not_found"), start=None, end=None)
    edits = [make_edit(document, 3, 5, "goes"), rejected, make_edit(document, 3, 5, "go")]
    assert [edit.reason for edit in guard_edits(edits, document)] == [None, "quote_not_found", "no_change"]
    assert guard_edits(edits, document)[1] is rejected


def test_rules_of_consistency_may_restyle() -> None:
    document = make_document("The colour.")
    edits = [make_edit(document, 4, 10, "color", proposer=proposer) for proposer in ("harper:X", "consistency")]
    assert [edit.reason for edit in guard_edits(edits, document, restylers=frozenset({"consistency"}))] == ["restyle", None]


def test_an_edit_of_another_document_is_refused() -> None:
    document, other = make_document("He go."), make_document("She go.")
    with pytest.raises(GuardError, match=r"not of book.md; .* group them by doc_id first"):
        guard_edits([make_edit(other, 0, 3, "He")], document)


def test_proposers_that_delete_either_of_two_words_agree() -> None:
    document = make_document("He said the the word.")
    edits = [make_edit(document, 8, 12, ""), make_edit(document, 11, 15, ""), make_edit(document, 7, 11, "")]
    assert {(edit.start, edit.original) for edit in guard_edits(edits, document)} == {(12, "the ")}


@given(TEXTS, st.data())
def test_sliding_changes_the_place_and_not_the_text(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    change = data.draw(st.sampled_from([Change(start, end, text[start:end], ""), Change(start, start, "", data.draw(TEXTS))]))
    slid = slide_change(text, change)
    assert text[slid.start : slid.end] == slid.original
    assert text[: slid.start] + slid.replacement + text[slid.end :] == text[:start] + change.replacement + text[change.end :]
    assert slide_change(text, slid) == slid


def test_many_edits_and_spans_take_no_quadratic_time() -> None:
    document = make_document("word `code` " * 30_000)
    spans = tuple(Span(start=start + 5, end=start + 11, kind="code") for start in range(0, len(document.text), 12))
    document = replace(document, protected=spans)
    edits = [make_edit(document, start, start + 4, "words") for start in range(0, len(document.text), 12)]
    began = time.perf_counter()
    assert all(edit.reason is None for edit in guard_edits(edits, document))
    assert time.perf_counter() - began < 10  # under a second where nothing else runs; a scan of all spans for each edit takes minutes
