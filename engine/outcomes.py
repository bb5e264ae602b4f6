"""What each outcome of a call leads to, and which outcome an answer that came through deserves. Pure functions, no I/O."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.records import Completion, Outcome

MAX_TRIES = 3
"""How often one request is asked while the engine or the connection fails."""
_SHOWN_CHARS = 120


class Action(StrEnum):
    """What is done after a call has ended."""

    KEEP = "keep"
    LONGER = "longer"
    """Ask again with twice the output limit."""
    CORRECT = "correct"
    """Ask again with the error shown to the model."""
    SPLIT = "split"
    """Ask about each half of the chunk."""
    AGAIN = "again"
    """Ask the same request once more; the feed's, with a pause before it."""
    GIVE_UP = "give_up"
    """An error row."""


class SchemaError(ValueError):
    """An answer that cannot be read: what was met, the rule, what to do. Its message is shown to the model."""


class SemanticError(ValueError):
    """An answer that can be read and makes no sense for its chunk; the message as of SchemaError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question that a job put and how it ended, whether it was computed or found: a row of the `requests` table."""

    doc_id: str
    chunk_id: str
    """Of the piece that was asked about where a chunk was split."""
    template: str
    template_version: int
    sample_index: int
    attempt: int
    """From 1; 2 where it follows an answer that was no good."""
    row_key: str
    """The call that answers it."""
    outcome: Outcome
    is_final: bool
    """False where another question followed because of the outcome."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    engine_seconds: float
    decode_seconds: float
    """These five are the call's, the same for all who asked it."""


def record_asked(completion: Completion, *, is_final: bool) -> Asked:
    """The row of a question that was answered, well or not."""
    request = completion.request
    return Asked(
        doc_id=request.doc_id,
        chunk_id=request.chunk_id,
        template=request.template,
        template_version=request.template_version,
        sample_index=request.sample_index,
        attempt=request.attempt,
        row_key=request.row_key,
        outcome=completion.outcome,
        is_final=is_final,
        prompt_tokens=completion.prompt_tokens,
        cached_tokens=completion.cached_tokens,
        completion_tokens=completion.completion_tokens,
        engine_seconds=completion.engine_seconds,
        decode_seconds=completion.decode_seconds,
    )


def asked_order(asked: Asked) -> tuple[str, str, str, int, int, int, str, str, bool]:
    """Total order of questions: two with the same key are the same row."""
    about = asked.doc_id, asked.chunk_id, asked.template, asked.template_version, asked.sample_index
    return *about, asked.attempt, asked.row_key, asked.outcome.value, asked.is_final


def next_action(outcome: Outcome, attempt: int) -> Action:
    """What an outcome leads to. `attempt` is the request's own; for `engine_error` and `timeout`, how often the same request was asked."""
    match outcome:
        case Outcome.OK:
            return Action.KEEP
        case Outcome.TRUNCATED:
            return Action.LONGER if attempt == 1 else Action.SPLIT
        case Outcome.INPUT_TOO_LONG:
            return Action.SPLIT
        case Outcome.INVALID_SCHEMA | Outcome.INVALID_SEMANTIC:
            return Action.CORRECT if attempt == 1 else Action.GIVE_UP
        case Outcome.ENGINE_ERROR | Outcome.TIMEOUT:
            return Action.AGAIN if attempt < MAX_TRIES else Action.GIVE_UP
        case Outcome.REFUSED | Outcome.SKIPPED_BUDGET:
            return Action.GIVE_UP


def classify(completion: Completion, check: Callable[[str], None], *, passage: str = "") -> Completion:
    """The completion with the outcome that its answer deserves: `refused`, `invalid_schema` and `invalid_semantic` take the place of `ok`.

    `check` is given the answer without its reasoning, and raises SchemaError or SemanticError. The text stays as it came. A completion
    that failed, or that has no text, is returned as it is. An answer that repeats a `passage` in which somebody refuses is no refusal.
    """
    if completion.outcome is not Outcome.OK or completion.text is None:
        return completion
    answer = strip_reasoning(completion.text)
    if is_refusal(answer) and not is_refusal(passage):
        shown = " ".join(answer[:_SHOWN_CHARS].split())
        return replace(
            completion,
            outcome=Outcome.REFUSED,
            error=f"The model refused («{shown}»); an answer is asked for; ask another model about this passage, or correct it by hand.",
        )
    try:
        check(answer)
    except SchemaError as error:
        return replace(completion, outcome=Outcome.INVALID_SCHEMA, error=str(error))
    except SemanticError as error:
        return replace(completion, outcome=Outcome.INVALID_SEMANTIC, error=str(error))
    return completion


