"""One word in two forms within a document: with and without its hyphen, its accents or its ligature; the form that is seldom here.

Either form may be right: this is consistency. British and American spellings are `dialects`' affair, misspellings are `names`'.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from chunkers.candidates.prose import CLEAR, OPAQUE, Prose
from chunkers.records import Candidate, Category

MIN_TIMES = 4
"""How often the usual form must stand."""
MAX_SHARE = 0.12
"""How often the other may stand for each time that the usual one does."""
_COMPOUND = re.compile(rf"(?<![\w’'/\\.@{OPAQUE}{CLEAR}-])[^\W\d_]+(?:-[^\W\d_]+)*(?:[’']s)?(?![\w/\\@{OPAQUE}{CLEAR}-]|\.\w|[’']\w)")
_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "Œ": "OE", "Æ": "AE", "ﬁ": "fi", "ﬂ": "fl"})
_MIN_PART = 3


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the usual form, in document order."""
    forms: dict[str, Counter[str]] = {}
    for match in _COMPOUND.finditer(prose.masked):
        text = match.group()
        if not text.isupper():
            forms.setdefault(_fold(text), Counter())[text.lower()] += 1
    usual = {}
    for key, counts in forms.items():
        if len(counts) > 1:
            (most, times), *rest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if times >= MIN_TIMES and sum(count for _, count in rest) <= max(1, MAX_SHARE * times):
                usual[key] = most
    if not usual:
        return
    for match in _COMPOUND.finditer(prose.masked):
        text = match.group()
        common = usual.get(_fold(text))
        if common is None or common == text.lower() or text.isupper() or not _is_alike(text.lower(), common):
            continue
        if prose.is_free(*match.span()):
            replacement = _match_capitals(text, common)
            message = f"The document has «{common}» {forms[_fold(text)][common]} times."
            yield prose.candidate(*match.span(), replacement, Category.SPELL, _name(text, common), message)


def _name(text: str, common: str) -> str:
    return "variants:hyphen" if text.count("-") != common.count("-") else "variants:accent"


def _fold(text: str) -> str:
    """What all forms of a word share."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_LIGATURES)) if not text.isascii() else text.lower()
    return "".join(char for char in plain if not unicodedata.combining(char) and char not in "-’'")


def _is_alike(text: str, common: str) -> bool:
    """Whether the two may be forms of one word: «re-cover» is no «recover», and a letter with a hyphen is stammered."""
    parts = (text if "-" in text else common).split("-")
    return (
        text.count("’") + text.count("'") == common.count("’") + common.count("'")
        and min(map(len, parts)) >= _MIN_PART
        and parts[0] != "re"
    )


def _match_capitals(text: str, common: str) -> str:
    """The usual form with the capitals of the one that stands there."""
    if "-" in text and all(part[:1].isupper() for part in text.split("-")):
        return "-".join(part[:1].upper() + part[1:] for part in common.split("-"))
    return common[:1].upper() + common[1:] if text[:1].isupper() else common
