"""The rows that documents become, each beside the Arrow schema of its table.

Owns the words document, block, span, chunk and candidate. Every offset counts Unicode code points of the decoded text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

import pyarrow as pa

from chunkers.style import NO_STYLE, Style


def hash_id(*parts: str | int) -> str:
    """Sha256 in hex over parts joined by a separator that no part contains, so that ("a", "bc") and ("ab", "c") differ."""
    return sha256("\x1f".join(str(part).replace("\x1f", "\x1f\x1f") for part in parts).encode("utf-8", "surrogatepass")).hexdigest()


class DocumentError(Exception):
    """This document cannot be read: what was met, the rule, what to do. The run goes on with the others."""


class BlockKind(StrEnum):
    """What a block is. Prose kinds are sent to a model; the others only pass through."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST = "list"
    QUOTE = "quote"
    TABLE = "table"
    FOOTNOTE = "footnote"
    CODE = "code"
    MATH = "math"
    HTML = "html"
    FRONT_MATTER = "front_matter"
    BOILERPLATE = "boilerplate"
    """Text that belongs to the distributor, such as Project Gutenberg's header and licence."""

    @property
    def is_prose(self) -> bool:
        return self not in (BlockKind.CODE, BlockKind.MATH, BlockKind.HTML, BlockKind.FRONT_MATTER, BlockKind.BOILERPLATE)


class Category(StrEnum):
    """What is wrong at a span; the names of ERRANT's types folded to what a proofreader would call them."""

    SPELL = "spell"
    WORD = "word"
    """A real word in the place of another: tho/the, modem/modern."""
    MISSING = "missing"
    EXTRA = "extra"
    AGREEMENT = "agreement"
    """Agreement or form: number, tense, person, a/an."""
    PUNCT = "punct"
    QUOTE = "quote"
    SPACE = "space"
    CASE = "case"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A protected part of a document: no edit may touch it."""

    start: int
    """First code point."""
    end: int
    """One past the last code point; always greater than `start`."""
    kind: str
    """Why it is protected: code, math, html, link, url, entity, markup, front_matter, boilerplate; style where a style sheet says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A structural part of a document. The blocks of a document tile it: in order, none empty, their texts joined are the text."""

    start: int
    end: int
    """One past the last code point, blank lines that follow included."""
    kind: BlockKind
    level: int = 0
    """1 to 6 for a heading, else 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One source file, immutable, named by the sha256 of its bytes."""

    doc_id: str
    """Sha256 of the source bytes, hex."""
    path: str
    """Where it was read from: a path or an fsspec URL. Shown, never opened again; of a row, nothing beside it is looked for either."""
    format: str
    """`markdown` or `text`."""
    encoding: str
    """Python codec name under which `bom + text` encodes to the source bytes exactly."""
    bom: str
    """The byte order mark as text (U+FEFF), or empty."""
    title: str | None
    """From front matter or the first heading; None where neither is there."""
    language: str | None
    """ISO 639-1 code from front matter or the file's header; None where neither says."""
    notes: tuple[str, ...]
    """What a user should know about the reading, such as «not valid UTF-8; read as Windows-1252»."""
    text: str
    """The decoded text, newlines as in the source, byte order mark left out."""
    blocks: tuple[Block, ...]
    protected: tuple[Span, ...]
    """Sorted by start, not overlapping."""
    style: Style = NO_STYLE
    """What the book's people decided; passages that it protects are among `protected`."""
    table: str | None = None
    """The table that it is a row of; None for a file of its own. Then `path` is this and, after a #, what the row calls itself."""

    def encode(self, text: str | None = None) -> bytes:
        """Source bytes of `text` (by default the document's own) in the document's encoding, byte order mark included."""
        return (self.bom + (self.text if text is None else text)).encode(self.encoding)

    @property
    def num_words(self) -> int:
        """Words separated by white space in prose blocks."""
        return sum(len(self.text[block.start : block.end].split()) for block in self.blocks if block.kind.is_prose)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of a document that one prompt is about; `text == document.text[start:end]`, and the chunks of a document tile it."""

    chunk_id: str
    """Hash of doc_id, start and end."""
    doc_id: str
    chunk_index: int
    """Position among the document's chunks, from 0."""
    start: int
    end: int
    text: str
    context_before: str
    """The document's text right before `start`, cut at a sentence or block where possible; may be empty."""
    context_after: str
    block_kind: BlockKind
    """Kind of the first block in the chunk. Blocks that are not prose stand in chunks of their own."""
    num_tokens: int
    """Tokens of `text`, counted block by block."""

    @property
    def is_readable(self) -> bool:
        """Whether it holds prose that a model is asked about."""
        return self.block_kind.is_prose and bool(self.text.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A span that deterministic code thinks may be wrong and what might stand there, before a model has judged it."""

    candidate_id: str = field(init=False)
    """Hash of doc_id, start, end, replacement and detector."""
    doc_id: str
    start: int
    end: int
    """Equal to `start` for an insertion."""
    original: str
    """`document.text[start:end]`."""
    replacement: str
    category: Category
    detector: str
    """Who found it: `harper:SpellCheck`, `doubled_words`, `confusion:preposition`."""
    message: str
    """One sentence for a reader; may be empty where the change speaks for itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidate_id", hash_id(self.doc_id, self.start, self.end, self.replacement, self.detector))


def table_schema(
    table: str, fields: Iterable[tuple[str, pa.DataType]], nullable: frozenset[str] = frozenset(), version: int = 1
) -> pa.Schema:
    """Schema with its table's name and version in the metadata; only the columns in `nullable` may be null."""
    return pa.schema(
        [pa.field(name, kind, nullable=name in nullable) for name, kind in fields],
        metadata={"table": table, "schema_version": str(version)},
    )


DOCUMENTS = table_schema(
    "documents",
    [
        ("doc_id", pa.string()),
        ("path", pa.string()),
        ("format", pa.string()),
        ("encoding", pa.string()),
        ("bom", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("notes", pa.list_(pa.string())),
        ("num_chars", pa.int64()),
        ("num_words", pa.int64()),
        ("table", pa.string()),
    ],
    nullable=frozenset({"title", "language", "table"}),
)
"""In the order of the inputs, and of the rows of a table; each doc_id once. The text is not here: the chunks joined are the text."""

CHUNKS = table_schema(
    "chunks",
    [
        ("chunk_id", pa.string()),
        ("doc_id", pa.string()),
        ("chunk_index", pa.int32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("text", pa.large_string()),
        ("context_before", pa.string()),
        ("context_after", pa.string()),
        ("block_kind", pa.string()),
        ("num_tokens", pa.int32()),
    ],
)
"""Sorted by doc_id, chunk_index."""

CANDIDATES = table_schema(
    "candidates",
    [
        ("candidate_id", pa.string()),
        ("doc_id", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("original", pa.string()),
        ("replacement", pa.string()),
        ("category", pa.string()),
        ("detector", pa.string()),
        ("message", pa.string()),
    ],
)
"""Sorted by doc_id, start, end, replacement, detector."""