_OPENING, _CLOSING = "<think>", "</think>"


def strip_reasoning(text: str) -> str:
    """The answer after a leading `<think>` block; empty where the block is not closed, the text itself where there is none."""
    if not text.lstrip().startswith(_OPENING):
        return text
    return text.partition(_CLOSING)[2].lstrip()


_FENCE = re.compile(r"```[ \t]*(?:json\w*)?[ \t]*\r?\n(.*?)\r?\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_OBJECT = re.compile(r'\{\s*"')


def find_json(answer: str) -> str:
    """The JSON object of an answer that says other things before or after it: in its last Markdown fence, else from its first brace.

    The answer itself where it holds no whole object, or is one. Linear in the answer's length.
    """
    text = answer.strip()
    if text.startswith("{") and text.endswith("}"):
        return text
    if fenced := [inner for inner in _FENCE.findall(text) if inner.strip()]:
        return str(fenced[-1]).strip()
    opening = _OBJECT.search(text)
    if opening is None:
        return answer
    try:
        _, end = json.JSONDecoder().raw_decode(text, opening.start())
    except (ValueError, RecursionError):
        return answer
    return text[opening.start() : end]


_CANNOT = (
    r"(?:can't|cannot|can ?not|won't(?: be able to)?|will not(?: be able to)?|(?: am|'m) (?:not able|unable|not going|not allowed) to)"
)
_DENIED = (
    r"(?:(?:assist|comply|engage|participate)\b"
    # «I can't help thinking», «I cannot help but» are a narrator's words
    r"|help(?= (?:you|with|in|on)\b| *[.,;:!]| *$)"
    r"|(?:do|answer|respond to|fulfill?|complete|continue|support|discuss|share|generate|create|produce|provide|offer|proofread|edit"
    r"|correct|review|process|analy[sz]e|read|perform|write|work) (?:with |on )?"
    r"(?:that|this|these|those|the|your|any|an?|such|it|explicit|sexual|violent|hateful|content|material|edits|corrections)\b)"
)
_REFUSES = re.compile(
    rf"i(?: (?:really|just|simply|also|therefore))? ?{_CANNOT}(?: \w+ly)? {_DENIED}"
    r"|i (?:must|have to|need to|will have to) (?:respectfully |politely )?(?:decline|refuse)\b"
    r"|i (?:respectfully |politely )?(?:decline|refuse) to\b"
    r"|i (?:do not|don't) feel comfortable\b|i(?: am|'m) not comfortable\b"
    r"|(?:that|this|it)(?: is|'s) (?:not )?something (?:that )?i (?:can|can't|cannot|will|won't|am|'m)\b"
    r"|(?:this|that|the|your) (?:request|content|passage|text) (?:violates|goes against|is against|conflicts with) (?:my|our|the)\b"
    r"|i (?:do not|don't) have the (?:ability|capability|capacity) to\b",
    re.IGNORECASE,
)
_EXCUSE = (
    r"(?:(?:i'm|i am)(?: (?:very|really|so|truly|deeply|terribly))? (?:sorry|afraid)|sorry"
    r"|(?:i|my)(?: (?:sincerely|deepest|sincere))? apolog\w+"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b(?: (?:language )?(?:model|assistant)\b)?)"
)
_EXCUSES = (
    re.compile(rf"(?:{_EXCUSE}|unfortunately|however|but|that|oh|hello|hi)\b[ ,.;:!—–-]*", re.IGNORECASE),
    re.compile(rf"{_EXCUSE} [^,.;:!?\n—–]{{1,80}}[ ,.;:!—–-]+", re.IGNORECASE),
)
"""What may stand before a refusal: the shortest form, and one that says what is regretted."""
_MAX_EXCUSES = 5
"""«I'm sorry | for that, | but | as an AI model, | I cannot assist»."""


def is_refusal(text: str) -> bool:
    """Whether an answer begins by refusing to answer.

    Careful rather than complete: an answer taken for a refusal is not asked again. What begins with a bracket or a quotation mark is data
    or the book's own words, and «I cannot find any mistakes» refuses nothing.
    """
    head = text.lstrip()[:400].replace("’", "'")
    positions = {0}
    for _ in range(_MAX_EXCUSES + 1):
        if any(_REFUSES.match(head, position) for position in positions):
            return True
        positions = {match.end() for position in positions for excuse in _EXCUSES if (match := excuse.match(head, position))}
    return False
