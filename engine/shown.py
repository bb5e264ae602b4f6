"""How lines are shown to a model that has learned paragraphs of one line, and the way back to the document.

What is shown differs from the text in white space alone: a line that goes on in the next ends with a space, every other with `\\n`.
"""

import re

from chunkers.tokens import Tokens

_WRAPPED = re.compile(r"[^\r\n]{45,}\r?\n(?=[“‘\"'(—…*_]{0,2}[^\W\d_])")
"""A line so long that the next one, which begins with a word, goes on with it; lines of verse are shorter."""


def unwrap_lines(text: str) -> str:
    """The text, as long as it was, with a space for the `\\n` of each line that goes on in the next: it has learned whole paragraphs."""
    return _WRAPPED.sub(lambda line: f"{line[0][:-1]} ", text)


def show_lines(text: str) -> str:
    """The text with `\\n` at every line's end: it has learned no other, and would take each `\\r` out."""
    return text.replace("\r\n", "\n").replace("\r ", " ").replace("\r", "\n")


def count_shown(text: str, num_shown: int, start: int = 0) -> int:
    """Code points of `text` from `start` on for which so many stand in what is shown."""
    if "\r" not in text:
        return num_shown
    place = start
    for _ in range(num_shown):
        place += 2 if text.startswith(("\r\n", "\r "), place) else 1
    return place - start


def find_starts(text: str, tokens: Tokens) -> list[int]:
    """Where the tokens of what is shown of `text` start in it."""
    starts: list[int] = []
    place = shown = 0
    for start, _ in tokens.offsets:
        place += count_shown(text, start - shown, place)
        shown = start
        starts.append(place)
    return starts
