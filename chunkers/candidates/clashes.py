"""Small words that cannot stand side by side: one of the two is too many."""

from collections.abc import Iterator
from functools import cache
from itertools import product

from chunkers.candidates.prose import Prose
from chunkers.candidates.verbs import MODALS
from chunkers.candidates.wordlists import list_words
from chunkers.records import Candidate, Category

_ARTICLES = list_words("the a an")
_POSSESSIVES = list_words("my your its our their")
_FINITE = list_words("is are was were has does")
_PREPOSITIONS = list_words("of from with into at for by")
_BE_FINITE = list_words("is are was were")
_ALLOWED = frozenset({("from", "of"), ("with", "of"), ("to", "is"), ("to", "was"), ("to", "are"), ("to", "were"), ("to", "has")})
_SUBJECTS = list_words("i he she they we")


@cache
def list_clashes() -> frozenset[tuple[str, str]]:
    """Pairs of different words, in lower case, that hardly any sentence needs."""
    determiners = _ARTICLES | _POSSESSIVES | {"every"}
    pairs = set(product(determiners, determiners | {"this", "these"}))
    pairs |= set(product(_ARTICLES, _PREPOSITIONS | _FINITE | _SUBJECTS | {"to", "and", "or", "be", "been", "if", "that", "it"}))
    pairs |= set(product(_POSSESSIVES, _FINITE | {"of", "to", "be", "been", "it"}))
    pairs |= set(product(("of",), _FINITE | {"to", "be", "been", "with", "into"}))
    pairs |= set(product(("from", "into", "with"), ("to", "be", "been", "of", "for", "into")))
    pairs |= set(product(MODALS, (MODALS - {"will", "can", "might"}) | _FINITE | {"been", "had"}))
    pairs |= set(product(_BE_FINITE, (*_BE_FINITE, "be", "has", "have", "had", "does", "do")))
    pairs |= set(product(("has", "have", "had"), ("has", "is", "are", "was", "were", "be")))
    pairs |= set(product(("to",), (*_FINITE, "of", "for", "from", "been")))
    pairs |= set(product(("be", "been"), ("be", "been", *_FINITE, "have")))
    pairs |= {("let's", "we"), ("let's", "us"), ("let's", "to"), ("in", "of"), ("on", "of"), ("in", "on"), ("in", "into")}
    return frozenset((left, right) for left, right in pairs if left != right) - _ALLOWED


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the deletion of the first of two such words, then that of the second, each with the space after it."""
    clashes = list_clashes()
    words = prose.words
    for index, word in enumerate(words):
        if word.after is None or not word.is_whole or index + 2 >= len(words):
            continue
        following = words[index + 1]
        if not following.is_whole or following.text[0].isupper():
            continue
        if (word.lower, word.after) not in clashes or (word.text[0].isupper() and not word.is_first):
            continue
        if not (word.is_first and word.text[0].isupper()) and prose.is_free(word.start, following.start):
            yield prose.candidate(
                word.start, following.start, "", Category.EXTRA, "clash", f"«{word.text} {following.text}» is one word too many."
            )
        if following.after is not None and prose.is_free(following.start, words[index + 2].start):
            yield prose.candidate(
                following.start,
                words[index + 2].start,
                "",
                Category.EXTRA,
                "clash",
                f"«{word.text} {following.text}» is one word too many.",
            )
