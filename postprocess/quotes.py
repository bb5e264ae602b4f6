"""Quotes of a text: where they stand in it, exactly or folded, and how it writes its quotation marks.

Folding takes white space, quotation marks, dashes and dots for equal, with or without space beside the latter two; the source's own
code points are what stays in the end.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

_DASH = r"[ \t]{0,3}(?:-{2,3}|[‒–—―])[ \t]{0,3}"
_DOTS = r"[ \t]{0,3}(?:\.\.\.|…)"
_ALIGNED_TOKEN = re.compile(rf"{_DASH}|{_DOTS}|\s+|\w+(?:['’]\w+)*|.", re.DOTALL)
MAX_ALIGNED = 16_000_000
"""Tokens of one side times tokens of the other: 0.05 s and 8 MB; more is no correction of a passage."""
_FOLDED = re.compile(rf"(?P<dots>{_DOTS})|(?P<dash>{_DASH}|[-‐‑])|(?P<space>\s+)|(?P<single>['‘’‚‛])|(?P<double>[\"“”„‟])")
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


class Run(NamedTuple):
    """Tokens `[old_start, old_end)` against `[new_start, new_end)`."""

    is_equal: bool
    old_start: int
    old_end: int
    new_start: int
    new_end: int


def align_tokens(old: Sequence[Hashable], new: Sequence[Hashable]) -> Iterator[Run]:
    """Runs that tile both sides, equal ones and others in turn, the fewest tokens changed; one run where there is too much to align."""
    if len(old) * len(new) > MAX_ALIGNED:
        yield Run(False, 0, len(old), 0, len(new))
        return
    # small numbers, not the hashes of strings: those differ from process to process
    numbers: dict[Hashable, int] = {}
    sides = [[numbers.setdefault(token, len(numbers)) for token in side] for side in (old, new)]
    changed: Run | None = None
    for step in Levenshtein.opcodes(*sides):
        run = Run(step.tag == "equal", step.src_start, step.src_end, step.dest_start, step.dest_end)
        if not run.is_equal:
            changed = Run(False, changed.old_start, run.old_end, changed.new_start, run.new_end) if changed else run
            continue
        if changed:
            yield changed
        changed = None
        yield run
    if changed:
        yield changed


def keep_original(original: str, replacement: str) -> str:
    """The replacement with the original's code points wherever the two fold to the same."""
    old, new = _ALIGNED_TOKEN.findall(original), _ALIGNED_TOKEN.findall(replacement)
    runs = align_tokens([fold_text(token) for token in old], [fold_text(token) for token in new])
    return "".join("".join(old[run.old_start : run.old_end] if run.is_equal else new[run.new_start : run.new_end]) for run in runs)


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
