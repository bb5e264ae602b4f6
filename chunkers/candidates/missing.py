"""Small words that are missing between words that cannot do without: «in order make», «one the things», «was followed a dot»."""

import re
from collections.abc import Iterator

from chunkers.candidates.prose import OPAQUE, Prose
from chunkers.candidates.verbs import find_base, find_past, find_plural, num_as_noun, num_as_verb
from chunkers.candidates.wordlists import list_words, read_words
from chunkers.records import Candidate, Category

_RAISING = read_words("raising_verbs")
_AGENTS = read_words("agents")
_ALLOWING = list_words(
    "allow allows allowed allowing enable enables enabled enabling cause causes caused causing force forces forced forcing"
    " require requires required want wants wanted ask asks asked tell tells told"
)
_OBJECTS = list_words("you us them it him me users")
_WANT_NOUN = list_words("in of to from by on for with and or use uses using via within into at specify set")
_DEFINITE = list_words("same following given entire specified corresponding underlying whole middle latest")
_BE = list_words("is are was were be been being")
_DETERMINERS = list_words("the a an this these those our its their your")
_PARTS = list_words(
    "number instance kind type part list set one some most lots couple piece series variety result use end rest middle front top side"
    " name version"
)
_CODE_NOUN = re.compile(
    rf"(?<![\w-])(within|in|of|to|from|by|on|use|uses|using|via|with|call|calling|calls)([ \n])[`*_]*{OPAQUE}+[`*_]*[ \n]"
    r"(method|field|function|type|class|property|parameter|command|option|attribute|argument|keyword|trait|macro|file|directory|module|package|"
    r"variable|header|operator|protocol|interface|event|object|key|flag|opcode|contract|crate|expression|loop|middleware|helper|model|facade)\b"
)


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields words to insert right before a word, with the space after them; then articles before code."""
    words = prose.words
    for index, word in enumerate(words):
        if word.before is None or not word.is_whole:
            continue
        earlier = words[index - 1].before
        if word.text[0].isupper():
            continue
        for small in _list_missing(word.lower, word.before, word.after, earlier):
            if prose.is_free(word.start, word.start):
                yield prose.candidate(
                    word.start, word.start, small + " ", Category.MISSING, f"missing:{small}", f"«{small}» seems to be missing."
                )
        if (
            word.lower.endswith("'s")
            and word.before in _WANT_NOUN
            and _is_thing(word.lower.removesuffix("'s"))
            and prose.is_free(word.start, word.start)
        ):
            yield prose.candidate(word.start, word.start, "the ", Category.MISSING, "missing:the_owner", "An article seems to be missing.")
    for match in _CODE_NOUN.finditer(prose.masked):
        place = match.end(2)
        if prose.is_free(place, place):
            yield prose.candidate(place, place, "the ", Category.MISSING, "missing:the", "An article seems to be missing.")


def _list_missing(text: str, before: str, after: str | None, earlier: str | None) -> Iterator[str]:
    is_base = find_base(text) is not None and num_as_verb(text) >= 3 and find_past(text) is None and num_as_noun(text) <= 4
    if is_base and before in _RAISING and (before != "order" or earlier == "in") and num_as_noun(text) <= 2:
        yield "to"
    if is_base and before in _OBJECTS and earlier in _ALLOWING:
        yield "to"
    if before in _PARTS and text in _DETERMINERS and earlier in ("the", "a", "an", "as", "for", "is", "are", "at", "in", "this"):
        yield "of"
    if before in _WANT_NOUN and (
        (text == "future" and before == "in" and after is None) or (text in _DEFINITE and num_as_noun(after or "") >= 2)
    ):
        yield "the"
    if before in _AGENTS and text in ("a", "an", "the", "this", "its") and earlier in _BE:
        yield "by"


def _is_thing(noun: str) -> bool:
    return find_plural(noun) is not None and num_as_noun(noun) >= 5 and noun not in read_words("bare_owners")
