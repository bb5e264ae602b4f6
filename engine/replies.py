"""What an OpenAI-compatible server's reply means: an answer, or a refusal and what it leads to. Pure functions of what came."""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from enum import StrEnum
from typing import Any

MAX_SHOWN_CHARS = 300
"""Of a server's message that is passed on."""
_MAX_COUNT = 2**31 - 1
"""Of a count of tokens, as the call table holds it."""


class Fault(StrEnum):
    """Why there is no answer."""

    DENIED = "denied"
    """Of the key or the account: another request would meet the same."""
    FORBIDDEN = "forbidden"
    """Status 403: of the key, or of this request alone; gateways say it of a passage."""
    MISSING = "missing"
    """Status 404: there is no such model, or not for this request."""
    NO_SCHEMA = "no_schema"
    """It takes no `response_format`, or not this schema."""
    OTHER_LIMIT = "other_limit"
    """It calls `max_tokens` something else."""
    REFUSED = "refused"
    """It will not answer this."""
    REJECTED = "rejected"
    """It cannot use this request, and says so."""
    THROTTLED = "throttled"
    """It is asked too much at once."""
    TIMEOUT = "timeout"
    TOO_LONG = "too_long"
    """The prompt does not fit."""
    TRANSPORT = "transport"
    """Nothing came that can be read; another try may go well."""
    UNREACHABLE = "unreachable"
    """Nobody listens there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A try that brought no answer."""

    fault: Fault
    message: str
    """What was met."""
    retry_after_s: float | None = None
    """For how long the server wants to be left alone; None where it does not say."""
    text: str | None = None
    """What the model said instead of an answer, where it said something."""
    finish_reason: str | None = None
    """The server's word, where it has one."""
    usage: "Usage | None" = None
    """Of a refusal that was computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the server counts them; None where it does not say."""

    prompt_tokens: int | None
    cached_tokens: int
    completion_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, whole or cut."""

    text: str
    finish_reason: str
    is_cut: bool
    usage: Usage


def read_reply(body: str) -> Reply | Refusal:
    """What a body that came with status 200 says."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return Refusal(fault=Fault.TRANSPORT, message=f"its answer is no JSON («{_shorten(body)}»)")
    choices = content.get("choices") if isinstance(content, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    finish_reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not isinstance(finish_reason, str) or finish_reason in ("abort", "error"):
        return Refusal(fault=Fault.TRANSPORT, message=f"its answer holds no finished choice («{_shorten(body)}»)")
    text, refusal, usage = message.get("content"), message.get("refusal"), _read_usage(content.get("usage"))
    if (isinstance(refusal, str) and refusal) or finish_reason == "content_filter":
        said = refusal if isinstance(refusal, str) and refusal else text if isinstance(text, str) and text else None
        shown = f"The model refused («{_shorten(said)}»)" if finish_reason != "content_filter" else "The server's content filter stopped it"
        rule = "an answer is asked for; ask another model about this passage, or correct it by hand."
        return Refusal(fault=Fault.REFUSED, message=f"{shown}; {rule}", text=_encodable(said), finish_reason=finish_reason, usage=usage)
    is_cut = finish_reason == "length"
    if not isinstance(text, str) and not is_cut:
        return Refusal(fault=Fault.TRANSPORT, message=f"its answer has no content («{_shorten(body)}»)")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    thought = f"<think>{reasoning.replace('</think>', '')}</think>" if isinstance(reasoning, str) and reasoning else ""
    return Reply(text=_encodable(thought + (text or "")) or "", finish_reason=_encodable(finish_reason) or "", is_cut=is_cut, usage=usage)


def _read_usage(usage: Any) -> Usage:
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("prompt_tokens_details")
    prompt_tokens = _count(counts.get("prompt_tokens"))
    cached_tokens = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(
        prompt_tokens=prompt_tokens,
        cached_tokens=min(cached_tokens or 0, prompt_tokens or 0),
        completion_tokens=_count(counts.get("completion_tokens")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT else None


_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|size|window)|maximum (?:context|input|prompt|sequence)|max_model_len|too many (?:input )?tokens"
    r"|(?:prompt|input|request|message)s? (?:is|are) too (?:long|large)|reduce the length|exceed\w* .{0,40}\btokens",
    re.IGNORECASE,
)
_NO_SCHEMA = re.compile(
    r"response_?format|json_?schema|structured[ _]?output|guided|grammar|json mode|invalid schema|extra.{0,20}format", re.IGNORECASE
)
_OTHER_LIMIT = re.compile(r"max_completion_tokens", re.IGNORECASE)
_NO_MONEY = re.compile(r"insufficient_quota|billing|insufficient (?:balance|credits?|funds)", re.IGNORECASE)


def read_status(status: int, headers: Mapping[str, str], body: str) -> Refusal:
    """What a status other than 200 says."""
    message = f"HTTP {status}: {_shorten(_error_message(body))}"
    if status in (401, 402) or (status == 429 and _NO_MONEY.search(body)):
        return Refusal(fault=Fault.DENIED, message=message)
    if status in (403, 404):
        return Refusal(fault=Fault.FORBIDDEN if status == 403 else Fault.MISSING, message=message)
    if status == 429:
        return Refusal(fault=Fault.THROTTLED, message=message, retry_after_s=_retry_after(headers))
    if status in (408, 409, 425) or status >= 500:
        # some servers say with 500 what the others say with 400
        if status == 500 and "exceed_context_size" in body:
            return Refusal(fault=Fault.TOO_LONG, message=message)
        return Refusal(fault=Fault.TRANSPORT, message=message, retry_after_s=_retry_after(headers))
    if status == 413 or _TOO_LONG.search(body):
        return Refusal(fault=Fault.TOO_LONG, message=message)
    if _OTHER_LIMIT.search(body):
        return Refusal(fault=Fault.OTHER_LIMIT, message=message)
    if _NO_SCHEMA.search(body):
        return Refusal(fault=Fault.NO_SCHEMA, message=message)
    if "content_filter" in body or "content management policy" in body:
        return Refusal(fault=Fault.REFUSED, message=f"{message}; ask another model about this passage, or correct it by hand.")
    return Refusal(fault=Fault.REJECTED, message=message)


def _error_message(body: str) -> str:
    """The message in the forms that servers give it, else the body."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return body
    error = content.get("error", content) if isinstance(content, dict) else content
    found = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    return found if isinstance(found, str) else body


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3), or from the milliseconds that some servers send."""
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / divisor
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    date = parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, mktime_tz(date) - time.time())


def _shorten(text: str | None) -> str:
    flat = " ".join((text or "").split())
    return (_encodable(flat if len(flat) <= MAX_SHOWN_CHARS else f"{flat[:MAX_SHOWN_CHARS]}…") or "") or "nothing"


def _encodable(text: str | None) -> str | None:
    """Half of a surrogate pair, which JSON may hold and no file can, becomes a question mark."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
