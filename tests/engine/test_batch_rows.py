"""Lines of OpenAI batch files: what is asked by them, and what is said of those that cannot be answered."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch_bodies import Url
from engine.batch_rows import RowError, find_custom_id, parse_row

USER = {"role": "user", "content": "Hello world!"}


def line(*, url: str = Url.CHAT, **body: Any) -> bytes:
    """A line that is right but for the body's fields that are given."""
    whole = {"messages": [USER]} if url == Url.CHAT else {"prompt": "Once"}
    return json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": whole | body}).encode()


def problem(raw: bytes) -> str:
    with pytest.raises(RowError) as caught:
        parse_row(raw)
    return str(caught.value)


def test_a_line_of_the_guide() -> None:
    row = parse_row(
        b'{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", "messages": '
        b'[{"role": "system", "content": "You are a helpful assistant."},{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}'
    )
    assert (row.custom_id, row.url, row.model, row.num_samples, row.sampling) == ("request-1", Url.CHAT, "gpt-4o", 1, {"max_tokens": 1000})
    assert row.conversation is not None
    assert row.conversation.messages == (("system", "You are a helpful assistant."), ("user", "Hello world!"))


def test_every_sampling_field_arrives() -> None:
    row = parse_row(
        line(
            max_tokens=5,
            max_completion_tokens=7,
            temperature=1,
            top_p=0.5,
            top_k=-1,
            min_p=0.1,
            seed=-3,
            stop="END",
            stop_token_ids=[4],
            presence_penalty=-2,
            frequency_penalty=0.25,
            repetition_penalty=1.5,
            n=3,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array", "items": {}}}},
        )
    )
    assert row.num_samples == 3
    assert row.sampling == {
        "max_tokens": 7,
        "temperature": 1.0,
        "top_p": 0.5,
        "top_k": 0,
        "min_p": 0.1,
        "seed": -3,
        "stop": ("END",),
        "stop_token_ids": (4,),
        "presence_penalty": -2.0,
        "frequency_penalty": 0.25,
        "repetition_penalty": 1.5,
        "json_schema": '{"items":{},"type":"array"}',
    }
    assert isinstance(row.sampling["temperature"], float), "1 and 1.0 are the same question"


def test_json_object_is_a_schema_and_text_is_none() -> None:
    assert parse_row(line(response_format={"type": "json_object"})).sampling == {"json_schema": '{"type":"object"}'}
    assert parse_row(line(response_format={"type": "text"})).sampling == {}


def test_text_parts_are_one_text_and_a_developer_is_the_system() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    row = parse_row(line(messages=[{"role": "developer", "content": parts}, USER | {"name": None}]))
    assert row.conversation is not None
    assert row.conversation.messages == (("system", "one\ntwo"), ("user", "Hello world!"))


@pytest.mark.parametrize(
    ("prompt", "prompts"), [("a", ("a",)), ([1, 2], ((1, 2),)), (["a", "b"], ("a", "b")), ([[1], [2, 3]], ((1,), (2, 3)))]
)
def test_prompts_of_a_completion(prompt: object, prompts: object) -> None:
    assert parse_row(line(url=Url.COMPLETIONS, prompt=prompt)).prompts == prompts


@pytest.mark.parametrize(
    "harmless",
    [{"user": "u", "metadata": {"a": "b"}}, {"stream": False, "tools": [], "logprobs": None, "best_of": 1}, {"tool_choice": "none"}],
)
def test_fields_that_say_nothing_are_left_alone(harmless: dict[str, Any]) -> None:
    assert parse_row(line(**harmless)) == parse_row(line())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"max_token": 3}, "body.max_token is unknown; the nearest known is max_tokens"),
        ({"strem": True}, "the nearest known is stream"),
        ({"max_tokens": 0}, "body.max_tokens: input should be greater than or equal to 1"),
        ({"max_tokens": "3"}, "body.max_tokens: input should be a valid integer"),
        ({"n": True}, "body.n: input should be a valid integer"),
        ({"temperature": 2.5}, "body.temperature"),
        ({"stream": True}, "body.stream is true, which is not supported"),
        ({"tools": [{"type": "function"}]}, "body.tools is"),
        ({"logprobs": True}, "body.logprobs is true, which is not supported"),
        ({"reasoning_effort": "low"}, 'body.reasoning_effort is "low", which is not supported'),
        ({"messages": []}, "body.messages is no list"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 'body.messages[0].role is "tool"; it must be one of system, developer, user'),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "body.messages[1].content is missing"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "body.messages[0].tool_calls is not supported"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 'is of type "image_url"'),
        ({"stop": ["a", ""]}, "body.stop is neither"),
        ({"response_format": {"type": "json_schema"}}, "body.response_format has no json_schema.schema"),
        ({"response_format": {"type": "xml"}}, 'body.response_format has type "xml"'),
        ({"chat_template_kwargs": {"style": "<|im_end|>"}}, "body.chat_template_kwargs.style is"),
    ],
)
def test_what_is_wrong_with_a_body(body: dict[str, Any], said: str) -> None:
    assert said in problem(line(**body))


def test_everything_wrong_is_said_at_once() -> None:
    said = problem(line(max_tokens=0, tools=[1], maxtokens=3))
    assert all(name in said for name in ("body.max_tokens:", "body.tools is", "body.maxtokens is unknown"))
    said = problem(b'{"custom_id": "", "method": "GET", "url": "/v1/embeddings", "bdy": 1}')
    assert all(part in said for part in ("custom_id is", 'method is "GET"', '"/v1/embeddings", which is not supported', "'bdy' is unknown"))


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"\xff{}",
        b"[1]",
        b"null",
        b"[" * 100_000,
        b'{"a": NaN}',
        b'{"custom_id": "\\ud800"}',
        b'{"a": ' + b"1" * 5000 + b"}",
        line(temperature=1).replace(b'"temperature": 1', b'"temperature": 1e999'),
    ],
)
def test_what_is_no_text_or_no_json(raw: bytes) -> None:
    assert problem(raw)


def test_custom_id_of_a_line_that_is_refused() -> None:
    assert find_custom_id(b'{"custom_id": "a", "method": "GET"}') == "a"
    assert find_custom_id(b'{"custom_id": 3}') is None
    assert find_custom_id(b"{") is None


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["messages", "role", "content", "type", "text", "stop", "n", "prompt", "response_format", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    url=st.sampled_from([*Url, "/v1/score"]),
)
def test_any_body_is_a_row_or_a_row_error(body: object, url: str) -> None:
    raw = json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": body}).encode()
    with suppress(RowError):
        assert parse_row(raw).custom_id == "a"
