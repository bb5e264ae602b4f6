"""Markdown: CommonMark with tables, strikethrough, footnotes, math and front matter, and the directives of common site generators.

What a paragraph, a heading or a cell shows to a reader is prose; everything else in the source is protected. So what the parser knows
nothing of stays as it is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

from chunkers.readers.decode import Decoded
from chunkers.readers.inline import InlineWatch
from chunkers.readers.lines import Lines
from chunkers.readers.segments import MappingError, Segment, locate_cell, locate_lines, map_end, map_start
from chunkers.readers.spans import find_addresses, find_directives, find_strays, find_tex, merge_spans
from chunkers.readers.text import name_language, parse_text
from chunkers.records import Block, BlockKind, Document, Span

MAX_NESTING = 40
"""Containers, or link labels, inside each other; each costs the parser several stack frames."""
MAX_INLINE_CHARS = 200_000
"""A longer paragraph is left alone: the parser's delimiter stack is not linear."""

LEAVES = {
    "paragraph_open": BlockKind.PARAGRAPH,
    "heading_open": BlockKind.HEADING,
    "table_open": BlockKind.TABLE,
    "fence": BlockKind.CODE,
    "code_block": BlockKind.CODE,
    "html_block": BlockKind.HTML,
    "math_block": BlockKind.MATH,
    "math_block_label": BlockKind.MATH,
}
"""Token types that start a block. What is none of them (rules, reference definitions) belongs to the block before."""

CONTAINERS = {
    "bullet_list_open": BlockKind.LIST,
    "ordered_list_open": BlockKind.LIST,
    "blockquote_open": BlockKind.QUOTE,
    "footnote_reference_open": BlockKind.FOOTNOTE,
}

