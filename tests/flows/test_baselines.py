"""Other tools on text with code, links and markup: their offsets come back right, and what is protected is left alone."""

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.candidates.prose import Prose
from chunkers.readers import parse_document
from flows.baselines import BASELINES, DOCUMENTS_EACH, BaselineError, PlainText, Tool, find_baseline, propose_changes, propose_for_all
from tests.postprocess.rows import TEXTS

TEXT = """# A “recieve” of things

He *recieved* the the parcel, `recieved` [teh link](http://recieved.example/teh) and the core of an apple.

    recieved in code

Don’t worry: wich of them was **occured**? We never beleive it.
"""
FOUND = {
    "codespell": {"recieve": "receive", "recieved": "received", "wich": "which", "occured": "occurred", "beleive": "believe", "teh": "the"},
    "hunspell": {"recieve": "receive", "recieved": "received", "beleive": "believe"},
    "languagetool": {"recieved": "received", "beleive": "believe"},
    "harper": {"recieved": "received", "beleive": "believe"},
}


SLOW = pytest.param("languagetool", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [SLOW if name == "languagetool" else name for name in BASELINES])
def test_tool_finds_its_errors_at_their_place(name: str) -> None:
    for module in BASELINES[name].modules:
        pytest.importorskip(module)
    prose = Prose(parse_document(TEXT.encode(), "text.md"))
    changes = propose_changes(name, find_baseline(name).load(), prose)
    found = {prose.text[each.start : each.end]: each.replacement for each in changes}
    assert {word: found.get(word) for word in FOUND[name]} == FOUND[name]
    assert [(each.start, each.end) for each in changes] == sorted({(each.start, each.end) for each in changes}), "each span once, by place"
    assert {each.proposers for each in changes} == {(name,)}
    assert sum(prose.text[each.start : each.end] == "recieved" for each in changes) == 1, "neither in code nor in a link's target"
    assert not {"Don’t", "Don", "apple"} & found.keys()


def test_processes_find_what_one_finds_in_the_order_given(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "harper"
    # the shortest first and the longest last, each with words of its own: neither length nor end decides the order
    documents = [
        parse_document((f"# Part {number}\n\n" + f"We recieved {number} of them, wich occured. " * (number + 1)).encode(), f"{number}.md")
        for number in range(2 * DOCUMENTS_EACH)
    ]
    tool = find_baseline(name).load()
    expected = [propose_changes(name, tool, Prose(document)) for document in documents]

    def load_here() -> Tool:
        pytest.fail("read by processes of its own")

    monkeypatch.setitem(BASELINES, name, replace(BASELINES[name], load=load_here))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    told: list[int] = []
    assert propose_for_all(name, documents, told.append) == expected
    assert len({len(each) for each in expected}) == len(documents), "or a change of order would not be seen"
    assert told == list(range(1, len(documents) + 1))


def test_unknown_baseline_is_an_error_that_names_the_others() -> None:
    with pytest.raises(BaselineError, match="No baseline 'grammarly'; there are harper, languagetool, codespell, hunspell"):
        find_baseline("grammarly")


@settings(max_examples=50)
@given(text=TEXTS.filter(lambda text: "\0" not in text), data=st.data())
def test_every_range_of_the_plain_text_is_found_again(text: str, data: st.DataObject) -> None:
    prose = Prose(parse_document(f"*a* `b` {text}".encode(), "text.md"))
    plain = PlainText(prose)
    start = data.draw(st.integers(0, len(plain.text)))
    end = data.draw(st.integers(start, len(plain.text)))
    first, last = plain.find(start, end)
    assert 0 <= first <= last <= len(prose.text)
    if prose.is_free(first, last) and first < last:
        assert prose.text[first:last] == plain.text[start:end]
