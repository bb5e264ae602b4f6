"""Errors between words: marks that are missing, wrong or too many, spaces, quotation marks."""

import re
from collections.abc import Sequence

from tests.bench.proofreader.draft import Draft

_PUNCTUATION: dict[str, Sequence[tuple[float, str]]] = {
    ",": ((0.6, ""), (0.85, "."), (0.9, ";"), (1, ",,")),
    ".": ((0.45, ""), (0.8, ","), (0.9, ".."), (0.95, "?"), (1, ". .")),
    "?": ((0.7, "."), (0.85, ""), (1, "!")),
    "!": ((0.4, "."), (0.6, ""), (0.8, "?"), (1, ",")),
    ";": ((0.3, ","), (0.5, ""), (0.8, ":"), (1, ".")),
    ":": ((0.3, ","), (0.5, ""), (0.8, ";"), (1, ".")),
    "—": ((0.7, "-"), (0.75, ""), (1, ", ")),
    "-": ((0.5, " "), (0.75, ""), (1, "—")),
    "…": ((0.4, ".."), (0.6, "...."), (1, ".")),
}
"""What is written for a mark, up to which draw between 0 and 1."""
_INNER_STOP = ((0.2, ","), (0.5, ""))
"""For a full stop with no space behind it, before what is written for any."""
_SPACED = frozenset(",.;:?!)”")
_OTHER_SIDE = dict(zip("“”‘’\"'", "”“’‘'\"", strict=True))
_OTHER_NUMBER = dict(zip("“”‘’\"'", "‘’“”'\"", strict=True))
_OTHER_SHAPE = dict(zip("“”‘’\"'", "\"\"''“’", strict=True))
_APOSTROPHES = ((0.5, ""), (0.65, " "), (0.85, "‘"), (0.9, "”"), (1, ","))


def change_mark(draft: Draft, index: int) -> bool:
    """Write another mark or none, put one where none belongs, or join two sentences with a comma."""
    kind = draft.chance.random()
    if kind < 0.70:
        return _replace_mark(draft, index)
    if kind < 0.92 and draft.is_space(index + 1):
        draft.tokens[index] += draft.chance.choices([",", ".", ";", ":", "-"], [70, 14, 6, 4, 6])[0]
        return True
    return _join_sentences(draft, index)


def _replace_mark(draft: Draft, index: int) -> bool:
    places = draft.list_marks(index, 60, frozenset(_PUNCTUATION))
    if not places:
        return False
    place = draft.chance.choice(places)
    mark, draw = draft.tokens[place], draft.chance.random()
    is_inner = place + 1 < len(draft.tokens) and not draft.is_space(place + 1)
    written = (*_INNER_STOP, *_PUNCTUATION[mark]) if mark == "." and is_inner else _PUNCTUATION[mark]
    draft.tokens[place] = _pick(written, draw)
    return True


def _pick(written: Sequence[tuple[float, str]], draw: float) -> str:
    return next(text for limit, text in written if draw < limit)


def _join_sentences(draft: Draft, index: int) -> bool:
    """The next full stop becomes a comma, and the word behind it small; never `I` and what begins so."""
    tokens = draft.tokens
    for place in range(index, min(index + 40, len(tokens) - 2)):
        after = tokens[place + 2]
        if tokens[place : place + 2] == [".", " "] and after[:1].isupper() and not after.startswith("I"):
            tokens[place], tokens[place + 2] = ",", after[0].lower() + after[1:]
            return True
    return False


def change_space(draft: Draft, index: int) -> bool:
    """Join two words, cut one in two, or move the space beside a mark."""
    chance, tokens = draft.chance, draft.tokens
    kind = chance.random()
    if kind < 0.35:
        if index + 2 < len(tokens) and tokens[index + 1] == " " and tokens[index + 2][:1].isalpha():
            tokens[index + 1] = ""
            return True
        return False
    if kind < 0.65:
        return _cut_word(draft, index)
    places = draft.list_marks(index, 40, _SPACED)
    if not places:
        return False
    place = chance.choice(places)
    if kind < 0.85:
        tokens[place] = f" {tokens[place]}"
    elif place + 1 < len(tokens) and tokens[place + 1] == " ":
        tokens[place + 1] = ""
    else:
        return False
    return True


def _cut_word(draft: Draft, index: int) -> bool:
    """Where both parts are words, if there is such a place."""
    chance, word, counts = draft.chance, draft.tokens[index], draft.vocabulary.counts
    if len(word) < 4:
        return False
    place = chance.randrange(1, len(word))
    low = word.lower()
    for between in range(2, len(word) - 1):
        if low[:between] in counts and low[between:] in counts and chance.random() < 0.5:
            place = between
    draft.tokens[index] = f"{word[:place]} {word[place:]}"
    return True


def change_quote(draft: Draft, index: int) -> bool:
    """Leave a quotation mark out, write it twice or another; or do so with the word's apostrophe."""
    chance, tokens = draft.chance, draft.tokens
    word = tokens[index]
    if chance.random() < 0.25 and ("’" in word or "'" in word):
        tokens[index] = re.sub("[’']", _pick(_APOSTROPHES, chance.random()), word, count=1)
        return True
    places = draft.list_marks(index, 120, frozenset(_OTHER_SIDE))
    if not places:
        return False
    place = chance.choice(places)
    mark = tokens[place]
    changes = ((0.5, ""), (0.75, _OTHER_SIDE[mark]), (0.9, _OTHER_NUMBER[mark]), (0.95, _OTHER_SHAPE[mark]), (1, mark * 2))
    tokens[place] = _pick(changes, chance.random())
    return True
