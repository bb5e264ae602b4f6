"""What holds for every candidate of every document."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.candidates import DEFAULT_PRIOR, PRIOR, STANDS_ALONE, find_candidates
from chunkers.records import Candidate, Document
from tests.chunkers.candidates.documents import make_document

_WORDS = """
the The a an of to in it its it's is are was he she and And or form from tho modem arid bad their there teh recieve i I you You hour
house Dickering Pickering model modal effect colour EIP 42 x86 ﬁne naïve 😀 ß İ `code` `the the` **bold** *it* [link](to) `
don’t ‘ud ‘Tis “Yes ” “ ‘ ’ " , . ; : ! ? .. ,, … — -
"""
_PIECES = st.sampled_from([*_WORDS.split(), "\ufffc", "\u2060"])
_GAPS = st.sampled_from([" ", " ", " ", " ", "  ", "\n", "\n\n", "\r\n", "", "\n\n    ", "\t", "\u00a0"])
_MADE = st.lists(st.tuples(_PIECES, _GAPS), max_size=40).map(lambda pairs: "".join(piece + gap for piece, gap in pairs))


def check(document: Document, candidates: list[Candidate]) -> None:
    keys = [(candidate.start, candidate.end, candidate.replacement, candidate.detector) for candidate in candidates]
    assert keys == sorted(set(keys))
    for candidate in candidates:
        assert 0 <= candidate.start <= candidate.end <= len(document.text)
        assert candidate.original == document.text[candidate.start : candidate.end]
        assert candidate.original != candidate.replacement
        homes = [block for block in document.blocks if block.start <= candidate.start and candidate.end <= block.end]
        assert any(block.kind.is_prose for block in homes)
        for span in document.protected:
            inside = span.start < candidate.start < span.end if candidate.start == candidate.end else False
            assert not inside
            assert candidate.start == candidate.end or candidate.end <= span.start or span.end <= candidate.start


@settings(max_examples=60, deadline=None)
@given(_MADE)
def test_candidates_of_made_text_are_anchored_and_clear_of_what_is_protected(text: str) -> None:
    document = make_document(text)
    check(document, find_candidates(document))


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200))
def test_candidates_of_any_text_are_anchored(text: str) -> None:
    document = make_document(text, "text")
    check(document, find_candidates(document))


def test_same_document_gives_same_candidates() -> None:
    document = make_document("He recieved the the letter form there house. “I am modem,\n\nsaid Tom. It was it’s own arid of the model.")
    candidates = find_candidates(document)
    assert candidates
    assert candidates == find_candidates(document)


def test_code_is_never_touched() -> None:
    document = make_document("    the the teh recieve ,, it's own\n\nFine `the the` words.")
    assert not [candidate for candidate in find_candidates(document) if candidate.start < 36 or "the the" in candidate.original]


@pytest.mark.parametrize("share", [DEFAULT_PRIOR, *PRIOR.values()])
def test_priors_are_shares(share: float) -> None:
    assert 0 < share < 1


def test_what_stands_alone_is_more_often_right_than_wrong() -> None:
    assert all(PRIOR[detector] > 0.5 for detector in STANDS_ALONE)
