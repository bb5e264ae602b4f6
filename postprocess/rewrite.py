"""The `rewrite` protocol: a model gives a passage back as it should stand, and what differs from the source becomes edits.

Owns what of an answer is the passage, its alignment by words, and the refusal of an answer that is another text. White space, quotation
marks, dashes and dots that a model writes in its own way are no differences. Whether an edit is a good one is for guards.py.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rapidfuzz.distance import DamerauLevenshtein

from chunkers.records import Category, Chunk
from engine.outcomes import SemanticError
from postprocess.changes import Change, is_rewritten, split_words, trim_edit
from postprocess.edits import AnswerError
from postprocess.quotes import Run, align_tokens, fold_text, keep_original, match_quotes
from postprocess.records import Edit, EditStatus, name_edit

MAX_LONGER_CHARS = 2_000
"""An answer over twice as long as its passage and this is not aligned."""
MAX_NOTE_WORDS = 2
"""What begins or ends an answer with more words than that over the passage's own is a note to the reader."""
MIN_SURE_TOKENS = 4
"""Equal in a row, after which a cut answer is still about the place it seems to be about."""
MAX_GAP_TOKENS = 8
"""Of the source that a cut answer leaves out; beyond a longer gap its words may be matched anywhere."""

_FENCE = re.compile(r"^```[^\n]*\n(.*?)\n?```[ \t]*$", re.DOTALL | re.MULTILINE)
_TAGGED = re.compile(r"<(\w+)>(.*)</\1>", re.DOTALL)
_INTRODUCTION = re.compile(
    r"(?:sure|certainly|of course|okay|here(?:'s|’s| is| are)|below is|(?:the )?(?:corrected|revised|proofread|passage))\b"
    r"[^\n:]{0,100}:\s+",
    re.IGNORECASE,
)
_NOTE = re.compile(
    r"[*_#>(\[\s-]*(?:notes?|changes|corrections|corrected|explanations?|edits|summary|let me know"
    r"|i(?:'ve|’ve| have)? ?(?:corrected|changed|fixed|made|only|left|kept)"
    r"|no (?:other |further )?(?:changes|corrections|errors|mistakes))\b",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"[*_(\[\s]*(?:(?:there (?:are|were) |i (?:see|found) )?no (?:\w+ )?(?:changes?|corrections?|errors?|mistakes?|edits?)\b"
    r"|(?:the|this) (?:text|passage) (?:is|has no|contains no|needs no|reads)\b)[^\n]{0,100}",
    re.IGNORECASE,
)
_RULE = re.compile(r"\s*(?:-{3,}|\*{3,}|_{3,})\s*")
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_SPACE = re.compile(r"\s+")
_LOOSE = frozenset({"-", "…"})
_QUOTES = "\"'“”‘’"


class Token(NamedTuple):
    """A word or a mark of a text."""

    start: int
    end: int
    key: tuple[str, bool]
    """What it is compared by: the text with quotes, dashes and dots folded, and whether white space stands before it.

    Beside dashes and dots white space is a matter of style, and at the beginning of the text there is none to compare.
    """
    is_word: bool


def check_rewrite(chunk: Chunk, answer: str) -> None:
    """Raises SemanticError for an answer that is empty or another text than the passage."""
    try:
        _find_runs(chunk, answer, is_cut=False)
    except AnswerError as error:
        raise SemanticError(str(error)) from error


def anchor_rewrite(answer: str, chunk: Chunk, *, proposer: str, row_key: str | None, confidence: float, is_cut: bool = False) -> list[Edit]:
    """One edit for each place where the answer has other words or marks than the passage, in order; none overlap.

    What begins or ends the answer and is no part of the passage is one row with the reason `outside_passage`. Of a cut answer only what
    lies before the place where it leaves the passage counts. Raises AnswerError for an answer that is empty (`answer_empty`) or another
    text (`answer_rewritten`).
    """
    old, new, text, runs = _find_runs(chunk, answer, is_cut=is_cut)
    edits = []
    for run in runs:
        if run.is_equal:
            continue
        change = _make_change(chunk, old, new, text, run)
        is_outside = _is_outside(old, new, run)
        if change.original == change.replacement:
            continue
        start, end = (None, None) if is_outside else (change.start, change.end)
        edits.append(
            Edit(
                edit_id=name_edit(chunk.doc_id, start, end, change.original, change.replacement, proposer),
                doc_id=chunk.doc_id,
                start=start,
                end=end,
                original=change.original,
                replacement=change.replacement,
                category=name_category(change.original, change.replacement),
                message="",
                proposer=proposer,
                row_key=row_key,
                score=None,
                confidence=confidence,
                status=EditStatus.REJECTED if is_outside else EditStatus.ANCHORED,
                reason="outside_passage" if is_outside else None,
            )
        )
    return edits


