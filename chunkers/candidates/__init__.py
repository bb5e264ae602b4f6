"""Deterministic detectors: a document in, the places that may be wrong out, each with one concrete replacement.

Owns no judgement: most candidates are wrong, a model or a rule's measured precision decides which become edits.
"""

from collections.abc import Callable, Iterable, Iterator

from chunkers.candidates import articles, capitals, confusion, doubled, harper, names, punctuation, quotes, small_words, spacing, spelling
from chunkers.candidates.harper import guess_dialect
from chunkers.candidates.prose import Prose
from chunkers.records import Candidate, Document

DETECTORS: tuple[Callable[[Prose], Iterable[Candidate]], ...] = (
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

DEFAULT_PRIOR = 0.01
PRIOR: dict[str, float] = {}

__all__ = ["DEFAULT_PRIOR", "DETECTORS", "PRIOR", "find_candidates", "guess_dialect"]


def find_candidates(document: Document) -> list[Candidate]:
    """All candidates of a document, sorted by start, end, replacement, detector; each of these four once.

    `document.text[start:end] == original != replacement`, inside one prose block, and clear of everything protected.
    """
    return sort_candidates(find_light(document, DETECTORS))


def find_light(document: Document, detectors: Iterable[Callable[[Prose], Iterable[Candidate]]] = DETECTORS[1:]) -> Iterator[Candidate]:
    prose = Prose(document)
    for find in detectors:
        yield from find(prose)


def sort_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    unique = {(candidate.start, candidate.end, candidate.replacement, candidate.detector): candidate for candidate in candidates}
    return [unique[key] for key in sorted(unique)]
