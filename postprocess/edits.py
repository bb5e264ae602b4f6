"""Answers of the `edits` protocol: what a model may say, and where in the document it belongs.

Owns the schema of an answer, the reading of whole and cut answers, and the anchoring of quotes.
Whether an anchored edit is a good one is for guards.py.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chunkers.records import Category, Chunk
from postprocess.changes import Change, trim_edit
from postprocess.quotes import QuotedText, find_words, keep_original, match_quotes
from postprocess.records import Edit, EditStatus, name_edit

_CUT_HEAD = re.compile(r'\s*(?:```(?:json)?\s*)?\{\s*"edits"\s*:\s*\[')
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
_SEPARATOR = re.compile(r"[\s,]*")


class AnswerError(ValueError):
    """A model's answer that holds no edits that can be read: what was met, the rule, what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """`answer_not_json` or `answer_not_schema`."""


class ModelEdit(BaseModel):
    """One edit as a model gives it. Lengths are left to the engine's schema and to the guards: one long quote must not cost the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sentence: int | None = None
    """Number of the sentence in the prompt, from 1; None where the prompt numbers none."""
    quote: str
    replacement: str
    category: Category
    why: str = ""


class ModelAnswer(BaseModel):
    """The whole answer of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edits: list[ModelEdit] = Field(default_factory=list)


def _answer_schema(properties: dict[str, Any]) -> dict[str, Any]:
    item = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"edits": {"type": "array", "items": item, "maxItems": 40}},
        "required": ["edits"],
        "additionalProperties": False,
    }


_EDIT_PROPERTIES: dict[str, Any] = {
    "quote": {"type": "string", "minLength": 1, "maxLength": 240},
    "replacement": {"type": "string", "maxLength": 240},
    "category": {"type": "string", "enum": [category.value for category in Category]},
    "why": {"type": "string", "maxLength": 120},
}

EDITS_SCHEMA = _answer_schema(_EDIT_PROPERTIES)
"""JSON schema for the engine's structured output, without references, which not every grammar compiler follows."""

NUMBERED_EDITS_SCHEMA = _answer_schema({"sentence": {"type": "integer", "minimum": 1, "maximum": 9999}} | _EDIT_PROPERTIES)
"""The same for prompts that number their sentences; the number comes first, so that the quote is written knowing it."""


def parse_edits(answer: str) -> list[ModelEdit]:
    """Edits of a whole answer, in its order; one Markdown fence around it is allowed.

    Raises AnswerError where the answer is no JSON (`answer_not_json`) or JSON of another shape (`answer_not_schema`).
    """
    fenced = _FENCE.fullmatch(answer)
    try:
        return ModelAnswer.model_validate_json(fenced[1] if fenced else answer).edits
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        is_json = first["type"] != "json_invalid"
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise AnswerError(
            "answer_not_schema" if is_json else "answer_not_json",
            f'{place}: {first["msg"]}; an answer is one JSON object {{"edits": [...]}} and nothing else; answer again in that form.',
        ) from None


def salvage_edits(cut_answer: str) -> list[ModelEdit]:
    """The complete edits at the beginning of a cut answer, in its order; an edit without its own closing brace is not guessed."""
    head = _CUT_HEAD.match(cut_answer)
    if head is None:
        return []
    edits: list[ModelEdit] = []
    decoder = json.JSONDecoder()
    position = head.end()
    while cut_answer.startswith("{", position):
        try:
            value, position = decoder.raw_decode(cut_answer, position)
            edits.append(ModelEdit.model_validate(value))
        except (json.JSONDecodeError, RecursionError, ValidationError):
            break
        separator = _SEPARATOR.match(cut_answer, position)
        position = separator.end() if separator else position
    return edits


def anchor_edits(
    model_edits: Iterable[ModelEdit],
    chunk: Chunk,
    *,
    proposer: str,
    row_key: str | None,
    confidence: float,
    sentences: Sequence[tuple[int, int]] = (),
) -> list[Edit]:
    """One edit row for each of the model's edits, in order: anchored in the document, or rejected with a reason.

    The quote must stand in the chunk once, as whole words: exactly, else with white space, quotes, dashes and dots folded, and then
    what the model left alone keeps the source's own code points. `sentences` are the document spans of the prompt's numbered sentences.
    Reasons: empty_quote, quote_not_found, quote_ambiguous, no_change.
    """
    folded = QuotedText(chunk.text)
    edits = []
    for model_edit in model_edits:
        place = _find_place(model_edit, chunk, folded, sentences)
        change = None if isinstance(place, str) else _make_change(model_edit, chunk, *place)
        reason = place if isinstance(place, str) else None
        if change is not None and change.original == change.replacement:
            change, reason = None, "no_change"
        start, end, original, replacement = change or (None, None, model_edit.quote, model_edit.replacement)
        edits.append(
            Edit(
                edit_id=name_edit(chunk.doc_id, start, end, original, replacement, proposer),
                doc_id=chunk.doc_id,
                start=start,
                end=end,
                original=original,
                replacement=replacement,
                category=model_edit.category,
                message=model_edit.why,
                proposer=proposer,
                row_key=row_key,
                score=None,
                confidence=confidence,
                status=EditStatus.ANCHORED if change else EditStatus.REJECTED,
                reason=reason,
            )
        )
    return edits


def reject_answer(answer: str, reason: str, chunk: Chunk, *, proposer: str, row_key: str | None, message: str = "") -> Edit:
    """The row that stands for an answer without a readable edit: its first 240 code points as the quote, and category `word`."""
    quote = answer[:240]
    return Edit(
        edit_id=name_edit(chunk.doc_id, None, None, quote, "", proposer),
        doc_id=chunk.doc_id,
        start=None,
        end=None,
        original=quote,
        replacement="",
        category=Category.WORD,
        message=message,
        proposer=proposer,
        row_key=row_key,
        score=None,
        confidence=0.0,
        status=EditStatus.REJECTED,
        reason=reason,
    )


def _find_place(
    model_edit: ModelEdit, chunk: Chunk, folded: QuotedText, sentences: Sequence[tuple[int, int]]
) -> tuple[int, int, bool] | str:
    """Offsets in the chunk and whether they took folding, or the reason why there are none."""
    if not model_edit.quote.strip():
        return "empty_quote"
    places = find_words(chunk.text, model_edit.quote)
    is_folded = not places
    if is_folded:
        places = folded.find(model_edit.quote.strip())
    if len(places) > 1 and model_edit.sentence is not None and 1 <= model_edit.sentence <= len(sentences):
        first, last = sentences[model_edit.sentence - 1]
        places = [place for place in places if first <= chunk.start + place[0] and chunk.start + place[1] <= last]
        return (*places[0], is_folded) if len(places) == 1 else "quote_ambiguous"
    if not places:
        return "quote_not_found"
    return (*places[0], is_folded) if len(places) == 1 else "quote_ambiguous"


def _make_change(model_edit: ModelEdit, chunk: Chunk, start: int, end: int, is_folded: bool) -> Change:
    original = chunk.text[start:end]
    replacement = match_quotes(model_edit.replacement, chunk.text, chunk.text[start - 1 : start])
    if is_folded:
        replacement = keep_original(original, replacement.strip())
    return trim_edit(original, replacement, chunk.start + start)
