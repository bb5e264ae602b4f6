"""Brackets without their partner in a paragraph."""

import re
from collections.abc import Iterator

from chunkers.candidates.prose import Prose
from chunkers.records import BlockKind, Candidate, Category

_PAIRS = {")": "(", "]": "["}
_MARK = re.compile(r"[()\[\]]")
_LABEL = re.compile(r"(?:^|[\s(])(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})\Z")
_FACE = re.compile(r"[:;]-?\Z")
_HALT = re.compile(r"[.;:!?](?=\s|\Z)|\Z")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the deletion of a bracket without a partner, and the missing one at the end of its sentence or part of a sentence."""
    for start, end in prose.paragraphs:
        text = prose.masked[start:end]
        if prose.kind_at(start) is BlockKind.TABLE or not ("(" in text or ")" in text or "[" in text or "]" in text):
            continue
        opened: list[tuple[str, int]] = []
        alone: list[int] = []
        for match in _MARK.finditer(text):
            mark, place = match.group(), match.start()
            if mark in "([":
                opened.append((mark, place))
            elif opened and opened[-1][0] == _PAIRS[mark]:
                opened.pop()
            elif not (mark == ")" and (_LABEL.search(text[max(0, place - 6) : place]) or _FACE.search(text[max(0, place - 2) : place]))):
                alone.append(place)
        if len(opened) + len(alone) > 2:
            continue
        for place in sorted([*alone, *(place for _, place in opened)]):
            yield prose.candidate(start + place, start + place + 1, "", Category.PUNCT, "brackets", "This bracket has no partner.")
        for mark, place in opened:
            halt = _HALT.search(text, place)
            if halt is not None:
                at = start + halt.start()
                yield prose.candidate(at, at, ")" if mark == "(" else "]", Category.PUNCT, "brackets", "The bracket is not closed.")
