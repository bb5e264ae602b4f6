"""The score protocol: a gain is what two readings of the whole text would differ by, and no candidate gets lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.records import BlockKind, Candidate, Category, Chunk, hash_id
from chunkers.tokens import Tokenizer
from engine.calls import row_key
from engine.models import Model
from engine.reading import Reading
from engine.records import Outcome, Request, Sampling, fail
from engine.score import JUDGE_TEMPLATE, MIN_SURPRISE, READ_TEMPLATE, ReadAhead, Score, ScoreJob
from engine.scripted import ScriptedEngine, hashed_scores


@pytest.fixture(scope="session")
def tokenizer(model: Model) -> Tokenizer:
    return Tokenizer(model.tokenizer_path)


def make_chunk(text: str, start: int, end: int, *, context: int = 0, kind: BlockKind = BlockKind.PARAGRAPH) -> Chunk:
    return Chunk(
        chunk_id=hash_id("d", start, end),
        doc_id="d",
        chunk_index=0,
        start=start,
        end=end,
        text=text[start:end],
        context_before=text[max(0, start - context) : start],
        context_after=text[end : end + context],
        block_kind=kind,
        num_tokens=1,
    )


def make_candidate(text: str, start: int, end: int, replacement: str, detector: str = "rule") -> Candidate:
    return Candidate(
        doc_id="d",
        start=start,
        end=end,
        original=text[start:end],
        replacement=replacement,
        category=Category.WORD,
        detector=detector,
        message="",
    )


def change(text: str, place: str, replacement: str, *, nth: int = 0) -> Candidate:
    """At the nth place: `before|original|after`, `before|after` for an insertion, or the original alone."""
    before, original, after = {1: ["", *place.split("|"), ""], 2: place.replace("|", "||").split("|"), 3: place.split("|")}[
        place.count("|") + 1
    ]
    start = -1
    for _ in range(nth + 1):
        start = text.index(before + original + after, start + 1)
    start += len(before)
    return make_candidate(text, start, start + len(original), replacement)


@dataclass
class Run:
    """A job that has ended, and what the engine was asked for it."""

    job: ScoreJob
    asked: list[Request]

    @property
    def gains(self) -> dict[tuple[int, int, str], float | None]:
        return {(score.start, score.end, score.replacement): score.gain for score in self.job.scores}


Judge = Callable[..., Run]


def judge(
    tokenizer: Tokenizer,
    model: Model,
    chunks: Sequence[Chunk],
    candidates: Sequence[Candidate],
    *,
    score: Callable[[Request], list[float]] = hashed_scores,
    fails: Callable[[Request], bool] = lambda request: False,
    propose: Callable[[Reading], Sequence[Candidate]] = lambda reading: (),
    max_model_len: int = 1 << 20,
) -> Run:
    asked: list[Request] = []

    def recorded(request: Request) -> list[float]:
        asked.append(request)
        return score(request)

    def key_of(token_ids: Sequence[int], sampling: Sampling) -> str:
        return row_key(model, "scripted", token_ids, sampling)

    read_ahead = ReadAhead()
    job = ScoreJob(chunks, candidates, tokenizer, key_of, propose, read_ahead=read_ahead)
    for completion in ScriptedEngine(score=recorded, max_model_len=max_model_len, batch=2).run(job.requests()):
        completion = fail(completion.request, Outcome.ENGINE_ERROR, "as told") if fails(completion.request) else job.classify(completion)
        leads_on = job.follows(completion)
        job.receive(completion)
        assert job.asked[-1].is_final == (not leads_on)
        assert (job.asked[-1].row_key, job.asked[-1].outcome) == (completion.request.row_key, completion.outcome)
    assert read_ahead.num_open == 0
    return Run(job, asked)


def unlikely(request: Request) -> list[float]:
    """Like `hashed_scores`, and each token so unlikely that every candidate is asked about."""
    return [logprob - MIN_SURPRISE for logprob in hashed_scores(request)]


def likely(request: Request) -> list[float]:
    return [-0.01 for _ in hashed_scores(request)]


def log_probability(tokenizer: Tokenizer, text: str) -> float:
    """Of a whole text after its first token."""
    token_ids = tuple(tokenizer.encode_with_offsets(text).ids)
    request = Request(
        row_key="", doc_id="d", chunk_id="c", template="", template_version=1, token_ids=token_ids, sampling=Sampling(score_from=1)
    )
    return sum(unlikely(request))


def whole_gain(tokenizer: Tokenizer, chunk: Chunk, candidate: Candidate) -> float:
    before = chunk.context_before + chunk.text + chunk.context_after
    start = candidate.start - chunk.start + len(chunk.context_before)
    after = before[:start] + candidate.replacement + before[start + len(candidate.original) :]
    return log_probability(tokenizer, after) - log_probability(tokenizer, before)


TEXT = (
    "“Well,” said he, “the the keeper can not of came 🍲 home — it’s late.”\n\nThe dog ’s bowl,which stood at the door\nfor 1,234 days ,"
    " was emtpy. Nobody  knew\u2003why\u00a0so; he'd gone to Café Zoë 👩‍👩‍👧 with tho others ...\r\n\r\n“I do n't know,”"
    "she said.   And there it end ."
)
CHANGES = [
    ("emtpy", "empty"),
    ("the |keeper", "big "),
    ("the |the ", ""),
    ("|the |the", ""),
    ("the| the|", ""),
    ("can| |not", ""),
    ("|can not", "could"),
    ("can not| of", ","),
    ("not of| came", "f"),
    ("|came 🍲", "come"),
    ("came| 🍲|", ""),
    ("came 🍲|", "!"),
    ("🍲| |home", ""),
    ("|🍲| home", "🍜"),
    ("home| — |it", "—"),
    ("it|’|s late", "'"),
    ("late|.|”", "?"),
    ("late.”|", "”"),
    ("late.”|\n\n|The", " "),
    ("late.”\n|\n|The", ""),
    ("\n\n|The| dog", "A"),
    ("dog| |’s", ""),
    ("bowl,|which", " "),
    ("bowl|,|which", ", "),
    ("door|\n|for", " "),
    ("door\n|for", "and "),
    ("|1|,234", "2"),
    ("1|,|234", ""),
    ("days| |, was", ""),
    ("emtpy.| Nobody|", ""),
    ("Nobody| | knew", ""),
    ("Nobody | |knew", ""),
    ("Nobody|  |knew", " "),
    ("Nobody|  |knew", "\n"),
    ("knew|\u2003|why", " "),
    ("knew\u2003|why", "then "),
    ("knew\u2003|why|\u00a0so", "how"),
    ("why|\u00a0|so", ""),
    ("|he'd| gone", "he had"),
    ("he|'d| gone", ""),
    ("|Café| Zoë", "cafe"),
    ("Zoë 👩‍👩‍👧|", "."),
    ("👩‍|👩‍|👧", ""),
    (" tho|", "u"),
    ("others| ...|", "…"),
    ("|\r\n\r\n|“I", "\n\n"),
    ("\r\n|\r\n|“I", ""),
    ("do| |n't", ""),
    ("know|,|”she", ""),
    ("know,”|she", " "),
    ("said.|   |And", " "),
    ("there it end|", "s"),
    ("end| |.", ""),
    ("end |.", ""),
    ("end .|", "”"),
    ("end .|", "\n"),
    ("Well|", "s"),
    ("|,” said", "!"),
]


@pytest.mark.parametrize("span", ["whole", "after context", "before context", "inside"])
@pytest.mark.parametrize(("place", "replacement"), CHANGES)
def test_gain_is_what_the_whole_texts_differ_by(tokenizer: Tokenizer, model: Model, place: str, replacement: str, span: str) -> None:
    candidate = change(TEXT, place, replacement)
    start = candidate.start if span in ("after context", "inside") else 0
    end = candidate.end if span in ("before context", "inside") else len(TEXT)
    if not TEXT[start:end].strip():  # white space alone is not read
        start, end = max(0, start - 3), min(len(TEXT), end + 3)
    chunk = make_chunk(TEXT, start, end, context=len(TEXT))
    run = judge(tokenizer, model, [chunk], [candidate], score=unlikely)
    (gain,) = run.gains.values()
    assert gain == pytest.approx(whole_gain(tokenizer, chunk, candidate), abs=1e-6)


ALPHABET = st.sampled_from(
    [*"aeTn  \n.,’'“”-1é", "\u00a0", "\u2003", "\r\n", "🍲", "\u0301", " the", " and", "word", "\x1c", "\u200b", "’s", "'t"]
)
TEXTS = st.lists(ALPHABET, min_size=1, max_size=40).map("".join)


@st.composite
def texts_with_candidates(draw: st.DrawFn) -> tuple[str, list[Candidate]]:
    text = draw(TEXTS)
    candidates = []
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 6)))
        candidates.append(make_candidate(text, start, end, draw(st.lists(ALPHABET, max_size=3).map("".join)), draw(st.sampled_from("xy"))))
    return text, list(dict.fromkeys(candidates))


@settings(deadline=None, max_examples=300)
@given(case=texts_with_candidates())
def test_gain_is_what_any_whole_texts_differ_by(tokenizer: Tokenizer, model: Model, case: tuple[str, list[Candidate]]) -> None:
    text, candidates = case
    chunk = make_chunk(text, 0, len(text))
    run = judge(tokenizer, model, [chunk], candidates, score=unlikely)
    gains = run.gains
    for candidate in candidates:
        gain = gains[candidate.start, candidate.end, candidate.replacement]
        if gain is not None:
            assert gain == pytest.approx(whole_gain(tokenizer, chunk, candidate), abs=1e-6)


@settings(deadline=None, max_examples=150)
@given(case=texts_with_candidates(), data=st.data())
def test_no_candidate_gets_lost(tokenizer: Tokenizer, model: Model, case: tuple[str, list[Candidate]], data: st.DataObject) -> None:
    text, candidates = case
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=3))})
    kinds = st.sampled_from([BlockKind.PARAGRAPH, BlockKind.PARAGRAPH, BlockKind.CODE])
    contexts = st.integers(0, 20)
    chunks = [make_chunk(text, start, end, context=data.draw(contexts), kind=data.draw(kinds)) for start, end in pairwise(cuts)]
    failing = data.draw(st.sampled_from([(), (READ_TEMPLATE,), (JUDGE_TEMPLATE,), (READ_TEMPLATE, JUDGE_TEMPLATE)]))
    modulus = data.draw(st.integers(1, 3))
    run = judge(
        tokenizer,
        model,
        chunks,
        candidates,
        score=data.draw(st.sampled_from([unlikely, hashed_scores])),
        fails=lambda request: request.template in failing and int(request.row_key, 16) % modulus == 0,
    )
    scored = [score.candidate_id for score in run.job.scores]
    assert len(scored) == len(set(scored)), "a candidate was judged twice"
    lost = {candidate.candidate_id for candidate in candidates} - set(scored)
    assert not lost or run.job.failures
    assert set(scored) <= {candidate.candidate_id for candidate in candidates}
    failed_chunks = {completion.request.chunk_id for completion in run.job.failures}
    by_id = {candidate.candidate_id: candidate for candidate in candidates}
    for candidate_id in lost:
        candidate = by_id[candidate_id]
        own = {chunk.chunk_id for chunk in chunks if chunk.start <= candidate.start <= chunk.end}
        # equal questions are one call, which stands under the chunk that asked first
        assert own & failed_chunks or JUDGE_TEMPLATE in failing


PLAIN = "The keeper counted the letters twice and put tho box away. Nobody answered him."


def test_likely_place_is_not_asked_about(tokenizer: Tokenizer, model: Model) -> None:
    candidate = change(PLAIN, "box", "fox")
    run = judge(tokenizer, model, [make_chunk(PLAIN, 0, len(PLAIN))], [candidate], score=likely)
    (score,) = run.job.scores
    assert (score.candidate_id, score.gain, score.row_key) == (candidate.candidate_id, None, None)
    assert score.surprise == pytest.approx(0.02), "the word and the token after it"
    assert [request.template for request in run.asked] == [READ_TEMPLATE]


def test_score_carries_its_candidate_and_its_call(tokenizer: Tokenizer, model: Model) -> None:
    candidate = change(PLAIN, "tho", "the")
    run = judge(tokenizer, model, [make_chunk(PLAIN, 0, len(PLAIN))], [candidate], score=unlikely)
    (score,) = run.job.scores
    (call,) = [request for request in run.asked if request.template == JUDGE_TEMPLATE]
    assert score.row_key == call.row_key
    names = ("candidate_id", "doc_id", "start", "end", "original", "replacement", "category", "detector", "message")
    assert [getattr(score, name) for name in names] == [getattr(candidate, name) for name in names]


def test_only_what_follows_the_change_is_computed(tokenizer: Tokenizer, model: Model) -> None:
    text = PLAIN * 5
    run = judge(tokenizer, model, [make_chunk(text, 0, len(text))], [change(text, "tho", "the", nth=2)], score=unlikely)
    read, asked = run.asked
    score_from = asked.sampling.score_from
    assert score_from is not None
    assert asked.token_ids[:score_from] == read.token_ids[:score_from]
    assert tokenizer.decode(read.token_ids[:score_from]) == text[: text.index(" tho", 2 * len(PLAIN))]
    assert len(asked.token_ids) - score_from < 20


def test_failed_reading_leaves_its_candidates_unjudged(tokenizer: Tokenizer, model: Model) -> None:
    candidates = [change(PLAIN, "tho", "the"), change(PLAIN, "twice", "thrice")]
    run = judge(
        tokenizer,
        model,
        [make_chunk(PLAIN, 0, len(PLAIN))],
        candidates,
        score=unlikely,
        fails=lambda request: request.template == READ_TEMPLATE,
    )
    assert not run.job.scores
    assert [failure.request.template for failure in run.job.failures] == [READ_TEMPLATE]


def test_failed_variant_leaves_its_candidates_unjudged_and_no_other(tokenizer: Tokenizer, model: Model) -> None:
    candidates = [change(PLAIN, "tho", "the"), change(PLAIN, "twice", "thrice")]
    thrice = tokenizer.encode_with_offsets(" thrice").ids[0]
    run = judge(
        tokenizer,
        model,
        [make_chunk(PLAIN, 0, len(PLAIN))],
        candidates,
        score=unlikely,
        fails=lambda request: request.template == JUDGE_TEMPLATE and thrice in request.token_ids,
    )
    assert [score.replacement for score in run.job.scores] == ["the"]
    assert len(run.job.failures) == 1


def test_same_change_by_two_detectors_is_one_call(tokenizer: Tokenizer, model: Model) -> None:
    one, other = (make_candidate(PLAIN, PLAIN.index("tho"), PLAIN.index("tho") + 3, "the", detector) for detector in ("one", "other"))
    run = judge(tokenizer, model, [make_chunk(PLAIN, 0, len(PLAIN))], [one, other], score=unlikely)
    assert len([request for request in run.asked if request.template == JUDGE_TEMPLATE]) == 1
    assert {(score.detector, score.gain, score.row_key) for score in run.job.scores} == {
        (detector, run.job.scores[0].gain, run.job.scores[0].row_key) for detector in ("one", "other")
    }
    assert run.job.scores[0].gain is not None


def test_proposal_that_a_rule_made_already_is_a_row_of_its_own_and_judged_once(tokenizer: Tokenizer, model: Model) -> None:
    candidate, new = change(PLAIN, "tho", "the"), change(PLAIN, "twice", "thrice")
    own = replace(candidate, detector="own")
    run = judge(
        tokenizer,
        model,
        [make_chunk(PLAIN, 0, len(PLAIN))],
        [candidate],
        score=unlikely,
        propose=lambda reading: [own, new, candidate, own],
    )
    found = sorted((score.replacement, score.detector) for score in run.job.scores)
    assert found == [("the", "own"), ("the", "rule"), ("thrice", "rule")]
    assert len([request for request in run.asked if request.template == JUDGE_TEMPLATE]) == 2
    assert len({score.gain for score in run.job.scores if score.replacement == "the"}) == 1


def scores_of(run: Run) -> dict[str, Score]:
    return {score.replacement: score for score in run.job.scores}


def test_what_is_no_prose_is_not_asked_about_and_stays(tokenizer: Tokenizer, model: Model) -> None:
    text = PLAIN + "\n\n" + "    tho = 1\n" + "\n"
    code = len(PLAIN) + 2
    chunks = [
        make_chunk(text, 0, code),
        make_chunk(text, code, len(text) - 1, kind=BlockKind.CODE),
        make_chunk(text, len(text) - 1, len(text)),
    ]
    candidates = [change(text, "|tho| =", "the"), make_candidate(text, len(text) - 1, len(text), "x")]
    run = judge(tokenizer, model, chunks, candidates, score=unlikely)
    assert {name: (score.gain, score.surprise) for name, score in scores_of(run).items()} == {"the": (None, None), "x": (None, None)}


def test_candidate_across_two_chunks_is_judged_where_the_context_holds_it(tokenizer: Tokenizer, model: Model) -> None:
    candidate = change(PLAIN, "tho box", "the box")
    cut = PLAIN.index(" box")
    for context, is_judged in ((20, True), (2, False)):
        chunks = [make_chunk(PLAIN, 0, cut, context=context), make_chunk(PLAIN, cut, len(PLAIN), context=context)]
        (score,) = judge(tokenizer, model, chunks, [candidate], score=unlikely).job.scores
        assert (score.gain is not None) == is_judged
        assert (score.surprise is not None) == is_judged


def test_insertion_between_two_chunks_is_judged_once(tokenizer: Tokenizer, model: Model) -> None:
    cut = PLAIN.index(" Nobody")
    candidates = [make_candidate(PLAIN, cut, cut, "”"), make_candidate(PLAIN, len(PLAIN), len(PLAIN), "!")]
    chunks = [make_chunk(PLAIN, 0, cut, context=20), make_chunk(PLAIN, cut, len(PLAIN), context=20)]
    run = judge(tokenizer, model, chunks, candidates, score=unlikely)
    assert sorted(score.replacement for score in run.job.scores) == ["!", "”"]
    assert all(score.gain is not None for score in run.job.scores)


def test_candidate_of_a_chunk_that_was_not_given_is_left_out(tokenizer: Tokenizer, model: Model) -> None:
    candidates = [change(PLAIN, "tho", "the"), change(PLAIN, "answered", "asked")]
    run = judge(tokenizer, model, [make_chunk(PLAIN, 0, PLAIN.index(" Nobody"))], candidates, score=unlikely)
    assert [score.replacement for score in run.job.scores] == ["the"]


def test_change_of_the_first_word_cannot_be_judged(tokenizer: Tokenizer, model: Model) -> None:
    run = judge(
        tokenizer, model, [make_chunk(PLAIN, 0, len(PLAIN))], [change(PLAIN, "|The", "A "), change(PLAIN, "The|", ",")], score=unlikely
    )
    gains = {score.replacement: score.gain for score in run.job.scores}
    assert gains["A "] is None
    assert gains[","] is not None, "the first token stays, and what follows it can be compared"


def test_equal_chunks_are_each_judged(tokenizer: Tokenizer, model: Model) -> None:
    text = PLAIN * 2
    chunks = [make_chunk(text, 0, len(PLAIN)), make_chunk(text, len(PLAIN), len(text))]
    candidates = [change(text, "tho", "the"), change(text, "tho", "the", nth=1)]
    run = judge(tokenizer, model, chunks, candidates, score=unlikely)
    assert sorted(score.start for score in run.job.scores) == [candidate.start for candidate in candidates]
    assert run.job.scores[0].gain == pytest.approx(run.job.scores[1].gain)


LETTERS = "".join(f"On day {number} tho keeper counted them. " for number in range(12))


def test_chunk_that_is_too_long_is_read_in_halves(tokenizer: Tokenizer, model: Model) -> None:
    candidates = [change(LETTERS, "tho", "the", nth=number) for number in range(12)]
    chunk = make_chunk(LETTERS, 0, len(LETTERS))
    limit = len(tokenizer.encode_with_offsets(LETTERS).ids)
    run = judge(tokenizer, model, [chunk], candidates, score=unlikely, max_model_len=limit)
    assert sorted(score.start for score in run.job.scores) == [candidate.start for candidate in candidates]
    assert all(score.gain is not None for score in run.job.scores)
    assert not run.job.failures
    first, second = (tokenizer.decode(request.token_ids) for request in run.asked if request.template == READ_TEMPLATE)
    assert first + second == LETTERS
    assert abs(len(first) - len(second)) < 40
    steps = [asked for asked in run.job.asked if not asked.is_final]
    assert [(asked.chunk_id, asked.outcome) for asked in steps] == [(chunk.chunk_id, Outcome.INPUT_TOO_LONG)]


def test_candidates_go_to_the_half_that_they_start_in(tokenizer: Tokenizer, model: Model) -> None:
    text = "The keeper counted tho letters. He put tho box away."
    cut = text.index("He put")
    candidates = [
        change(text, "tho letters. He", "the letters, he"),
        make_candidate(text, cut, cut, "And "),
        make_candidate(text, cut, cut + 2, "She"),
    ]
    readings: list[Reading] = []

    def propose(reading: Reading) -> Sequence[Candidate]:
        readings.append(reading)
        return ()

    limit = len(tokenizer.encode_with_offsets(text).ids)
    judge(tokenizer, model, [make_chunk(text, 0, len(text))], candidates, score=unlikely, propose=propose, max_model_len=limit)
    given = {reading.chunk.start: [candidate.replacement for candidate in reading.given] for reading in readings}
    assert given == {0: ["the letters, he", "And "], cut: ["She"]}


def test_sentence_that_is_too_long_is_a_failure_and_the_rest_is_judged(tokenizer: Tokenizer, model: Model) -> None:
    text = LETTERS + "And tho end " + "went on and on " * 60 + "at last."
    candidates = [change(text, "tho", "the", nth=number) for number in range(13)]
    run = judge(tokenizer, model, [make_chunk(text, 0, len(text))], candidates, score=unlikely, max_model_len=150)
    (failure,) = run.job.failures
    assert failure.outcome is Outcome.INPUT_TOO_LONG
    assert tokenizer.decode(failure.request.token_ids).startswith("And tho end")
    assert sorted(score.start for score in run.job.scores) == [candidate.start for candidate in candidates[:-1]]


def test_many_chunks_that_are_too_long_do_not_stop_the_job(tokenizer: Tokenizer, model: Model) -> None:
    # MAX_READINGS are out, and then each of them is two that have not been asked for yet
    text = LETTERS * 40
    chunks = [make_chunk(text, number * len(LETTERS), (number + 1) * len(LETTERS)) for number in range(40)]
    spans: list[tuple[int, int]] = []

    def propose(reading: Reading) -> Sequence[Candidate]:
        spans.append((reading.chunk.start, reading.chunk.end))
        return ()

    limit = len(tokenizer.encode_with_offsets(LETTERS).ids) // 2
    run = judge(tokenizer, model, chunks, [], propose=propose, max_model_len=limit)
    assert not run.job.failures
    assert len(spans) >= 3 * len(chunks), "half a chunk is too long too"
    assert "".join(text[start:end] for start, end in sorted(spans)) == text


def test_variant_that_is_too_long_is_a_failure(tokenizer: Tokenizer, model: Model) -> None:
    limit = len(tokenizer.encode_with_offsets(PLAIN).ids) + 1
    candidate = change(PLAIN, "answered", "asked or answered or said a word or came or went or wrote to")
    run = judge(tokenizer, model, [make_chunk(PLAIN, 0, len(PLAIN))], [candidate], score=unlikely, max_model_len=limit)
    assert [(failure.request.template, failure.outcome) for failure in run.job.failures] == [(JUDGE_TEMPLATE, Outcome.INPUT_TOO_LONG)]
    assert [asked.is_final for asked in run.job.asked] == [True, True]


@settings(deadline=None, max_examples=100)
@given(case=texts_with_candidates(), limit=st.integers(2, 30))
def test_no_candidate_gets_lost_in_halves(tokenizer: Tokenizer, model: Model, case: tuple[str, list[Candidate]], limit: int) -> None:
    text, candidates = case
    text = "A. B! " + text
    candidates = [make_candidate(text, one.start + 6, one.end + 6, one.replacement, one.detector) for one in candidates]
    chunk = make_chunk(text, 0, len(text))
    run = judge(tokenizer, model, [chunk], candidates, score=unlikely, max_model_len=limit)
    scored = [score.candidate_id for score in run.job.scores]
    assert len(scored) == len(set(scored)), "a candidate was judged twice"
    read = [asked for asked in run.job.asked if asked.template == READ_TEMPLATE]
    assert len(read) == 2 * sum(not asked.is_final for asked in read) + 1, "a reading that is no end is two others"
    lost = {candidate.candidate_id for candidate in candidates} - set(scored)
    assert not lost or run.job.failures
