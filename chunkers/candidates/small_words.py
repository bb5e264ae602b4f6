"""Small words that are missing or stand too often."""

from collections.abc import Iterator
from functools import cache

from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose
from chunkers.candidates.ruled_out import is_wrong_article
from chunkers.candidates.wordlists import read_words
from chunkers.records import Candidate, Category

_ARTICLES = frozenset({"the", "a", "an"})
MIN_GAIN = {
    "small_words:missing_article": -0.5,
    "small_words:missing": 1.5,
    "small_words:extra_article": 5.25,
    "small_words:extra": 8.25,
}
"""How much likelier, in nats, the text must become between the neighbours; set like those of `confusion`."""


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields insertions right before a word, with the space after them, and deletions of a word with the space after it; by word."""
    lexicon = load_lexicon()
    deletable = read_words("deletable_words") | read_words("small_words")
    words = prose.words
    for index, word in enumerate(words):
        before, text = word.before, word.lower
        if before is not None:
            old = lexicon.log_pair(before, text)
            followers, leaders = list_followers(before), list_leaders(text)
            for small in followers.keys() & leaders.keys():
                detector = "small_words:missing_article" if small in _ARTICLES else "small_words:missing"
                gain = followers[small] + leaders[small] - lexicon.words[small] - old
                if gain < MIN_GAIN[detector] or (
                    small in _ARTICLES and (word.text[0].isupper() or is_wrong_article(small, before, text, word.after))
                ):
                    continue
                if prose.is_free(word.start, word.start):
                    inserted = "I " if small == "i" else small + " "
                    yield prose.candidate(word.start, word.start, inserted, Category.MISSING, detector)
        if text in deletable and word.after is not None and not word.is_first:
            detector = "small_words:extra_article" if text in _ARTICLES else "small_words:extra"
            end = words[index + 1].start
            if lexicon.gain(before, (text,), (), word.after) >= MIN_GAIN[detector] and prose.is_free(word.start, end):
                yield prose.candidate(word.start, end, "", Category.EXTRA, detector)


@cache
def list_followers(word: str) -> dict[str, float]:
    """The small words that are known to follow a word, with the log counts of the pairs."""
    return {small: count for small, count in load_lexicon().followers.get(word, {}).items() if small in _list_small()}


@cache
def list_leaders(word: str) -> dict[str, float]:
    """The small words that are known to stand before a word, with the log counts of the pairs."""
    return {small: count for small, count in load_lexicon().leaders.get(word, {}).items() if small in _list_small()}


@cache
def _list_small() -> frozenset[str]:
    return frozenset(word.lower() for word in read_words("small_words"))
