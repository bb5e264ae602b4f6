"""An OpenAI-compatible server as an engine, asked over real sockets: whatever it does, each request has one end, and the key stays here."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.concurrency import FIRST_LIMIT, AdaptiveLimit
from engine.endpoint import MAX_DENIED, EndpointEngine
from engine.json_schema import find_violation
from engine.models import Model
from engine.protocol import EngineError, EngineRefusedError
from engine.records import Completion, Outcome, Request, Sampling
from engine.replies import Fault, read_status
from engine.restart import RestartingEngine
from tests.chat_server import Answer, Asked, ChatServer, refuse, say

MODEL = Model(name="remote", folder=Path("/nowhere"), revision="m", weights_sha256="unknown", quantization="unknown")
SCHEMA = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False})


def ask(text: str = "hello", *, messages: bool = True, **sampling: Any) -> Request:
    return Request(
        row_key=text,
        doc_id="d",
        chunk_id="c",
        template="t",
        template_version=1,
        token_ids=tuple(range(20)),
        messages=(("system", "Be brief."), ("user", text)) if messages else None,
        sampling=Sampling(**{"max_tokens": 50, **sampling}),
    )


@contextmanager
def serve(answer: Callable[[Asked], Answer], **settings: Any) -> Iterator[tuple[ChatServer, EndpointEngine]]:
    server_settings = {key: settings.pop(key) for key in ("key", "models") if key in settings}
    with ChatServer(answer, **server_settings) as server:
        settings = {"base_url": server.url, "api_key": server_settings.get("key"), "max_retries": 2, "first_wait_s": 0.01, **settings}
        with EndpointEngine(MODEL, **settings) as engine:
            yield server, engine


def answer_all(engine: EndpointEngine, requests: Iterable[Request | None]) -> dict[str, Completion]:
    found = list(engine.run(requests))
    assert len({completion.request.row_key for completion in found}) == len(found), "a request was answered twice"
    return {completion.request.row_key: completion for completion in found}


def answer_one(engine: EndpointEngine, **sampling: Any) -> Completion:
    return answer_all(engine, [ask(**sampling)])["hello"]


def test_question_is_asked_as_it_is_and_its_usage_is_counted() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 25, "prompt_tokens_details": {"cached_tokens": 75}}
    with serve(lambda asked: say('{"n":1}', usage=usage), extra_body={"top_k": 4}) as (server, engine):
        completion = answer_one(engine, temperature=0.5, seed=7, top_p=0.9, json_schema=SCHEMA)
        ((body, headers),) = [(asked.body, asked.headers) for asked in server.asked]
        assert completion.engine_seconds == pytest.approx(engine.busy_seconds)
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
        "max_tokens": 50,
        "temperature": 0.5,
        "seed": 7,
        "top_p": 0.9,
        "top_k": 4,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": json.loads(SCHEMA)}},
    }
    assert headers["authorization"] == "Bearer none"
    assert (completion.outcome, completion.text, completion.finish_reason, completion.error) == (Outcome.OK, '{"n":1}', "stop", None)
    assert (completion.prompt_tokens, completion.cached_tokens, completion.completion_tokens) == (100, 75, 25)
    assert completion.decode_seconds == pytest.approx(completion.engine_seconds / 2), "25 of the 50 tokens that were computed"


def test_label_says_seeded_only_where_a_seed_is_asked() -> None:
    with serve(lambda asked: say("x")) as (_, engine):
        assert engine.determinism == "none"
    with serve(lambda asked: say("x"), extra_body={"seed": 1}) as (server, engine):
        assert engine.determinism == "seeded"
        answer_one(engine)
        assert server.asked[0].body["seed"] == 1


ENDS: list[tuple[str, Answer, Outcome, str | None, str]] = [
    ("cut", say('{"n"', "length"), Outcome.TRUNCATED, '{"n"', "max_tokens=50"),
    ("cut before a word", say(None, "length"), Outcome.TRUNCATED, "", "max_tokens=50"),
    ("filtered", say(None, "content_filter"), Outcome.REFUSED, None, "content filter"),
    ("filtered halfway", say("Once", "content_filter"), Outcome.REFUSED, "Once", "content filter"),
    ("refused", say(None, refusal="I will not."), Outcome.REFUSED, "I will not.", "«I will not.»"),
    ("too long, vLLM", refuse(400, "This model's maximum context length is 512 tokens. However, …"), Outcome.INPUT_TOO_LONG, None, "512"),
    ("too long, OpenAI", refuse(400, "context_length_exceeded"), Outcome.INPUT_TOO_LONG, None, "HTTP 400"),
    ("too long, llama.cpp", refuse(400, "the request exceeds the available context size"), Outcome.INPUT_TOO_LONG, None, "exceeds"),
    ("too large", refuse(413, "Payload"), Outcome.INPUT_TOO_LONG, None, "413"),
    ("rejected", refuse(422, "temperature must be 1"), Outcome.ENGINE_ERROR, None, "temperature must be 1"),
    ("said as text", Answer(b'{"error": "no such knob"}', 400), Outcome.ENGINE_ERROR, None, "no such knob"),
]


@pytest.mark.parametrize(("answer", "outcome", "text", "words"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_what_a_server_says_of_a_request_is_that_request_s_end(answer: Answer, outcome: Outcome, text: str | None, words: str) -> None:
    with serve(lambda asked: answer if asked.prompt == "hello" else say("fine")) as (server, engine):
        found = answer_all(engine, [ask(), ask("other")])
        assert [asked.prompt for asked in server.asked].count("hello") == 1, "asking again would give the same"
    assert (found["hello"].outcome, found["hello"].text) == (outcome, text)
    assert words in (found["hello"].error or "")
    assert found["other"].outcome is Outcome.OK


FAILURES: list[tuple[str, Answer]] = [
    ("500", refuse(500, "out of order")),
    ("503 without a body", Answer(status=503)),
    ("closed without a word", Answer(is_closed=True)),
    ("half a body", replace(say("never whole"), num_cut=100)),
    ("nothing", Answer()),
    ("no JSON", Answer(b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"})),
    ("JSON cut", Answer(b'{"choices": [{"message"')),
    ("no choices", Answer(b'{"choices": []}')),
    ("another shape", Answer(b'{"choices": [[1, 2]]}')),
    ("no content", say(None)),
    ("aborted", say("half an ans", "abort")),
    ("bytes that are no text", Answer(b"\xff\xfe\x00" * 9)),
    ("brackets without end", Answer(b"[" * 100_000)),
]


@pytest.mark.parametrize("answer", [case[1] for case in FAILURES], ids=[case[0] for case in FAILURES])
def test_what_cannot_be_read_is_asked_again_and_then_an_engine_error(answer: Answer) -> None:
    def mends(asked: Asked) -> Answer:
        return answer if asked.prompt == "never" or asked.number < 3 else say("mended")

    with serve(mends) as (server, engine):
        found = answer_all(engine, [ask(), ask("never")])
        tries = [asked.prompt for asked in server.asked]
    assert (found["hello"].outcome, found["hello"].text) == (Outcome.OK, "mended")
    assert (found["never"].outcome, found["never"].text) == (Outcome.ENGINE_ERROR, None)
    assert "asked 3 times" in (found["never"].error or "")
    assert (tries.count("hello"), tries.count("never")) == (3, 3)
    assert found["never"].engine_seconds > 0, "what it took is counted"


@pytest.mark.parametrize("answer", [Answer(is_hung=True), replace(say("byte by byte"), byte_s=0.05)], ids=["says nothing", "trickles"])
def test_server_that_hangs_is_a_timeout_of_that_request(answer: Answer) -> None:
    with serve(lambda asked: answer if asked.prompt == "hello" else say("fine"), timeout_s=0.4) as (server, engine):
        started = time.monotonic()
        found = answer_all(engine, [ask(), ask("other")])
        assert time.monotonic() - started < 5
        assert len(server.asked) == 2
    assert found["hello"].outcome is Outcome.TIMEOUT
    assert "timeout_s=0.4" in (found["hello"].error or "")
    assert found["other"].outcome is Outcome.OK


def test_full_server_is_asked_less_at_once_and_nothing_fails() -> None:
    holder: list[ChatServer] = []

    def answer(asked: Asked) -> Answer:
        if holder[0].num_in_flight > 4:
            return refuse(429, "slow down")
        time.sleep(0.01)
        return say("fine")

    with serve(answer, max_in_flight=32) as (server, engine):
        holder.append(server)
        found = answer_all(engine, [ask(f"n{number}") for number in range(200)])
        refused_late = sum(asked.number > 1 for asked in server.asked[len(server.asked) // 2 :])
    assert {completion.outcome for completion in found.values()} == {Outcome.OK}
    assert len(found) == 200
    assert refused_late < 30, "it has learned how much the server takes"


@pytest.mark.parametrize(("status", "header"), [(429, {"retry_after": "1.2"}), (503, {"retry_after_ms": "1200"})])
def test_server_is_left_alone_for_as_long_as_it_says(status: int, header: dict[str, str]) -> None:
    times: list[float] = []

    def answer(asked: Asked) -> Answer:
        times.append(time.monotonic())
        is_first = len(times) == 1
        time.sleep(0.05)
        return refuse(status, "later", **header) if is_first else say("fine")

    with serve(answer, max_in_flight=2) as (_, engine):
        found = answer_all(engine, [ask(f"n{number}") for number in range(30)])
    assert {completion.outcome for completion in found.values()} == {Outcome.OK}
    pause = max(later - earlier for earlier, later in pairwise(sorted(times)))
    assert 1.1 < pause < 2.0, "no request at all, and not much longer than asked"


@pytest.mark.parametrize("status", [408, 429, 503])
def test_server_that_wants_an_hour_is_not_waited_for_and_ends_the_run(status: int) -> None:
    with (
        serve(lambda asked: refuse(status, "tomorrow", retry_after="3600")) as (_, engine),
        pytest.raises(EngineRefusedError, match=r"left alone for 3600 s: HTTP .*: tomorrow.*run the same command again"),
    ):
        answer_all(engine, [ask(), ask("other")])


def test_time_in_which_a_request_only_waits_for_its_turn_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.endpoint.MAX_THROTTLED_S", 0.5)
    texts = [f"n{number}" for number in range(FIRST_LIMIT + 1)]

    def answer(asked: Asked) -> Answer:
        if asked.prompt == texts[-1]:
            return refuse(429, "slow down") if asked.number == 1 else say("fine")
        return refuse(429, "slow down", retry_after="0.8") if asked.number == 1 else say("fine")

    with serve(answer) as (_, engine):
        found = answer_all(engine, map(ask, texts))
    assert {completion.outcome for completion in found.values()} == {Outcome.OK}


def test_request_that_is_always_put_off_fails_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.endpoint.MAX_THROTTLED_S", 0.1)
    with serve(lambda asked: refuse(429, "slow down") if asked.prompt == "hello" else say("fine")) as (_, engine):
        found = answer_all(engine, [ask(), ask("other")])
    assert (found["hello"].outcome, found["other"].outcome) == (Outcome.ENGINE_ERROR, Outcome.OK)


def test_date_of_retry_after_is_understood() -> None:
    refusal = read_status(429, {"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, "")
    assert refusal.fault is Fault.THROTTLED
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s > 1e9
    assert read_status(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "").retry_after_s == 0
    assert read_status(429, {"retry-after": "soon"}, "").retry_after_s is None


def test_server_without_schemas_is_asked_without_and_its_answers_are_checked(caplog: pytest.LogCaptureFixture) -> None:
    answers = {"good": '```json\n{"n": 1}\n```', "none": "One.", "other": '{"n": "one"}', "thought": '<think>{}</think>{"n": 3}'}
    answers["spoken"] = 'Here you are: {"n": 4}. Anything else?'

    def answer(asked: Asked) -> Answer:
        return refuse(400, "response_format of type json_schema is not supported") if asked.schema else say(answers[asked.prompt])

    with serve(answer) as (server, engine), caplog.at_level(logging.WARNING):
        found = answer_all(engine, [ask(text, json_schema=SCHEMA) for text in answers])
        assert len(server.asked) == 10, "those that were in flight when it became known are asked again"
        later = answer_all(engine, [ask("good", json_schema=SCHEMA)])
        assert len(server.asked) == 11, "it is known from then on"
    assert {key: completion.outcome.value for key, completion in found.items()} == {
        "good": "ok",
        "none": "invalid_schema",
        "other": "invalid_schema",
        "thought": "ok",
        "spoken": "ok",
    }
    assert found["good"].text == answers["good"], "the answer stays as it came"
    assert "n: 'one' is not of type 'integer'" in (found["other"].error or "")
    assert later["good"].outcome is Outcome.OK
    (told,) = caplog.messages
    assert "does not take the JSON schema" in told


def test_server_that_takes_no_notice_of_a_schema_is_noticed() -> None:
    with serve(lambda asked: say("One." if asked.prompt == "hello" else '{"n": 1}')) as (_, engine):
        found = answer_all(engine, [ask(json_schema=SCHEMA), ask("other", json_schema=SCHEMA)])
    assert (found["hello"].outcome, found["hello"].text) == (Outcome.INVALID_SCHEMA, "One.")
    assert found["other"].outcome is Outcome.OK


def test_schema_with_a_reference_elsewhere_is_not_fetched() -> None:
    with ChatServer(lambda asked: say("")) as server:
        told = find_violation("{}", json.dumps({"$ref": f"{server.url}/models"}))
    assert server.num_listed == 0
    assert "which is not in it" in (told or "")


def test_output_limit_is_called_as_the_server_wants() -> None:
    def answer(asked: Asked) -> Answer:
        if "max_tokens" in asked.body:
            return refuse(400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
        return say("fine")

    with serve(answer) as (server, engine):
        assert answer_one(engine).outcome is Outcome.OK
        assert server.asked[-1].body["max_completion_tokens"] == 50
        assert answer_all(engine, [ask("other")])["other"].outcome is Outcome.OK
        assert len(server.asked) == 3


def test_reasoning_is_kept_before_the_answer() -> None:
    with serve(lambda asked: say('{"n":1}', reasoning_content="Hm, </think> one.")) as (_, engine):
        assert answer_one(engine).text == '<think>Hm,  one.</think>{"n":1}'


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": -3, "completion_tokens": 10**12}, {"prompt_tokens": "many"}])
def test_missing_usage_is_estimated_and_said_once(usage: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with serve(lambda asked: say("eight ch", usage=usage)) as (_, engine), caplog.at_level(logging.WARNING):
        found = answer_all(engine, [ask(), ask("other")])
    assert {(completion.prompt_tokens, completion.completion_tokens) for completion in found.values()} == {(20, 2)}
    (told,) = caplog.messages
    assert "estimated" in told


def test_half_a_surrogate_pair_does_not_reach_a_table() -> None:
    with serve(lambda asked: say("a\ud800b")) as (_, engine):
        assert answer_one(engine).text == "a?b"


def test_request_that_no_endpoint_answers_is_its_own_outcome() -> None:
    with serve(lambda asked: say("fine")) as (server, engine):
        odd = [ask("score", score_from=1), ask("ids", messages=False), ask("stops", stop_token_ids=(1,))]
        odd += [ask("type", json_schema='{"type": "no such type"}'), ask("text", json_schema="{")]
        found = answer_all(engine, [*odd, ask()])
        assert len(server.asked) == 1
    assert {found[request.row_key].outcome for request in odd} == {Outcome.ENGINE_ERROR}
    assert all(found[request.row_key].error for request in odd)
    assert found["hello"].outcome is Outcome.OK


KEY = "sk-7Qq1-very-secret-0042"


def test_key_is_sent_and_hidden_wherever_a_server_repeats_it(caplog: pytest.LogCaptureFixture) -> None:
    def answer(asked: Asked) -> Answer:
        given = asked.headers["authorization"]
        return say(f"You are {given}") if asked.prompt == "hello" else refuse(422, f"{'x' * 290}{given} may not")

    with serve(answer, key=KEY) as (_, engine), caplog.at_level(logging.DEBUG):
        found = answer_all(engine, [ask(), ask("other")])
    assert found["hello"].text == "You are Bearer ***"
    assert "sk-" not in repr(found)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refuse(401, f"Incorrect API key provided: {KEY}"), "Incorrect API key provided: ***"),
        (refuse(403, "not your model"), "not your model"),
        (refuse(404, "The model `m` does not exist."), "it lists a, b"),
        (Answer(b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}', 429), "exceeded your quota"),
    ],
)
def test_what_no_request_would_get_past_ends_the_engine_at_once(answer: Answer, words: str) -> None:
    with ChatServer(lambda asked: answer, models=("a", "b")) as server:
        loaded = 0

        def load() -> EndpointEngine:
            nonlocal loaded
            loaded += 1
            return EndpointEngine(MODEL, base_url=server.url, api_key=KEY)

        with RestartingEngine(load) as engine, pytest.raises(EngineRefusedError) as told:
            list(engine.run(ask(f"n{number}") for number in range(50)))
        assert loaded == 1, "another start would meet the same"
    assert words in str(told.value)
    assert "[models.remote]" in str(told.value)
    assert KEY not in str(told.value)


@pytest.mark.parametrize(("status", "outcome"), [(403, Outcome.REFUSED), (404, Outcome.ENGINE_ERROR)])
def test_denial_of_one_request_among_others_is_that_request_s_end(status: int, outcome: Outcome) -> None:
    """Twice as many as end the engine where they come in a row."""
    texts = [f"n{number}" for number in range(MAX_DENIED * 4 + 1)]
    denied = set(texts[1::2])
    with serve(lambda asked: refuse(status, "not this one") if asked.prompt in denied else say("fine"), max_in_flight=1) as (
        server,
        engine,
    ):
        found = answer_all(engine, map(ask, texts))
    assert len(server.asked) == len(texts)
    assert {text for text in texts if found[text].outcome is outcome} == denied
    assert {found[text].outcome for text in texts if text not in denied} == {Outcome.OK}
    assert all("not this one" in (found[text].error or "") for text in denied)


def test_denied_request_that_comes_first_or_is_all_that_is_left_does_not_end_the_engine() -> None:
    with serve(lambda asked: refuse(403, "flagged") if asked.prompt == "hello" else say("fine"), max_in_flight=1) as (_, engine):
        found = answer_all(engine, [ask(), ask("other")])
    assert (found["hello"].outcome, found["other"].outcome) == (Outcome.REFUSED, Outcome.OK)
    with serve(lambda asked: refuse(403, "flagged")) as (_, engine):
        assert answer_one(engine).outcome is Outcome.REFUSED


@pytest.mark.parametrize("status", [403, 404])
def test_model_that_is_taken_away_ends_the_engine_soon(status: int) -> None:
    with (
        serve(lambda asked: say("fine") if asked.prompt == "n0" else refuse(status, "gone"), max_in_flight=1) as (server, engine),
        pytest.raises(EngineRefusedError, match="gone"),
    ):
        answer_all(engine, [ask(f"n{number}") for number in range(50)])
    assert len(server.asked) == 1 + MAX_DENIED


def test_wrong_key_is_met_before_anything_is_asked() -> None:
    with ChatServer(lambda asked: say("x"), key="right-one") as server, pytest.raises(EngineRefusedError) as told:
        EndpointEngine(MODEL, base_url=server.url, api_key=KEY)
    assert "401" in str(told.value)
    assert KEY not in str(told.value)
    assert not server.asked


def test_server_without_a_list_of_models_is_no_error() -> None:
    with serve(lambda asked: say("fine"), models=None) as (_, engine):
        assert answer_one(engine).outcome is Outcome.OK


def free_address() -> str:
    with ChatServer(lambda asked: say("")) as server:
        return server.url


def test_nobody_there_is_said_at_the_start() -> None:
    with pytest.raises(EngineRefusedError, match="must run before it is asked"):
        EndpointEngine(MODEL, base_url=free_address(), first_wait_s=0.01)


def test_server_that_goes_away_ends_the_engine_and_not_each_request() -> None:
    with ChatServer(lambda asked: say("fine")) as server:
        engine = EndpointEngine(MODEL, base_url=server.url, max_retries=2, max_in_flight=4, first_wait_s=0.01)
        running = engine.run(ask(f"n{number}") for number in range(100))
        assert next(running).outcome is Outcome.OK
    with engine, pytest.raises(EngineError, match="answers no more") as told:
        list(running)
    assert not isinstance(told.value, EngineRefusedError), "it may be started again"


def test_run_that_is_left_closes_its_connections() -> None:
    with serve(lambda asked: Answer(is_hung=True) if asked.prompt != "hello" else say("fine")) as (server, engine):
        running = engine.run([ask(), *(ask(f"n{number}") for number in range(7))])
        assert next(running).request.row_key == "hello"
        started = time.monotonic()
        running.close()  # type: ignore[attr-defined]
        while server.num_in_flight:
            assert time.monotonic() - started < 5, "the server computes for nobody"
            time.sleep(0.01)
        assert answer_one(engine).outcome is Outcome.OK


def test_source_is_asked_again_while_a_server_is_slow() -> None:
    def answer(asked: Asked) -> Answer:
        time.sleep(1.5 if asked.prompt == "slow" else 0)
        return say("fine")

    def source() -> Iterator[Request | None]:
        yield ask("slow")
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            yield None
        yield ask("late")

    with serve(answer) as (_, engine):
        assert [completion.request.row_key for completion in engine.run(source())] == ["late", "slow"]


def test_seconds_of_calls_add_up_to_the_time_in_which_any_was_in_flight() -> None:
    def answer(asked: Asked) -> Answer:
        time.sleep(0.05)
        return say("fine")

    with serve(answer) as (_, engine):
        found = answer_all(engine, [ask(f"n{number}") for number in range(40)])
        assert sum(completion.engine_seconds for completion in found.values()) == pytest.approx(engine.busy_seconds, rel=0.01)
        assert 0.25 < engine.busy_seconds < 1.5, "40 of 50 ms each, at least 8 at once"


class Machine:
    """A server that computes `width` requests in the time of one, and queues what is beyond that; told to the limit in its own time."""

    def __init__(self, width: int) -> None:
        self.width = width

    def run(self, limit: AdaptiveLimit, num_answers: int) -> list[int]:
        seen = []
        for _ in range(num_answers):
            seconds = max(1.0, limit.limit / self.width)
            limit.count_answer(limit.epoch, seconds, is_full=True)
            seen.append(limit.limit)
        return seen


@pytest.mark.parametrize("width", [1, 5, 20, 48])
def test_limit_comes_to_what_a_server_computes_at_once(width: int) -> None:
    limits = Machine(width).run(AdaptiveLimit(256), 20_000)
    settled = limits[len(limits) // 2 :]
    assert max(settled) <= max(16, 3 * width), "what only queues is not asked"
    assert sorted(settled)[len(settled) // 2] >= min(8, width)
    assert sorted(settled)[len(settled) // 2] >= 0.75 * width


def test_limit_grows_to_the_ceiling_where_that_pays() -> None:
    assert Machine(10_000).run(AdaptiveLimit(64), 500)[-1] == 64


def test_refusals_of_one_epoch_halve_once() -> None:
    limit = AdaptiveLimit(64, first_limit=64)
    epoch = limit.epoch
    for _ in range(64):
        limit.count_refusal(epoch)
    assert limit.limit == 32
    for _ in range(20):
        limit.count_refusal(limit.epoch)
    assert limit.limit == 1
    assert 8 < Machine(20).run(limit, 5_000)[-1] <= 60, "it grows again"


def test_server_that_has_become_slow_is_asked_less() -> None:
    limit = AdaptiveLimit(32)
    assert Machine(1000).run(limit, 1000)[-1] == 32
    for _ in range(2000):
        limit.count_answer(limit.epoch, 60.0, is_full=True)
        if limit.limit < 32:
            break
    assert limit.limit < 32
