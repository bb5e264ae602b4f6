"""Where a code point of a document is, for a reader: line, column, chapter, and the text around it."""

import re
from bisect import bisect_right

from chunkers.records import BlockKind, Document

MAX_CONTEXT_CHARS = 120

_NEWLINE = re.compile(r"\r\n|\n|\r")
_HEADING_MARKS = re.compile(r"^\s*#{1,6}[ \t]+|[ \t]+#+[ \t]*$|\s*[\r\n][ \t]*(?:=+|-+)\s*$")


class Places:
    """The places of one document; every question takes logarithmic time."""

    __slots__ = ("_block_ends", "_blocks", "_chapter_starts", "_chapters", "_line_starts", "_text")

    def __init__(self, document: Document) -> None:
        self._text = document.text
        self._line_starts = [0, *(match.end() for match in _NEWLINE.finditer(document.text))]
        self._blocks = document.blocks
        self._block_ends = [block.end for block in document.blocks]
        headings = [block for block in document.blocks if block.kind is BlockKind.HEADING and block.level in (1, 2)]
        self._chapter_starts = [block.start for block in headings]
        self._chapters = [_read_heading(document.text[block.start : block.end]) for block in headings]

    def find_line(self, start: int) -> tuple[int, int]:
        """Line and column, both from 1; the column counts code points."""
        line = bisect_right(self._line_starts, start)
        return line, start - self._line_starts[line - 1] + 1

    def find_chapter(self, start: int) -> str | None:
        """Text of the last heading of level 1 or 2 that begins at or before it, its marks left out."""
        index = bisect_right(self._chapter_starts, start)
        return self._chapters[index - 1] if index else None

    def cut_before(self, start: int) -> str:
        """Up to MAX_CONTEXT_CHARS before it, in its block."""
        floor = max(self._find_block(start)[0], start - MAX_CONTEXT_CHARS)
        return self._text[floor:start]

    def cut_after(self, start: int, end: int) -> str:
        """Up to MAX_CONTEXT_CHARS after the span, in its block and without the block's last line ends."""
        ceiling = min(self._find_block(max(start, end - 1))[1], end + MAX_CONTEXT_CHARS)
        return self._text[end:ceiling].rstrip("\r\n")

    def _find_block(self, position: int) -> tuple[int, int]:
        if not self._blocks:
            return 0, len(self._text)
        block = self._blocks[min(bisect_right(self._block_ends, position), len(self._blocks) - 1)]
        return block.start, block.end


def _read_heading(text: str) -> str:
    return " ".join(_HEADING_MARKS.sub("", text.strip()).split())
