"""The rows of model calls, beside the Arrow schema of the call table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import pyarrow as pa

from chunkers.records import table_schema


class Outcome(StrEnum):
    """The closed set of ends a call can have."""

    OK = "ok"
    INVALID_SCHEMA = "invalid_schema"
    INVALID_SEMANTIC = "invalid_semantic"
    TRUNCATED = "truncated"
    INPUT_TOO_LONG = "input_too_long"
    REFUSED = "refused"
    ENGINE_ERROR = "engine_error"
    TIMEOUT = "timeout"
    SKIPPED_BUDGET = "skipped_budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What decides an answer besides the prompt and the weights."""

    max_tokens: int = 1
    """Ceiling of the completion; a scoring request ignores it."""
    temperature: float = 0.0
    seed: int | None = None
    json_schema: str | None = None
    """The answer must be JSON of this schema (canonical JSON text); None for free text."""
    stop_token_ids: tuple[int, ...] = ()
    score_from: int | None = None
    """Score the prompt instead of continuing it: log-probabilities of `token_ids[score_from:]`, at least 1. None generates."""
    num_alternatives: int = 0
    """For a scoring request: how many of the likeliest tokens to return at each scored position."""
    top_p: float = 1.0
    """Only the likeliest tokens that have this probability together are drawn from."""
    top_k: int = 0
    """Only so many of the likeliest tokens are drawn from; 0 for all."""
    min_p: float = 0.0
    """Tokens less likely than this share of the likeliest one's probability are not drawn."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these texts."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0

    def settings(self) -> dict[str, Any]:
        """What row keys and the call table are made of; fields of `_ADDED` only where they are set, so that older keys stand."""
        return {name: value for name, value in asdict(self).items() if name not in _ADDED or value != _ADDED[name]}

    @classmethod
    def restore(cls, settings: Mapping[str, Any]) -> Self:
        """The sampling whose `settings` came through JSON."""
        given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        return cls(**given)


_KEYED_SINCE_THE_FIRST = frozenset({"max_tokens", "temperature", "seed", "json_schema", "stop_token_ids", "score_from", "num_alternatives"})
_ADDED = {each.name: each.default for each in fields(Sampling) if each.name not in _KEYED_SINCE_THE_FIRST}


Messages = tuple[tuple[str, str], ...]
"""A conversation: the role and the text of each message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A chunk put into a template for one model."""

    row_key: str
    """Hash of everything that decides the answer (`calls.row_key`)."""
    doc_id: str
    chunk_id: str
    template: str
    template_version: int
    token_ids: tuple[int, ...]
    """The prompt; of a request with messages an estimate of it, by another model's tokeniser perhaps."""
    sampling: Sampling
    messages: Messages | None = None
    """The prompt for a server that has its own chat template; None for an engine that takes token ids."""
    sample_index: int = 0
    attempt: int = 1
    """Which attempt at its chunk it is: 2 where it follows an answer that was no good, also when it asks something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """The likeliest tokens at one scored position, likeliest first."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine made of one request."""

    request: Request
    outcome: Outcome
    finish_reason: str | None
    """The engine's word: `stop`, `length`, …; None where it never ran."""
    text: str | None
    """The answer; None for a scoring request or a failed one."""
    logprobs: tuple[float, ...]
    """Natural-log probability of each scored prompt token, a number of 32 bits; empty for a generating request."""
    alternatives: tuple[Alternatives, ...]
    """One for each scored token where asked for, else empty."""
    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens read from the prefix cache."""
    completion_tokens: int
    engine_seconds: float
    """This request's share of the engine's busy time; the shares of all calls add up to it."""
    decode_seconds: float = 0.0
    """The part of `engine_seconds` that went into the answer; the rest went into the prompt's computed tokens."""
    error: str | None
    """Message of a failed call; None where outcome is ok."""
    created_at: datetime | None = field(default=None, compare=False)
    """When it was stored; None where it did not come from a part of the store."""


def fail(request: Request, outcome: Outcome, error: str, *, finish_reason: str | None = None) -> Completion:
    """A completion without an answer, of a request for which nothing was computed."""
    return Completion(
        request=request,
        outcome=outcome,
        finish_reason=finish_reason,
        text=None,
        logprobs=(),
        alternatives=(),
        prompt_tokens=0,
        cached_tokens=0,
        completion_tokens=0,
        engine_seconds=0.0,
        error=error,
    )


CALLS = table_schema(
    "calls",
    [
        ("row_key", pa.string()),
        ("chunk_id", pa.string()),
        ("doc_id", pa.string()),
        ("model", pa.string()),
        ("model_revision", pa.string()),
        ("quantization", pa.string()),
        ("template", pa.string()),
        ("template_version", pa.int32()),
        ("sample_index", pa.int32()),
        ("outcome", pa.string()),
        ("finish_reason", pa.string()),
        ("attempt", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("cached_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("engine_seconds", pa.float64()),
        ("decode_seconds", pa.float64()),
        ("cost", pa.decimal128(20, 10)),
        ("prompt_ids", pa.list_(pa.int32())),
        ("messages", pa.string()),
        ("sampling", pa.string()),
        ("text", pa.string()),
        ("logprobs", pa.list_(pa.float32())),
        ("alternative_ids", pa.list_(pa.list_(pa.int32()))),
        ("alternative_logprobs", pa.list_(pa.list_(pa.float32()))),
        ("error", pa.string()),
        ("determinism", pa.string()),
        ("engine_build", pa.string()),
        ("engine_settings", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("worker", pa.string()),
    ],
    nullable=frozenset({"messages", "finish_reason", "cost", "text", "error", "engine_settings"}),
    version=3,
)
"""Append-only; one row a call. Not sorted: parts appear in the order of completion.

`sampling` is canonical JSON of Sampling; with `prompt_ids`, or with `messages` where there are any (JSON; `prompt_ids` is empty then),
it is the whole request, so that a call can be shown and asked again. `engine_settings` is canonical JSON of what a user set for the engine.
Version 2 had neither `messages` nor `engine_settings`.
`cost` is money in the currency of the settings at the time, None where no prices were set.
"""
