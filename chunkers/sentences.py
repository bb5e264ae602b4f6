"""Where sentences end. Rules for English prose and its Markdown, without a model: careful with abbreviations, fast on long texts."""

import re
from collections.abc import Iterator

_STOP = re.compile(
    r"(?<![.!?…])(?P<stop>[.!?…]++)(?P<closers>(?:['\"’”»)\]*_]|\[\^?\w{1,20}\])*+)(?P<gap>\s++)"
    r"|(?P<wide>[。！？]++[」』”’）]*+\s*+)"
    r"|(?P<blank>(?:\n[^\S\n]*+\n|\r[^\S\r\n]*+\r)\s*+)"
)
_BLANK = re.compile(r"\n[^\S\n]*+\n|\r[^\S\r\n]*+\r|\u2029")
_OPENERS = re.compile(r"[\"'“‘«(\[*_`¿¡—–>#-]*+[ ]?")
_WORD_BEFORE = re.compile(r"(?:[^\W\d_]+\.)*[^\W\d_]+$")
_ENUMERATOR = re.compile(r"(?:^|[\n\r])[ \t>]*\d{1,3}$")
_LOOKBACK_CHARS = 24

_TITLES = "mr mrs ms dr prof st ste rev hon gen col maj capt lt sgt cpl gov sen rep messrs mme mlle mons sr fr br lieut supt adm cmdr pres"
_SHORT_FORMS = "e.g i.e cf vs viz al ca approx eds trans mt ft dept univ assn bros"
_COUNTED = "no nos fig figs vol vols p pp ch chap sec eq eqs art ed par pt bk jan feb mar apr jun jul aug sep sept oct nov dec"

NEVER_ENDS = frozenset(f"{_TITLES} {_SHORT_FORMS}".split())
"""Abbreviations that stand before the rest of their sentence."""
BEFORE_NUMBER = frozenset(_COUNTED.split())
"""Abbreviations that end a sentence only where no number follows."""


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences, in order; they tile the text, each with the white space after it. Empty for an empty text."""
    return list(iterate_sentences(text, 0, len(text)))


def iterate_sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yields the spans that tile `text[start:end]`, lazily; linear in its length."""
    for boundary in iterate_boundaries(text, start, end):
        yield start, boundary
        start = boundary
    if start < end:
        yield start, end


def iterate_boundaries(text: str, start: int, end: int) -> Iterator[int]:
    """Yields offsets strictly inside `text[start:end]` where a sentence starts: right after the white space, a blank line included."""
    for match in _STOP.finditer(text, start, end):
        boundary = match.end()
        if boundary >= end:
            return
        if match.lastgroup != "gap" or _ends_sentence(text, start, match):
            yield boundary


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    if _BLANK.search(match["gap"]):
        return True
    opened = _OPENERS.match(text, match.end())
    following = text[opened.end() : opened.end() + 1] if opened else ""
    if following.islower():
        return False
    if match["stop"] != "." or match["closers"]:
        return True
    before = text[max(start, match.start() - _LOOKBACK_CHARS) : match.start()]
    word = _WORD_BEFORE.search(before)
    if word is None:
        return _ENUMERATOR.search(before) is None
    name = word.group()
    if name.lower() in NEVER_ENDS:
        return False
    if name.lower() in BEFORE_NUMBER:
        return not following.isdigit()
    if "." in name:
        # U.S., Ph.D. and J.R.R. go on; a.m. before a capital does not
        return name.islower()
    # the initial of a name; «I» is nearly always the pronoun
    return len(name) > 1 or name == "I" or name.islower()
