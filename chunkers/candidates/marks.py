"""Dashes, ellipses and quotation marks in another form than nearly everywhere else in the document."""

import re
from collections import Counter
from collections.abc import Iterator

from chunkers.candidates.conventions import DASH, ELLIPSIS, QUOTE, find_breaches
from chunkers.candidates.prose import Prose
from chunkers.records import Candidate, Category
from chunkers.style import Conventions

MIN_TIMES = 12
"""How often the usual form must stand."""
MAX_SHARE = 0.04
"""How often all others together may stand for each time that the usual one does."""
_DASHES = ("—", " — ", " – ", "--")
_ELLIPSES = ("…", "...", ". . .")
_CURLY = "“”‘’"
_CATEGORY = {"marks:quotes": Category.QUOTE}


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the usual form of each mark that has another, by paragraph; where a style sheet decides, there is nothing to guess."""
    decided = prose.style.conventions
    usual = {
        "dash": None if decided.dash else _find_usual(_count(prose, DASH), _DASHES),
        "ellipsis": None if decided.ellipsis else _find_usual(_count(prose, ELLIPSIS), _ELLIPSES),
        "quotes": None if decided.quotes else _find_usual(_count_quotes(prose), ("curly", "straight")),
    }
    conventions = Conventions.model_validate(usual)
    if conventions == Conventions():
        return
    for start, end in prose.paragraphs:
        for at, to, right, detector in find_breaches(prose.masked, conventions, start, end):
            if prose.is_free(at, to) and prose.text[at:to] != right:
                name = detector.replace("style:", "marks:")
                message = f"The document nearly always has «{right.strip()}»."
                yield prose.candidate(at, to, right, _CATEGORY.get(name, Category.PUNCT), name, message)


def _count(prose: Prose, pattern: "re.Pattern[str]") -> Counter[str]:
    return Counter(match.group() for start, end in prose.paragraphs for match in pattern.finditer(prose.masked, start, end))


def _count_quotes(prose: Prose) -> Counter[str]:
    marks = _count(prose, QUOTE)
    curly = sum(marks[mark] for mark in _CURLY)
    return Counter(curly=curly, straight=marks.total() - curly)


def _find_usual(counts: Counter[str], forms: tuple[str, ...]) -> str | None:
    """The form that all but a few have; None where there is none, or nothing else."""
    form = max(forms, key=lambda form: counts[form])
    rest = counts.total() - counts[form]
    return form if counts[form] >= MIN_TIMES and 0 < rest <= MAX_SHARE * counts[form] else None
