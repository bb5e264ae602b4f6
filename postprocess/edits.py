"""Answers of the `edits` protocol: what a model may say, and where in the document it belongs.

Owns the schema of an answer, the reading of whole and cut answers, and the anchoring of quotes.
Whether an anchored edit is a good one is for guards.py.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from chunkers.records import Category, Chunk
from engine.outcomes import SchemaError, SemanticError, find_json
from postprocess.changes import Change, count_words, is_rewritten, trim_edit
from postprocess.quotes import QuotedText, find_words, keep_original, match_quotes
from postprocess.records import Edit, EditStatus, name_edit

_CUT_HEAD = re.compile(r'\s*(?:```(?:json)?\s*)?\{\s*"edits"\s*:\s*\[')
_ELLIPSIS = re.compile(r"\s*(?:\[\s*(?:\.\.\.|…)\s*\]|\.\.\.+|…)\s*")
_SEPARATOR = re.compile(r"[\s,]*")
MAX_EDITS = 40
"""Of an answer, by its schema; where nothing holds a model to it, so many are looked at all the same, however short the passage."""
_SHOWN_CHARS = 240
"""Of a quote in an error: as long as the schema lets one be, for a model that is shown half a quote copies the half."""
_UNANCHORED = {
    "empty_quote": "is empty",
    "quote_not_found": "is not in the passage",
    "quote_ambiguous": "stands in the passage more than once",
    "quote_abbreviated": "is abbreviated, and its replacement is not in the same places",
    "answer_rewritten": "is one of more edits than the passage has words",
}
_CATEGORY_NAMES = {
    "spelling": Category.SPELL, "typo": Category.SPELL, "misspelling": Category.SPELL,
    "grammar": Category.AGREEMENT, "form": Category.AGREEMENT, "tense": Category.AGREEMENT,
    "punctuation": Category.PUNCT, "quotes": Category.QUOTE, "quotation": Category.QUOTE,
    "spacing": Category.SPACE, "whitespace": Category.SPACE, "capitalization": Category.CASE, "capitalisation": Category.CASE,
    "doubled": Category.EXTRA, "duplicate": Category.EXTRA, "other": Category.WORD,
}  # fmt: skip
"""What models that are held by no schema call a category."""


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
    start: int | None = None
    end: int | None = None
    """A place in numbers, which some models add without being asked and count wrong: the quote decides."""
    quote: str
    replacement: str
    category: Category
    why: str = ""

    @field_validator("quote", "replacement", "why")
    @classmethod
    def _check_text(cls, value: str) -> str:
        value.encode()  # half a surrogate pair, which JSON can spell, is no text that a table holds
        return value

    @field_validator("category", mode="before")
    @classmethod
    def _name_category(cls, value: object) -> object:
        return _CATEGORY_NAMES.get(value.strip().lower(), value.strip().lower()) if isinstance(value, str) else value


class ModelAnswer(BaseModel):
    """The whole answer of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edits: list[ModelEdit] = Field(default_factory=list)


def _answer_schema(properties: dict[str, Any]) -> dict[str, Any]:
    item = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"edits": {"type": "array", "items": item, "maxItems": MAX_EDITS}},
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
    """Edits of a whole answer, in its order; a Markdown fence around it and words before and after it are allowed.

    Raises AnswerError where the answer is no JSON (`answer_not_json`) or JSON of another shape (`answer_not_schema`).
    """
    try:
        return ModelAnswer.model_validate_json(find_json(answer)).edits
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        is_json = first["type"] != "json_invalid"
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise AnswerError(
            "answer_not_schema" if is_json else "answer_not_json",
            f'{place}: {first["msg"]}; an answer is one JSON object {{"edits": [...]}} and nothing else; answer again in that form.',
        ) from None


