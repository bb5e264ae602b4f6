"""Chunks rebuild their document, keep their limits, and end where a reader would stop."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkers.readers import parse_document
from chunkers.records import BlockKind, Chunk, Document, hash_id
from chunkers.windows import block_texts, window_document

PARAGRAPH = "The keeper counted the letters. He put them away, twice, and said nothing of it to Mr. Hale. Nobody asked him.\n\n"


def count_words(texts: Sequence[str]) -> list[int]:
    """One token a word, and one for each of its bytes past the tenth, as rare words take several."""
    return [sum(max(1, len(word.encode()) - 9) for word in text.split()) for text in texts]


def read(text: str, name: str = "a.md") -> Document:
    return parse_document(text.encode(), name)


def window(document: Document, max_tokens: int = 60, max_context_tokens: int = 20) -> list[Chunk]:
    counts = count_words(block_texts(document))
    return window_document(document, counts, count_words, max_tokens=max_tokens, max_context_tokens=max_context_tokens)


PIECES = st.sampled_from(
    ["A short sentence. ", "word ", "Ünï ", "\n", "\n\n", "\r\n\r\n", "\r", "# Heading\n\n", "```\ncode code\n```\n\n",
     "| a | b |\n|--|--|\n| c | d |\n\n", "> quoted. ", "- item\n", "x" * 90, "é" * 90, "e\u0301" * 40, "🙂" * 40, "<div>\n\n",
     "One two three four five six seven. " * 12]
)  # fmt: skip
DOCUMENTS = st.one_of(
    st.lists(PIECES, max_size=30).map("".join), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)


@given(DOCUMENTS, st.sampled_from(["a.md", "a.txt"]), st.integers(16, 80), st.integers(0, 30))
def test_chunks_rebuild_the_document_within_the_limits(text: str, name: str, max_tokens: int, max_context_tokens: int) -> None:
    document = read(text, name)
    chunks = window(document, max_tokens, max_context_tokens)
    assert "".join(chunk.text for chunk in chunks) == document.text
    assert [chunk.chunk_index for chunk in chunks] == list(range(len(chunks)))
    block_starts = {block.start: block for block in document.blocks}
    for chunk in chunks:
        assert chunk.text == document.text[chunk.start : chunk.end] != ""
        assert chunk.chunk_id == hash_id(document.doc_id, chunk.start, chunk.end)
        assert 0 <= chunk.num_tokens <= max_tokens
        assert document.text[: chunk.start].endswith(chunk.context_before)
        assert document.text[chunk.end :].startswith(chunk.context_after)
        inside = [block for block in document.blocks if block.start < chunk.end and chunk.start < block.end]
        assert inside[0].kind is chunk.block_kind
        assert len({block.kind for block in inside if not block.kind.is_prose}) == (not chunk.block_kind.is_prose)
        around = (chunk.start - len(chunk.context_before), chunk.end + len(chunk.context_after))
        touched = [block for block in document.blocks if block.start < around[1] and around[0] < block.end]
        assert chunk.block_kind.is_prose == all(block.kind.is_prose for block in touched)
        assert max(len(chunk.context_before), len(chunk.context_after)) <= max_context_tokens * 6
        whole = chunk.start in block_starts and any(block.end == chunk.end for block in document.blocks)
        if whole and chunk.block_kind.is_prose and all(count_words([document.text[b.start : b.end]])[0] <= max_tokens for b in inside):
            assert chunk.num_tokens == sum(count_words([document.text[block.start : block.end] for block in inside]))


def test_blocks_within_the_budget_stay_whole() -> None:
    document = read(PARAGRAPH * 50)
    ends = {block.end for block in document.blocks}
    chunks = window(document)
    assert all(chunk.end in ends for chunk in chunks)
    assert len(chunks) < 50


def test_a_long_paragraph_is_split_at_sentence_ends() -> None:
    document = read((PARAGRAPH.strip() + " ") * 30)
    chunks = window(document)
    assert len(chunks) > 5
    assert all(chunk.text.rstrip().endswith(".") and not chunk.text.rstrip().endswith("Mr.") for chunk in chunks)
    assert all(chunk.text.endswith(" ") for chunk in chunks[:-1])


def test_a_long_sentence_is_split_at_white_space_and_a_long_word_anywhere() -> None:
    chunks = window(read("count the letters and keep them " * 100))
    assert all(chunk.text.endswith(" ") for chunk in chunks[:-1])
    assert all(chunk.num_tokens <= 60 for chunk in window(read("x" * 5000)))
    marks = "\u0301\u0302\u0303\u0304\u0305\u0306"
    assert all(chunk.text.startswith("e") for chunk in window(read(f"e{marks}" * 1000)))


def test_a_heading_goes_with_what_follows() -> None:
    document = read("".join(f"## Part {number}\n\n{PARAGRAPH}" for number in range(40)))
    for chunk in window(document):
        last = [block for block in document.blocks if block.end == chunk.end]
        assert last
        assert last[0].kind is not BlockKind.HEADING


def test_code_stands_alone_and_shares_no_context() -> None:
    document = read(f"{PARAGRAPH}```\na\n```\n\n```\nb\n```\n\n{PARAGRAPH}<div>\n</div>\n\n{PARAGRAPH}")
    chunks = window(document)
    assert [str(chunk.block_kind) for chunk in chunks] == ["paragraph", "code", "paragraph", "html", "paragraph"]
    assert all(chunk.context_before == chunk.context_after == "" for chunk in chunks)
    assert chunks[1].text == "```\na\n```\n\n```\nb\n```\n\n"


def test_long_code_is_split_within_the_budget() -> None:
    chunks = window(read("```\n" + "one two three\n" * 300 + "```\n"))
    assert {chunk.block_kind for chunk in chunks} == {BlockKind.CODE}
    assert all(chunk.num_tokens <= 60 for chunk in chunks)
    assert sum(chunk.num_tokens for chunk in chunks) == 902


@pytest.mark.parametrize("max_context_tokens", [12, 17, 24, 31])
def test_context_starts_and_ends_with_a_sentence(max_context_tokens: int) -> None:
    chunks = window(read(PARAGRAPH * 30), max_context_tokens=max_context_tokens)
    for chunk in chunks[1:-1]:
        assert chunk.context_before.startswith(("The keeper", "He put", "Nobody"))
        assert chunk.context_after.endswith(("it to Mr. Hale. ", "letters. ", "asked him.\n\n"))
    assert chunks[0].context_before == chunks[-1].context_after == ""


def test_an_edited_paragraph_moves_only_the_chunks_near_it() -> None:
    paragraphs = [f"Letter {number} came on day {number * 7 % 31}, and the keeper put it away.\n\n" for number in range(600)]
    before = {chunk.text for chunk in window(read("".join(paragraphs)))}
    paragraphs[300] = "A much longer paragraph than the one that stood here before, put in by an editor who had more to say about it.\n\n"
    after = [chunk.text for chunk in window(read("".join(paragraphs)))]
    assert 1 <= sum(text not in before for text in after) <= len(after) // 8


@pytest.mark.parametrize(("kwargs", "met"), [({"max_tokens": 8}, "max_tokens=8"), ({"max_context_tokens": -1}, "max_context_tokens=-1")])
def test_limits_that_cannot_be_kept_are_refused(kwargs: dict[str, int], met: str) -> None:
    with pytest.raises(ValueError, match=met):
        window_document(read("a"), [1], count_words, **kwargs)


def test_counts_are_one_a_block() -> None:
    with pytest.raises(ValueError, match="2 token counts for 1 blocks"):
        window_document(read("a"), [1, 2], count_words)
