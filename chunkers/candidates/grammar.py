"""The form that a verb or adverb must have after the words that govern it."""

import re
from collections.abc import Iterator, Sequence

from chunkers.candidates.inflection import list_forms
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import OPAQUE, Prose, Word, match_apostrophe, match_case
from chunkers.candidates.verbs import (
    ARTICLES,
    MODALS,
    Verb,
    find_base,
    find_ing,
    find_participle,
    find_past,
    find_plural,
    find_singular,
    find_third,
    num_as_noun,
    num_as_verb,
)
from chunkers.candidates.wordlists import list_words, read_words
from chunkers.records import Candidate, Category

_DO = list_words("did didn't does doesn't don't")
_MODALS = MODALS | _DO | list_words("can't couldn't won't wouldn't shouldn't mustn't i'll you'll he'll she'll it'll we'll they'll let's")
_NOUNS_TOO = frozenset({"will", "can", "might", "may"})
_BE = list_words("is are was were be been being isn't aren't wasn't weren't")
_HAVE = list_words("has have had hasn't haven't hadn't having")
_SINGULAR = list_words("he she it")
_PLURAL = list_words("we they")
_CAUSERS = list_words("make makes made making let lets letting see saw seen hear heard help helps helped have had watch watched that if")
_DETERMINERS = ARTICLES | list_words("this its each every our your their his my that another any")
_OBJECTS = list_words("the a an its their this these that those it them all any your our his her my for to from on into with by")
_PREPOSITIONS = list_words("of in on for with by from to at as into about between without through over under within like than")