def check_edits(chunk: Chunk, answer: str) -> None:
    """Raises SchemaError for an answer that holds no edits that can be read, and SemanticError where none of its quotes has a place, or
    its edits together make another text of the passage.

    No edits at all is a good answer, and so is one that changes nothing.
    """
    try:
        model_edits = parse_edits(answer)
    except AnswerError as error:
        raise SchemaError(str(error)) from error
    places = _find_changes(model_edits, chunk, ())
    problems = [place for place in places if isinstance(place, str) and place != "no_change"]
    if problems and len(problems) == len(places):
        quote = model_edits[0].quote
        shown = quote if len(quote) <= _SHOWN_CHARS else f"{quote[:_SHOWN_CHARS]}…"
        raise SemanticError(
            f"edits.0.quote: «{shown}» {_UNANCHORED[problems[0]]}; a quote is copied exactly from the passage, with enough words around it "
            "to stand there once; answer again with such quotes."
        )
    num_changed, num_words = _count_changed(chunk, places)
    if is_rewritten(num_changed, num_words):
        raise SemanticError(
            f"edits: they change {num_changed} of {num_words} words; a proofreader mends mistakes and leaves every other word as it "
            "stands; answer again with the mistakes alone."
        )


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
    what the model left alone keeps the source's own code points. An edit that is given as often as its quote stands there is for all of
    these places. Of a quote with an ellipsis that the source does not have, each part must stand there once, and the replacement have
    the same parts. `sentences` are the document spans of the prompt's numbered sentences.
    Edits that together make another text of the passage are rejected, all of them, where they stand.
    Reasons: empty_quote, quote_not_found, quote_ambiguous, quote_abbreviated, no_change, answer_rewritten.
    """
    model_edits = list(model_edits)
    places = _find_changes(model_edits, chunk, sentences)
    is_too_much = is_rewritten(*_count_changed(chunk, places))
    edits = []
    for model_edit, place in zip(model_edits, places, strict=True):
        change, reason = (None, place) if isinstance(place, str) else (place, "answer_rewritten" if is_too_much else None)
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
                status=EditStatus.REJECTED if reason else EditStatus.ANCHORED,
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


def _find_changes(model_edits: Sequence[ModelEdit], chunk: Chunk, sentences: Sequence[tuple[int, int]]) -> list[Change | str]:
    """For each edit its change, or the reason why it is none. Nothing is looked for where there are more different edits than words."""
    if len({(edit.quote, edit.replacement) for edit in model_edits}) > max(MAX_EDITS, count_words(chunk.text)):
        return ["answer_rewritten"] * len(model_edits)
    quotes = _Quotes(chunk, model_edits, sentences)
    changes: dict[_Place, Change] = {}
    found: list[Change | str] = []
    for model_edit in model_edits:
        place = quotes.find(model_edit)
        if isinstance(place, str):
            found.append(place)
            continue
        if place not in changes:
            changes[place] = _make_change(chunk, place)
        found.append("no_change" if changes[place].original == changes[place].replacement else changes[place])
    return found


def _count_changed(chunk: Chunk, places: Iterable[Change | str]) -> tuple[int, int]:
    """Words that the changes take or bring, and words of the chunk."""
    changes = {place for place in places if not isinstance(place, str)}
    num_changed = sum(max(count_words(change.original), count_words(change.replacement)) for change in changes)
    return num_changed, count_words(chunk.text)


class _Place(NamedTuple):
    """Where an edit stands in its chunk, and what shall stand there."""

    start: int
    end: int
    replacement: str
    is_folded: bool


class _Quotes:
    """Where the quotes of one answer stand in its chunk. Each quote is looked for once: an answer may hold thousands."""

    def __init__(self, chunk: Chunk, model_edits: Sequence[ModelEdit], sentences: Sequence[tuple[int, int]]) -> None:
        self._chunk, self._sentences = chunk, sentences
        self._folded = QuotedText(chunk.text)
        self._found: dict[str, tuple[list[tuple[int, int]], bool]] = {}
        self._times = Counter((edit.quote, edit.replacement) for edit in model_edits)
        self._num_given: Counter[tuple[str, str]] = Counter()

    def find(self, edit: ModelEdit) -> _Place | str:
        """The edit's place, or the reason why it has none; asked once for each edit, in the answer's order."""
        if not edit.quote.strip():
            return "empty_quote"
        places, is_folded = self._find(edit.quote)
        if len(places) > 1 and edit.sentence is not None and 1 <= edit.sentence <= len(self._sentences):
            first, last = self._sentences[edit.sentence - 1]
            offset = self._chunk.start
            places = [place for place in places if first <= offset + place[0] and offset + place[1] <= last]
        elif not places:
            return self._find_parts(edit)
        elif len(places) > 1 and self._times[edit.quote, edit.replacement] == len(places):
            self._num_given[edit.quote, edit.replacement] += 1
            places = [places[self._num_given[edit.quote, edit.replacement] - 1]]
        return _Place(*places[0], edit.replacement, is_folded) if len(places) == 1 else "quote_ambiguous"

    def _find(self, quote: str) -> tuple[list[tuple[int, int]], bool]:
        """Every place, and whether it took folding."""
        if quote not in self._found:
            exact = find_words(self._chunk.text, quote)
            self._found[quote] = (exact, False) if exact else (self._folded.find(quote.strip()), True)
        return self._found[quote]

    def _find_parts(self, edit: ModelEdit) -> _Place | str:
        """The place of an abbreviated quote: from its first part to its last, with what stands between them kept."""
        quoted, replaced = _split_parts(edit.quote), _split_parts(edit.replacement)
        if quoted == [edit.quote.strip()] or not quoted:
            return "quote_not_found"
        spans: list[tuple[int, int]] = []
        for part in quoted:
            places = [place for place in self._find(part)[0] if not spans or place[0] >= spans[-1][1]]
            if len(places) != 1:
                return "quote_ambiguous" if places else "quote_not_found"
            spans += places
        if len(replaced) != len(quoted):
            return "quote_abbreviated"
        text = replaced[0]
        for (before, after), part in zip(pairwise(spans), replaced[1:], strict=True):
            text += self._chunk.text[before[1] : after[0]] + part
        return _Place(spans[0][0], spans[-1][1], text, is_folded=True)


def _split_parts(text: str) -> list[str]:
    """What an ellipsis parts; one at either end parts nothing."""
    return [part for part in _ELLIPSIS.split(text.strip()) if part]


def _make_change(chunk: Chunk, place: _Place) -> Change:
    start, end, replacement, is_folded = place
    original = chunk.text[start:end]
    replacement = match_quotes(replacement, chunk.text, chunk.text[start - 1 : start])
    if is_folded:
        replacement = keep_original(original, replacement.strip())
    return trim_edit(original, replacement, chunk.start + start)