def strip_notes(answer: str, passage: str) -> str:
    """The passage in an answer: without fences, tags, an introduction, notes after it, or quotation marks around it.

    What the passage itself has is never taken for one of these.
    """
    text, folded = answer.strip(), fold_text(passage)
    if "```" not in passage and len(fenced := _FENCE.findall(text)) == 1:
        text = fenced[0].strip()
    if "<" not in passage and (tagged := _TAGGED.fullmatch(text)):
        text = tagged[2].strip()
    first, _, rest = text.partition("\n")
    if first.rstrip(" *_").endswith(":") and rest.strip() and fold_text(first.strip()) not in folded:
        text = rest.strip()
    elif (met := _INTRODUCTION.match(text)) and fold_text(met[0].strip()) not in folded:
        text = text[met.end() :]
    paragraphs = [match.end() for match in _BLANK_LINE.finditer(text)]
    for start in paragraphs:
        line = text[start:].partition("\n")[0].strip()
        if (_NOTE.match(line) and fold_text(line) not in folded) or (_RULE.fullmatch(line) and line not in passage):
            text = text[:start].rstrip()
            break
    is_quoted = len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES
    if is_quoted and passage.strip()[:1] not in _QUOTES:
        text = text[1:-1]
    return text.strip()


def name_category(original: str, replacement: str) -> Category:
    """What kind of mistake a change mends, as far as its letters tell."""
    old, new = _SPACE.sub("", original), _SPACE.sub("", replacement)
    if old == new:
        return Category.SPACE
    if old.casefold() == new.casefold():
        return Category.CASE
    words = [[token for token in split_words(side) if token[0].isalnum()] for side in (original, replacement)]
    if words[0] == words[1]:
        is_quote = any(char in _QUOTES for char in old + new) and not (set(old + new) - set(_QUOTES))
        return Category.QUOTE if is_quote else Category.PUNCT
    if not words[0] or not words[1]:
        return Category.EXTRA if words[0] else Category.MISSING
    is_near = DamerauLevenshtein.distance(old.casefold(), new.casefold(), score_cutoff=2) <= 2
    return Category.SPELL if is_near and len(words[0]) == len(words[1]) == 1 else Category.WORD


