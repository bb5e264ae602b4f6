"""What an edit may not touch and may not become.

Owns the refusal of anchored edits. Every edit that comes in goes out, kept or rejected with one reason; the first guard that refuses
gives it, `stale_offset` and then in the order of `_refuse_change`.
"""

import re
import string
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from chunkers.candidates.decided import DECIDED
from chunkers.candidates.decisions import Decisions, widen_to_words
from chunkers.passages import SPAN_KIND
from chunkers.readers.spans import find_addresses, find_directives, find_tex
from chunkers.records import Document, Span
from chunkers.sentences import iterate_boundaries
from postprocess.changes import Change, slide_change
from postprocess.records import Edit, EditStatus, name_edit
from postprocess.variants import is_restyle

MAX_GROWN_CHARS = 60
"""A replacement (or a deletion) over this many code points is too large where it is over three times the other side."""
MAX_SENTENCE_SHARE = 0.6
"""Of its sentence's code points, for changes over MAX_GROWN_CHARS."""

RESTYLERS = DECIDED | {"dialect", "marks:quotes", "variants:accent", "variants:hyphen"}
"""Proposers that look for consistency within one book, or do what its style sheet asks for."""

_MARKUP = frozenset("*_[]()#|<>\\`$~")
_BOUND = frozenset({"![", "](", "][", "]:", "[^", "[@"})
"""An image, links, a reference's definition, a footnote, a citation; what makes them of two marks are new neighbours."""
_TEXT_MARKUP = frozenset("_")
"""Of plain text: what stands for italics."""
_LINE_MARKER = re.compile(r"(?:[ \t]*(?:[-+=~|>#:]|\[\^|\d{1,9}[.)]|\t| {4}))+")
_NEWLINE = re.compile(r"\r\n|\r|\n")
_SENTENCE_REACH_CHARS = 600
_MACHINERY_REACH_CHARS = 80
"""To either side of a change: what it makes an address or a tag of stands as near as that."""
_PATH = re.compile(r"\.\.[/\\]|\b[A-Za-z]:\\|(?<!\S)/\w+/")
_FRAGMENT = re.compile(r"[@{}]|//|\b(?:www|https?|ftp|mailto|doi|urn|isbn)\b", re.IGNORECASE)
"""Never added, not even where it is no address yet: another edit might bring the rest of it."""
_PARTS = re.compile(r"[@:/.\\<&{}%#\[\]]|www|http", re.IGNORECASE)
"""Where none of these is near, nothing becomes an address, a directive or a tag."""
_TAG = re.compile(r"<[/!?a-zA-Z]|&#?\w{1,32};")
_STICKY = frozenset("`$/=_%&#-@+~")


class GuardError(ValueError):
    """Edits that do not belong to the document they are guarded with."""


def guard_edits(edits: Iterable[Edit], document: Document, *, restylers: frozenset[str] = RESTYLERS) -> list[Edit]:
    """The same edits in the same order, each anchored or rejected with a reason; rejected ones pass unchanged.

    An insertion or deletion that could stand in several places with the same result is moved to the last, so that proposers agree.
    Proposers in `restylers` may change regional spellings and contractions, as rules for consistency within one book do. What undoes a
    decision of the document's style sheet, or touches a passage that it protects, is rejected as `style`.
    Raises GuardError for an edit of another document.
    """
    ends = [span.end for span in document.protected]
    decisions = Decisions(document.style)
    guarded = []
    for edit in edits:
        if edit.doc_id != document.doc_id:
            raise GuardError(
                f"edit {edit.edit_id[:8]} is of document {edit.doc_id[:8]}, not of {document.path}; "
                "edits are guarded document by document; group them by doc_id first."
            )
        is_rejected = edit.status is EditStatus.REJECTED
        guarded.append(edit if is_rejected else _guard_edit(edit, document, ends, decisions, may_restyle=edit.proposer in restylers))
    return guarded


