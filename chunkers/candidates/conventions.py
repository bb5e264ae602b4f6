"""Dashes, ellipses and quotation marks that a style sheet wants in one form, and where a text has another."""

import re
from collections.abc import Iterator
from functools import cache

from chunkers.candidates.wordlists import read_words
from chunkers.style import Conventions

DASH = re.compile(r"(?:(?<=[^\W_])|(?<=[’”\"'.,!?;:)]))(?: (?:—|–|--|---) |(?<!\d) - |—|(?<!-)--(?!-))(?=[^\W\d_]|[‘“\"'(])")
"""Between words; an en dash without spaces joins numbers and pairs and is another thing, so is a dash that breaks a speech off."""
ELLIPSIS = re.compile(r"…|(?<!\.)\.{3}(?!\.)|(?<!\.)(?<!\. )\. \. \.(?!\.| \.)")
QUOTE = re.compile(r"(?<!\d)[\"']|[“”‘’]")
_OPENS = frozenset(" \n\r\t([{—–-/“‘\"'*_\u2060")
_STRAIGHT = {"“": '"', "”": '"', "‘": "'", "’": "'"}


def find_breaches(text: str, conventions: Conventions, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, str, str]]:
    """Start, end, what stands there by convention, and the detector's name, for each other form in `text[start:end]`; in order by kind."""
    end = len(text) if end is None else end
    for detector, pattern, wanted in (("style:dash", DASH, conventions.dash), ("style:ellipsis", ELLIPSIS, conventions.ellipsis)):
        if wanted is not None:
            for match in pattern.finditer(text, start, end):
                if match.group() != wanted:
                    yield match.start(), match.end(), wanted, detector
    if conventions.quotes is not None:
        for match in QUOTE.finditer(text, start, end):
            mark = match.group()
            right = (
                _STRAIGHT.get(mark, mark) if conventions.quotes == "straight" else mark if mark in _STRAIGHT else _curl(text, match.start())
            )
            if right != mark:
                yield match.start(), match.end(), right, "style:quotes"


def _curl(text: str, at: int) -> str:
    """The curly form of a straight mark, by what stands before it; an apostrophe that begins a word closes."""
    is_opening = at == 0 or text[at - 1] in _OPENS
    if text[at] == '"':
        return "“" if is_opening else "”"
    following = re.match(r"\w+", text[at + 1 : at + 12])
    is_elision = following is not None and (following[0][0].isdigit() or following[0].lower() in _elided())
    return "‘" if is_opening and not is_elision else "’"


@cache
def _elided() -> frozenset[str]:
    return frozenset(word.strip("'’").lower() for word in read_words("elisions"))
