"""Plain text: paragraphs between blank lines, headings by their look, Project Gutenberg's header and licence apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chunkers.readers.decode import Decoded
from chunkers.readers.spans import find_addresses, find_strays, merge_spans
from chunkers.records import Block, BlockKind, Document, Span

MAX_HEADING_CHARS = 120

_NEWLINE = r"(?>\r\n|[\n\r\v\f\x85\u2028\u2029])"
_LINE = r"(?:(?<=[\n\r\v\f\x85\u2028\u2029])|\A)"
_REST = r"[^\n\r\v\f\x85\u2028\u2029]*"
_BLANK = r"[^\S\n\r\v\f\x85\u2028\u2029]*+"
_BREAK = re.compile(f"{_NEWLINE}(?:{_BLANK}{_NEWLINE})++")
_OTHER_NEWLINE = re.compile(r"[\r\v\f\x85\u2028\u2029]")
_PLAIN_BREAK = re.compile(r"\n(?:[^\S\n]*+\n)++")
"""`_BREAK` where there is no other newline than \\n, several times as fast."""
_NUMBERED_HEADING = re.compile(
    r"(?:chapter|book|part|letter|volume|vol\.|act|scene|canto|section|appendix|adventure|stave|epilogue|prologue)"
    r"(?:[ \t]+(?:the[ \t]+)?(?:\d{1,4}|[ivxlcdm]{1,8}|one|two|three|four|five|six|seven|eight|nine|ten|first|last)\b[^\n]{0,80})?[.:]?",
    re.IGNORECASE,
)
_NUMERAL = re.compile(r"(?:\d{1,3}|[IVXLC]{1,7})\.?")
_ORNAMENT = re.compile(r"^[^\S\n]*(?:[*#=_~–—•·-][^\S\n]*){3,}$", re.MULTILINE)
_ITALIC = re.compile(r"(?<![\w_])(_)(?=[^\s_])[^_]{0,600}?(?<=[^\s_])(_)(?![\w_])")

_GUTENBERG = re.compile(r"Project Gutenberg", re.IGNORECASE)
_START = re.compile(
    rf"{_LINE}\*{{3}}[ ]?START OF (?:THIS|THE) PROJECT GUTENBERG[^*]{{0,300}}\*{{3}}{_REST}"
    rf"|{_LINE}\*END(?:\*[ ]?| )THE SMALL PRINT{_REST}"
)
_END = re.compile(
    rf"{_LINE}(?:(?:\*{{3}}[ ]?)?END OF (?:THIS |THE )?PROJECT GUTENBERG|\*{{3}}[ ]?START: FULL LICENSE)",
    re.IGNORECASE,
)
_CREDITS = re.compile(r"\s*(?:Produced|E-?text prepared|Transcribed|HTML version|Scanned)\b", re.IGNORECASE)
_MAX_HEADER_CHARS = 60_000
_HEADER_FIELD = re.compile(rf"{_LINE}(Title|Language):[ \t]*(\S{_REST})")
_LANGUAGES = {"english": "en", "french": "fr", "german": "de", "italian": "it", "spanish": "es", "dutch": "nl", "portuguese": "pt"}


@dataclass(frozen=True, slots=True)
class _Body:
    """What of a file is the book; the rest is the distributor's."""

    start: int
    end: int


def parse_text(decoded: Decoded, *, doc_id: str, path: str) -> Document:
    """Blocks and protected spans of plain text; hard-wrapped lines stay in one paragraph. Linear in the length of the text."""
    text = decoded.text
    body = _find_body(text)
    blocks = tuple(_iterate_blocks(text, body))
    spans = [
        Span(start=block.start, end=block.start + len(text[block.start : block.end].rstrip()), kind=str(block.kind))
        for block in blocks
        if not block.kind.is_prose
    ]
    spans.extend(find_addresses(text))
    spans.extend(find_strays(text))
    spans.extend(_find_markers(text))
    header = dict(_HEADER_FIELD.findall(text, 0, body.start))
    heading = next((block for block in blocks if block.kind is BlockKind.HEADING), None)
    return Document(
        doc_id=doc_id,
        path=path,
        format="text",
        encoding=decoded.encoding,
        bom=decoded.bom,
        title=header.get("Title", "").strip() or (" ".join(text[heading.start : heading.end].split()) if heading else None),
        language=name_language(header.get("Language", "")),
        notes=decoded.notes,
        text=text,
        blocks=blocks,
        protected=merge_spans(span for span in spans if span.end > span.start),
    )


