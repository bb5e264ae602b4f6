"""Doubled words, across a line's end too."""

from collections.abc import Iterator
from itertools import pairwise

from chunkers.candidates.prose import Prose
from chunkers.candidates.wordlists import read_words
from chunkers.records import Candidate, Category

_MAY_DOUBLE = read_words("doubles")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the deletion of the first of two equal words with the space between them."""
    words = prose.words
    for word, following in pairwise(words):
        if word.lower != word.after or not word.lower or not (word.is_whole and following.is_whole):
            continue
        if not prose.is_free(word.start, following.start):
            continue
        sure = (
            word.lower not in _MAY_DOUBLE
            and (word.text == following.text or word.is_first)
            and not (word.text[0].isupper() and not word.is_first)
        )
        detector = "doubled_words" if sure else "doubled_speech"
        replacement = ""
        if word.is_first and word.text[0].isupper() and following.text[0].islower():
            yield prose.candidate(word.end, following.end, "", Category.EXTRA, detector, f"«{word.text}» stands twice.")
        else:
            yield prose.candidate(word.start, following.start, replacement, Category.EXTRA, detector, f"«{word.text}» stands twice.")