_FRONT_MATTER = re.compile(
    r"---[ \t]*\n(?:(?=[\w\"'-]+[ \t]*:|#|---|\.\.\.).*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
    r"|\+\+\+[ \t]*\n(?:.*?\n)??\+\+\+[ \t]*(?:\n|\Z)",
    re.DOTALL,
)
"""YAML or TOML; a rule that opens a document is not followed by a key."""
_FRONT_FIELD = re.compile(r"^(title|lang|language)[ \t]*[:=][ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_REFERENCE = re.compile(r"[ \t>]*\[[^\]]+\]:")


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A block as the parser sees it."""

    line: int
    end_line: int
    kind: BlockKind
    level: int
    inlines: list[Token]


def parse_markdown(decoded: Decoded, *, doc_id: str, path: str) -> Document:
    """Blocks and protected spans of Markdown; spans are code points of `decoded.text` whatever its newlines.

    A block whose prose cannot be found in the source again is protected whole and counted in the notes. Where the parser fails on
    nesting the whole file is read as plain text, with a note.
    """
    lines = Lines(decoded.text)
    front = _FRONT_MATTER.match(lines.text)
    front_end = front.end() if front else 0
    front_lines = lines.text.count("\n", 0, front_end)
    notes = list(decoded.notes)
    reading = _Reading(lines)
    try:
        leaves = list(_iterate_leaves(reading.parse_blocks(front_end), front_lines))
        exposed = [reading.expose(leaf) for leaf in leaves]
    except RecursionError:
        note = "nested too deeply to be read as Markdown; read as plain text"
        plain = parse_text(decoded, doc_id=doc_id, path=path)
        return replace(plain, format="markdown", notes=(*plain.notes, note))
    if reading.num_unmapped:
        notes.append(f"{reading.num_unmapped} blocks could not be mapped to the source; they are protected whole")
    if reading.num_too_long:
        notes.append(f"{reading.num_too_long} paragraphs are longer than {MAX_INLINE_CHARS} characters; they are protected whole")
    if reading.is_too_deep:
        notes.append(f"containers nested more than {MAX_NESTING} deep are protected whole")

    starts = [0] if front else []
    kinds = [(BlockKind.FRONT_MATTER, 0)] if front else []
    for leaf in leaves:
        starts.append(lines.start_of(leaf.line))
        kinds.append((leaf.kind, leaf.level))
    if not starts and lines.text:
        starts, kinds = [0], [(BlockKind.PARAGRAPH, 0)]
        exposed = [[]]
    elif front:
        exposed.insert(0, [])
    if starts:
        starts[0] = 0
    ends = [*starts[1:], len(lines.text)] if starts else []

    spans = list(reading.spans)
    for (kind, _), start, end, segments in zip(kinds, starts, ends, exposed, strict=True):
        if kind.is_prose:
            spans.extend(_protect_gaps(lines.text, start, end, segments))
        elif length := len(lines.text[start:end].rstrip()):
            spans.append(Span(start=start, end=start + length, kind=str(kind)))
    spans.extend(find_addresses(lines.text))
    spans.extend(find_strays(lines.text))
    spans.extend(find_tex(lines.text))
    spans.extend(find_directives(lines.text))

    fields = {name.lower(): value.strip("\"'") for name, value in _FRONT_FIELD.findall(front.group() if front else "")}
    language = name_language(fields.get("lang") or fields.get("language") or "")
    heading = next((leaf for leaf in leaves if leaf.kind is BlockKind.HEADING and leaf.inlines and leaf.inlines[0].content), None)
    return Document(
        doc_id=doc_id,
        path=path,
        format="markdown",
        encoding=decoded.encoding,
        bom=decoded.bom,
        title=fields.get("title") or (heading.inlines[0].content if heading else None),
        language=language,
        notes=tuple(notes),
        text=decoded.text,
        blocks=tuple(
            Block(start=lines.to_source(start), end=lines.to_source(end), kind=kind, level=level)
            for (kind, level), start, end in zip(kinds, starts, ends, strict=True)
        ),
        protected=tuple(
            Span(start=lines.to_source(span.start), end=lines.to_source(span.end), kind=span.kind) for span in merge_spans(spans)
        ),
    )


class _Reading:
    """One pass of markdown-it over one text."""

    def __init__(self, lines: Lines) -> None:
        self.spans: list[Span] = []
        self.num_unmapped = 0
        self.num_too_long = 0
        self.is_too_deep = False
        self._lines = lines
        self._env: dict[str, object] = {}
        self._md = MarkdownIt("commonmark", {"maxNesting": MAX_NESTING}).enable(["table", "strikethrough"])
        self._md.use(footnote_plugin).use(dollarmath_plugin).disable("math_inline")
        self._inline = InlineWatch(self._md)

    def parse_blocks(self, offset: int) -> Sequence[Token]:
        tokens: list[Token] = []
        self._md.block.parse(self._lines.text[offset:], self._md, self._env, tokens)
        self.is_too_deep = any(token.level >= MAX_NESTING - 1 for token in tokens)
        return tokens

    def expose(self, leaf: _Leaf) -> list[Segment]:
        """The parts of a leaf that are prose or marked within prose, in order; adds the marks to `spans`."""
        if any(len(token.content) > MAX_INLINE_CHARS for token in leaf.inlines):
            self.num_too_long += 1
            return []
        segments: list[Segment] = []
        spans: list[Span] = []
        cursor = (-1, 0)
        try:
            for token in leaf.inlines:
                if not token.content:
                    continue
                if leaf.kind is BlockKind.TABLE:
                    line = leaf.line + (token.map or [0])[0]
                    parts = locate_cell(self._lines, line, token.content, cursor[1] if cursor[0] == line else None)
                    cursor = (line, parts[-1].start + parts[-1].length)
                else:
                    parts = locate_lines(self._lines, leaf.line, leaf.end_line, token.content)
                for mark in self._inline.find_marks(token.content, self._env):
                    start, end = map_start(parts, mark.start), map_end(parts, mark.end)
                    if start < end:
                        spans.append(Span(start=start, end=end, kind=mark.kind))
                segments.extend(parts)
        except MappingError:
            self.num_unmapped += 1
            return []
        self.spans.extend(spans)
        return segments


def _iterate_leaves(tokens: Sequence[Token], first_line: int) -> Iterator[_Leaf]:
    """Leaves in order; in a list, a quotation or a footnote, prose has the kind of the innermost of them."""
    containers: list[BlockKind] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        if token.type in CONTAINERS:
            containers.append(CONTAINERS[token.type])
        elif token.type.removesuffix("_close") + "_open" in CONTAINERS:
            containers.pop()
        kind = LEAVES.get(token.type)
        if kind is None or token.map is None:
            continue
        inlines: list[Token] = []
        if token.nesting == 1:
            closing = token.type.removesuffix("_open") + "_close"
            while tokens[index].type != closing:
                if tokens[index].type == "inline":
                    inlines.append(tokens[index])
                index += 1
        line, end_line = token.map
        if kind is BlockKind.TABLE:
            # rows count from the table's first line
            for inline in inlines:
                inline.map = [row - line for row in inline.map or [line, line]]
        level = int(token.tag[1]) if kind is BlockKind.HEADING else 0
        if containers and kind in (BlockKind.PARAGRAPH, BlockKind.HEADING):
            kind, level = containers[-1], 0
        yield _Leaf(first_line + line, first_line + end_line, kind, level, inlines)


def _protect_gaps(text: str, start: int, end: int, segments: Sequence[Segment]) -> Iterator[Span]:
    """What stands between the exposed parts of a prose block: markers, indentation, hard breaks, cell borders, definitions."""
    position = start
    for number, segment in enumerate([*segments, None]):
        gap_end = end if segment is None else segment.start
        pieces = text[position:gap_end].split("\n")
        for index, piece in enumerate(pieces):
            is_first, is_last = index == 0 and number > 0, index == len(pieces) - 1 and segment is not None
            is_hard_break = is_first and not is_last and segment is not None and piece.startswith("  ")
            shown = piece if is_last or is_hard_break else piece.rstrip()
            lead = 0 if is_first or is_last else len(shown) - len(shown.lstrip())
            if shown and (is_last or is_hard_break or shown.strip()):
                kind = "link" if _REFERENCE.match(shown) and not is_last else "markup"
                yield Span(start=position + lead, end=position + len(shown), kind=kind)
            position += len(piece) + 1
        position = gap_end + (segment.length if segment else 0)
