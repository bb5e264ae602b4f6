"""Changes of a text at their smallest: on word boundaries, and in one place where several would do.

Two proposers that mean the same must come out at the same span; this is where that is settled.
"""

import re
import unicodedata
from typing import NamedTuple

MAX_CHANGED_SHARE = 0.3
"""Of a passage's words: a page that was scanned badly has one wrong word in ten, one that was paraphrased keeps a third."""
MIN_CHANGED_WORDS = 8
"""So many may change in any passage, however short."""

_TOKEN = re.compile(r"\r\n|\w+(?:['’]\w+)*|.", re.DOTALL)
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"


def is_rewritten(num_changed: int, num_words: int) -> bool:
    """Whether so many changed words of a passage make another text of it, or leave nothing of a short one."""
    return num_changed > max(MIN_CHANGED_WORDS, MAX_CHANGED_SHARE * num_words) or num_changed >= num_words > 2


def count_words(text: str) -> int:
    """Words of a text; marks and white space are none."""
    return sum(token[0].isalnum() for token in split_words(text))


class Change(NamedTuple):
    """A replacement of `[start, end)`; `original` stands there."""

    start: int
    end: int
    original: str
    replacement: str


def split_words(text: str) -> list[str]:
    """Tokens that joined are the text: words with their apostrophes and combining marks, every other character for itself."""
    tokens: list[str] = _TOKEN.findall(text)
    if text.isascii():
        return tokens
    joined: list[str] = []
    for token in tokens:
        if joined and _continues(joined[-1], token):
            joined[-1] += token
        else:
            joined.append(token)
    return joined


def _continues(before: str, token: str) -> bool:
    if _is_mark(token[0]):
        return not before[-1].isspace()
    return before[-1] == "\u200d" or (_is_mark(before[-1]) and token[0].isalnum() and before[0].isalnum())


def _is_mark(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char).startswith("M")


def trim_edit(original: str, replacement: str, start: int) -> Change:
    """The smallest change on word boundaries that does the same; an insertion before a word ends with the space, not begins with it.

    Equal texts give a change of nothing at their end.
    """
    old, new = split_words(original), split_words(replacement)
    limit = min(len(old), len(new))
    head = next((i for i in range(limit) if old[i] != new[i]), limit)
    limit -= head
    tail = next((i for i in range(limit) if old[-1 - i] != new[-1 - i]), limit)
    trimmed = "".join(old[head : len(old) - tail])
    start += sum(len(token) for token in old[:head])
    return Change(start, start + len(trimmed), trimmed, "".join(new[head : len(new) - tail]))


def slide_change(text: str, change: Change) -> Change:
    """The same insertion or deletion in the last of the places where, word by word, it gives the same text; other changes as they are.

    «the the» may lose its first «the » or its last « the».
    """
    if bool(change.original) == bool(change.replacement):
        return change
    start, end = change.start, change.end
    words = split_words(change.original or change.replacement)
    while (word := words[0]) and split_words(text[end : end + len(word) + 2])[:1] == [word]:
        words = [*words[1:], word]
        start, end = start + len(word), end + len(word)
    moved = "".join(words)
    return Change(start, end, moved if change.original else "", moved if change.replacement else "")
