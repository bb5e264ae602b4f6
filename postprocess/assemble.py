"""Chunks back into a document, findings into its text and out again, and what a person decided about each.

Owns applying and its exact inverse. Never changes a code point outside the findings it is given.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from chunkers.records import Chunk
from postprocess.changes import Change
from postprocess.collate import has_overlap
from postprocess.records import Finding, FindingStatus


class AssembleError(ValueError):
    """Chunks that are not a whole document, or findings that cannot be applied: what was met, the rule, what to do."""


class Replacement(Protocol):
    """What applying needs to know of a finding."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def original(self) -> str: ...
    @property
    def replacement(self) -> str: ...


class OwnWords(BaseModel):
    """A person's own replacement in the place of the one that was proposed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    replace: str


class Decisions(BaseModel):
    """What a person decided in the report: the file that its button saves."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    run: str
    """Name of the run that the report is of."""
    decisions: dict[str, Literal["accept", "reject"] | OwnWords]
    """By finding_id; findings that are not there are not decided."""


def rebuild_text(chunks: Iterable[Chunk]) -> str:
    """The text of one document from its chunks in order. Raises AssembleError where they do not tile it."""
    pieces: list[str] = []
    position = 0
    doc_id: str | None = None
    for chunk in chunks:
        doc_id = doc_id or chunk.doc_id
        if chunk.doc_id != doc_id or chunk.start != position or chunk.end - chunk.start != len(chunk.text):
            raise AssembleError(
                f"chunk {chunk.chunk_index} of {chunk.doc_id[:8]} has {len(chunk.text)} code points at {chunk.start}:{chunk.end}, "
                f"after {position} of document {doc_id[:8]}; the chunks of one document, in order, tile it; read its shard again."
            )
        pieces.append(chunk.text)
        position = chunk.end
    return "".join(pieces)


def apply_findings(text: str, findings: Iterable[Replacement]) -> str:
    """The text with every finding applied, in any order given.

    Raises AssembleError where two overlap or one does not stand at its span.
    """
    pieces: list[str] = []
    position = 0
    for finding in order_findings(text, findings):
        pieces += [text[position : finding.start], finding.replacement]
        position = finding.end
    return "".join([*pieces, text[position:]])


def order_findings(text: str, findings: Iterable[Replacement]) -> list[Replacement]:
    """Findings by start and end, checked: each stands at its span of the text, and no two overlap.

    An insertion beside another change is allowed here and comes first; only two insertions in one place have no order.
    """
    ordered = sorted(findings, key=lambda finding: (finding.start, finding.end))
    position, was_insertion = 0, False
    for finding in ordered:
        is_insertion = finding.start == finding.end
        if finding.start < position or (is_insertion and was_insertion and finding.start == position):
            raise AssembleError(
                f"two findings overlap at {finding.start}:{finding.end} ({finding.original!r} to {finding.replacement!r}); "
                "of findings that overlap only one can be applied; reject the others."
            )
        if not 0 <= finding.start <= finding.end <= len(text) or text[finding.start : finding.end] != finding.original:
            raise AssembleError(
                f"{finding.original!r} does not stand at {finding.start}:{finding.end}; findings belong to the exact text they were "
                "made on; run the flow again on the file as it is now."
            )
        position, was_insertion = finding.end, is_insertion
    return ordered


def invert_findings(findings: Iterable[Replacement]) -> list[Change]:
    """Changes that turn `apply_findings(text, findings)` back into the text, in order; those that touch are joined into one."""
    inverse: list[Change] = []
    shift = 0
    for finding in sorted(findings, key=lambda finding: (finding.start, finding.end)):
        start = finding.start + shift
        shift += len(finding.replacement) - len(finding.original)
        change = Change(start, start + len(finding.replacement), finding.replacement, finding.original)
        if inverse and inverse[-1].end == start:
            before = inverse.pop()
            change = Change(before.start, change.end, before.original + change.original, before.replacement + change.replacement)
        inverse.append(change)
    return inverse


def parse_decisions(text: str | bytes) -> Decisions:
    """Decisions from the report's JSON. Raises AssembleError where it is no such file."""
    try:
        return Decisions.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise AssembleError(
            f'{place}: {first["msg"]}; decisions are {{"run": name, "decisions": '
            '{{finding_id: "accept", "reject" or {{"replace": text}}}}}}; '
            "save them from the report again."
        ) from None


def select_findings(
    findings: Sequence[Finding], *, min_confidence: float | None = None, decisions: Decisions | None = None
) -> list[Finding]:
    """Findings to apply, in the order given: those a person accepted, and undecided ones at or above `min_confidence` if that is given.

    A decision outweighs confidence: what overlaps an accepted finding is left out unless it was accepted too. Conflicts are applied
    only when accepted. A finding replaced by a person's own words keeps its id. Raises AssembleError for a decision about no finding.
    """
    decided = decisions.decisions if decisions else {}
    unknown = sorted(decided.keys() - {finding.finding_id for finding in findings})
    if unknown:
        raise AssembleError(
            f"{len(unknown)} of {len(decided)} decisions are about findings that this run does not have, such as {unknown[0][:16]}; "
            f"decisions belong to the run they were made in ({decisions.run if decisions else ''}); open that run's report and save again."
        )
    accepted = {
        (finding.doc_id, finding.start, finding.end) for finding in findings if decided.get(finding.finding_id, "reject") != "reject"
    }
    by_document: dict[str, list[tuple[int, int]]] = {}
    for doc_id, start, end in sorted(accepted):
        by_document.setdefault(doc_id, []).append((start, end))
    chosen = []
    for finding in findings:
        decision = decided.get(finding.finding_id)
        if isinstance(decision, OwnWords):
            chosen.append(replace(finding, replacement=decision.replace))
        elif decision == "accept" or (
            decision is None
            and min_confidence is not None
            and finding.confidence >= min_confidence
            and finding.status is not FindingStatus.CONFLICT
            and not _overlaps_any((finding.start, finding.end), by_document.get(finding.doc_id, []))
        ):
            chosen.append(finding)
    return chosen


def _overlaps_any(span: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    """Whether a span overlaps one of the sorted others."""
    index = bisect_right(others, span)
    return any(has_overlap(span, other) for other in others[max(0, index - 1) : index + 1])
