"""A chunk in two halves: nothing lost, nothing twice, cut where a sentence starts, and no more around them than was there before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkers.records import BlockKind, Chunk, hash_id
from chunkers.sentences import sentence_spans
from chunkers.splits import split_chunk

PIECES = st.sampled_from(
    ["One here. ", "Two! ", "“Three?” ", "four five ", "six", "\n\n", " ", "\r\n", "é. ", "🙂 ", "Mr. ", "。", "# Head\n\n"]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=14).map("".join), st.text(max_size=60))


def make_chunk(text: str, start: int, end: int, *, before: int = 0, after: int = 0, num_tokens: int = 100) -> Chunk:
    return Chunk(
        chunk_id=hash_id("d", start, end),
        doc_id="d",
        chunk_index=3,
        start=start,
        end=end,
        text=text[start:end],
        context_before=text[max(0, start - before) : start],
        context_after=text[end : end + after],
        block_kind=BlockKind.QUOTE,
        num_tokens=num_tokens,
    )


@given(TEXTS, TEXTS, TEXTS, st.integers(0, 60), st.integers(0, 60), st.integers(0, 50))
def test_halves_tile_the_chunk_and_keep_its_limits(start: str, text: str, end: str, before: int, after: int, num_tokens: int) -> None:
    whole = start + text + end
    chunk = make_chunk(whole, len(start), len(start + text), before=before, after=after, num_tokens=num_tokens)
    halves = split_chunk(chunk)
    # where a sentence starts with something before it, told by the sentences themselves
    cuts = [cut for cut, _ in sentence_spans(text) if text[:cut].strip() and text[cut:].strip()]
    if halves is None:
        assert not cuts
        return
    first, second = halves
    assert (first.start, first.end, second.end) == (chunk.start, second.start, chunk.end)
    cut = first.end - chunk.start
    assert cut in cuts
    assert abs(cut - len(text) / 2) == min(abs(other - len(text) / 2) for other in cuts)
    assert first.num_tokens + second.num_tokens == num_tokens
    longest = max(len(chunk.context_before), len(chunk.context_after))
    low, high = chunk.start - len(chunk.context_before), chunk.end + len(chunk.context_after)
    for half in halves:
        assert half.text == whole[half.start : half.end]
        assert half.text.strip()
        assert half.chunk_id == hash_id("d", half.start, half.end)
        assert (half.doc_id, half.chunk_index, half.block_kind) == ("d", 3, BlockKind.QUOTE)
        assert whole[low : half.start].endswith(half.context_before)
        assert whole[half.end : high].startswith(half.context_after)
        assert max(len(half.context_before), len(half.context_after)) <= longest
    assert (first.context_before, second.context_after) == (chunk.context_before, chunk.context_after)


SENTENCES = ["The keeper counted the letters. ", "He put them away, twice. ", "Nobody asked Mr. Hale why. ", "It rained all day."]


def test_halves_see_each_other() -> None:
    text = "Before it all. " + "".join(SENTENCES)
    halves = split_chunk(make_chunk(text, 15, len(text), before=15))
    assert halves is not None
    first, second = halves
    assert (first.text, second.text) == ("".join(SENTENCES[:2]), "".join(SENTENCES[2:]))
    assert first.context_after == "Nobody asked "
    assert second.context_before == "away, twice. ", "15 code points hold no whole sentence, so a word starts it"


@pytest.mark.parametrize(("before", "after"), [(40, 0), (0, 40), (40, 7)])
def test_a_chunk_with_context_on_one_side_gives_it_to_both_halves(before: int, after: int) -> None:
    text = "x " * 20 + "".join(SENTENCES) + " y" * 20
    halves = split_chunk(make_chunk(text, 40, len(text) - 40, before=before, after=after))
    assert halves is not None
    assert (halves[1].context_before, halves[0].context_after) == (SENTENCES[1], SENTENCES[2])


@pytest.mark.parametrize("text", ["", "One sentence by Mr. Hale, no more.", "  \n\n One. ", "no end\nof it", "word " * 50])
def test_a_single_sentence_stays_whole(text: str) -> None:
    assert split_chunk(make_chunk(text, 0, len(text))) is None


def test_halving_comes_to_single_sentences() -> None:
    text = "".join(SENTENCES) * 5
    pieces, sentences = [make_chunk(text, 0, len(text), before=9)], []
    while pieces:
        piece = pieces.pop()
        halves = split_chunk(piece)
        if halves:
            pieces += reversed(halves)
        else:
            sentences.append(piece.text)
    assert sentences == [text[start:end] for start, end in sentence_spans(text)]