def name_language(name: str) -> str | None:
    """ISO 639-1 code of `English`, `en` or `en-GB`; None for what is neither a known name nor looks like a code."""
    name = name.strip().lower()
    return _LANGUAGES.get(name) or (name[:2] if re.fullmatch(r"[a-z]{2}(?:[-_].*)?", name) else None)


def _find_body(text: str) -> _Body:
    """Between Gutenberg's markers, of today's form or that of the 1990s; the whole text where there are none."""
    if _GUTENBERG.search(text, 0, _MAX_HEADER_CHARS) is None:
        return _Body(0, len(text))
    start = 0
    for match in _START.finditer(text, 0, _MAX_HEADER_CHARS):
        start = match.end()
    end = next((match.start() for match in _END.finditer(text, start)), len(text))
    if start and (blank := _BREAK.search(text, start)) and _CREDITS.match(text, blank.end()):
        following = _BREAK.search(text, blank.end())
        start = following.start() if following else start
    return _Body(start, end)


def _iterate_blocks(text: str, body: _Body) -> Iterator[Block]:
    """Tiles the text; a block ends after the blank lines that follow it."""
    if body.start:
        match = _BREAK.match(text, body.start) or _BREAK.search(text, body.start)
        body_start = match.end() if match and not text[body.start : match.start()].strip() else body.start
        yield Block(start=0, end=body_start, kind=BlockKind.BOILERPLATE)
    else:
        body_start = 0
    start = body_start
    # blank lines at the very start of the text belong to its first block
    breaks = _BREAK if _OTHER_NEWLINE.search(text) else _PLAIN_BREAK
    for match in breaks.finditer(text, body_start, body.end):
        if text[start : match.start()].strip():
            yield _make_block(text, start, match.end())
            start = match.end()
    if text[start : body.end].strip() or (start < body.end and start == 0):
        yield _make_block(text, start, body.end)
        start = body.end
    if start < len(text):
        yield Block(start=start, end=len(text), kind=BlockKind.BOILERPLATE if body.end < len(text) else BlockKind.PARAGRAPH)


def _make_block(text: str, start: int, end: int) -> Block:
    if is_heading(text[start : min(end, start + 4 * MAX_HEADING_CHARS)].strip()):
        return Block(start=start, end=end, kind=BlockKind.HEADING, level=1)
    return Block(start=start, end=end, kind=BlockKind.PARAGRAPH)


def is_heading(paragraph: str) -> bool:
    """Whether a stripped paragraph looks like a heading: short, and numbered («CHAPTER I. Down the Hole», «IV.») or all in capitals."""
    if not paragraph or len(paragraph) > MAX_HEADING_CHARS or paragraph.count("\n") > 1:
        return False
    if _NUMERAL.fullmatch(paragraph) or _NUMBERED_HEADING.fullmatch(paragraph):
        return True
    if not paragraph.isupper() or paragraph[0] in "\"'“‘«(" or paragraph[-1] in "!?,;\"'”’»":
        return False
    return sum(char.isalpha() for char in paragraph) >= 3


def _find_markers(text: str) -> Iterator[Span]:
    """Underscores that stand for italics, and lines of ornaments."""
    if "_" in text:
        for match in _ITALIC.finditer(text):
            for group in (1, 2):
                yield Span(start=match.start(group), end=match.end(group), kind="markup")
    for match in _ORNAMENT.finditer(text):
        yield Span(start=match.start() + len(match.group()) - len(match.group().lstrip()), end=match.end(), kind="markup")
