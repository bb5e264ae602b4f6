"""One word in the place of another: homophones, small words, forms of the same word, letters that scanning confuses.

What may stand for a known word is fixed by the lists in `data/`; whether it is worth asking about is decided by how much likelier it is
than the word between its neighbours. Words that no list has are `spelling`'s.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from chunkers.candidates.inflection import list_forms, map_irregular
from chunkers.candidates.lexicon import load_lexicon, split_apostrophe
from chunkers.candidates.prose import Prose, match_apostrophe, match_case
from chunkers.candidates.ruled_out import is_wrong_agreement, is_wrong_number
from chunkers.candidates.wordlists import map_sets, read_rows, read_words
from chunkers.records import Candidate, Category

_NEVER = 99.0
MIN_GAIN = {
    "confusion:homophone": (-0.5, 0.0),
    "confusion:mixed": (0.25, 3.5),
    "confusion:function_word": (3.0, 4.0),
    "confusion:scanno": (-1.0, 1.0),
    "confusion:letters": (4.5, 3.75),
    "confusion:neighbour": (6.5, 7.0),
    "confusion:number": (-1.5, 2.0),
    "confusion:agreement": (-1.0, 0.5),
    "confusion:tense": (1.0, 3.0),
    "confusion:form": (4.0, _NEVER),
}
"""How much likelier, in nats, a replacement must be than the word: between two neighbours, and beside one. Set where each kind finds the
most human corrections for its number of candidates (437,000 words of proofread documents, 2,553 paragraphs)."""
_UNLISTED = frozenset({"confusion:number", "confusion:scanno"})
"""Kinds that are proposed even where the lexicon has neither of the pairs that the replacement would make."""
_CATEGORY = dict.fromkeys(("confusion:number", "confusion:agreement", "confusion:tense", "confusion:form"), Category.AGREEMENT)
_NONE: dict[str, float] = {}
_MIN_COUNT = 11.5
"""Log count below which a word is too rare to be proposed for a known one."""


class Variant(NamedTuple):
    """What may stand for a word."""

    replacement: str
    first: str
    """What the word before meets: «it» of «it's»."""
    last: str
    """What the word after meets."""
    detector: str
    limits: tuple[float, float]


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields replacements of single whole known words, in document order, each in the word's own case."""
    lexicon = load_lexicon()
    for word in prose.words:
        before, after = word.before, word.after
        if (before is None and after is None) or not word.is_whole:
            continue
        variants = list_variants(word.lower)
        if not variants:
            continue
        alone = before is None or after is None
        followers = lexicon.followers.get(before, _NONE) if before is not None else _NONE
        leaders = lexicon.leaders.get(after, _NONE) if after is not None else _NONE
        old = lexicon.log_chain(before, (word.lower,), after)
        for replacement, first, last, detector, limits in variants:
            if first not in followers and last not in leaders and detector not in _UNLISTED:
                continue
            if lexicon.log_between(before, replacement, after) - old < limits[alone] or _is_ruled_out(
                detector, before, word.lower, replacement
            ):
                continue
            text = "I" if replacement == "i" else match_apostrophe(prose.text, match_case(word.text, replacement))
            if text != word.text and prose.is_free(word.start, word.end):
                yield prose.candidate(word.start, word.end, text, _CATEGORY.get(detector, Category.WORD), detector)


def _is_ruled_out(detector: str, before: str | None, old: str, new: str) -> bool:
    if detector == "confusion:number":
        return is_wrong_number(before, old, new)
    return detector == "confusion:agreement" and is_wrong_agreement(before, old, new)


@cache
def list_variants(word: str) -> tuple[Variant, ...]:
    """Words in lower case that may stand for a known `word`, each once, with the detector that says so and its limits."""
    lexicon = load_lexicon()
    if not lexicon.is_known(word) and not word.endswith(("'s", "'")):
        return ()
    variants: dict[str, str] = {}
    for other in map_agreement().get(word, ()):
        variants.setdefault(other, "confusion:agreement")
    for other in map_homophones().get(word, ()):
        variants.setdefault(other, _name_kind(word, other))
    for other in map_scannos().get(word, ()):
        variants.setdefault(other, "confusion:scanno")
    for other in list_forms(word, lexicon):
        kind = _name_form(word, other)
        if kind != "confusion:tense" or not (word in _list_small() and other in _list_small()):  # «is» for «was» is no slip
            variants.setdefault(other, kind)
    if len(word) > 2 and word.isascii() and "'" not in word:
        for detector, others in (("confusion:letters", swap_letters(word)), ("confusion:neighbour", list_neighbours(word))):
            for other in others:
                if lexicon.words.get(other, 0.0) > _MIN_COUNT:
                    variants.setdefault(other, detector)
    variants.pop(word, None)
    return tuple(Variant(other, *_list_ends(other), detector, MIN_GAIN[detector]) for other, detector in variants.items())


def _list_ends(word: str) -> tuple[str, str]:
    return split_apostrophe(word) if "'" in word else (word, word)


def _name_kind(word: str, other: str) -> str:
    return ("confusion:homophone", "confusion:mixed", "confusion:function_word")[(word in _list_small()) + (other in _list_small())]


@cache
def _list_small() -> frozenset[str]:
    return read_words("small_words") | read_words("deletable_words") | read_words("function_words")


def _name_form(word: str, other: str) -> str:
    shorter, longer = sorted((word, other), key=len)
    if longer in (shorter + "s", shorter + "es"):
        return "confusion:number"
    if longer in (shorter + "d", shorter + "ed") or other in map_irregular().get(word, ()):
        return "confusion:tense"
    return "confusion:form"


def swap_letters(word: str) -> Iterator[str]:
    """The word with one place read as scanning might have misread it."""
    for read, meant in map_letters():
        start = word.find(read)
        while start >= 0:
            yield word[:start] + meant + word[start + len(read) :]
            start = word.find(read, start + 1)


def list_neighbours(word: str) -> Iterator[str]:
    """The word with one letter left out, added, changed, or two exchanged."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for place in range(len(word) + 1):
        head, tail = word[:place], word[place:]
        if tail:
            yield head + tail[1:]
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]
            rest = tail[1:]
            for letter in letters:
                yield head + letter + rest
        for letter in letters:
            yield head + letter + tail


@cache
def map_agreement() -> dict[str, tuple[str, ...]]:
    return map_sets(read_rows("agreement"))


@cache
def map_homophones() -> dict[str, tuple[str, ...]]:
    return map_sets(read_rows("homophones"))


@cache
def map_scannos() -> dict[str, tuple[str, ...]]:
    meant: dict[str, list[str]] = {}
    for read, other in read_rows("scannos"):
        meant.setdefault(read, []).append(other)
    return {read: tuple(others) for read, others in meant.items()}


@cache
def map_letters() -> tuple[tuple[str, str], ...]:
    rows = [(row[0], row[1]) for row in read_rows("letters")]
    return tuple(dict.fromkeys(rows + [(meant, read) for read, meant in rows]))
