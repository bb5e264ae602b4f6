"""Where the passages stand that a style sheet protects, and the document in which they are protected.

Owns how a quoted passage, a section and the kinds of passages are found in a text.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from chunkers.records import Block, BlockKind, Document, Span
from chunkers.style import PassageKind, Style

SPAN_KIND = "style"
"""Of a protected span that a style sheet asks for."""
MAX_VERSE_CHARS = 62
"""Longest line of verse; prose that is wrapped by hand has lines of 65 and more, but for the last."""
_MIN_VERSE_LINES = 3
_KIND_OF_BLOCK = {
    BlockKind.QUOTE: PassageKind.QUOTATIONS,
    BlockKind.HEADING: PassageKind.HEADINGS,
    BlockKind.FOOTNOTE: PassageKind.FOOTNOTES,
    BlockKind.TABLE: PassageKind.TABLES,
}
_MARKUP = re.compile(r"[#*_`=>\-]+")
_DOUBLE = re.compile(r"“[^“”]*(?:”|\Z)|\"[^\"]*(?:\"|\Z)")
_SINGLE = re.compile(r"(?<!\w)‘(?:[^‘’]|’(?=\w))*(?:’(?!\w)|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Styled:
    """A document with its style sheet, and what of the sheet does not stand in it."""

    document: Document
    missing: tuple[str, ...]
    """Quoted passages and headings that were not found, in the sheet's order."""


def apply_style(document: Document, style: Style) -> Styled:
    """The document with the sheet and its protected passages; spans that overlap a passage become one with it."""
    passages, missing = [], []
    for snippet in style.protected.text:
        found = [match.span() for match in _compile_passage(snippet).finditer(document.text)]
        passages += found
        missing += [] if found else [snippet]
    for heading in style.protected.headings:
        sections = list(_find_sections(document, heading))
        passages += sections
        missing += [] if sections else [heading]
    kinds = frozenset(style.protected.kinds)
    for block in document.blocks if kinds else ():
        passages += _find_kinds(document, block, kinds)
    spans = _merge(document.protected, passages)
    return Styled(document=replace(document, style=style, protected=spans), missing=tuple(missing))


def _compile_passage(snippet: str) -> "re.Pattern[str]":
    words = r"\s+".join(re.escape(word) for word in snippet.split())
    return re.compile(re.sub(r"['‘’]", "['‘’]", re.sub(r"[\"“”]", '["“”]', words)))


def _find_sections(document: Document, heading: str) -> Iterator[tuple[int, int]]:
    wanted, blocks = _plain(heading), document.blocks
    for index, block in enumerate(blocks):
        if block.kind is BlockKind.HEADING and _plain(document.text[block.start : block.end]) == wanted:
            following = (other.start for other in blocks[index + 1 :] if other.kind is BlockKind.HEADING and other.level <= block.level)
            yield block.start, next(following, len(document.text))


def _plain(heading: str) -> str:
    return " ".join(_MARKUP.sub(" ", heading).split()).casefold()


def _find_kinds(document: Document, block: Block, kinds: frozenset[PassageKind]) -> Iterator[tuple[int, int]]:
    text = document.text[block.start : block.end]
    if not text.strip() or not block.kind.is_prose:
        return
    is_verse = PassageKind.VERSE in kinds and block.kind in (BlockKind.PARAGRAPH, BlockKind.QUOTE) and looks_like_verse(text)
    if is_verse or _KIND_OF_BLOCK.get(block.kind) in kinds:
        yield block.start, block.start + len(text.rstrip())
    elif PassageKind.DIALOGUE in kinds:
        # a paragraph in single marks has its inner quotations in double ones
        first = re.search('[“"‘]', text)
        pattern = _SINGLE if first is not None and first.group() == "‘" else _DOUBLE
        for match in pattern.finditer(text.rstrip()):
            yield block.start + match.start(), block.start + match.end()


def looks_like_verse(text: str) -> bool:
    """Whether a paragraph is set in short lines of which most begin with a capital."""
    lines = [line.strip(" \t>\\") for line in text.strip().splitlines()]
    if len(lines) < _MIN_VERSE_LINES or max(map(len, lines)) > MAX_VERSE_CHARS or not all(lines):
        return False
    return sum(line.lstrip("“‘\"'_*([—")[:1].isupper() for line in lines) >= 0.8 * len(lines)


def _merge(spans: Iterable[Span], passages: Iterable[tuple[int, int]]) -> tuple[Span, ...]:
    """Spans and passages as spans that do not overlap; what overlaps a passage is part of it."""
    added = [Span(start=start, end=end, kind=SPAN_KIND) for start, end in passages if end > start]
    if not added:
        return tuple(spans)
    merged: list[Span] = []
    for span in sorted([*spans, *added], key=lambda span: (span.start, span.end)):
        last = merged[-1] if merged else None
        if last is None or span.start >= last.end:
            merged.append(span)
        else:
            merged[-1] = Span(start=last.start, end=max(last.end, span.end), kind=SPAN_KIND)
    return tuple(merged)
