"""Where the content of markdown-it's inline tokens stands in the text: it was cut into lines and stripped, but never rewritten."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from chunkers.readers.lines import Lines

_content_start = attrgetter("content_start")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an inline token's content that stands in the text as it is."""

    content_start: int
    start: int
    """Offset in the text with plain newlines."""
    length: int


class MappingError(Exception):
    """The content of an inline token is not where its line numbers say."""


def locate_lines(lines: Lines, first: int, end: int, content: str) -> list[Segment]:
    """Where the lines of a paragraph or heading stand: each is the end of its source line, but for an ATX heading's closing marks."""
    wanted = content.split("\n")
    sources = [lines.content_of(line) for line in range(first, end)]
    # a first line of only non-breaking spaces is stripped away together with its newline
    for shift in range(len(sources) - len(wanted) + 1):
        if all(sources[shift + number].rstrip().endswith(line.strip()) for number, line in enumerate(wanted)):
            break
    else:
        return _locate_heading(lines, first, sources[0], wanted)
    segments = []
    content_start = 0
    for number, line in enumerate(wanted):
        stripped = line.strip()
        if stripped:
            source = sources[shift + number].rstrip()
            start = lines.start_of(first + shift + number) + len(source) - len(stripped)
            segments.append(Segment(content_start + line.index(stripped), start, len(stripped)))
        content_start += len(line) + 1
    return segments


def _locate_heading(lines: Lines, first: int, source: str, wanted: list[str]) -> list[Segment]:
    match = re.search(r"#{1,6}[ \t]+", source)
    if match is None or len(wanted) != 1 or not source.startswith(wanted[0], match.end()):
        raise MappingError
    return [Segment(0, lines.start_of(first) + match.end(), len(wanted[0]))]


def locate_cell(lines: Lines, line: int, content: str, cursor: int | None) -> list[Segment]:
    r"""Where a table cell stands; its `|` are `\|` in the source. `cursor` is the end of the cell before, None for the first of a row."""
    source = content.replace("|", "\\|")
    line_start, line_end = lines.start_of(line), lines.start_of(line + 1)
    if cursor is None:
        start = lines.text.find(source, line_start, line_end)
    else:
        gap = re.compile(r"[ \t|]*").match(lines.text, cursor, line_end)
        start = gap.end() if gap and "|" in gap.group() and lines.text.startswith(source, gap.end()) else -1
    if start < 0 or start + len(source) > line_end:
        raise MappingError
    segments = []
    content_start = 0
    for part in content.split("|"):
        segments.append(Segment(content_start, start, len(part)))
        content_start += len(part) + len("|")
        start += len(part) + len("\\|")
    return segments


def map_start(segments: Sequence[Segment], offset: int) -> int:
    return _map_within(segments[max(bisect_right(segments, offset, key=_content_start) - 1, 0)], offset)


def map_end(segments: Sequence[Segment], offset: int) -> int:
    return _map_within(segments[max(bisect_left(segments, offset, key=_content_start) - 1, 0)], offset)


def _map_within(segment: Segment, offset: int) -> int:
    return segment.start + min(max(offset - segment.content_start, 0), segment.length)
