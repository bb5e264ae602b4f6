"""The edits job: whatever becomes of its questions, every part of every chunk ends in one answer or one failure."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.records import BlockKind, Chunk, hash_id
from chunkers.tokens import Tokenizer
from engine.calls import row_key
from engine.generate import MAX_SPLITS, GenerateJob
from engine.models import Model
from engine.outcomes import SchemaError, SemanticError
from engine.prompts import ChatRenderer, load_prompt
from engine.records import Outcome, Request, Sampling, fail
from engine.scripted import ScriptedEngine

PROMPT = load_prompt("proofread", 1)
GOOD = '{"edits":[]}'
FACTS = ["counted the letters", "put them away", "said nothing", "heard the rain", "lit the lamp", "went upstairs", "wrote his name"]
SENTENCES = [f"On day {number} the keeper {fact}. " for number, fact in enumerate(FACTS * 3)]


@pytest.fixture(scope="session")
def tokenizer(model: Model) -> Tokenizer:
    return Tokenizer(model.tokenizer_path)


@pytest.fixture(scope="session")
def renderer(model: Model, tokenizer: Tokenizer) -> ChatRenderer:
    return ChatRenderer(model, tokenizer)


def make_chunk(text: str, *, start: int = 0, kind: BlockKind = BlockKind.PARAGRAPH, before: str = "") -> Chunk:
    return Chunk(
        chunk_id=hash_id("d", start, start + len(text)),
        doc_id="d",
        chunk_index=0,
        start=start,
        end=start + len(text),
        text=text,
        context_before=before,
        context_after="",
        block_kind=kind,
        num_tokens=1,
    )


def check(chunk: Chunk, answer: str) -> None:
    """What the edits protocol asks for, in short: JSON with edits, one quote of which is in the chunk."""
    try:
        quotes = [edit["quote"] for edit in json.loads(answer)["edits"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError("the answer: no JSON; an answer is JSON; answer so") from error
    if quotes and not any(quote in chunk.text for quote in quotes):
        raise SemanticError(f"«{quotes[0]}» is not in the passage; a quote is; quote so")


def say(quote: str, why: str = "") -> str:
    return json.dumps({"edits": [{"quote": quote, "why": why}]})


class Asking:
    """A job with an engine whose answers are a function of the passage, the attempt, and what the model is told of its last answer."""

    def __init__(self, model: Model, renderer: ChatRenderer, tokenizer: Tokenizer) -> None:
        self.model, self.renderer, self.tokenizer = model, renderer, tokenizer

    def read(self, request: Request) -> tuple[str, str]:
        """The passage that a request is about, and what follows it in the conversation."""
        text = self.tokenizer.decode(request.token_ids)
        passage, _, rest = text.partition("Passage:\n")[2].partition("<|im_end|>\n<|im_start|>assistant\n")
        return passage, rest

    def __call__(
        self,
        chunks: Sequence[Chunk],
        answer: Callable[[str, int], str],
        *,
        max_tokens: int = 40,
        max_model_len: int = 4096,
        fails: Callable[[Request], Outcome | None] = lambda request: None,
    ) -> GenerateJob:
        """`answer` is given the passage and the attempt."""
        job = GenerateJob(
            chunks,
            PROMPT,
            self.renderer,
            Sampling(max_tokens=max_tokens),
            lambda rendered, sampling: row_key(self.model, "scripted", rendered.token_ids, sampling),
            check=check,
            max_model_len=max_model_len,
            block_size=32,
        )
        engine = ScriptedEngine(lambda request: answer(self.read(request)[0], request.attempt), max_model_len=max_model_len, batch=2)
        for completion in engine.run(job.requests()):
            outcome = fails(completion.request)
            classified = fail(completion.request, outcome, "as told") if outcome else job.classify(completion)
            leads_on = job.follows(classified)
            num_before = len(job.asked)
            job.receive(classified)
            assert [asked.is_final for asked in job.asked[num_before:]] == [not leads_on]
        check_conservation(job, chunks)
        return job


def check_conservation(job: GenerateJob, chunks: Sequence[Chunk]) -> None:
    """What was answered and what failed tile the chunks of prose, and each question was put once."""
    ended = [chunk for chunk, completion in job.answers if completion.outcome is Outcome.OK] + [chunk for chunk, _ in job.failures]
    for chunk in filter(lambda chunk: chunk.is_readable, chunks):
        inside = sorted((piece.start, piece.end) for piece in ended if chunk.start <= piece.start and piece.end <= chunk.end)
        assert [inside[0][0], inside[-1][1]] == [chunk.start, chunk.end]
        assert all(one[1] == other[0] for one, other in pairwise(inside)), "a part was lost or asked about twice"
        assert all(
            piece.text == chunk.text[piece.start - chunk.start : piece.end - chunk.start]
            for piece in ended
            if piece.start >= chunk.start and piece.end <= chunk.end
        )
    assert all(completion.request.chunk_id == chunk.chunk_id for chunk, completion in [*job.answers, *job.failures])
    assert len({(asked.chunk_id, asked.row_key) for asked in job.asked}) == len(job.asked)


@pytest.fixture(scope="session")
def ask(model: Model, renderer: ChatRenderer, tokenizer: Tokenizer) -> Asking:
    return Asking(model, renderer, tokenizer)


def outcomes_of(job: GenerateJob) -> list[tuple[int, str, bool]]:
    return [(asked.attempt, asked.outcome.value, asked.is_final) for asked in job.asked]


def answered(job: GenerateJob) -> dict[str, str | None]:
    return {chunk.text: completion.text for chunk, completion in job.answers if completion.outcome is Outcome.OK}


def test_of_chunks_that_share_the_template_alone_the_longest_is_asked_first(ask: Asking) -> None:
    chunks = [make_chunk("It was late. " * count, start=1000 * count) for count in (1, 9, 4)]
    job = ask(chunks, lambda passage, attempt: GOOD)
    assert [chunk for chunk, _ in job.answers] == [chunks[1], chunks[2], chunks[0]], "answered in the order of asking"


def test_chunks_with_the_same_context_are_asked_together(ask: Asking) -> None:
    contexts = ["The rain had not stopped since the morning, and nobody came to the door. " * 3, "Nothing moved on the hill below. " * 6]
    chunks = [make_chunk(f"It was {number}.", start=100 * number, before=contexts[number % 2]) for number in range(6)]
    job = ask(chunks, lambda passage, attempt: GOOD)
    assert [chunk.context_before for chunk, _ in job.answers] == [contexts[0]] * 3 + [contexts[1]] * 3


def test_every_chunk_of_prose_is_asked_once(ask: Asking, renderer: ChatRenderer) -> None:
    text = "It was late.x = 1\n\nNobody came."
    chunks = [
        make_chunk(text[:12], before="Before."),
        make_chunk(text[12:17], start=12, kind=BlockKind.CODE),
        make_chunk(text[17:19], start=17),
        make_chunk(text[19:], start=19, kind=BlockKind.QUOTE),
    ]
    job = ask(chunks, lambda passage, attempt: GOOD)
    assert [chunk for chunk, _ in job.answers] == [chunks[0], chunks[3]]
    assert not job.failures
    request = job.answers[0][1].request
    assert (request.template, request.template_version, request.sampling, request.attempt) == ("proofread", 1, Sampling(max_tokens=40), 1)
    assert list(request.token_ids) == renderer.render(PROMPT, {"text": "It was late.", "context_before": "Before."})


def test_cut_answer_is_asked_for_once_more_with_twice_the_room(ask: Asking) -> None:
    chunk = make_chunk("".join(SENTENCES[:4]))
    long_answer = say("keeper", "w" * 200)  # over 40 tokens, under 80, at four characters each
    job = ask([chunk], lambda passage, attempt: long_answer)
    assert outcomes_of(job) == [(1, "truncated", False), (2, "ok", True)]
    ((answered_chunk, completion),) = job.answers
    assert (answered_chunk, completion.text, completion.request.sampling.max_tokens) == (chunk, long_answer, 80)
    assert not job.failures


def test_endless_answer_about_one_sentence_costs_that_sentence_alone(ask: Asking) -> None:
    bad = SENTENCES[7]
    chunk = make_chunk("".join(SENTENCES))
    job = ask([chunk], lambda passage, attempt: say("keeper", "w" * 2000) if bad.strip() in passage else GOOD)
    ((piece, completion),) = job.failures
    assert (piece.text, completion.outcome) == (bad, Outcome.TRUNCATED)
    assert "".join(sorted(answered(job), key=lambda text: chunk.text.index(text))) == chunk.text.replace(bad, "")
    cut = [piece.text for piece, completion in job.answers if completion.outcome is Outcome.TRUNCATED]
    assert cut[0] == chunk.text
    assert all(bad in text for text in cut)
    assert bad not in cut, "the cut answer about it is its failure"
    assert all(
        completion.request.attempt == 2 for _, completion in [*job.failures, *job.answers] if completion.outcome is Outcome.TRUNCATED
    )


def test_no_room_for_a_longer_answer_splits_at_once(ask: Asking, renderer: ChatRenderer) -> None:
    chunk = make_chunk("".join(SENTENCES[:2]))
    num_tokens = len(renderer.render(PROMPT, {"text": chunk.text, "context_before": ""}))
    whole = SENTENCES[1].strip()
    job = ask(
        [chunk],
        lambda passage, attempt: say("keeper", "w" * 200) if whole in passage and SENTENCES[0] in passage else GOOD,
        max_model_len=num_tokens + 40,
    )
    assert outcomes_of(job) == [(1, "truncated", False), (1, "ok", True), (1, "ok", True)]
    assert list(answered(job)) == SENTENCES[:2]


def test_longer_answer_has_what_room_there_is(ask: Asking, renderer: ChatRenderer) -> None:
    chunk = make_chunk("".join(SENTENCES[:2]))
    num_tokens = len(renderer.render(PROMPT, {"text": chunk.text, "context_before": ""}))
    job = ask([chunk], lambda passage, attempt: say("keeper", "w" * 130), max_model_len=num_tokens + 47)
    ((_, completion),) = job.answers
    assert completion.request.sampling.max_tokens == 47
    assert outcomes_of(job) == [(1, "truncated", False), (2, "ok", True)]


def test_invalid_answer_is_corrected(ask: Asking) -> None:
    chunk = make_chunk(SENTENCES[0])
    job = ask([chunk], lambda passage, attempt: "He goes." if attempt == 1 else GOOD)
    assert outcomes_of(job) == [(1, "invalid_schema", False), (2, "ok", True)]
    ((_, completion),) = job.answers
    passage, rest = ask.read(completion.request)
    assert passage == SENTENCES[0]
    assert rest.startswith(
        "He goes.<|im_end|>\n<|im_start|>user\nYour answer could not be used: the answer: no JSON; an answer is JSON; answer so\n"
    )
    assert rest.endswith("<|im_start|>assistant\n")
    assert completion.request.sampling.max_tokens == 40


def test_quote_from_nowhere_is_corrected(ask: Asking) -> None:
    chunk = make_chunk(SENTENCES[0])
    job = ask([chunk], lambda passage, attempt: say("elsewhere" if attempt == 1 else "keeper"))
    assert outcomes_of(job) == [(1, "invalid_semantic", False), (2, "ok", True)]
    assert "«elsewhere» is not in the passage" in ask.read(job.answers[0][1].request)[1]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["no", "nor this"], ["invalid_schema", "invalid_schema"]),
        ([say("x y z"), say("x y z")], ["invalid_semantic", "invalid_semantic"]),
        (["no", say("x y z")], ["invalid_schema", "invalid_semantic"]),
        (["I cannot assist with that."], ["refused"]),
        (["no", "I cannot assist with that."], ["invalid_schema", "refused"]),
    ],
)
def test_bad_answers_end_as_a_failure_with_the_last_one(ask: Asking, answers: list[str], expected: list[str]) -> None:
    chunk = make_chunk("".join(SENTENCES[:3]))
    job = ask([chunk], lambda passage, attempt: answers[attempt - 1])
    assert outcomes_of(job) == [(number, outcome, number == len(expected)) for number, outcome in enumerate(expected, 1)]
    assert [(piece, completion.text) for piece, completion in job.failures] == [(chunk, answers[-1])]
    assert not job.answers


def test_correction_that_is_cut_splits_the_chunk(ask: Asking) -> None:
    chunk = make_chunk("".join(SENTENCES[:2]))

    def answer(passage: str, attempt: int) -> str:
        is_whole = SENTENCES[0] in passage and SENTENCES[1].strip() in passage
        return GOOD if not is_whole else "no" if attempt == 1 else say("keeper", "w" * 200)

    job = ask([chunk], answer)
    assert outcomes_of(job) == [(1, "invalid_schema", False), (2, "truncated", False), (1, "ok", True), (1, "ok", True)]


def test_correction_without_room_splits_the_chunk(ask: Asking, renderer: ChatRenderer) -> None:
    chunk = make_chunk("".join(SENTENCES))
    num_tokens = len(renderer.render(PROMPT, {"text": chunk.text, "context_before": ""}))
    job = ask(
        [chunk],
        lambda passage, attempt: "no" if SENTENCES[20].strip() in passage and SENTENCES[0] in passage else GOOD,
        max_model_len=num_tokens + 41,
    )
    assert outcomes_of(job)[:2] == [(1, "invalid_schema", False), (2, "input_too_long", False)]
    assert len(answered(job)) == 2
    assert not job.failures


def test_model_without_a_second_turn_is_not_corrected(ask: Asking, model: Model, tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = "{{ messages[0]['content'] }}{{ messages[1]['content'] }}<|im_end|>\n<|im_start|>assistant\n"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": source}))
    single = Model(name="m", folder=tmp_path, revision="r", weights_sha256="ab", quantization="none")
    asking = Asking(model, ChatRenderer(single, tokenizer), tokenizer)
    job = asking([make_chunk("".join(SENTENCES[:3]))], lambda passage, attempt: "no")
    assert outcomes_of(job) == [(1, "invalid_schema", True)]


def test_prompt_that_is_too_long_is_split(ask: Asking, renderer: ChatRenderer) -> None:
    chunk = make_chunk("".join(SENTENCES))
    num_tokens = len(renderer.render(PROMPT, {"text": chunk.text, "context_before": ""}))
    job = ask([chunk], lambda passage, attempt: GOOD, max_model_len=num_tokens)
    assert outcomes_of(job) == [(1, "input_too_long", False), (1, "ok", True), (1, "ok", True)]
    assert "".join(answered(job)) == chunk.text
    second = job.answers[1][1].request
    assert "\n\nPassage:\n" in ask.tokenizer.decode(second.token_ids)


def test_sentence_that_is_too_long_is_a_failure(ask: Asking) -> None:
    chunk = make_chunk("word " * 100)
    job = ask([chunk], lambda passage, attempt: GOOD, max_model_len=200)
    assert outcomes_of(job) == [(1, "input_too_long", True)]
    assert [(piece, completion.outcome) for piece, completion in job.failures] == [(chunk, Outcome.INPUT_TOO_LONG)]


def test_splitting_ends_before_single_words(ask: Asking) -> None:
    chunk = make_chunk("Go on. " * 500)
    job = ask([chunk], lambda passage, attempt: "w" * 1000)
    assert len(job.failures) == 2**MAX_SPLITS == 64
    assert {completion.outcome for _, completion in job.failures} == {Outcome.TRUNCATED}


@pytest.mark.parametrize("outcome", [Outcome.ENGINE_ERROR, Outcome.TIMEOUT, Outcome.SKIPPED_BUDGET])
def test_call_that_never_was_is_a_failure(ask: Asking, outcome: Outcome) -> None:
    chunks = [make_chunk(SENTENCES[0]), make_chunk("".join(SENTENCES[1:3]), start=len(SENTENCES[0]))]
    job = ask(chunks, lambda passage, attempt: GOOD, fails=lambda request: outcome if request.chunk_id == chunks[1].chunk_id else None)
    assert [(piece, completion.outcome) for piece, completion in job.failures] == [(chunks[1], outcome)]
    assert list(answered(job)) == [SENTENCES[0]]


def test_cut_answer_counts_where_the_longer_one_never_came(ask: Asking) -> None:
    chunk = make_chunk("".join(SENTENCES[:3]))
    job = ask(
        [chunk], lambda passage, attempt: say("keeper", "w" * 200), fails=lambda request: Outcome.TIMEOUT if request.attempt == 2 else None
    )
    assert [(piece, completion.outcome) for piece, completion in job.failures] == [(chunk, Outcome.TIMEOUT)]
    assert [(piece, completion.outcome) for piece, completion in job.answers] == [(chunk, Outcome.TRUNCATED)]


def test_answer_after_reasoning_is_ok_and_stays_as_it_came(ask: Asking) -> None:
    text = "<think>\nThe keeper, hm.\n</think>\n\n" + say("keeper")
    job = ask([make_chunk(SENTENCES[0])], lambda passage, attempt: text)
    assert outcomes_of(job) == [(1, "ok", True)]
    assert job.answers[0][1].text == text


def test_reasoning_is_not_shown_to_the_model_again(ask: Asking) -> None:
    job = ask([make_chunk(SENTENCES[0])], lambda passage, attempt: "<think>A secret.</think>no" if attempt == 1 else GOOD)
    assert outcomes_of(job) == [(1, "invalid_schema", False), (2, "ok", True)]
    rest = ask.read(job.answers[0][1].request)[1]
    assert rest.startswith("no<|im_end|>")
    assert "secret" not in rest


ENDS = st.sampled_from(
    [
        GOOD,
        GOOD,
        say("keeper"),
        say("nowhere at all"),
        "no",
        "I cannot assist with that.",
        "w" * 130,
        "w" * 200,
        "w" * 4000,
        say("keeper", "w" * 130),
    ]
)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_nothing_is_lost_or_asked_twice_whatever_is_answered(ask: Asking, data: st.DataObject) -> None:
    num_sentences = data.draw(st.integers(1, 20))
    cuts = sorted({0, num_sentences, *data.draw(st.lists(st.integers(0, num_sentences), max_size=2))})
    chunks, start = [], 0
    for first, last in pairwise(cuts):
        text = "".join(SENTENCES[first:last])
        chunks.append(make_chunk(text, start=start, before=SENTENCES[first - 1] if first else ""))
        start += len(text)
    of_sentence = {sentence.strip(): data.draw(st.tuples(ENDS, ENDS)) for sentence in SENTENCES[:num_sentences]}
    outages = data.draw(st.dictionaries(st.integers(0, 12), st.sampled_from([Outcome.ENGINE_ERROR, Outcome.TIMEOUT]), max_size=2))
    seen: list[Request] = []

    def answer(passage: str, attempt: int) -> str:
        # the first sentence that has something to say decides for the whole passage
        return next(
            (ends[attempt - 1] for sentence, ends in of_sentence.items() if sentence in passage and ends[attempt - 1] != GOOD), GOOD
        )

    def fails(request: Request) -> Outcome | None:
        seen.append(request)
        return outages.get(len(seen) - 1)

    ask(chunks, answer, max_model_len=data.draw(st.sampled_from([440, 500, 700, 4096])), fails=fails)
