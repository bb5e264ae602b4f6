"""The rows of model calls, beside the Arrow schema of the call table."""

from dataclasses import dataclass
from enum import StrEnum

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
    sampling: Sampling
    sample_index: int = 0


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
    """Natural-log probability of each scored prompt token; empty for a generating request."""
    alternatives: tuple[Alternatives, ...]
    """One for each scored token where asked for, else empty."""
    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens read from the prefix cache."""
    completion_tokens: int
    engine_seconds: float
    """This request's share of the engine's busy time, by the tokens computed for it; the shares of all calls add up to it."""
    error: str | None
    """Message of a failed call; None where outcome is ok."""


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
        ("text", pa.string()),
        ("logprobs", pa.list_(pa.float32())),
        ("alternative_ids", pa.list_(pa.list_(pa.int32()))),
        ("alternative_logprobs", pa.list_(pa.list_(pa.float32()))),
        ("error", pa.string()),
        ("determinism", pa.string()),
        ("engine_build", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("worker", pa.string()),
    ],
    nullable=frozenset({"finish_reason", "text", "error"}),
)
"""Append-only; one row a call. Not sorted: parts appear in the order of completion."""
