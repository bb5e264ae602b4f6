"""Doubled words, across a line's end too."""

from collections.abc import Iterator
from itertools import pairwise

from chunkers.candidates.prose import Prose
from chunkers.candidates.wordlists import read_words
from chunkers.records import Candidate, Category

_JOINS = frozenset({"and", "by", "or", "to", "after"})
"""What stands inside «more and more and more»."""
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


def find_phrases(prose: Prose) -> Iterator[Candidate]:
    """Yields the deletion of the first of two equal pairs of words: «the same the same»."""
    words = prose.words
    for index in range(len(words) - 3):
        first, second, third, fourth = words[index : index + 4]
        if any(word.lower in _JOINS or word.lower in _MAY_DOUBLE for word in (first, second)):
            continue
        repeats = first.lower == third.lower and second.lower == fourth.lower and first.lower != second.lower
        adjoin = first.after == second.lower and second.after == third.lower and third.after == fourth.lower
        if repeats and adjoin and first.is_whole and fourth.is_whole and prose.is_free(first.start, third.start):
            message = f"«{first.text} {second.text}» stands twice."
            yield prose.candidate(first.start, third.start, "", Category.EXTRA, "doubled_phrase", message)