def _guard_edit(edit: Edit, document: Document, ends: list[int], decisions: Decisions, *, may_restyle: bool) -> Edit:
    if edit.start is None or edit.end is None or not _stands_at(document.text, edit.start, edit.end, edit.original):
        return replace(edit, status=EditStatus.REJECTED, reason="stale_offset")
    change = slide_change(document.text, Change(edit.start, edit.end, edit.original, edit.replacement))
    if change.start != edit.start:
        edit = replace(edit, edit_id=name_edit(edit.doc_id, *change, edit.proposer), **change._asdict())
    reason = _refuse_change(change, document, ends, may_restyle=may_restyle)
    if reason is None and edit.proposer not in DECIDED and decisions.undoes(document.text, change.start, change.end, change.replacement):
        reason = "style"
    return replace(edit, status=EditStatus.REJECTED, reason=reason) if reason else edit


def _stands_at(text: str, start: int, end: int, original: str) -> bool:
    return 0 <= start <= end <= len(text) and text[start:end] == original


def _refuse_change(change: Change, document: Document, ends: list[int], *, may_restyle: bool) -> str | None:
    if change.original == change.replacement:
        return "no_change"
    if _has_bad_characters(change.original, change.replacement):
        return "bad_characters"
    if not _is_encodable(change.replacement, document.encoding):
        return "not_in_encoding"
    if kind := _find_protected(change, document, ends):
        return "style" if kind == SPAN_KIND else f"protected_{kind}"
    if _changes_markup(change, document):
        return "markup_changed"
    if reason := _find_machinery(change, document.text):
        return reason
    if not may_restyle and _only_restyles(change, document.text):
        return "restyle"
    if _is_too_large(change, document.text):
        return "too_large"
    return None


def _only_restyles(change: Change, text: str) -> bool:
    """Of the change, or of the whole words that it makes: to take the u out of «colour» restyles."""
    first, last = widen_to_words(text, change.start, change.end)
    old, new = text[first:last], text[first : change.start] + change.replacement + text[change.end : last]
    return is_restyle(change.original, change.replacement) or is_restyle(old, new)


