"""What every engine promises: the real vLLM, the scripted one, and a server; a server gives no scores."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from chunkers.tokens import Tokenizer
from engine.endpoint import EndpointEngine
from engine.models import Model
from engine.protocol import Engine
from engine.records import Completion, Outcome, Request, Sampling
from engine.scripted import ScriptedEngine
from tests.chat_server import Answer, Asked, ChatServer, refuse, say

SCHEMA = json.dumps(
    {"type": "object", "properties": {"edits": {"type": "array", "maxItems": 0}}, "required": ["edits"], "additionalProperties": False}
)


@pytest.fixture(params=["scripted", "vllm"])
def scoring_engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "scripted":
        return ScriptedEngine(max_model_len=512)
    vllm: Engine = request.getfixturevalue("vllm_engine")
    return vllm


@pytest.fixture(params=["scripted", "vllm", "endpoint"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "scripted":
        yield ScriptedEngine(max_model_len=512)
    elif request.param == "vllm":
        yield request.getfixturevalue("vllm_engine")
    else:
        model = Model(name="remote", folder=Path("/nowhere"), revision="m", weights_sha256="unknown", quantization="unknown")
        with ChatServer(behave_well) as server, EndpointEngine(model, base_url=server.url) as endpoint:
            yield endpoint


def behave_well(asked: Asked) -> Answer:
    """A model with room for 512 tokens, to which each word is a token, and which says «and» until its limit or what a schema wants."""
    num_tokens, limit = len(asked.prompt.split()), asked.body["max_tokens"]
    if num_tokens >= 512:
        return refuse(400, "This model's maximum context length is 512 tokens.")
    usage = {"prompt_tokens": num_tokens, "completion_tokens": limit}
    return say('{"edits":[]}', usage=usage) if asked.schema else say(" and" * limit, "length", usage=usage)


@pytest.fixture(scope="session")
def token_ids(model: Model) -> list[int]:
    return (
        Tokenizer(model.tokenizer_path)
        .encode_with_offsets("It was a bright cold day in April, and the clocks were striking thirteen. " * 20)
        .ids
    )


def ask(key: str, token_ids: list[int], **sampling: object) -> Request:
    return Request(
        row_key=key,
        doc_id="d",
        chunk_id="c",
        template="t",
        template_version=1,
        token_ids=tuple(token_ids),
        messages=(("user", " ".join(str(token_id) for token_id in token_ids)),),
        sampling=Sampling(**sampling),  # type: ignore[arg-type]
    )


EASY = {"max_tokens": 64, "json_schema": SCHEMA}
"""Sampling with which every engine comes to a whole answer."""


def by_key(completions: Iterable[Completion]) -> dict[str, Completion]:
    found = list(completions)
    keys = [completion.request.row_key for completion in found]
    assert len(keys) == len(set(keys)), "a request was answered twice"
    return dict(zip(keys, found, strict=True))


def test_every_request_is_answered_once(engine: Engine, token_ids: list[int]) -> None:
    requests = [ask(f"g{n}", token_ids[n : n + 20], **EASY) for n in range(5)]
    requests += [ask(f"s{n}", token_ids[n : n + 20], score_from=1) for n in range(0 if isinstance(engine, EndpointEngine) else 5)]
    answers = by_key(engine.run(requests))
    assert answers.keys() == {request.row_key for request in requests}
    assert {answer.outcome for answer in answers.values()} == {Outcome.OK}
    assert all(answer.prompt_tokens == 20 for answer in answers.values())


def test_schema_gives_json_without_padding(engine: Engine, token_ids: list[int]) -> None:
    answer = by_key(engine.run([ask("j", token_ids[:30], **EASY)]))["j"]
    assert answer.text == '{"edits":[]}'


def test_too_long_input_is_its_own_outcome_and_ends_nothing(engine: Engine, token_ids: list[int]) -> None:
    answers = by_key(engine.run([ask("long", (token_ids * 10)[:600], **EASY), ask("short", token_ids[:10], **EASY)]))
    assert answers["long"].outcome is Outcome.INPUT_TOO_LONG
    assert answers["long"].error
    assert answers["long"].text is None
    assert answers["short"].outcome is Outcome.OK


def test_cut_answer_is_truncated_and_kept(engine: Engine, token_ids: list[int]) -> None:
    answer = by_key(engine.run([ask("cut", token_ids[:40], max_tokens=1)]))["cut"]
    assert answer.outcome is Outcome.TRUNCATED
    assert answer.finish_reason == "length"
    assert answer.text
    assert answer.completion_tokens == 1


def test_scores_cover_the_asked_tokens(scoring_engine: Engine, token_ids: list[int]) -> None:
    answer = by_key(scoring_engine.run([ask("s", token_ids[:50], score_from=20, num_alternatives=3)]))["s"]
    assert len(answer.logprobs) == 30
    assert all(logprob <= 0 for logprob in answer.logprobs)
    assert [float(np.float32(logprob)) for logprob in answer.logprobs] == list(answer.logprobs), "what is stored is what was used"
    assert [len(at.token_ids) for at in answer.alternatives] == [3] * 30
    assert answer.text is None
    assert answer.completion_tokens == 0


def test_scores_are_the_same_when_asked_again_and_with_less_of_them(scoring_engine: Engine, token_ids: list[int]) -> None:
    # the second and third time the words before score_from, and in vLLM the scored words too, lie in the prefix cache
    once = by_key(scoring_engine.run([ask("a", token_ids[:200], score_from=1)]))["a"]
    again = by_key(scoring_engine.run([ask("b", token_ids[:200], score_from=1)]))["b"]
    tail = by_key(scoring_engine.run([ask("c", token_ids[:200], score_from=150)]))["c"]
    assert again.logprobs == pytest.approx(once.logprobs, abs=0.3)
    assert tail.logprobs == pytest.approx(once.logprobs[149:], abs=0.3)


def test_text_of_one_token_has_no_scores_and_harms_nobody(scoring_engine: Engine, token_ids: list[int]) -> None:
    answers = by_key(scoring_engine.run([ask("one", token_ids[:1], score_from=1), ask("two", token_ids[:2], score_from=1)]))
    assert (answers["one"].outcome, answers["one"].logprobs) == (Outcome.OK, ())
    assert len(answers["two"].logprobs) == 1


def test_scored_tokens_are_computed_however_much_of_the_text_is_known(scoring_engine: Engine, token_ids: list[int]) -> None:
    """From token 65 on: two blocks of 32 may come from the cache, the third gives the first score."""
    prompt = token_ids[100:300]
    by_key(scoring_engine.run([ask("whole", prompt, score_from=1)]))
    part = by_key(scoring_engine.run([ask("part", prompt, score_from=65)]))["part"]
    assert part.cached_tokens <= 64
    assert len(part.logprobs) == 135


def test_answer_is_the_same_whether_vllm_or_we_decode_it(vllm_engine: Engine, model: Model) -> None:
    """A stop text makes vLLM decode step by step; a stop token is no part of the answer."""
    tokenizer = Tokenizer(model.tokenizer_path)
    prompt, newline = tokenizer.encode_template("Three fruits:\n1. apple\n2. pear\n3."), tokenizer.encode_template("\n")
    by_token = ask("token", prompt, max_tokens=20, stop_token_ids=tuple(newline))
    answers = by_key(vllm_engine.run([by_token, ask("text", prompt, max_tokens=20, stop=("\n",)), ask("cut", prompt, max_tokens=3)]))
    assert answers["token"].outcome is answers["text"].outcome is Outcome.OK
    assert answers["token"].text == answers["text"].text
    assert answers["token"].text.startswith(" ")
    assert answers["cut"].text
    assert len(answers["cut"].text) <= len(answers["token"].text) or answers["cut"].text.startswith(answers["token"].text)


def test_source_is_pulled_lazily(engine: Engine, token_ids: list[int]) -> None:
    num_pulled = 0

    def source() -> Iterator[Request]:
        nonlocal num_pulled
        for n in range(3000):
            num_pulled += 1
            yield ask(f"r{n}", token_ids[:4], max_tokens=1)

    running = engine.run(source())
    next(running)
    assert num_pulled < 2000
    running.close()  # type: ignore[attr-defined]


def test_source_may_wait_for_an_answer(engine: Engine, token_ids: list[int]) -> None:
    answered: list[str] = []

    def source() -> Iterator[Request | None]:
        yield ask("first", token_ids[:10], max_tokens=2)
        while not answered:
            yield None
        yield ask(f"after {answered[0]}", token_ids[:10], max_tokens=3)

    answered.extend(())
    for completion in engine.run(source()):
        answered.append(completion.request.row_key)
    assert answered == ["first", "after first"]


def test_source_that_waits_for_nothing_is_an_error(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="nothing to add"):
        list(engine.run([None]))


def test_engine_answers_after_a_run_was_left_early(engine: Engine, token_ids: list[int]) -> None:
    running = engine.run([ask(f"x{n}", token_ids[n : n + 30], max_tokens=50) for n in range(4)])
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert by_key(engine.run([ask("y", token_ids[:10], max_tokens=2)])).keys() == {"y"}
