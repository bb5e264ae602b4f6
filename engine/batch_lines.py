"""The lines that answer a batch file: OpenAI's output and error lines. Pure: a row's end in, bytes out."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chunkers.records import hash_id
from engine.batch_bodies import Url
from engine.records import Completion, Outcome
from engine.restart import KILLED_ENGINE

ANSWERS = frozenset({Outcome.OK, Outcome.TRUNCATED, Outcome.INVALID_SCHEMA, Outcome.INVALID_SEMANTIC, Outcome.REFUSED})
"""Outcomes with a text: whether it is what was hoped for is for whoever asked to say, as with OpenAI."""

INVALID_REQUEST = "invalid_request"
"""Code of a line that cannot be answered."""
_STATUS = {INVALID_REQUEST: 400, Outcome.INPUT_TOO_LONG.value: 400, Outcome.TIMEOUT.value: 504}
"""All else that was tried and failed is 500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a row has no answer."""

    code: str
    """An outcome, or INVALID_REQUEST."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEnd:
    """How a row ended."""

    number: int
    """Of its line in the input."""
    custom_id: str | None
    """None where the line has none that can be read."""
    url: Url | None
    num_samples: int
    completions: tuple[Completion, ...]
    """Of the first prompt each sample, then of the second; empty where the row was not asked."""
    failure: Failure | None
    """None for a row that is answered whole."""


def is_answer(completion: Completion) -> bool:
    """Whether a completion is an answer here: a cut one is, and says so by its finish_reason."""
    return completion.outcome in ANSWERS and completion.text is not None


def failure_of(completion: Completion) -> Failure | None:
    """None for an answer."""
    if is_answer(completion):
        return None
    message = completion.error or "no reason was given"
    if completion.finish_reason == KILLED_ENGINE:
        message += " It is not asked again unless --retry-killers is given."
    return Failure(code=completion.outcome.value, message=message)


def write_line(end: RowEnd, *, model: str, now: datetime) -> bytes:
    """The line of a row: its answer, or why it has none. The same answers give the same ids and, once they are stored, the same bytes.

    A failed line says so twice: in `response`, where OpenAI has it, and in `error`, where `vllm run-batch` has it.
    """
    name = hash_id(end.custom_id or f"line {end.number}", *(each.request.row_key for each in end.completions))
    response: dict[str, Any] | None = {"status_code": 200, "request_id": f"req_{name[24:48]}", "body": None}
    error: dict[str, Any] | None = None
    if end.failure is None:
        response = {"status_code": 200, "request_id": f"req_{name[24:48]}", "body": _body(end, name, model, now)}
    else:
        code = end.failure.code
        error = {"code": code, "message": end.failure.message}
        status = _STATUS.get(code, 500)
        kind = "invalid_request_error" if status == 400 else "server_error"
        response = {
            "status_code": status,
            "request_id": f"req_{name[24:48]}",
            "body": {"error": {"message": end.failure.message, "type": kind, "param": None, "code": code}},
        }
        if code == Outcome.SKIPPED_BUDGET:
            response = None  # it was not tried
    line = {"id": f"batch_req_{name[:24]}", "custom_id": end.custom_id, "response": response, "error": error}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"


def _body(end: RowEnd, name: str, model: str, now: datetime) -> dict[str, Any]:
    is_chat = end.url is Url.CHAT
    created = max(each.created_at or now for each in end.completions)
    prompts = end.completions[:: end.num_samples]
    prompt_tokens, completion_tokens = (
        sum(each.prompt_tokens for each in prompts),
        sum(each.completion_tokens for each in end.completions),
    )
    return {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{name[:32]}",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(created.timestamp()),
        "model": model,
        "choices": [_choice(index, completion, is_chat) for index, completion in enumerate(end.completions)],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(each.cached_tokens for each in prompts)},
        },
        "system_fingerprint": None,
    }


def _choice(index: int, completion: Completion, is_chat: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"text": completion.text}
    if is_chat:
        said = {"message": {"role": "assistant", "content": completion.text, "refusal": None}}
    return {"index": index, **said, "logprobs": None, "finish_reason": completion.finish_reason or "stop"}
