"""Deterministic detectors: a document in, the places that may be wrong out, each with one concrete replacement.

Owns no judgement: most candidates are wrong, a model or a rule's measured precision decides which become edits.
"""

from collections.abc import Callable, Iterator

from chunkers.candidates import (
    articles,
    brackets,
    capitals,
    clashes,
    clauses,
    confusion,
    dialects,
    doubled,
    grammar,
    harper,
    its,
    marks,
    missing,
    misspelled,
    names,
    numbers,
    own_names,
    own_phrases,
    punctuation,
    quotes,
    small_words,
    spacing,
    spelling,
    variants,
)
from chunkers.candidates.decided import find_decided
from chunkers.candidates.decisions import Decisions
from chunkers.candidates.dialects import fold_spelling, tell_dialect
from chunkers.candidates.harper import guess_dialect
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.priors import DEFAULT_PRIOR, PRIOR, STANDS_ALONE
from chunkers.candidates.prose import Prose
from chunkers.records import Candidate, Document

DETECTORS: tuple[Callable[[Prose], Iterator[Candidate]], ...] = (
    harper.find,
    doubled.find,
    doubled.find_phrases,
    articles.find,
    articles.find_conjunctions,
    confusion.find,
    small_words.find,
    spelling.find,
    names.find,
    spacing.find,
    punctuation.find,
    quotes.find,
    capitals.find,
    dialects.find,
    variants.find,
    marks.find,
    own_phrases.find,
    own_names.find,
    misspelled.find,
    its.find,
    grammar.find,
    numbers.find,
    numbers.find_possessives,
    clashes.find,
    missing.find,
    brackets.find,
    clauses.find,
)

_RESPELLERS = ("confusion:", "harper:", "misspelled:", "own_words:", "spelling")
"""Detectors that look for errors of spelling: another spelling of the same word is none."""
_UNKNOWN_WORDS = ("harper:", "misspelled:", "spacing:run_together", "spelling")
"""Detectors of words that no list has: it has no more than one spelling of many."""

__all__ = ["DEFAULT_PRIOR", "DETECTORS", "PRIOR", "STANDS_ALONE", "find_candidates", "find_decided", "guess_dialect"]


def find_candidates(document: Document) -> list[Candidate]:
    """All candidates of a document, sorted by start, end, replacement, detector; each of these four once.

    `document.text[start:end] == original != replacement`, inside one prose block, and clear of everything protected. None undoes what the
    document's style sheet decides, and none only turns a word into its British, American or modern spelling but for consistency.
    """
    prose = Prose(document)
    decisions = Decisions(document.style)
    found = (
        candidate
        for find in DETECTORS
        for candidate in find(prose)
        if prose.is_free(candidate.start, candidate.end)
        and not _is_respelling(candidate)
        and not decisions.undoes(prose.text, candidate.start, candidate.end, candidate.replacement)
    )
    unique = {(candidate.start, candidate.end, candidate.replacement, candidate.detector): candidate for candidate in found}
    return [unique[key] for key in sorted(unique)]


def _is_respelling(candidate: Candidate) -> bool:
    old, new = candidate.original.lower(), candidate.replacement.lower()
    if old == new:
        return False
    folded = fold_spelling(old)
    is_spelled = tell_dialect(old) is not None or (folded != old and load_lexicon().is_known(folded))
    if is_spelled and candidate.detector.startswith(_UNKNOWN_WORDS):
        return True
    return candidate.detector.startswith(_RESPELLERS) and folded == fold_spelling(new)
