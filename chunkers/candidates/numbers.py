"""Singular and plural after the words that decide it, and the possessive of a noun before a noun."""

import re
from collections.abc import Iterator
from functools import cache

from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose, Word, match_apostrophe, match_case
from chunkers.candidates.verbs import MODALS, find_base, find_plural, find_singular, find_third, num_as_noun, num_as_verb
from chunkers.candidates.wordlists import list_words, read_words
from chunkers.records import Candidate, Category

_SEVERAL = list_words("several many multiple various few both these those two three four five six seven eight nine ten numerous")
_EACH = list_words("a an each every another")
_OWNERS = list_words("the a an my your his her its our their this each every")
_OF = list_words("one each both either neither two three many several number pair couple")
_AFTER_OF = list_words("the these those our my your his her their its")
_UNCHANGED = list_words("series species means news always perhaps across less unless sometimes kinds sorts yes lots")
_COUNTS = list_words("few dozen hundred thousand million good great")
_FIGURES = re.compile(r"(?<![\w.,/:#$£-])(?!1[5-9]\d\d |20\d\d )(?:[2-9]|\d{2,})[ \u00a0](?=[a-z])")
_ENDED = re.compile(r"[.,;:!?)”’\"—]|\s*\Z|\s*\n\s*\n")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the other number: of words in document order, then of what stands after figures.

    Only where a noun ends its phrase: what stands before another noun is singular in «two file uploads».
    """
    words = prose.words
    closing = _list_closing()
    by_start = {word.start: index for index, word in enumerate(words)}
    for index, word in enumerate(words):
        if word.before is None or not word.is_whole or not _ends_phrase(prose, word, closing):
            continue
        before, earlier = word.before, words[index - 1].before
        plural, singular = _pluralise(word.lower), find_singular(word.lower)
        if plural is not None:
            is_part = earlier == "of" and before in _AFTER_OF and index > 2 and words[index - 3].lower in _OF
            if before in _SEVERAL or is_part:
                yield from _change(prose, index, plural, "numbers:several")
        elif singular is not None and find_plural(word.lower) is None and num_as_verb(word.lower) == 0:
            if before in _EACH and earlier not in ("such", "many"):
                yield from _change(prose, index, singular, "numbers:each")
            elif earlier in _EACH and words[index - 1].is_whole and _is_adjective(before, closing) and not _is_verb(word.lower):
                yield from _change(prose, index, singular, "numbers:each_inside")
    for match in _FIGURES.finditer(prose.masked):
        place = by_start.get(match.end())
        if place is not None and words[place].is_whole and _ends_phrase(prose, words[place], closing):
            plural = _pluralise(words[place].lower)
            if plural is not None:
                yield from _change(prose, place, plural, "numbers:figure")


def _is_adjective(text: str, closing: frozenset[str]) -> bool:
    return not (text in closing or text in _COUNTS or text.endswith("s")) and find_singular(text) is None


def _is_verb(text: str) -> bool:
    third = find_third(text)
    return third is not None and num_as_verb(third.base) >= 2


@cache
def _list_closing() -> frozenset[str]:
    return read_words("small_words") | read_words("deletable_words") | MODALS


def _ends_phrase(prose: Prose, word: Word, closing: frozenset[str]) -> bool:
    if len(word.lower) < 3 or "'" in word.lower or word.lower in closing or word.lower in _UNCHANGED:
        return False
    return word.after in closing if word.after is not None else _ENDED.match(prose.masked, word.end) is not None


def _pluralise(text: str) -> str | None:
    """The plural of a word that is a noun more than anything else."""
    if text in read_words("no_plurals") or num_as_noun(text) < 2 or (find_base(text) is not None and num_as_noun(text) < 4):
        return None
    return find_plural(text)


def find_possessives(prose: Prose) -> Iterator[Candidate]:
    """Yields «'s» for a noun in s that stands before another noun, after a word that asks for the singular."""
    words = prose.words
    lexicon = load_lexicon()
    for index, word in enumerate(words):
        if not word.is_whole or word.before is None:
            continue
        if word.before in _OWNERS and word.after is not None and "'" not in word.lower:
            singular = find_singular(word.lower)
            if (
                singular is None
                or num_as_verb(word.lower)
                or num_as_verb(word.after)
                or word.after in _list_closing()
                or num_as_noun(word.after) < 3
                or find_singular(word.after)
            ):
                continue
            if word.after in lexicon.followers.get(word.lower, ()):
                continue
            yield from _change(prose, index, singular + "'s", "numbers:possessive")


def _change(prose: Prose, index: int, replacement: str, detector: str) -> Iterator[Candidate]:
    word = prose.words[index]
    text = match_apostrophe(prose.text, match_case(word.text, replacement))
    if text != word.text and prose.is_free(word.start, word.end):
        yield prose.candidate(word.start, word.end, text, Category.AGREEMENT, detector)
