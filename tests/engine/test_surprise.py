"""The model's own candidates: where they may stand and what they may say."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.records import BlockKind, Candidate, Category, Chunk, hash_id
from chunkers.tokens import Tokenizer
from engine.models import Model
from engine.reading import Reading
from engine.records import Alternatives, Completion, Outcome, Request, Sampling
from engine.surprise import SMALL_WORDS, propose

Wanted = dict[str, list[tuple[str, float]]]
"""Token text -> what the model would rather have there, likeliest first; the token itself is hopeless."""


@pytest.fixture(scope="session")
def tokenizer(model: Model) -> Tokenizer:
    return Tokenizer(model.tokenizer_path)


def make_reading(tokenizer: Tokenizer, text: str, start: int, end: int, *, context: int = 200) -> Reading:
    chunk = Chunk(
        chunk_id=hash_id("d", start, end),
        doc_id="d",
        chunk_index=0,
        start=start,
        end=end,
        text=text[start:end],
        context_before=text[max(0, start - context) : start],
        context_after=text[end : end + context],
        block_kind=BlockKind.PARAGRAPH,
        num_tokens=1,
    )
    whole = chunk.context_before + chunk.text + chunk.context_after
    tokens = tokenizer.encode_with_offsets(whole)
    return Reading(chunk, (), start - len(chunk.context_before), whole, tokens.ids, [offsets[0] for offsets in tokens.offsets])


def learn(reading: Reading, logprobs: Sequence[float], alternatives: Sequence[Alternatives]) -> None:
    request = Request(
        row_key="", doc_id="d", chunk_id="c", template="", template_version=1, token_ids=tuple(reading.token_ids), sampling=Sampling()
    )
    reading.learn(
        Completion(
            request=request,
            outcome=Outcome.OK,
            finish_reason="stop",
            text=None,
            logprobs=tuple(logprobs),
            alternatives=tuple(alternatives),
            prompt_tokens=0,
            cached_tokens=0,
            completion_tokens=0,
            engine_seconds=0.0,
            error=None,
        )
    )


def propose_for(tokenizer: Tokenizer, text: str, wanted: Wanted, *, start: int = 0, end: int | None = None) -> list[Candidate]:
    """What is proposed of `text[start:end]` by a model that finds every token likely but those in `wanted`."""
    reading = make_reading(tokenizer, text, start, len(text) if end is None else end)
    logprobs, alternatives = [], []
    for token_id in reading.token_ids[1:]:
        token = tokenizer.decode([token_id])
        rather = wanted.get(token, [(token, -0.01)])
        logprobs.append(-14.0 if token in wanted else -0.01)
        alternatives.append(
            Alternatives(token_ids=tuple(_id(tokenizer, word) for word, _ in rather), logprobs=tuple(lp for _, lp in rather))
        )
    learn(reading, logprobs, alternatives)
    return list(propose(reading, lambda token_id: tokenizer.decode([token_id])))


def _id(tokenizer: Tokenizer, token: str) -> int:
    (token_id,) = tokenizer.encode_with_offsets(token).ids
    return token_id


def said(candidates: Sequence[Candidate]) -> list[tuple[int, str, str]]:
    return [(candidate.start, candidate.original, candidate.replacement) for candidate in candidates]


TEXT = "She went back to her room and sat quietly form that day on."


@pytest.mark.parametrize(
    ("word", "rather", "category"),
    [
        (" form", " from", Category.WORD),
        (" sat", " sit", Category.WORD),
        (" room", " rooms", Category.AGREEMENT),
        (" quietly", " quiet", Category.AGREEMENT),
        (" went", " walked", None),
        (" back", " Back", None),
        (" room", " room", None),
        (" went", ",", None),
        (" went", " 1", None),
    ],
)
def test_only_words_that_look_alike_are_proposed(tokenizer: Tokenizer, word: str, rather: str, category: Category | None) -> None:
    if rather == " 1":
        rather = "1"  # digits are tokens of their own
    candidates = propose_for(tokenizer, TEXT, {word: [(rather, -1.0)]})
    place = TEXT.index(word) + 1
    assert said(candidates) == ([(place, word[1:], rather[1:])] if category else [])
    assert [candidate.category for candidate in candidates] == ([category] if category else [])
    assert all(candidate.detector == "surprise" for candidate in candidates)


EMTPY = "The box was emtpy then."


def first_piece(tokenizer: Tokenizer) -> str:
    pieces = [tokenizer.decode([token_id]) for token_id in tokenizer.encode_with_offsets(" emtpy").ids]
    assert len(pieces) > 1
    return pieces[0]


def test_word_of_several_tokens_is_one_candidate(tokenizer: Tokenizer) -> None:
    candidates = propose_for(tokenizer, EMTPY, {first_piece(tokenizer): [(" empty", -1.0)]})
    assert said(candidates) == [(EMTPY.index("emtpy"), "emtpy", "empty")]


def test_small_word_may_be_missing(tokenizer: Tokenizer) -> None:
    text = "He sat at table and ate."
    candidates = propose_for(tokenizer, text, {" table": [(" the", -0.2)]})
    assert said(candidates) == [(text.index("table"), "", "the ")]
    assert candidates[0].category is Category.MISSING


def test_great_word_is_not_missing_and_a_guess_is_no_proposal(tokenizer: Tokenizer) -> None:
    assert "house" not in SMALL_WORDS
    assert not propose_for(tokenizer, "He sat at table and ate.", {" table": [(" house", -0.2)]})
    assert not propose_for(tokenizer, "He sat at table and ate.", {" table": [(" the", -5.0)]})


@pytest.mark.parametrize("break_", ["\n", "\r\n", "\n\n"])
def test_surprise_at_a_line_break_says_nothing_of_the_word_after_it(tokenizer: Tokenizer, break_: str) -> None:
    # " from" was preferred to the break, and «form» is another token
    text = f"He sat far away{break_}form the door."
    assert not propose_for(tokenizer, text, {break_: [(" from", -0.2)]})


def test_context_is_left_to_its_own_chunk(tokenizer: Tokenizer) -> None:
    text = "He ran form her. He ran form him. He ran form it."
    second = text.index("He", 5)
    third = text.index("He", second + 5)
    candidates = propose_for(tokenizer, text, {" form": [(" from", -1.0)]}, start=second, end=third)
    assert said(candidates) == [(text.index("form", second), "form", "from")]


def test_first_word_of_a_chunk_is_its_own(tokenizer: Tokenizer) -> None:
    text = "He ran away. form here on he walked."
    start = text.index("form")
    wanted: Wanted = {" form": [(" from", -1.0)]}
    assert said(propose_for(tokenizer, text, wanted, start=start)) == [(start, "form", "from")]
    assert not propose_for(tokenizer, text, wanted, start=0, end=start)


def test_word_that_a_chunk_ends_in_is_not_proposed(tokenizer: Tokenizer) -> None:
    piece = first_piece(tokenizer)
    cut = EMTPY.index(piece) + len(piece)
    assert not propose_for(tokenizer, EMTPY, {piece: [(" empty", -1.0)]}, end=cut)


WORDS = [
    "the",
    " of",
    " form",
    " emtpy",
    "wierd",
    " Nobody",
    "\n",
    "\r\n",
    " ",
    "  ",
    ".",
    "’s",
    "”",
    " “",
    "1",
    "é",
    "🍲",
    "\u2003",
    "\u00a0",
    "Щи",
    " да",
]
RATHER = [" from", " the", " empty", " weird", " of", " for", "the", "\n", " No", " 🍲", "."]


@settings(deadline=None, max_examples=200)
@given(
    text=st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map("".join),
    data=st.data(),
)
def test_proposals_stand_in_the_chunk_where_they_say(tokenizer: Tokenizer, text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    reading = make_reading(tokenizer, text, start, end, context=data.draw(st.integers(0, 30)))
    count = len(reading.token_ids) - 1
    preferred = [tokenizer.encode_with_offsets(word).ids[0] for word in data.draw(st.permutations(RATHER))[:4]]
    scores = data.draw(st.lists(st.sampled_from([-0.1, -3.0, -14.0]), min_size=count, max_size=count))
    learn(reading, scores, [Alternatives(token_ids=tuple(preferred), logprobs=(-0.1, -0.2, -0.3, -4.0))] * count)
    candidates = list(propose(reading, lambda token_id: tokenizer.decode([token_id])))
    assert [candidate.start for candidate in candidates] == sorted(candidate.start for candidate in candidates)
    for candidate in candidates:
        assert start <= candidate.start <= candidate.end <= end
        assert text[candidate.start : candidate.end] == candidate.original != candidate.replacement
        assert candidate.original.isalpha() or (candidate.original == "" and candidate.replacement.strip() in SMALL_WORDS)
        assert candidate.start == 0 or text[candidate.start - 1].isspace(), "whole words only"
        assert not candidate.original or not text[candidate.end : candidate.end + 1].isalpha()
