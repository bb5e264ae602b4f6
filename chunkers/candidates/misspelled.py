"""Unknown words that `spelling` leaves alone: inside compounds, with a capital like a name's, and two letters away from any word."""

from collections import Counter
from collections.abc import Iterator
from functools import cache

from rapidfuzz import process
from rapidfuzz.distance import DamerauLevenshtein

from chunkers.candidates.confusion import list_neighbours, swap_letters
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose, Word, match_case
from chunkers.records import Candidate, Category

_MIN_PART, _MIN_NAME, _MIN_FAR = 5, 6, 8
"""Lengths from which a word is looked at, in letters; short ones are near to too many."""
_MIN_COUNT = 13.0
"""Log count of a word that may be meant."""
_MAX_FAR = 2
_MAX_TIMES = 2


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the commonest word that may be meant, in document order."""
    lexicon = load_lexicon()
    counts = Counter(word.lower for word in prose.words)
    masked = prose.masked
    for word in prose.words:
        text = word.lower
        if lexicon.is_known(text) or counts[text] > _MAX_TIMES or not (text.isascii() and text.isalpha()) or not word.text[1:].islower():
            continue
        kind = _name_kind(word, masked[word.start - 1 : word.start], masked[word.end : word.end + 1])
        if kind is None:
            continue
        meant = find_far(text) if kind == "misspelled:far" else _find_near(text, counts if kind == "misspelled:name" else None)
        if meant is not None and prose.is_free(word.start, word.end):
            yield prose.candidate(
                word.start, word.end, match_case(word.text, meant), Category.SPELL, kind, f"«{word.text}» is in no word list."
            )


def _name_kind(word: Word, before: str, after: str) -> str | None:
    """Which kind of unknown word it is, by where it stands; None for those that are not looked at here."""
    if not word.is_whole:
        is_part = "-" in (before, after) and (before in " -(\n" or before.isspace()) and (after in "-.,;:!?)" or after.isspace())
        return "misspelled:part" if is_part and word.text.islower() and len(word.text) >= _MIN_PART else None
    if word.text[0].isupper():
        return "misspelled:name" if not word.is_first and len(word.text) >= _MIN_NAME else None
    return "misspelled:far" if len(word.text) >= _MIN_FAR else None


def _find_near(text: str, counts: Counter[str] | None) -> str | None:
    """The commonest word one letter away; with `counts`, only one that the document has or that scanning might have left so."""
    lexicon = load_lexicon()
    scanned = set(swap_letters(text)) if counts is not None else set()
    near = {
        other
        for other in list_neighbours(text)
        if lexicon.words.get(other, 0.0) > _MIN_COUNT and (counts is None or counts[other] or other in scanned)
    } | {other for other in scanned if lexicon.words.get(other, 0.0) > _MIN_COUNT}
    near = {other for other in near if other.rstrip("s") != text.rstrip("s")}
    return max(near, key=lambda other: (lexicon.log_word(other), other), default=None)


@cache
def find_far(text: str) -> str | None:
    """The commonest word two letters away from a long word that has none nearer; None for other words."""
    lexicon = load_lexicon()
    if any(lexicon.is_known(other) for other in list_neighbours(text)):
        return None
    choices = _list_by_start().get(text[:2], ())
    found = process.extract(text, choices, scorer=DamerauLevenshtein.distance, score_cutoff=_MAX_FAR, limit=5)
    # another ending makes another word: «younger» is not what «youngerly» was meant to be
    near = [word for word, _, _ in found if word[-2:] == text[-2:]]
    return max(near, key=lambda word: (lexicon.log_word(word), word), default=None)


@cache
def _list_by_start() -> dict[str, tuple[str, ...]]:
    """Common long words by their first two letters."""
    by_start: dict[str, list[str]] = {}
    for word, count in load_lexicon().words.items():
        if count > _MIN_COUNT and len(word) >= _MIN_FAR - _MAX_FAR:
            by_start.setdefault(word[:2], []).append(word)
    return {start: tuple(words) for start, words in by_start.items()}