_MAX_INSIDE = 8
"""Adverbs between a word and what governs it; a page of one word repeated has thousands."""
_CODE_SUBJECT = re.compile(
    rf"(?:[.!?:] |\n|\b(?:the|if|that|when|field|method|function|type|parameter|where) )[`*_]*{OPAQUE}+[`*_]* \Z", re.IGNORECASE
)
"""Code that is one subject by itself, not one of several."""


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the form that the context asks for, in document order."""
    inside, no_verbs = read_words("adverbs_inside"), read_words("no_verbs")
    words = prose.words
    for index, word in enumerate(words):
        if (
            word.before is None
            and word.is_whole
            and word.text.islower()
            and _CODE_SUBJECT.search(prose.masked[max(0, word.start - 80) : word.start])
        ):
            for replacement, detector in _after_code(word.lower):
                if word.after is not None and prose.is_free(word.start, word.end):
                    yield prose.candidate(word.start, word.end, replacement, Category.AGREEMENT, detector)
        if word.before is None or not word.is_whole or word.lower in no_verbs or not word.lower.isascii():
            continue
        place = index - 1
        nearest = max(0, place - _MAX_INSIDE)
        while place > nearest and words[place].before is not None and (words[place].lower in inside or words[place].lower.endswith("ly")):
            place -= 1
        for replacement, detector in dict.fromkeys(_list_forms(words, index, place)):
            text = match_apostrophe(prose.text, match_case(word.text, replacement))
            if text == word.text or not prose.is_free(word.start, word.end):
                continue
            if detector == "grammar:missing_be":
                yield prose.candidate(word.start, word.start, "be ", Category.MISSING, detector)
            else:
                yield prose.candidate(word.start, word.end, text, Category.AGREEMENT, detector)


def _list_forms(words: Sequence[Word], index: int, place: int) -> Iterator[tuple[str, str]]:
    """The forms, each with its detector; `place` is the word that governs, adverbs between them left out."""
    word, head = words[index], words[place]
    text, governor = word.lower, head.lower
    if governor in _MODALS:
        if governor in _NOUNS_TOO and (head.before in _DETERMINERS or head.text[0].isupper()):
            return
        yield from _after_modal(text, governor)
    elif governor == "to" and place == index - 1:
        yield from _after_to(text)
    elif governor in _BE and not head.is_first:
        yield from _after_be(text, word)
    elif governor in _SINGULAR | _PLURAL and place == index - 1:
        yield from _after_pronoun(text, governor, head)
    elif governor in ("that", "which", "who") and place == index - 1 and head.before is not None:
        yield from _after_relative(text, words[place - 1].lower)
    elif place == index - 1 and word.after in _OBJECTS:
        yield from _after_noun(text, words, place)
    if place == index - 1 and word.after is not None:
        yield from _as_adverb(text, governor, word.after)


def _after_modal(text: str, governor: str) -> Iterator[tuple[str, str]]:
    if find_base(text) is not None or text in _BE | _HAVE:
        return
    for verb in _list_readings(text):
        yield verb.base, "grammar:after_modal"
    if find_participle(text) is not None and governor not in _DO:
        yield text + " ", "grammar:missing_be"
    if num_as_verb(text) == 0 and num_as_noun(text) >= 1:
        for form in list_forms(text, load_lexicon()):
            if num_as_verb(form) >= 2 and form[:4] == text[:4]:
                yield form, "grammar:after_modal"


def _after_to(text: str) -> Iterator[tuple[str, str]]:
    if find_base(text) is not None or num_as_noun(text) > 2:
        return
    for verb in _list_readings(text):
        if num_as_verb(verb.base) >= 3:
            yield verb.base, "grammar:after_to"
    if find_participle(text) is not None and text != "used":
        yield text + " ", "grammar:missing_be"


def _after_be(text: str, word: Word) -> Iterator[tuple[str, str]]:
    verb = find_base(text)
    if verb is None or find_participle(text) is not None or num_as_verb(text) < 3:
        return
    if num_as_noun(text) <= 1 or word.after in _PREPOSITIONS:
        yield verb.participle, "grammar:after_be"
        yield verb.ing, "grammar:after_be"


def _after_pronoun(text: str, governor: str, head: Word) -> Iterator[tuple[str, str]]:
    if governor in _SINGULAR:
        verb = find_base(text)
        if (
            verb is not None
            and find_past(text) is None
            and num_as_verb(text) >= 3
            and text not in ("do", "come")
            and head.before not in _CAUSERS | MODALS | _DO | {"to"}
        ):
            yield verb.third, "grammar:person"
    else:
        verb = find_third(text)
        if verb is not None and num_as_verb(verb.base) >= 3 and find_base(text) is None:
            yield verb.base, "grammar:person"


def _after_code(text: str) -> Iterator[tuple[str, str]]:
    verb = find_base(text)
    if verb is not None and find_past(text) is None and (text in _HAVE or (num_as_verb(text) >= 4 and num_as_noun(text) <= 1)):
        yield verb.third, "grammar:after_code"


def _after_relative(text: str, antecedent: str) -> Iterator[tuple[str, str]]:
    verb = find_base(text)
    if verb is not None and find_past(text) is None and num_as_verb(text) >= 3 and find_plural(antecedent) is not None:
        yield verb.third, "grammar:relative"
    verb = find_third(text)
    is_sure = verb is not None and (num_as_verb(verb.base) >= 3 or num_as_noun(text) == 0)
    if verb is not None and is_sure and find_singular(antecedent) is not None:
        yield verb.base, "grammar:relative"


def _after_noun(text: str, words: Sequence[Word], place: int) -> Iterator[tuple[str, str]]:
    noun = words[place]
    verb = find_base(text)
    if verb is not None and find_past(text) is None and num_as_verb(text) >= 4 and num_as_noun(text) <= 1:
        if find_plural(noun.lower) is not None and noun.before in _DETERMINERS:
            yield verb.third, "grammar:subject"
        return
    verb = find_third(text)
    if verb is not None and num_as_verb(verb.base) >= 3 and num_as_noun(text) <= 1 and find_singular(noun.lower) is not None:
        yield verb.base, "grammar:subject"


def _as_adverb(text: str, before: str, after: str) -> Iterator[tuple[str, str]]:
    if text.endswith("ly") or find_base(text) is not None or text in _BE | MODALS:
        return
    if before not in MODALS | {"to"} or num_as_verb(after) < (3 if before in MODALS else 5):
        return
    for adverb in (text + "ly", text[:-1] + "y" if text.endswith("le") else "", text + "ally"):
        if adverb and load_lexicon().is_known(adverb):
            yield adverb, "grammar:adverb"


def _list_readings(text: str) -> list[Verb]:
    """The verbs whose form other than the base the word is."""
    found = (find(text) for find in (find_third, find_past, find_participle, find_ing))
    return list({verb.base: verb for verb in found if verb is not None}.values())
