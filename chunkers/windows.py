"""Document to chunks: whole blocks packed up to a token budget, long blocks split at sentence ends, context before and after.

Owns where a chunk begins and ends. Counting tokens is the caller's: counts come in, so that one tokenisation serves all.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from zlib import crc32

from chunkers.records import Block, BlockKind, Chunk, Document, hash_id
from chunkers.sentences import iterate_boundaries, iterate_sentences

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Numbers of tokens of texts, in their order."""

MIN_MAX_TOKENS = 16
"""A code point can take several tokens; a smaller budget could be too small for one."""
SPLIT_BATCH = 2048
"""Parts of a long block that are counted in one call."""
NEAR_CHARS = 200
MAX_CHARS_PER_TOKEN = 6
"""White space and rules take fewer tokens; context made of them would grow without this."""
_SPACE = re.compile(r"\s")
_JOINERS = "\u200d\ufe0e\ufe0f"


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a block that is over the budget."""

    start: int
    end: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class _Unit:
    """The least that a chunk holds: a block, or a part of a block that is over the budget."""

    start: int
    end: int
    num_tokens: int
    kind: BlockKind
    run_start: int
    """Where the prose around it starts; its own start where it is not prose."""
    run_end: int


def block_texts(document: Document) -> list[str]:
    """The texts of the blocks, in order: what `token_counts` counts."""
    return [document.text[block.start : block.end] for block in document.blocks]


def window_document(
    document: Document,
    token_counts: Sequence[int],
    count_tokens: CountTokens,
    *,
    max_tokens: int = 448,
    max_context_tokens: int = 32,
) -> list[Chunk]:
    """Chunks in document order that tile the document, none over `max_tokens`.

    `token_counts` has one number a block; `count_tokens` is asked only for parts of blocks that are over the budget. A chunk holds prose or
    blocks of one other kind; a heading goes with what follows it. Past three fifths of the budget a chunk may also end at a block chosen
    by its content, so that an edited paragraph moves the chunks near it and not those of the rest of the book. Context is prose only.
    Counts are summed over blocks: the joined text may take some per cent more, as blank lines are one token at the end of a text, two
    before a word. Raises ValueError where `max_tokens` is below 16, or counts and blocks differ in number.
    """
    if max_tokens < MIN_MAX_TOKENS:
        raise ValueError(f"max_tokens={max_tokens}; a chunk holds at least {MIN_MAX_TOKENS} tokens; raise max_tokens")
    if max_context_tokens < 0:
        raise ValueError(f"max_context_tokens={max_context_tokens}; a number of tokens is 0 or more; use 0 for no context")
    if len(token_counts) != len(document.blocks):
        raise ValueError(f"{len(token_counts)} token counts for {len(document.blocks)} blocks; give one a block, in order")
    units = _iterate_units(document, token_counts, count_tokens, max_tokens)
    packs = [[], *_pack_units(document.text, units, max_tokens), []]
    return [
        _make_chunk(document, index, packed, _context_chars(before, max_context_tokens), _context_chars(after, max_context_tokens))
        for index, (before, packed, after) in enumerate(zip(packs, packs[1:], packs[2:], strict=False))
    ]


def _iterate_units(document: Document, token_counts: Sequence[int], count_tokens: CountTokens, max_tokens: int) -> Iterator[_Unit]:
    run_ends = _find_run_ends(document)
    run_start = 0
    for block, num_tokens, run_end in zip(document.blocks, token_counts, run_ends, strict=True):
        if not block.kind.is_prose:
            run_start = block.end
        bounds = (run_start, run_end) if block.kind.is_prose else (block.start, block.end)
        if num_tokens <= max_tokens:
            yield _Unit(block.start, block.end, num_tokens, block.kind, *bounds)
            continue
        if block.kind.is_prose:
            parts = _split_prose(document.text, block, count_tokens, max_tokens)
        else:
            parts = _split_other(document.text, block, num_tokens, max_tokens)
        for part in parts:
            yield _Unit(part.start, part.end, part.num_tokens, block.kind, *bounds)


def _find_run_ends(document: Document) -> list[int]:
    """For each block the end of the run of prose that it stands in."""
    ends: list[int] = []
    end = len(document.text)
    for block in reversed(document.blocks):
        if not block.kind.is_prose:
            end = block.start
        ends.append(end)
    return ends[::-1]


def _split_prose(text: str, block: Block, count_tokens: CountTokens, max_tokens: int) -> Iterator[_Part]:
    """Sentences; those over the budget are cut again at white space, or anywhere."""
    # four code points a token is what English takes: longer slices would only be halved
    slices = (piece for span in iterate_sentences(text, block.start, block.end) for piece in _slice_part(text, *span, 4 * max_tokens))
    while batch := list(islice(slices, SPLIT_BATCH)):
        for (start, end), num_tokens in zip(batch, count_tokens([text[start:end] for start, end in batch]), strict=True):
            yield from _halve(text, _Part(start, end, num_tokens), count_tokens, max_tokens)


def _split_other(text: str, block: Block, num_tokens: int, max_tokens: int) -> Iterator[_Part]:
    """Slices cut after white space where there is some. No model reads them: they share their block's tokens by length, uncounted."""
    num_chars = block.end - block.start
    taken = 0
    for start, end in _slice_part(text, block.start, block.end, max(num_chars * (max_tokens - 1) // num_tokens, 1)):
        upto = num_tokens * (end - block.start) // num_chars
        yield _Part(start, end, upto - taken)
        taken = upto


def _slice_part(text: str, start: int, end: int, max_chars: int) -> Iterator[tuple[int, int]]:
    while end - start > max_chars:
        cut = _find_cut(text, start + max_chars // 2, start + max_chars)
        yield start, cut
        start = cut
    yield start, end


def _halve(text: str, part: _Part, count_tokens: CountTokens, max_tokens: int) -> Iterator[_Part]:
    if part.num_tokens <= max_tokens or part.end - part.start < 2:
        yield part
        return
    middle = max((part.start + part.end) // 2, part.start + 1)
    cut = _find_cut(text, part.start + 1, middle)
    first, second = count_tokens([text[part.start : cut], text[cut : part.end]])
    yield from _halve(text, _Part(part.start, cut, first), count_tokens, max_tokens)
    yield from _halve(text, _Part(cut, part.end, second), count_tokens, max_tokens)


def _find_cut(text: str, low: int, high: int) -> int:
    """The last offset in [low, high] right after a space or newline; else the last that parts no character from its marks; else `high`."""
    cut = max(text.rfind(" ", low - 1, high), text.rfind("\n", low - 1, high)) + 1
    if cut >= low:
        return cut
    for offset in range(high, max(low, high - 16) - 1, -1):
        if offset < len(text) and not _is_joined(text[offset - 1], text[offset]):
            return offset
    return high


def _is_joined(before: str, after: str) -> bool:
    return unicodedata.combining(after) > 0 or after in _JOINERS or before == _JOINERS[0] or (before == "\r" and after == "\n")


def _pack_units(text: str, units: Iterator[_Unit], max_tokens: int) -> Iterator[list[_Unit]]:
    pending: list[_Unit] = []
    total = 0
    for unit in units:
        if pending and not _may_share(pending[-1].kind, unit.kind):
            yield pending
            pending, total = [], 0
        elif pending and total + unit.num_tokens > max_tokens:
            carried = _trailing_headings(pending)
            num_carried = sum(heading.num_tokens for heading in carried)
            if len(carried) == len(pending) or num_carried + unit.num_tokens > max_tokens:
                carried, num_carried = [], 0
            yield pending[: len(pending) - len(carried)]
            pending, total = carried, num_carried
        pending.append(unit)
        total += unit.num_tokens
        if total * 5 > max_tokens * 3 and _is_landmark(text, unit):
            yield pending
            pending, total = [], 0
    if pending:
        yield pending


def _may_share(kind: BlockKind, following: BlockKind) -> bool:
    return kind is following or (kind.is_prose and following.is_prose)


def _trailing_headings(units: Sequence[_Unit]) -> list[_Unit]:
    num = 0
    while num < len(units) and units[-1 - num].kind is BlockKind.HEADING:
        num += 1
    return list(units[len(units) - num :])


def _is_landmark(text: str, unit: _Unit) -> bool:
    """One unit in four, by the text it ends with (content-defined chunking, as in rsync and restic)."""
    return unit.kind is not BlockKind.HEADING and crc32(text[max(unit.start, unit.end - 64) : unit.end].encode()) % 4 == 0


def _context_chars(units: Sequence[_Unit], max_context_tokens: int) -> int:
    """Code points that take about `max_context_tokens`, by what the chunk that the context comes from takes."""
    num_tokens = sum(unit.num_tokens for unit in units)
    num_chars = units[-1].end - units[0].start if units else 0
    return max_context_tokens * min(num_chars, MAX_CHARS_PER_TOKEN * num_tokens) // max(num_tokens, 1)


def _make_chunk(document: Document, index: int, units: Sequence[_Unit], max_chars_before: int, max_chars_after: int) -> Chunk:
    first, last = units[0], units[-1]
    return Chunk(
        chunk_id=hash_id(document.doc_id, first.start, last.end),
        doc_id=document.doc_id,
        chunk_index=index,
        start=first.start,
        end=last.end,
        text=document.text[first.start : last.end],
        context_before=take_context_before(document.text, first.run_start, first.start, max_chars_before),
        context_after=take_context_after(document.text, last.end, last.run_end, max_chars_after),
        block_kind=first.kind,
        num_tokens=sum(unit.num_tokens for unit in units),
    )


def take_context_before(text: str, run_start: int, start: int, max_chars: int) -> str:
    """The text before `start`, from `run_start` on, at most `max_chars` code points; begins at a sentence or a word where it can."""
    low = start - max_chars
    if low <= run_start:
        return text[run_start:start] if max_chars else ""
    cut = next(iterate_boundaries(text, low, start), None)
    if cut is None:
        space = _SPACE.search(text, low, start - 1)
        cut = space.end() if space else low
    return text[cut:start]


def take_context_after(text: str, end: int, run_end: int, max_chars: int) -> str:
    """The text from `end` on, up to `run_end`, at most `max_chars` code points; ends at a sentence or a word where it can."""
    high = end + max_chars
    if high >= run_end:
        return text[end:run_end] if max_chars else ""
    # nearly always the last boundary is near the end
    for low in (max(end, high - NEAR_CHARS), end):
        cut = max(iterate_boundaries(text, low, high), default=None)
        if cut is not None:
            return text[end:cut]
    return text[end : _find_cut(text, end + 1, high)] if max_chars else ""
