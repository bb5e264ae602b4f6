"""A passage while errors are made in it."""

import random
import re
from dataclasses import dataclass

from tests.bench.proofreader.vocabulary import Vocabulary
from tests.bench.proofreader.wordlists import read_lines

_TOKEN = re.compile(r"[^\W\d_]+(?:[’'][^\W\d_]+)*|\d+|\s+|[^\w\s]|_")


@dataclass(slots=True, kw_only=True)
class Draft:
    """A text cut into words, numbers, white space and marks, each of which may become another or nothing."""

    tokens: list[str]
    """Together the text."""
    words: list[int]
    """Which of the tokens were words at first."""
    vocabulary: Vocabulary
    chance: random.Random
    """The same seed makes the same errors."""

    @property
    def text(self) -> str:
        """As it stands now."""
        return "".join(self.tokens)

    def is_space(self, index: int) -> bool:
        """Whether white space stands there; not beyond the end."""
        return index < len(self.tokens) and self.tokens[index].isspace()

    def list_words(self, wanted: tuple[str, ...]) -> list[int]:
        """Where one of these words stands, in any case."""
        return [index for index in self.words if self.tokens[index].lower() in wanted]

    def list_marks(self, index: int, reach: int, marks: frozenset[str]) -> list[int]:
        """Where one of these marks stands, at most so many tokens away."""
        around = range(max(0, index - reach), min(len(self.tokens), index + reach))
        return [place for place in around if self.tokens[place] in marks]

    def pick_small_word(self) -> str:
        """One of the words that people leave out or add, the likelier ones more often."""
        lines = read_lines("small_words")
        return self.chance.choices([word for word, _ in lines], [int(weight) for _, weight in lines])[0]


def start_draft(text: str, vocabulary: Vocabulary, chance: random.Random) -> Draft:
    """Cut a text."""
    tokens = _TOKEN.findall(text)
    return Draft(
        tokens=tokens, words=[index for index, token in enumerate(tokens) if token[0].isalpha()], vocabulary=vocabulary, chance=chance
    )


def match_case(word: str, other: str) -> str:
    """The other word with capitals where the first has them."""
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other
