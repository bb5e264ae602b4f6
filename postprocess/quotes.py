"""Quotes of a text: where they stand in it, exactly or folded, and how it writes its quotation marks.

Folding takes white space, quotation marks, dashes and dots for equal; the source's own code points are what stays in the end.
"""

import re
from difflib import SequenceMatcher

_ALIGNED_TOKEN = re.compile(r"\s+|\w+(?:['’]\w+)*|\.\.\.|-{2,3}|.", re.DOTALL)
_FOLDED = re.compile(r"(?P<space>\s+)|(?P<dots>\.\.\.|…)|(?P<dash>-{1,3}|[‐‑‒–—―])|(?P<single>['‘’‚‛])|(?P<double>[\"“”„‟])")
_FOLDED_TO = {"space": " ", "dots": "…", "dash": "-", "single": "'", "double": '"'}


class QuotedText:
    """A text with white space, quotes, dashes and dots folded, and the way back; folded when first asked for."""

    __slots__ = ("_folded", "_offsets", "_source")

    def __init__(self, source: str) -> None:
        self._source = source
        self._folded: str | None = None
        self._offsets: list[int] = []

    def find(self, quote: str) -> list[tuple[int, int]]:
        if self._folded is None:
            pieces: list[str] = []
            position = 0
            for match in _FOLDED.finditer(self._source):
                pieces += [self._source[position : match.start()], _FOLDED_TO[str(match.lastgroup)]]
                self._offsets += range(position, match.start() + 1)
                position = match.end()
            pieces.append(self._source[position:])
            self._offsets += range(position, len(self._source) + 1)
            self._folded = "".join(pieces)
        return [(self._offsets[start], self._offsets[end]) for start, end in find_words(self._folded, fold_text(quote))]


def fold_text(text: str) -> str:
    return _FOLDED.sub(lambda match: _FOLDED_TO[str(match.lastgroup)], text)


def find_words(text: str, quote: str) -> list[tuple[int, int]]:
    """Every place of the quote that cuts no word: «on» is not in «London», «don» not in «don’t»."""
    places = []
    start = text.find(quote)
    while start >= 0:
        end = start + len(quote)
        if not _is_inside_word(text, start) and not _is_inside_word(text, end):
            places.append((start, end))
        start = text.find(quote, start + 1)
    return places


def _is_inside_word(text: str, position: int) -> bool:
    """Only for scripts with case, and for digits: others need no spaces between their words."""
    before, after = text[max(0, position - 2) : position], text[position : position + 2]
    if not before or not after:
        return False
    if after[0] in "'’" and len(after) == 2:
        after = after[1]
    elif before[-1] in "'’" and len(before) == 2:
        before = before[0]
    return _is_word(before[-1]) and _is_word(after[0])


def _is_word(char: str) -> bool:
    return char.isdigit() or char.lower() != char.upper()


def keep_original(original: str, replacement: str) -> str:
    """The replacement with the original's code points wherever the two fold to the same."""
    old, new = _ALIGNED_TOKEN.findall(original), _ALIGNED_TOKEN.findall(replacement)
    matcher = SequenceMatcher(None, [fold_text(token) for token in old], [fold_text(token) for token in new], autojunk=False)
    return "".join(
        "".join(old[old_start:old_end] if kind == "equal" else new[new_start:new_end])
        for kind, old_start, old_end, new_start, new_end in matcher.get_opcodes()
    )


def match_quotes(replacement: str, text: str, before: str) -> str:
    """Typewriter quotes become typographic ones where the text around knows no others."""
    for straight, opening, closing in (("'", "‘", "’"), ('"', "“", "”")):
        if straight in replacement and straight not in text and (opening in text or closing in text):
            replacement = re.sub(
                rf"(^|.?){straight}",
                lambda match, opening=opening, closing=closing: (  # type: ignore[misc]
                    match[1] + (opening if _opens_quote(match[1] or (before if match.start() == 0 else "")) else closing)
                ),
                replacement,
                flags=re.DOTALL,
            )
    return replacement


def _opens_quote(before: str) -> bool:
    return not before or before.isspace() or before in "([{—“‘"