def _find_runs(chunk: Chunk, answer: str, *, is_cut: bool) -> tuple[list[Token], list[Token], str, list[Run]]:
    """Tokens of both texts, the answer's passage, and the runs that count. Raises AnswerError as `anchor_rewrite`."""
    if len(answer) > 2 * len(chunk.text) + MAX_LONGER_CHARS:
        raise AnswerError(
            "answer_rewritten",
            f"the answer has {len(answer):,} characters and the passage {len(chunk.text):,}; an answer is the passage with its mistakes "
            "mended and nothing else; answer again with the passage alone.",
        )
    text = strip_notes(answer, chunk.text)
    old = _tokenize(chunk.text)
    if not text and old:
        raise AnswerError("answer_empty", "the answer is empty; it is the whole passage as it should stand; answer again with the passage.")
    if _NOTHING.fullmatch(text) and fold_text(text) not in fold_text(chunk.text):
        return old, [], text, []
    new = _tokenize(text)
    # of a cut answer it is known where it stops: about as far into the passage as it is long
    aligned = old[: len(new) + len(new) // 10 + MAX_GAP_TOKENS] if is_cut else old
    runs = list(align_tokens([token.key for token in aligned], [token.key for token in new]))
    if is_cut:
        runs = _keep_sure(runs)
    num_changed = sum(_count_changed(old, new, run) for run in runs if not _is_outside(old, new, run))
    num_words = sum(token.is_word for token in old)
    if is_rewritten(num_changed, num_words):
        raise AnswerError(
            "answer_rewritten",
            f"the answer changes {num_changed} of {num_words} words; a proofreader mends mistakes and leaves every other word as it "
            "stands; answer again with the same passage.",
        )
    return old, new, text, runs


def _keep_sure(runs: Sequence[Run]) -> list[Run]:
    """The runs of a cut answer before the first long gap, up to the last words in which it follows the source."""
    gap = next((index for index, run in enumerate(runs) if not run.is_equal and run.old_end - run.old_start > MAX_GAP_TOKENS), len(runs))
    sure = [index for index, run in enumerate(runs[:gap]) if run.is_equal and run.old_end - run.old_start >= MIN_SURE_TOKENS]
    return list(runs[: sure[-1] + 1]) if sure else []


def _count_changed(old: Sequence[Token], new: Sequence[Token], run: Run) -> int:
    if run.is_equal:
        return 0
    return max(_count_words(old[run.old_start : run.old_end]), _count_words(new[run.new_start : run.new_end]))


def _count_words(tokens: Sequence[Token]) -> int:
    return sum(token.is_word for token in tokens)


def _is_outside(old: Sequence[Token], new: Sequence[Token], run: Run) -> bool:
    """Whether a run is what a model says before or after the passage."""
    if run.is_equal or (run.old_start > 0 and run.old_end < len(old)):
        return False
    added = _count_words(new[run.new_start : run.new_end]) - _count_words(old[run.old_start : run.old_end])
    return added > MAX_NOTE_WORDS


def _make_change(chunk: Chunk, old: Sequence[Token], new: Sequence[Token], text: str, run: Run) -> Change:
    """The change of a run with the white space on both its sides, at its smallest."""
    start, end = _span(old, run.old_start, run.old_end)
    original = chunk.text[start:end]
    replacement = text[slice(*_span(new, run.new_start, run.new_end))]
    replacement = match_quotes(_SPACE.sub(" ", replacement), chunk.text, chunk.text[start - 1 : start] if start else "")
    return trim_edit(original, _keep_spaces(original, keep_original(original, replacement)), chunk.start + start)


def _span(tokens: Sequence[Token], first: int, last: int) -> tuple[int, int]:
    """From the end of the token before to the start of the one after; at the ends of the text, without its outer white space."""
    if not tokens:
        return 0, 0
    start = tokens[first - 1].end if first else tokens[0].start
    end = tokens[last].start if last < len(tokens) else tokens[-1].end
    return start, end


def _keep_spaces(original: str, replacement: str) -> str:
    """The replacement with the original's white space at its edges, where both have some: a line end there stays one."""
    head = original[: len(original) - len(original.lstrip())]
    tail = original[len(original.rstrip()) :]
    if replacement.isspace():
        return next((space for space in (head, tail) if "\n" in space or "\r" in space), head or tail or replacement)
    core = replacement.strip()
    before = (head or " ") if replacement[:1].isspace() else ""
    after = (tail or " ") if replacement[-1:].isspace() else ""
    return before + core + after


def _tokenize(text: str) -> list[Token]:
    return list(_iterate_tokens(text))


def _iterate_tokens(text: str) -> Iterator[Token]:
    """Words with their apostrophes and combining marks, dots and dashes in their runs, every other character that is no white space."""
    position, has_space, is_loose = 0, False, True
    pieces = split_words(text)
    index = 0
    while index < len(pieces):
        piece = pieces[index]
        index += 1
        start = position
        position += len(piece)
        if piece.isspace():
            has_space = True
            continue
        longest = {".": 3, "-": 3}.get(piece, 1)
        while index < len(pieces) and pieces[index] == piece[0] and len(piece) < longest:
            piece += pieces[index]
            index += 1
            position += 1
        folded = fold_text(unicodedata.normalize("NFC", piece))
        is_dash = folded in _LOOSE
        yield Token(start, position, (folded, has_space and not is_loose and not is_dash), any(map(str.isalnum, piece)))
        has_space, is_loose = False, is_dash
