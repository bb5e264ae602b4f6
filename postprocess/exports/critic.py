"""Findings as CriticMarkup, and the way back. Format: https://github.com/CriticMarkup/CriticMarkup-toolkit

The format has no escape. Where the text itself looks like a mark, an empty comment is put after the brace, which every reader of the
format drops; where a change holds the end of its own mark, the mark is split in two.
"""

import re
from collections.abc import Iterable, Iterator

from postprocess.assemble import Replacement, order_findings

_OPENING = re.compile(r"\{(?=\+\+|--|~~|==|>>)")
_ESCAPE = "{>><<}"
_SPACES = re.compile(r"\s+")
_CLOSINGS = {"{++": "++}", "{--": "--}", "{~~": "~~}", "{>>": "<<}"}


def render_critic(text: str, findings: Iterable[Replacement]) -> str:
    """The text with each finding as `{~~old~>new~~}`, `{++new++}` or `{--old--}`, followed by its message as `{>>message<<}`.

    `reject_marks` of it is the text, `accept_marks` the text with the findings applied.
    Raises AssembleError where findings overlap or do not stand in the text.
    """
    pieces, position = [], 0
    for finding in order_findings(text, findings):
        pieces += [_escape(text[position : finding.start]), _mark_change(finding.original, finding.replacement)]
        pieces.append(_mark_comment(getattr(finding, "message", "")))
        position = finding.end
    return "".join([*pieces, _escape(text[position:])])


def reject_marks(marked: str) -> str:
    """The text before the marks."""
    return "".join(old for old, _ in _read_marks(marked))


def accept_marks(marked: str) -> str:
    """The text with every mark taken over."""
    return "".join(new for _, new in _read_marks(marked))


def _escape(text: str) -> str:
    return _OPENING.sub("{" + _ESCAPE, text)


def _mark_change(old: str, new: str) -> str:
    if old and new and "~>" not in old and "~~}" not in old and "~~}" not in new:
        return f"{{~~{old}~>{new}~~}}"
    return _mark_side("{--", old) + _mark_side("{++", new)


def _mark_side(opening: str, side: str) -> str:
    closing = _CLOSINGS[opening]
    split = side.replace(closing, closing[0] + closing + opening + closing[1:])
    return opening + split + closing if side else ""


def _mark_comment(message: str) -> str:
    message = _SPACES.sub(" ", message).strip()
    return f"{{>>{message.replace('<<}', '<< }')}<<}}" if message else ""


def _read_marks(marked: str) -> Iterator[tuple[str, str]]:
    """Runs of the text as (before, after); a brace that opens no whole mark is text."""
    position = 0
    while True:
        start = marked.find("{", position)
        if start < 0:
            yield marked[position:], marked[position:]
            return
        plain = marked[position:start]
        yield plain, plain
        opening = marked[start : start + 3]
        end = marked.find(_CLOSINGS[opening], start + 3) if opening in _CLOSINGS else -1
        if end < 0:
            yield "{", "{"
            position = start + 1
            continue
        content = marked[start + 3 : end]
        if opening == "{~~":
            old, _, new = content.partition("~>")
            yield old, new
        else:
            yield (content if opening == "{--" else ""), (content if opening == "{++" else "")
        position = end + 3
