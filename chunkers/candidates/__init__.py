"""Deterministic detectors: a document in, the places that may be wrong out, each with one concrete replacement.

Owns no judgement: most candidates are wrong, a model or a rule's measured precision decides which become edits.
"""

from collections.abc import Callable, Iterator

from chunkers.candidates import articles, capitals, confusion, doubled, harper, names, punctuation, quotes, small_words, spacing, spelling
from chunkers.candidates.harper import guess_dialect
from chunkers.candidates.priors import DEFAULT_PRIOR, PRIOR, STANDS_ALONE
from chunkers.candidates.prose import Prose
from chunkers.records import Candidate, Document

DETECTORS: tuple[Callable[[Prose], Iterator[Candidate]], ...] = (
    harper.find,
    doubled.find,
    doubled.find_phrases,
    articles.find,
    confusion.find,
    small_words.find,
    spelling.find,
    names.find,
    spacing.find,
    punctuation.find,
    quotes.find,
    capitals.find,
)

__all__ = ["DEFAULT_PRIOR", "DETECTORS", "PRIOR", "STANDS_ALONE", "find_candidates", "guess_dialect"]


def find_candidates(document: Document) -> list[Candidate]:
    """All candidates of a document, sorted by start, end, replacement, detector; each of these four once.

    `document.text[start:end] == original != replacement`, inside one prose block, and clear of everything protected.
    """
    prose = Prose(document)
    found = (candidate for find in DETECTORS for candidate in find(prose) if prose.is_free(candidate.start, candidate.end))
    unique = {(candidate.start, candidate.end, candidate.replacement, candidate.detector): candidate for candidate in found}
    return [unique[key] for key in sorted(unique)]
