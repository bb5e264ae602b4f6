"""One word in the place of another: homophones, small words, forms of the same word, letters that scanning confuses.

What may stand for a word is fixed by the lists in `data/`; whether it is worth asking about is decided by how much likelier it is
than the word between its neighbours.
"""

from collections.abc import Iterator
from functools import cache

from chunkers.candidates.inflection import list_forms
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose, match_apostrophe, match_case
from chunkers.candidates.wordlists import map_sets, read_rows
from chunkers.records import Candidate, Category

MIN_GAIN = {
    "confusion:homophone": 1.0,
    "confusion:function_word": 4.0,
    "confusion:scanno": -1.0,
    "confusion:form": 1.5,
    "confusion:letters": 1.0,
    "confusion:neighbour": 6.0,
}
"""How much likelier, in nats, a replacement must be than the word; set on labelled books so that each kind pays for its number."""
_CATEGORY = {"confusion:form": Category.AGREEMENT}
_MIN_COUNT = 11.5
"""Log count below which a word is too rare to be proposed for a known one."""


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields replacements of single whole words, in document order, each in the word's own case."""
    lexicon = load_lexicon()
    for word in prose.words:
        if not word.is_whole or not word.lower.isascii():
            continue
        variants = list_variants(word.lower)
        if not variants:
            continue
        before, after = word.before, word.after
        old = lexicon.log_chain(before, (word.lower,), after)
        for replacement, detector in variants:
            if lexicon.log_chain(before, (replacement,), after) - old < MIN_GAIN[detector]:
                continue
            text = match_apostrophe(prose.text, match_case(word.text, replacement))
            if text == "i" or (text == "I" and word.text.isupper()):
                text = "I"
            if text != word.text and prose.is_free(word.start, word.end):
                yield prose.candidate(word.start, word.end, text, _CATEGORY.get(detector, Category.WORD), detector)


@cache
def list_variants(word: str) -> tuple[tuple[str, str], ...]:
    """Words in lower case that may stand for `word`, each once, with the detector that says so."""
    lexicon = load_lexicon()
    variants: dict[str, str] = {}
    for other in map_homophones().get(word, ()):
        variants.setdefault(other, "confusion:homophone")
    for other in map_function_words().get(word, ()):
        variants.setdefault(other, "confusion:function_word")
    for other in map_scannos().get(word, ()):
        variants.setdefault(other, "confusion:scanno")
    if lexicon.is_known(word) or word.endswith(("'s", "'")):
        for other in list_forms(word, lexicon):
            variants.setdefault(other, "confusion:form")
    if len(word) > 2:
        for other in swap_letters(word):
            if lexicon.log_word(other) > _MIN_COUNT:
                variants.setdefault(other, "confusion:letters")
    if len(word) > 2 and "'" not in word:
        for other in list_neighbours(word):
            if lexicon.words.get(other, 0.0) > _MIN_COUNT:
                variants.setdefault(other, "confusion:neighbour")
    return tuple(variants.items())


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
def map_homophones() -> dict[str, tuple[str, ...]]:
    return map_sets(read_rows("homophones"))


@cache
def map_function_words() -> dict[str, tuple[str, ...]]:
    return map_sets(read_rows("function_words"))


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