def _has_bad_characters(original: str, replacement: str) -> bool:
    """Control and format characters, separators of lines, lone surrogates and U+FFFD, unless the original already has them; tab and
    newlines are none."""
    return any(
        char == "\ufffd" or (char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"))
        for char in set(replacement) - set(original)
    )


def _is_encodable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _find_protected(change: Change, document: Document, ends: list[int]) -> str | None:
    """Kind of the protected span that the change overlaps, stands in, or would join by standing right beside it."""
    text, spans = document.text, document.protected
    start, end, original, replacement = change
    index = bisect_right(ends, start)
    if index < len(spans) and (spans[index].start < end or spans[index].start < start):
        return spans[index].kind
    is_between = index and index < len(spans) and spans[index - 1].end == start and spans[index].start == end
    if is_between and original.strip() and not replacement.strip():
        return spans[index].kind  # what held nothing but this would hold nothing
    if index and spans[index - 1].end == start:
        span, following = spans[index - 1], text[end : end + 1]
        edge, outside = text[span.end - 1], text[max(0, span.start - 1) : span.start]
        if _fills_lines(span, text) or _joins(span, edge, outside, (original + following)[:1], (replacement + following)[:1]):
            return span.kind
    if index < len(spans) and spans[index].start == end:
        span, preceding = spans[index], text[max(0, start - 1) : start]
        edge, outside = text[span.start], text[span.end : span.end + 1]
        if _fills_lines(span, text) or _joins(span, edge, outside, (preceding + original)[-1:], (preceding + replacement)[-1:]):
            return span.kind
    return None


def _fills_lines(span: Span, text: str) -> bool:
    """Whether nothing stands beside a span on its lines: a block of code is none any more where something does."""
    before = text[max(0, span.start - _MACHINERY_REACH_CHARS) : span.start]
    after = text[span.end : span.end + _MACHINERY_REACH_CHARS]
    return not _NEWLINE.split(before)[-1].strip() and not _NEWLINE.split(after)[0].strip()


def _joins(span: Span, edge: str, outside: str, old: str, new: str) -> bool:
    """Whether what stands beside a span's edge, once `old` and now `new`, becomes a part of it, or stops it from being markup.

    A word grows into an address or clings to code; a space right inside `**` makes plain asterisks of them, a letter beside `_` a part of
    a word.
    """
    if span.kind == "markup":
        if edge == "_" and _is_sticky(new) and not _is_sticky(old):
            return True
        return new.isspace() and not old.isspace() and (not outside or outside.isspace())
    return _is_sticky(edge) and _is_sticky(new) and not _is_sticky(old)


def _is_sticky(char: str) -> bool:
    return char.isalnum() or (bool(char) and char in _STICKY)


def _changes_markup(change: Change, document: Document) -> bool:
    start, end, old, new = change
    if _NEWLINE.findall(old) != _NEWLINE.findall(new):
        return True
    is_markdown = document.format == "markdown"
    marks = _MARKUP if is_markdown else _TEXT_MARKUP
    if Counter(char for char in old if char in marks) != Counter(char for char in new if char in marks):
        return True
    before, after = document.text[max(0, start - 1) : start], document.text[end : end + 1]
    if is_markdown and (
        _binds(before, (old + after)[:1]) != _binds(before, (new + after)[:1])
        or _binds((before + old)[-1:], after) != _binds((before + new)[-1:], after)
    ):
        return True
    lead, tail = _find_line(document.text, start, end)
    if is_markdown and not old.strip() and not tail.strip() and lead.rstrip().endswith("|"):
        return bool(new.strip())  # behind the last cell of a row
    lines = zip(_NEWLINE.split(lead + old + tail), _NEWLINE.split(lead + new + tail), strict=True)
    return any(line != other and not _is_same_kind(line, other, is_markdown=is_markdown) for line, other in lines)


def _binds(before: str, after: str) -> bool:
    """Whether two neighbours mean more in Markdown than each for itself."""
    return before + after in _BOUND or (before == "\\" and after in string.punctuation and after != "")


def _find_line(text: str, start: int, end: int) -> tuple[str, str]:
    """What stands before the span in its first line, and after it in its last, no further than says what kind of line it is."""
    lead, tail = text[max(0, start - _MACHINERY_REACH_CHARS) : start], text[end : end + _MACHINERY_REACH_CHARS]
    return _NEWLINE.split(lead)[-1], _NEWLINE.split(tail)[0]


def _is_same_kind(line: str, other: str, *, is_markdown: bool) -> bool:
    """Whether both lines have words, and the same before them: a blank line and one of ornaments part what they stand between."""
    has_words = any(map(str.isalnum, line)) and any(map(str.isalnum, other))
    return has_words and (not is_markdown or _read_marker(line) == _read_marker(other))


def _read_marker(line: str) -> str:
    """What makes more than a paragraph of a line, or the white space that it begins with."""
    match = _LINE_MARKER.match(line)
    return match[0] if match else line[: len(line) - len(line.lstrip())]


def _find_machinery(change: Change, text: str) -> str | None:
    """`address_changed` or `markup_changed` where the change makes an address, a path, a directive or a tag of words, or ends one."""
    before = text[max(0, change.start - _MACHINERY_REACH_CHARS) : change.start]
    after = text[change.end : change.end + _MACHINERY_REACH_CHARS]
    if len(_FRAGMENT.findall(change.replacement)) == 0 and not _PARTS.search(
        before[-3:] + change.original + change.replacement + after[:3]
    ):
        return None
    old, new = before + change.original + after, before + change.replacement + after
    if len(_FRAGMENT.findall(new)) > len(_FRAGMENT.findall(old)):
        return "address_changed"
    if _list_addresses(old) != _list_addresses(new):
        return "address_changed"
    return "markup_changed" if _list_marks(old) != _list_marks(new) else None


def _list_addresses(text: str) -> list[str]:
    return [*(text[span.start : span.end] for span in find_addresses(text)), *_PATH.findall(text)]


def _list_marks(text: str) -> list[str]:
    return [*(text[span.start : span.end] for span in (*find_directives(text), *find_tex(text))), *_TAG.findall(text)]


def _is_too_large(change: Change, text: str) -> bool:
    shorter, longer = sorted((len(change.original), len(change.replacement)))
    if longer <= MAX_GROWN_CHARS:
        return False
    return longer > 3 * shorter or len(change.original) > MAX_SENTENCE_SHARE * _measure_sentences(text, change.start, change.end)


def _measure_sentences(text: str, start: int, end: int) -> int:
    """Code points of the sentences that the span touches, looked for no further than _SENTENCE_REACH_CHARS."""
    first, last = max(0, start - _SENTENCE_REACH_CHARS), min(len(text), end + _SENTENCE_REACH_CHARS)
    boundaries = list(iterate_boundaries(text, first, last))
    return min((at for at in boundaries if at >= end), default=last) - max((at for at in boundaries if at <= start), default=first)
