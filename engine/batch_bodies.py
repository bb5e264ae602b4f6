"""The bodies of batch requests: which fields of OpenAI's and vLLM's are answered, which change nothing, and what is said of the others."""

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from engine.prompts import Conversation
from engine.records import Messages

Prompt = str | tuple[int, ...]
"""Of a completion: the text, or its token ids."""

MAX_SAMPLES = 128
"""Answers to one row."""
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""`developer` is what newer models call `system`; chat templates know the latter."""
_PLAIN_WORDS = re.compile(r"[A-Za-z0-9 _.,:+/-]{0,200}")
_MAX_TOKEN_ID = 2**31 - 1


class Url(StrEnum):
    """What a row may ask."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"


_LEFT_ALONE = frozenset(
    {
        "cache_salt",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "request_id",
        "safety_identifier",
        "service_tier",
        "session_id",
        "store",
        "stream_options",
        "user",
    }
)
"""Fields that change no answer."""

_ONLY: dict[str, tuple[Any, ...]] = {
    "stream": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": (),
    "verbosity": (),
    "moderation": (),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "ignore_eos": (False,),
    "min_tokens": (0,),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "truncate_prompt_tokens": (),
    "allowed_token_ids": (),
    "bad_words": ([],),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "add_special_tokens": (),
    "include_reasoning": (True,),
    "chat_template": (),
    "documents": (),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "priority": (0,),
}
"""Fields that are known and not supported: only null and these values, with which they say nothing, may stand there."""


def _read_messages(value: object) -> Messages:
    if not isinstance(value, list) or not value:
        raise ValueError("is no list of messages; it holds at least one")
    return tuple(_read_message(index, message) for index, message in enumerate(value))


def _read_message(index: int, message: object) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise ValueError(f"[{index}] is no message; it is an object with role and content")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError(f"[{index}].role is {shown(role)}; it must be one of {', '.join(_ROLES)}")
    if odd := sorted(name for name, given in message.items() if name not in ("role", "content") and given not in (None, [], {})):
        raise ValueError(f"[{index}].{odd[0]} is not supported; a message has a role and a content of text")
    return _ROLES[role], _read_content(f"[{index}].content", message.get("content"))


def _read_content(where: str, content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise ValueError(f"{where} is {shown(content)}; it must be a text, or a list of text parts")
    texts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or kind != "text":
            raise ValueError(f"{where}[{index}] is of type {shown(kind)}; only parts of type text are supported")
        if not isinstance(part.get("text"), str):
            raise ValueError(f"{where}[{index}] has no text; a part of type text holds one")
        texts.append(part["text"])
    return "\n".join(texts)


def _read_prompts(value: object) -> tuple[Prompt, ...]:
    given = value if isinstance(value, list) and value and not _is_token_id(value[0]) else [value]
    return tuple(_read_prompt(each) for each in given)


def _read_prompt(value: object) -> Prompt:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(_is_token_id(each) for each in value):
        return tuple(value)
    raise ValueError("is neither a text nor a list of token ids, nor a list of such; none of them may be empty")


def _is_token_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKEN_ID


def _read_stop(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("is neither a text nor a list of texts; none of them may be empty")
    return tuple(texts)


def _read_format(value: object) -> str | None:
    """The JSON schema that an answer must follow."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind not in ("text", "json_object", "json_schema"):
        raise ValueError(f"has type {shown(kind)}; it must be text, json_object or json_schema")
    if kind == "text":
        return None
    if kind == "json_object":
        return '{"type":"object"}'
    holder = value.get("json_schema")
    schema = holder.get("schema") if isinstance(holder, dict) else None
    if not isinstance(schema, dict):
        raise ValueError("has no json_schema.schema; it is the schema as an object")
    return _canonical(schema)


def _read_variables(value: object) -> str:
    if not isinstance(value, dict):
        raise ValueError(f"is {shown(value)}; it must be an object")
    for name, given in value.items():
        # they become part of the template's own text, which may hold special tokens
        if not (isinstance(given, bool | int | float | None) or (isinstance(given, str) and _PLAIN_WORDS.fullmatch(given))):
            raise ValueError(f".{name} is {shown(given)}; it must be true, false, null, a number or plain words")
    return _canonical(value)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def shown(value: object) -> str:
    """A value that was met, in a few characters."""
    text = "missing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"


class Body(BaseModel):
    """What both kinds of rows have."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, lt=2**31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=100)
    stop: Annotated[tuple[str, ...], BeforeValidator(_read_stop)] | None = None
    stop_token_ids: list[Annotated[int, Field(ge=0, le=_MAX_TOKEN_ID)]] | None = None
    response_format: Annotated[str | None, BeforeValidator(_read_format)] = None

    def sampling(self) -> dict[str, Any]:
        """Fields of Sampling that are given."""
        given = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(0, self.top_k),
            "min_p": self.min_p,
            "seed": self.seed,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "stop": self.stop,
            "stop_token_ids": None if self.stop_token_ids is None else tuple(self.stop_token_ids),
            "json_schema": self.response_format,
        }
        return {name: value for name, value in given.items() if value is not None}

    def conversation(self) -> Conversation | None:
        """None for a completion."""
        return None

    def prompts(self) -> tuple[Prompt, ...]:
        """Empty for a chat."""
        return ()


class _ChatBody(Body):
    messages: Annotated[Messages, BeforeValidator(_read_messages)]
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    chat_template_kwargs: Annotated[str, BeforeValidator(_read_variables)] = "{}"

    def sampling(self) -> dict[str, Any]:
        """As of both kinds; `max_completion_tokens` is the newer name and counts where both are given."""
        given = Body.sampling(self)
        return given if self.max_completion_tokens is None else given | {"max_tokens": self.max_completion_tokens}

    def conversation(self) -> Conversation:
        return Conversation(messages=self.messages, variables=self.chat_template_kwargs)


class _CompletionBody(Body):
    prompt: Annotated[tuple[Prompt, ...], BeforeValidator(_read_prompts)]

    def prompts(self) -> tuple[Prompt, ...]:
        return self.prompt


def read_body(url: Url, body: Mapping[str, Any]) -> Body:
    """The body of a row. Raises ValueError with everything that is wrong with it."""
    kind: type[Body] = _ChatBody if url is Url.CHAT else _CompletionBody
    problems = [
        f"body.{name} is {shown(given)}, which is not supported; leave it out"
        for name, given in body.items()
        if name in _ONLY and given is not None and given not in _ONLY[name]
    ]
    known = {name: given for name, given in body.items() if given is not None and name not in _ONLY and name not in _LEFT_ALONE}
    parsed: Body | None = None
    try:
        parsed = kind.model_validate(known)
    except ValidationError as error:
        problems += [_describe(each, kind) for each in error.errors(include_url=False, include_input=False)]
    if problems or parsed is None:
        raise ValueError("; ".join(problems))
    return parsed


def _describe(error: Mapping[str, Any], kind: type[BaseModel]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    match error["type"]:
        case "extra_forbidden":
            return f"body.{name} is unknown{nearest(name, [*kind.model_fields, *_ONLY, *_LEFT_ALONE])}"
        case "missing":
            return f"body.{name} is missing"
        case "value_error":
            message = str(error["ctx"]["error"])
            return f"body.{name}{message}" if message.startswith(("[", ".")) else f"body.{name} {message}"
        case _:
            return f"body.{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name; empty where nothing is near."""
    close = get_close_matches(name, known, 1, 0.6)
    return f"; the nearest known is {close[0]}" if close else ""
