"""Small words that are missing or stand too often."""

from collections.abc import Iterator

from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose
from chunkers.candidates.wordlists import read_rows, read_words
from chunkers.records import Candidate, Category

MIN_GAIN = {"small_words:missing": 0.0, "small_words:extra": 6.0}
"""How much likelier, in nats, the text must become between the neighbours."""


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields insertions right before a word, with the space after them, and deletions of a word with the space after it."""
    lexicon = load_lexicon()
    insertable = [(row[0], (row[0].lower(),)) for row in read_rows("small_words")]
    deletable = read_words("deletable_words") | {key[0] for _, key in insertable}
    words = prose.words
    for index, word in enumerate(words):
        if word.before is not None:
            old = lexicon.log_pair(word.before, word.lower)
            for text, key in insertable:
                if lexicon.log_chain(word.before, key, word.lower) - old >= MIN_GAIN["small_words:missing"] and prose.is_free(
                    word.start, word.start
                ):
                    yield prose.candidate(word.start, word.start, text + " ", Category.MISSING, "small_words:missing")
        if word.lower in deletable and word.after is not None and not word.is_first:
            gain = lexicon.gain(word.before, (word.lower,), (), word.after)
            end = words[index + 1].start
            if gain >= MIN_GAIN["small_words:extra"] and prose.is_free(word.start, end):
                yield prose.candidate(word.start, end, "", Category.EXTRA, "small_words:extra")
