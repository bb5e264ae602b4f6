"""Errors inside a word: letters that sound alike, that a scanner takes for one another, that fingers miss."""

import random
import re

from tests.bench.proofreader.draft import Draft
from tests.bench.proofreader.wordlists import read_lines, read_pairs

_SOUNDS, _SCANS = 0.30, 0.40
"""Up to which share of the errors letters sound or look alike; the rest are slips of the fingers."""
_IS_WORD = 0.8
"""Share of the misspellings that make another word that are not made: those are not errors of spelling."""
_COMMON_LETTERS = "eaionrst"
_STRAY_LETTERS = ("er", "in", "at", "ti", "an", "it")


def misspell(draft: Draft, index: int) -> bool:
    """Write the word wrong."""
    chance, word = draft.chance, draft.tokens[index]
    if (len(word) < 4 and chance.random() < 0.8) or len(word) < 3:
        return False
    kind = chance.random()
    if kind < _SOUNDS:
        wrong = _replace_letters(word, "sounds", 1, chance)
    elif kind < _SCANS:
        wrong = _replace_letters(word, "scans", 0, chance)
    else:
        wrong = _slip(word, chance)
    if not wrong or wrong == word:
        return False
    if wrong.lower() in draft.vocabulary.counts and chance.random() < _IS_WORD:
        return False
    draft.tokens[index] = wrong
    return True


def _replace_letters(word: str, name: str, first: int, chance: random.Random) -> str:
    """The word with others of a list for some letters, from `first` on; nothing where the list has none of them."""
    pairs = [pair for pair in read_lines(name) if pair[0] in word[first:]]
    if not pairs:
        return ""
    letters, others = chance.choice(pairs)
    places = [found.start() for found in re.finditer(letters, word) if found.start() >= first]
    if not places:
        return ""
    place = chance.choice(places)
    return word[:place] + others + word[place + len(letters) :]


def _slip(word: str, chance: random.Random) -> str:
    """The word as fingers that are too fast write it; the first letter is mostly right."""
    kind = chance.random()
    place = chance.randrange(0 if chance.random() < 0.12 else 1, len(word))
    around = read_pairs("keys").get(word[place].lower(), "")
    if kind < 0.22:
        return word[:place] + word[place] + word[place:]
    if kind < 0.50:
        return _leave_out(word, place, chance)
    if kind < 0.70:
        place = chance.randrange(0 if chance.random() < 0.1 else 1, len(word) - 1)
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind < 0.86:
        return word[:place] + chance.choice(around) + word[place + 1 :] if around else word
    if kind < 0.97:
        return word[:place] + chance.choice((around or "e") + _COMMON_LETTERS) + word[place:]
    place = chance.randrange(1, len(word))
    if chance.random() < 0.5:
        return word[:place] + word[place - 1 :]
    return word[:place] + chance.choice(_STRAY_LETTERS) + word[place:]


def _leave_out(word: str, place: int, chance: random.Random) -> str:
    """The word without one letter; of a doubled one half the time where there is any."""
    doubled = [index for index in range(1, len(word)) if word[index] == word[index - 1]]
    if doubled and chance.random() < 0.5:
        place = chance.choice(doubled)
    return word[:place] + word[place + 1 :]
