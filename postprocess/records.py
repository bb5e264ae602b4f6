"""The rows that completions become, each beside the Arrow schema of its table: edits, findings, and what was answered at all."""

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from chunkers.records import Category, hash_id, table_schema


class EditStatus(StrEnum):
    """What code decided about one proposed edit."""

    ANCHORED = "anchored"
    """It has a place in the document and passed every guard."""
    REJECTED = "rejected"
    """It could not be anchored, or a guard refused it; `reason` says which."""


class FindingStatus(StrEnum):
    """What code suggests a person do with a finding."""

    ACCEPTED = "accepted"
    """Confidence at or above the threshold for applying."""
    SUGGESTED = "suggested"
    """Worth a look."""
    CONFLICT = "conflict"
    """Overlaps a surer finding with another replacement; never applied unless a person decides so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A proposed replacement of `[start, end)` of a document, by one proposer."""

    edit_id: str
    """Hash of doc_id, start, end, original, replacement and proposer."""
    doc_id: str
    start: int | None
    """Code points; None for an edit that could not be anchored."""
    end: int | None
    original: str
    """What stands at the span (anchored), or the quote that the model gave (not anchored)."""
    replacement: str
    category: Category
    message: str
    """Why, in one sentence; may be empty."""
    proposer: str
    """`harper:AnA`, `doubled_words`, `smollm2-135m/score`, `qwen3-8b/edits`."""
    row_key: str | None
    """The call it came from; None for a rule."""
    score: float | None
    """Gain in log-probability (nats) of the text with the edit over the text without, where a model scored it."""
    confidence: float
    """0 to 1: the share of such edits that a human proofreader would make."""
    status: EditStatus
    reason: str | None
    """snake_case reason of a rejection; None where anchored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The collation of all anchored edits on one span with one replacement."""

    finding_id: str
    """Hash of doc_id, start, end and replacement."""
    doc_id: str
    start: int
    end: int
    line: int
    """From 1, lines ended by \\n, \\r\\n or \\r."""
    column: int
    """From 1, in code points."""
    chapter: str | None
    """Text of the heading above it (level 1 or 2); None before the first."""
    original: str
    replacement: str
    category: Category
    message: str
    votes: int
    """Number of different proposers."""
    proposers: tuple[str, ...]
    """Sorted, unique."""
    confidence: float
    status: FindingStatus
    context_before: str
    """Up to 120 code points before the span, never across its block."""
    context_after: str
    silent: tuple[str, ...] = ()
    """Sorted: models that were asked about the passage, and leave the place as it is."""
    dissenters: tuple[str, ...] = ()
    """Sorted: models that want something else there; what, is in the findings and edits that overlap this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A passage about which a model gave an answer that counts: what it does not mention there, it leaves as it is."""

    doc_id: str
    start: int
    end: int


VOTING = frozenset({"edits", "rewrite"})
"""Protocols in which a model looks for mistakes itself, and its silence says something; one that scores is only asked about candidates."""


def is_voter(proposer: str) -> bool:
    """Whether a proposer is a model that looked for mistakes itself: `MODEL/PROTOCOL` with one of VOTING."""
    return "/" in proposer and proposer.rpartition("/")[2] in VOTING


def family_of(proposer: str) -> str:
    """Proposers that are counted as one: a detector's rules (`harper:AnA` is `harper`); a model with its protocol stands for itself."""
    return proposer if "/" in proposer else proposer.partition(":")[0]


def name_edit(doc_id: str, start: int | None, end: int | None, original: str, replacement: str, proposer: str) -> str:
    """The edit_id. Two samples of one model may give the same edit: one id, two rows."""
    return hash_id(doc_id, "" if start is None else start, "" if end is None else end, original, replacement, proposer)


def name_finding(doc_id: str, start: int, end: int, replacement: str) -> str:
    """The finding_id."""
    return hash_id(doc_id, start, end, replacement)


EDITS = table_schema(
    "edits",
    [
        ("edit_id", pa.string()),
        ("doc_id", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("original", pa.string()),
        ("replacement", pa.string()),
        ("category", pa.string()),
        ("message", pa.string()),
        ("proposer", pa.string()),
        ("row_key", pa.string()),
        ("score", pa.float64()),
        ("confidence", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ],
    nullable=frozenset({"start", "end", "row_key", "score", "reason"}),
)
"""Sorted by doc_id, start (None last), end, replacement, proposer, edit_id."""

FINDINGS = table_schema(
    "findings",
    [
        ("finding_id", pa.string()),
        ("doc_id", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("line", pa.int64()),
        ("column", pa.int64()),
        ("chapter", pa.string()),
        ("original", pa.string()),
        ("replacement", pa.string()),
        ("category", pa.string()),
        ("message", pa.string()),
        ("votes", pa.int32()),
        ("proposers", pa.list_(pa.string())),
        ("confidence", pa.float64()),
        ("status", pa.string()),
        ("context_before", pa.string()),
        ("context_after", pa.string()),
        ("silent", pa.list_(pa.string())),
        ("dissenters", pa.list_(pa.string())),
    ],
    nullable=frozenset({"chapter"}),
    version=2,
)
"""Sorted by doc_id, start, end, replacement."""

ANSWERED = table_schema("answered", [("doc_id", pa.string()), ("start", pa.int64()), ("end", pa.int64())])
"""Sorted by doc_id, start, end; one shard for each shard of chunks and model that votes."""
