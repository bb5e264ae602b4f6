"""Rows for tests: documents, chunks, edits and findings with everything filled in that a case does not name."""

import re
from hashlib import sha256

from hypothesis import strategies as st

from chunkers.records import Block, BlockKind, Category, Chunk, Document, Span, hash_id
from postprocess.changes import Change
from postprocess.records import Edit, EditStatus, Finding, FindingStatus, name_edit, name_finding

TEXTS = st.text(alphabet=st.one_of(st.sampled_from("ab \n\r.'’{}+-~<>=\\"), st.characters(exclude_categories=["Cs"])), max_size=60)


def make_document(text: str, *, format: str = "markdown", protected: tuple[Span, ...] = (), name: str = "book.md") -> Document:
    """Headings are lines that begin with #, every other paragraph is prose."""
    blocks, position = [], 0
    for match in re.finditer(r"(?s).+?(?:\n\s*\n|\Z)", text):
        level = len(match[0]) - len(match[0].lstrip("#"))
        kind = BlockKind.HEADING if level else BlockKind.PARAGRAPH
        blocks.append(Block(start=position, end=match.end(), kind=kind, level=level))
        position = match.end()
    return Document(
        doc_id=sha256(text.encode()).hexdigest(),
        path=name,
        format=format,
        encoding="utf-8",
        bom="",
        title=None,
        language="en",
        notes=(),
        text=text,
        blocks=tuple(blocks),
        protected=protected,
    )


def make_chunk(text: str, *, start: int = 0, index: int = 0, doc_id: str = "d") -> Chunk:
    return Chunk(
        chunk_id=hash_id(doc_id, start, start + len(text)),
        doc_id=doc_id,
        chunk_index=index,
        start=start,
        end=start + len(text),
        text=text,
        context_before="",
        context_after="",
        block_kind=BlockKind.PARAGRAPH,
        num_tokens=len(text) // 4,
    )


def make_edit(
    document: Document,
    start: int,
    end: int,
    replacement: str,
    *,
    proposer: str = "rule",
    confidence: float = 0.9,
    category: Category = Category.SPELL,
    original: str | None = None,
    reason: str | None = None,
) -> Edit:
    original = document.text[start:end] if original is None else original
    return Edit(
        edit_id=name_edit(document.doc_id, start, end, original, replacement, proposer),
        doc_id=document.doc_id,
        start=start,
        end=end,
        original=original,
        replacement=replacement,
        category=category,
        message="",
        proposer=proposer,
        row_key=None,
        score=None,
        confidence=confidence,
        status=EditStatus.REJECTED if reason else EditStatus.ANCHORED,
        reason=reason,
    )


def make_finding(text: str, start: int, end: int, replacement: str, **fields: object) -> Finding:
    defaults: dict[str, object] = {
        "doc_id": "d",
        "line": 1,
        "column": start + 1,
        "chapter": None,
        "category": Category.SPELL,
        "message": "",
        "votes": 1,
        "proposers": ("rule",),
        "confidence": 0.9,
        "status": FindingStatus.ACCEPTED,
        "context_before": text[max(0, start - 120) : start],
        "context_after": text[end : end + 120],
    }
    values = defaults | {"start": start, "end": end, "original": text[start:end], "replacement": replacement} | fields
    values["finding_id"] = name_finding(str(values["doc_id"]), start, end, replacement)
    return Finding(**values)  # type: ignore[arg-type]


@st.composite
def texts_with_changes(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXTS) -> tuple[str, list[Change]]:
    """A text and changes of it that do not overlap, some of them touching."""
    text = draw(texts)
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=8))
    cuts.sort()
    changes = [Change(start, end, text[start:end], draw(texts)) for start, end in zip(cuts[::2], cuts[1::2], strict=False)]
    unique = []
    for change in changes:
        is_repeated = change.start == change.end and unique and unique[-1].start == unique[-1].end == change.start
        if not is_repeated:
            unique.append(change)
    return text, draw(st.permutations(unique))
