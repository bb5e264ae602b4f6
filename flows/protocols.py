"""The protocols in which a model is asked for text: what it is told, what its answer must be, and how edits are read from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from chunkers.records import Chunk
from engine.generate import Check
from postprocess.edits import EDITS_SCHEMA, anchor_edits, check_edits, parse_edits, salvage_edits
from postprocess.records import Edit
from postprocess.rewrite import anchor_rewrite, check_rewrite

UNSCORED_CONFIDENCE = 0.5
"""Of an edit that a model proposed and nothing scored: an even chance, until it is calibrated on corrections by people."""


class ReadEdits(Protocol):
    """Reads the edits of an answer about a chunk."""

    def __call__(self, answer: str, chunk: Chunk, *, proposer: str, row_key: str | None, is_cut: bool) -> list[Edit]:
        """Anchored or rejected, in the answer's order; of a cut answer those that are whole. Raises AnswerError where it holds none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextProtocol:
    """How a model is asked for text."""

    name: str
    """As in the configuration; a proposer is `MODEL/NAME`."""
    prompt_name: str
    prompt_version: int
    json_schema: str | None
    """What answers follow; None for plain text."""
    check: Check
    read: ReadEdits


def _read_edits(answer: str, chunk: Chunk, *, proposer: str, row_key: str | None, is_cut: bool) -> list[Edit]:
    found = salvage_edits(answer) if is_cut else parse_edits(answer)
    return anchor_edits(found, chunk, proposer=proposer, row_key=row_key, confidence=UNSCORED_CONFIDENCE)


def _read_rewrite(answer: str, chunk: Chunk, *, proposer: str, row_key: str | None, is_cut: bool) -> list[Edit]:
    return anchor_rewrite(answer, chunk, proposer=proposer, row_key=row_key, confidence=UNSCORED_CONFIDENCE, is_cut=is_cut)


TEXT_PROTOCOLS: Mapping[str, TextProtocol] = {
    "edits": TextProtocol(
        name="edits",
        prompt_name="proofread",
        prompt_version=1,
        json_schema=json.dumps(EDITS_SCHEMA, separators=(",", ":"), sort_keys=True),
        check=check_edits,
        read=_read_edits,
    ),
    "rewrite": TextProtocol(
        name="rewrite",
        prompt_name="rewrite",
        prompt_version=1,
        json_schema=None,
        check=check_rewrite,
        read=_read_rewrite,
    ),
}
