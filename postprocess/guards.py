"""What an edit may not touch and may not become.

Owns the refusal of anchored edits. Every edit that comes in goes out, kept or rejected with one reason; the first guard that refuses
gives it, `stale_offset` and then in the order of `_refuse_change`.
"""

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from chunkers.records import Document, Span
from chunkers.sentences import iterate_boundaries
from postprocess.changes import Change, slide_change
from postprocess.records import Edit, EditStatus, name_edit
from postprocess.variants import is_restyle

MAX_GROWN_CHARS = 60
"""A replacement (or a deletion) over this many code points is too large where it is over three times the other side."""
MAX_SENTENCE_SHARE = 0.6
"""Of its sentence's code points, for changes over MAX_GROWN_CHARS."""

_MARKUP = frozenset("*_[]()#|<>\\`$")
_LINE_MARKER = re.compile(r"[ \t]*(?:[-+=~]|\d{1,9}[.)]|\t| {4})")
_SENTENCE_REACH_CHARS = 600
_STICKY = frozenset("`$/=_%&#-@+~")


class GuardError(ValueError):
    """Edits that do not belong to the document they are guarded with."""


def guard_edits(edits: Iterable[Edit], document: Document, *, restylers: frozenset[str] = frozenset()) -> list[Edit]:
    """The same edits in the same order, each anchored or rejected with a reason; rejected ones pass unchanged.

    An insertion or deletion that could stand in several places with the same result is moved to the last, so that proposers agree.
    Proposers in `restylers` may change regional spellings and contractions, as rules for consistency within one book do.
    Raises GuardError for an edit of another document.
    """
    ends = [span.end for span in document.protected]
    guarded = []
    for edit in edits:
        if edit.doc_id != document.doc_id:
            raise GuardError(
                f"edit {edit.edit_id[:8]} is of document {edit.doc_id[:8]}, not of {document.path}; "
                "edits are guarded document by document; group them by doc_id first."
            )
        is_rejected = edit.status is EditStatus.REJECTED
        guarded.append(edit if is_rejected else _guard_edit(edit, document, ends, may_restyle=edit.proposer in restylers))
    return guarded


def _guard_edit(edit: Edit, document: Document, ends: list[int], *, may_restyle: bool) -> Edit:
    if edit.start is None or edit.end is None or not _stands_at(document.text, edit.start, edit.end, edit.original):
        return replace(edit, status=EditStatus.REJECTED, reason="stale_offset")
    change = slide_change(document.text, Change(edit.start, edit.end, edit.original, edit.replacement))
    if change.start != edit.start:
        edit = replace(edit, edit_id=name_edit(edit.doc_id, *change, edit.proposer), **change._asdict())
    reason = _refuse_change(change, document, ends, may_restyle=may_restyle)
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
        return f"protected_{kind}"
    if _changes_markup(change, document):
        return "markup_changed"
    if not may_restyle and is_restyle(change.original, change.replacement):
        return "restyle"
    if _is_too_large(change, document.text):
        return "too_large"
    return None


def _has_bad_characters(original: str, replacement: str) -> bool:
    """Control and format characters, lone surrogates and U+FFFD, unless the original already has them; tab and newlines are none."""
    return any(
        char == "\ufffd" or (char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf", "Cs"))
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
    if index and spans[index - 1].end == start:
        span, following = spans[index - 1], text[end : end + 1]
        edge, outside = text[span.end - 1], text[max(0, span.start - 1) : span.start]
        if _joins(span, edge, outside, (original + following)[:1], (replacement + following)[:1]):
            return span.kind
    if index < len(spans) and spans[index].start == end:
        span, preceding = spans[index], text[max(0, start - 1) : start]
        edge, outside = text[span.start], text[span.end : span.end + 1]
        if _joins(span, edge, outside, (preceding + original)[-1:], (preceding + replacement)[-1:]):
            return span.kind
    return None


def _joins(span: Span, edge: str, outside: str, old: str, new: str) -> bool:
    """Whether what stands beside a span's edge, once `old` and now `new`, becomes a part of it, or stops it from being markup.

    A word grows into an address or clings to code; a space right inside `**` makes plain asterisks of them.
    """
    if span.kind == "markup":
        return new.isspace() and not old.isspace() and (not outside or outside.isspace())
    return _is_sticky(edge) and _is_sticky(new) and not _is_sticky(old)


def _is_sticky(char: str) -> bool:
    return char.isalnum() or (bool(char) and char in _STICKY)


def _changes_markup(change: Change, document: Document) -> bool:
    start, end, old, new = change
    if any(old.count(newline) != new.count(newline) for newline in "\n\r"):
        return True
    if document.format != "markdown":
        return False
    if Counter(char for char in old if char in _MARKUP) != Counter(char for char in new if char in _MARKUP):
        return True
    line_start = max(document.text.rfind("\n", 0, start), document.text.rfind("\r", 0, start)) + 1
    lead, tail = document.text[line_start:start], document.text[end : end + 12]
    if lead.strip():
        return False
    return bool(_LINE_MARKER.match(lead + new + tail)) != bool(_LINE_MARKER.match(lead + old + tail))


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
