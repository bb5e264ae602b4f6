"""How often English words, and pairs of words, occur: what lets a detector look only where the neighbours suggest it.

Counts are those that SymSpell ships (Google Books n-grams crossed with SCOWL, MIT licence): 82,000 words and 243,000 pairs. A lexicon never
decides that something is wrong; it ranks what might be.
"""

import math
from functools import cache
from importlib.resources import files

_UNKNOWN = math.log(3_000)
_PAIR_SCALE = math.log(45)
"""Pairs were counted over a corpus about 45 times as large as the words."""
_NONE: dict[str, float] = {}
_RARE_PAIR = math.log(6_400_000 / 45) - 0.7
"""A pair that the list leaves out is rarer than the rarest that it has."""


class Lexicon:
    """Log counts of words and pairs; None stands for a sentence's edge, a mark or anything that is no word."""

    def __init__(self, words: dict[str, float], followers: dict[str, dict[str, float]]) -> None:
        self.words = words
        self.followers = followers
        """Log counts of the words that follow a word."""
        self.leaders: dict[str, dict[str, float]] = {}
        """Log counts of the words that a word follows."""
        for left, rights in followers.items():
            for right, count in rights.items():
                self.leaders.setdefault(right, {})[left] = count
        self._total = math.log(math.fsum(math.exp(count) for count in words.values()))

    def is_known(self, word: str) -> bool:
        """Whether the word, in lower case, is listed."""
        return word in self.words

    def log_word(self, word: str | None) -> float:
        """Natural logarithm of the word's count; 0 for None."""
        if word is None:
            return 0.0
        return self.words.get(word, _UNKNOWN)

    def log_pair(self, left: str | None, right: str | None) -> float:
        """Natural logarithm of how often `right` follows `left`, guessed from the words' counts where the pair is not listed."""
        if left is None:
            return self.words.get(right, _UNKNOWN) if right is not None else 0.0
        if right is None:
            return self.words.get(left, _UNKNOWN)
        found = self.followers.get(left, _NONE).get(right)
        if found is not None:
            return found
        expected = self.words.get(left, _UNKNOWN) + self.words.get(right, _UNKNOWN) - self._total
        return expected if expected < _RARE_PAIR else _RARE_PAIR

    def log_chain(self, before: str | None, middle: tuple[str, ...], after: str | None) -> float:
        """Log likelihood, up to a constant of `before` and `after`, of the words in `middle` between them under a model of pairs."""
        if not middle:
            return self.log_pair(before, after) if before is not None or after is not None else self._total
        score = 0.0
        left = before
        for word in middle:
            if "'" in word:
                first, last = split_apostrophe(word)
                score += self.log_pair(left, first) - self.log_word(first)
                score += _POSSESSIVE if last == _POSSESSOR else self.log_pair(first, last) - self.log_word(last)
                left = last
            else:
                score += self.log_pair(left, word) - self.log_word(word)
                left = word
        return score + self.log_pair(left, after)

    def log_between(self, before: str | None, word: str, after: str | None) -> float:
        """`log_chain` of one word."""
        if "'" in word:
            return self.log_chain(before, (word,), after)
        return self.log_pair(before, word) - self.words.get(word, _UNKNOWN) + self.log_pair(word, after)

    def gain(self, before: str | None, old: tuple[str, ...], new: tuple[str, ...], after: str | None) -> float:
        """How much likelier `new` is than `old` between its neighbours, in nats; pairs know little, so it only ranks."""
        return self.log_chain(before, new, after) - self.log_chain(before, old, after)


_POSSESSOR = "his"
"""What a possessive counts as for the word after it."""
_POSSESSIVE = -5.0
"""Log share of nouns that stand in the possessive, roughly."""
_ENDINGS = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would", "'m": "am"}
_IS = frozenset({"it", "that", "there", "here", "what", "who", "he", "she", "where", "how"})


@cache
def split_apostrophe(word: str) -> tuple[str, str]:
    """The two words that a contraction or possessive counts as: «it's» is (it, is), «captain's» is (captain, his)."""
    for ending, second in _ENDINGS.items():
        if word.endswith(ending):
            return word.removesuffix(ending), second
    base = word.removesuffix("'s")
    if base == "let":
        return "let", "us"
    return base, "is" if base in _IS else _POSSESSOR


@cache
def load_lexicon() -> Lexicon:
    """The one lexicon of this process; about 40 MB and a third of a second."""
    folder = files("symspellpy")
    words: dict[str, float] = {}
    for line in folder.joinpath("frequency_dictionary_en_82_765.txt").read_text("utf-8-sig").splitlines():
        word, count = line.split()
        words[word] = math.log(int(count))
    followers: dict[str, dict[str, float]] = {}
    for line in folder.joinpath("frequency_bigramdictionary_en_243_342.txt").read_text("utf-8-sig").splitlines():
        left, right, count = line.split()
        followers.setdefault(left, {})[right] = math.log(int(count)) - _PAIR_SCALE
    return Lexicon(words, followers)
