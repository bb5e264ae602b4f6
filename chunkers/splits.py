"""A chunk into two, for a model that could not take it or answer it whole."""

from dataclasses import replace

from chunkers.records import Chunk, hash_id
from chunkers.sentences import iterate_boundaries
from chunkers.windows import take_context_after, take_context_before


def split_chunk(chunk: Chunk) -> tuple[Chunk, Chunk] | None:
    """Both halves, cut at the sentence boundary nearest the middle, neither of them blank; None where there is no such boundary.

    The halves tile the chunk. Their contexts are the document's text around them, no longer than the longer one of the chunk's: nothing
    that the chunk's prompt did not hold is added to either's. `num_tokens` is shared by length, uncounted; `chunk_index` and `block_kind`
    are the chunk's.
    """
    text = chunk.text
    first_char, end_char = len(text) - len(text.lstrip()), len(text.rstrip())
    boundaries = (offset for offset in iterate_boundaries(text, 0, len(text)) if first_char < offset < end_char)
    cut = min(boundaries, key=lambda offset: (abs(2 * offset - len(text)), offset), default=None)
    if cut is None:
        return None
    around = chunk.context_before + text + chunk.context_after
    place, max_chars = len(chunk.context_before) + cut, max(len(chunk.context_before), len(chunk.context_after))
    middle, num_tokens = chunk.start + cut, chunk.num_tokens * cut // len(text)
    first = replace(
        chunk,
        chunk_id=hash_id(chunk.doc_id, chunk.start, middle),
        end=middle,
        text=text[:cut],
        context_after=take_context_after(around, place, len(around), max_chars),
        num_tokens=num_tokens,
    )
    second = replace(
        chunk,
        chunk_id=hash_id(chunk.doc_id, middle, chunk.end),
        start=middle,
        text=text[cut:],
        context_before=take_context_before(around, 0, place, max_chars),
        num_tokens=chunk.num_tokens - num_tokens,
    )
    return first, second
