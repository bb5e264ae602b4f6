"""The changes that a style sheet asks for, wherever the text has another form: its user decided, so no model is asked."""

from collections.abc import Iterator

from chunkers.candidates.conventions import find_breaches
from chunkers.candidates.decisions import Decisions, begins_sentence
from chunkers.candidates.dialects import NAMES, find_foreign
from chunkers.candidates.prose import Prose
from chunkers.records import BlockKind, Candidate, Category, Document

_CATEGORY = {
    "style:casing": Category.CASE,
    "style:variant": Category.SPELL,
    "style:language": Category.SPELL,
    "style:dash": Category.PUNCT,
    "style:ellipsis": Category.PUNCT,
    "style:quotes": Category.QUOTE,
}
DECIDED = frozenset(_CATEGORY)
"""Every detector that is here."""
MESSAGE = "The style sheet decides so."


def find_decided(document: Document) -> list[Candidate]:
    """All changes that the document's style sheet asks for, sorted by start, end, replacement; none overlap, the longest first in place."""
    if document.style.is_empty:
        return []
    prose, decisions = Prose(document), Decisions(document.style)
    found = sorted(_find(prose, decisions), key=lambda candidate: (candidate.start, -candidate.end, candidate.replacement))
    chosen: list[Candidate] = []
    for candidate in found:
        if not chosen or candidate.start >= chosen[-1].end:
            chosen.append(candidate)
    return chosen


def _find(prose: Prose, decisions: Decisions) -> Iterator[Candidate]:
    style = prose.style
    for start, end in prose.paragraphs:
        for wrong in decisions.find_wrong(prose.masked, start, end):
            form = prose.text[wrong.start : wrong.end]
            if wrong.detector == "style:casing" and (form.istitle() or form.isupper()) and _is_heading(prose, wrong.start):
                continue  # headings have capitals of their own
            right = wrong.right
            if wrong.detector == "style:casing" and right.islower() and begins_sentence(prose.masked, wrong.start):
                right = right[:1].upper() + right[1:]
            if right != form and prose.is_free(wrong.start, wrong.end):
                yield prose.candidate(wrong.start, wrong.end, right, _CATEGORY[wrong.detector], wrong.detector, MESSAGE)
        for at, to, right, detector in find_breaches(prose.masked, style.conventions, start, end):
            if prose.is_free(at, to):
                yield prose.candidate(at, to, right, _CATEGORY[detector], detector, MESSAGE)
    if style.language != "auto":
        message = f"The style sheet asks for {NAMES[style.language]} spelling."
        for start, end, replacement in find_foreign(prose, style.language):
            if not decisions.accepts(prose.text[start:end]):
                yield prose.candidate(start, end, replacement, Category.SPELL, "style:language", message)


def _is_heading(prose: Prose, position: int) -> bool:
    """In a heading, or in a line that is one inside a quotation or list."""
    line = prose.text[prose.text.rfind("\n", 0, position) + 1 : position]
    return prose.kind_at(position) is BlockKind.HEADING or line.lstrip(" \t>-*+").startswith("#")
