"""Errors as people make them: a clean text in, the same text with mistakes out.

Owns which kinds there are, how often each is made, and that two are not made at one word. How is for spelling, wording and marks.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tests.bench.proofreader.draft import Draft, start_draft
from tests.bench.proofreader.marks import change_mark, change_quote, change_space
from tests.bench.proofreader.spelling import misspell
from tests.bench.proofreader.vocabulary import Vocabulary
from tests.bench.proofreader.wording import add_word, change_article, change_case, change_form, change_word, leave_out_word, swap_words

MIN_WORDS = 6
"""A shorter text stays as it is."""
MAX_TRIES = 8
"""Words at which an error is tried; a kind that fits none of them is not made."""
_DISTANCE = 3
"""Tokens between the words at which two errors are made."""


class Kind(StrEnum):
    """What is wrong."""

    SPELLING = "spelling"
    WORD = "word"
    """Another word, which there is."""
    FORM = "form"
    """Another form of the word."""
    MISSING = "missing"
    EXTRA = "extra"
    PUNCTUATION = "punctuation"
    QUOTE = "quote"
    SPACE = "space"
    CASE = "case"
    ARTICLE = "article"
    ORDER = "order"


Maker = Callable[[Draft, int], bool]
"""Makes one error at a word of the draft, or somewhere near; says whether it did, and changes nothing where it did not."""

MAKERS: dict[Kind, Maker] = {
    Kind.SPELLING: misspell,
    Kind.FORM: change_form,
    Kind.WORD: change_word,
    Kind.MISSING: leave_out_word,
    Kind.EXTRA: add_word,
    Kind.PUNCTUATION: change_mark,
    Kind.SPACE: change_space,
    Kind.QUOTE: change_quote,
    Kind.CASE: change_case,
    Kind.ARTICLE: change_article,
    Kind.ORDER: swap_words,
}
WEIGHTS: dict[Kind, int] = {
    Kind.SPELLING: 24,
    Kind.FORM: 20,
    Kind.WORD: 22,
    Kind.MISSING: 11,
    Kind.EXTRA: 9,
    Kind.PUNCTUATION: 11,
    Kind.SPACE: 6,
    Kind.QUOTE: 7,
    Kind.CASE: 3,
    Kind.ARTICLE: 2,
    Kind.ORDER: 1,
}
"""How often each is tried, beside the others: about as often as it was met among 670 corrections of proofreaders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoiled:
    """A text with errors in it."""

    text: str
    kinds: tuple[Kind, ...]
    """Of the errors that were made, in the order in which they were, not of the text."""


def make_errors(text: str, vocabulary: Vocabulary, chance: random.Random, *, rate: float) -> Spoiled:
    """Make about `rate` errors a word, at least one in a text of MIN_WORDS words; fewer where kinds fit nowhere.

    The same text, vocabulary and state of `chance` make the same errors.
    """
    draft = start_draft(text, vocabulary, chance)
    if len(draft.words) < MIN_WORDS:
        return Spoiled(text=text, kinds=())
    taken: set[int] = set()
    made: list[Kind] = []
    for _ in range(_count_errors(len(draft.words) * rate, chance)):
        kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if _make_error(draft, MAKERS[kind], taken):
            made.append(kind)
    return Spoiled(text=draft.text, kinds=tuple(made))


def _count_errors(wished: float, chance: random.Random) -> int:
    whole = int(wished)
    return max(1, whole + (chance.random() < wished - whole))


def _make_error(draft: Draft, make: Maker, taken: set[int]) -> bool:
    for _ in range(MAX_TRIES):
        index = draft.chance.choice(draft.words)
        if taken.isdisjoint(range(index - _DISTANCE, index + _DISTANCE + 1)) and make(draft, index):
            taken.update((index - 1, index, index + 1))
            return True
    return False
