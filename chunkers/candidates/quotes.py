"""Quotation marks: facing the wrong way, without their partner, or of the wrong kind.

Paragraphs are read alone; an opening mark without its partner is allowed where the speech goes on in the next paragraph, yet proposed.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator

from chunkers.candidates.prose import Prose
from chunkers.candidates.wordlists import read_words
from chunkers.records import Candidate, Category

_ELISIONS = read_words("elisions")
_CLOSED = re.compile(r"’(?![^\W\d_])")
_AFTER = re.compile(r"[^\W\d_]+")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields changes of single marks, paragraph by paragraph."""
    uses_double = prose.masked.count("“") >= prose.masked.count("‘")
    for start, end in prose.paragraphs:
        text = prose.masked[start:end]
        if "‘" in text or "’" in text:
            yield from _find_single(prose, text, start, uses_double)
        if "“" in text or "”" in text:
            yield from _find_double(prose, text, start)
        if text.count('"') % 2:
            yield from _find_straight(prose, text, start)


def _find_single(prose: Prose, text: str, offset: int, uses_double: bool) -> Iterator[Candidate]:
    depth = 0
    closings = _list_closings(text)
    last = text.rfind("”")
    for place, mark in enumerate(text):
        if mark in "“”":
            depth += 1 if mark == "“" else -1
        elif mark == "‘":
            at = offset + place
            match = _AFTER.match(text, place + 1)
            before = text[place - 1] if place else " "
            index = bisect_right(closings, place)
            closes = closings[index] if index < len(closings) else None
            if before.isalpha() or (match is not None and match.group().lower() in _ELISIONS):
                yield prose.candidate(at, at + 1, "’", Category.QUOTE, "quotes:elision", "An apostrophe is meant.")
            elif closes is None:
                yield prose.candidate(at, at + 1, "’", Category.QUOTE, "quotes:apostrophe", "An apostrophe may be meant.")
            if (
                match is not None
                and before == " "
                and match.group().lower() in ("s", "t", "ll", "d", "re", "ve")
                and place > 1
                and text[place - 2].isalpha()
            ):
                yield prose.candidate(at - 1, at + 1, "’", Category.QUOTE, "quotes:elision", "An apostrophe is meant.")
            if uses_double and depth <= 0:
                yield prose.candidate(at, at + 1, "“", Category.QUOTE, "quotes:kind")
                if closes is not None:
                    yield prose.candidate(offset + closes, offset + closes + 1, "”", Category.QUOTE, "quotes:kind")
            if closes is None and (before in "“ " or place == 0) and place + 1 < len(text):
                yield prose.candidate(at, at + 1, "", Category.QUOTE, "quotes:stray", "This mark has no partner.")
                at_end = offset + (last if last == len(text) - 1 else len(text))
                if text[(at_end - offset) - 1] in ".!?,…—":
                    yield prose.candidate(at_end, at_end, "’", Category.QUOTE, "quotes:unclosed", "The quotation is not closed.")


def _list_closings(text: str) -> list[int]:
    """Where a quotation in single marks may close: each ’ after a mark or letter that no letter follows."""
    return [match.start() for match in _CLOSED.finditer(text) if not text[max(0, match.start() - 1)].isspace()]


def _find_double(prose: Prose, text: str, offset: int) -> Iterator[Candidate]:
    opened: int | None = None
    for place, mark in enumerate(text):
        at = offset + place
        if mark == "“":
            if opened is not None:
                yield prose.candidate(at, at + 1, "”", Category.QUOTE, "quotes:wrong_way")
                yield prose.candidate(at, at + 1, "", Category.QUOTE, "quotes:stray", "A quotation is already open.")
                yield prose.candidate(at, at + 1, "‘", Category.QUOTE, "quotes:kind")
                head = text[opened + 1 : place].rstrip()
                if head and head[-1] in ".!?,…—":
                    end = offset + opened + 1 + len(head)
                    yield prose.candidate(end, end, "”", Category.QUOTE, "quotes:unclosed", "The quotation is not closed.")
                for match in re.finditer(r"[.!?,…—](?= (?:[A-Z][a-z]+|he|she|they|it|said|asked))", head):
                    end = offset + opened + 1 + match.end()
                    yield prose.candidate(end, end, "”", Category.QUOTE, "quotes:unclosed", "The quotation is not closed.")
            opened = place
        elif mark == "”":
            if opened is None:
                yield prose.candidate(at, at + 1, "", Category.QUOTE, "quotes:stray", "No quotation is open.")
                yield prose.candidate(at, at + 1, "“", Category.QUOTE, "quotes:wrong_way")
                yield prose.candidate(at, at + 1, "’", Category.QUOTE, "quotes:kind")
                start = max(text.rfind("”", 0, place) + 1, 0)
                if start == 0:
                    yield prose.candidate(offset, offset, "“", Category.QUOTE, "quotes:unopened", "The quotation is not opened.")
            elif "‘" in text[opened:place] and text.count("‘", opened, place) > len(_CLOSED.findall(text, opened, place)):
                yield prose.candidate(at, at + 1, "’", Category.QUOTE, "quotes:kind")
                yield prose.candidate(at, at, "’", Category.QUOTE, "quotes:unclosed", "The inner quotation is not closed.")
            opened = None
    if opened is not None:
        at = offset + opened
        end = offset + len(text)
        if text[-1] in ".!?,…—’":
            yield prose.candidate(end, end, "”", Category.QUOTE, "quotes:unclosed", "The quotation is not closed.")
        yield prose.candidate(at, at + 1, "", Category.QUOTE, "quotes:stray", "The quotation is not closed.")
        for match in re.finditer(r"[.!?,…—](?= (?:[A-Z][a-z]+|he|she|they|it|said|asked))", text[opened:]):
            close = at + match.end()
            yield prose.candidate(close, close, "”", Category.QUOTE, "quotes:unclosed", "The quotation is not closed.")


def _find_straight(prose: Prose, text: str, offset: int) -> Iterator[Candidate]:
    for match in re.finditer('"', text):
        at = offset + match.start()
        yield prose.candidate(at, at + 1, "", Category.QUOTE, "quotes:straight", "A quotation mark has no partner.")
    yield prose.candidate(
        offset + len(text), offset + len(text), '"', Category.QUOTE, "quotes:straight", "A quotation mark has no partner."
    )
