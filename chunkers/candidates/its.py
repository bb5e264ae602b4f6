"""«it's» where «its» is meant, and the other way about, by what follows."""

from collections.abc import Iterator
from functools import cache

from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import OPAQUE, Prose, Word, match_apostrophe, match_case
from chunkers.candidates.verbs import MODALS, find_ing, find_singular, num_as_noun
from chunkers.candidates.wordlists import list_words, read_words
from chunkers.records import Candidate, Category

_NEVER_OWNED = list_words("a an the not been just too because important necessary is")
_AFTER_IS = list_words("true false time fun nice good bad great nothing something one safe hard easy part name night day late early")
"""Nouns, more or less, that stand oftener after «it is» than after «its»."""
_GOVERNORS = list_words("of in on with from by for at into to that and or than as borrows has have had uses using via through within")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the other of the two, in document order."""
    words = prose.words
    for index, word in enumerate(words):
        if word.lower not in ("it's", "its") or not word.is_whole:
            continue
        following = words[index + 1] if word.after is not None else None
        if word.lower == "it's":
            replacement, is_wrong = "its", not word.is_first and _owns(prose, word, following)
        else:
            replacement, is_wrong = "it's", following is not None and following.lower in _NEVER_OWNED
        if is_wrong and prose.is_free(word.start, word.end):
            text = match_apostrophe(prose.text, match_case(word.text, replacement))
            yield prose.candidate(word.start, word.end, text, Category.WORD, "its", f"«{replacement}» seems to be meant.")


def _owns(prose: Prose, word: Word, following: Word | None) -> bool:
    """Whether code follows «it's», or a noun that ends its phrase or stands after a word that wants one."""
    if following is None:
        return prose.masked[word.end : word.end + 3].strip(" `*_")[:1] == OPAQUE
    text = following.lower
    if (
        text in _list_closed()
        or (text in _AFTER_IS and word.before not in _GOVERNORS)
        or text.endswith(("er", "ly"))
        or find_ing(text) is not None
        or not (num_as_noun(text) >= 3 or find_singular(text) is not None)
    ):
        return False
    if load_lexicon().is_known(text + "ly") and num_as_noun(text) < 5:
        return False
    return following.after is None or num_as_noun(following.after) < 5 or word.before in _GOVERNORS


@cache
def _list_closed() -> frozenset[str]:
    return read_words("small_words") | read_words("deletable_words") | read_words("no_verbs") | MODALS
