"""Documents made by hand for the tests of candidates: paragraphs between blank lines, `code` between backticks protected."""

import re
from hashlib import sha256

from chunkers.records import Block, BlockKind, Document, Span


def make_document(text: str, format: str = "markdown") -> Document:
    """A document whose paragraphs that start with four spaces are code."""
    blocks = []
    start = 0
    for match in re.finditer(r"\n\n+|\Z", text):
        if match.end() > start:
            kind = BlockKind.CODE if text.startswith("    ", start) else BlockKind.PARAGRAPH
            blocks.append(Block(start=start, end=match.end(), kind=kind))
            start = match.end()
    protected = [
        Span(start=block.start + match.start(), end=block.start + match.end(), kind="code")
        for block in blocks
        for match in re.finditer(r"`[^`\n]+`" if block.kind.is_prose else r"(?s).+", text[block.start : block.end])
    ]
    return Document(
        doc_id=sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        path="made.md",
        format=format,
        encoding="utf-8",
        bom="",
        title=None,
        language="en",
        notes=(),
        text=text,
        blocks=tuple(blocks),
        protected=tuple(protected),
    )
