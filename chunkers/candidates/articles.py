"""«a» and «an» by the sound of what follows, code and emphasis included."""

import re
from collections.abc import Iterator

from chunkers.candidates.prose import Prose, match_case
from chunkers.candidates.wordlists import list_words
from chunkers.records import Candidate, Category

_NEXT = re.compile(r"[\s`*_“‘\"'(\[]+([^\W_][\w’'-]*)")
_VOWEL_SOUND = re.compile(r"(?:hour|honest|honou?r|heir)|[aeiou](?!$)|(?:[aefhilmnorsx]|8|11|18)$", re.IGNORECASE)
_CONSONANT_SOUND = re.compile(
    r"(?:uni(?!n|m|d)|us[aeiu]|ut[ei]|ur[aei]|uk|eu|ew|one(?!i)|once|ou[ij]|u$|ub[iu]|ufo|ue?fa)|[bcdfgjkpqtvwyz0-79]", re.IGNORECASE
)
_INITIALISM = re.compile(r"[A-Z]{2,}s?(?![a-z])")
_NEVER_AFTER = list_words("over again is are in of at on as it if its i as all always also")
_LETTER_WITH_VOWEL = frozenset("AEFHILMNORSX")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the other of «a» and «an» where the word that follows asks for it."""
    for word in prose.words:
        if word.lower not in ("a", "an") or not word.is_whole or word.text == "AN":
            continue
        match = _NEXT.match(prose.text, word.end)
        if match is None or (word.text == "A" and not word.is_first):
            continue
        wanted = choose_article(match.group(1))
        if wanted is not None and wanted != word.lower and prose.is_free(word.start, word.end):
            yield prose.candidate(
                word.start, word.end, match_case(word.text, wanted), Category.AGREEMENT, "article", f"«{wanted}» before «{match.group(1)}»."
            )


def choose_article(following: str) -> str | None:
    """«a» or «an» before a word as it is written; None where that cannot be known from its letters."""
    letters = _INITIALISM.match(following)
    if letters is not None and letters.group() not in ("NOT", "AND", "OR", "ONE", "UTC"):
        if following[1:2] in "AEIOU" or len(following) > 5:
            return None if following[0] in _LETTER_WITH_VOWEL else "a"
        return "an" if following[0] in _LETTER_WITH_VOWEL else "a"
    if _CONSONANT_SOUND.match(following):
        return "a"
    if _VOWEL_SOUND.match(following):
        return "an"
    return "a" if following[0].isalpha() and len(following) > 2 and following[0].lower() not in "aeiouh" else None


def find_conjunctions(prose: Prose) -> Iterator[Candidate]:
    """Yields «and» for an «an» that no vowel follows: one letter is lost oftener than an article is wrong."""
    words = prose.words
    for index, word in enumerate(words):
        if (
            word.text != "an"
            or not word.is_whole
            or word.after is None
            or not (words[index + 1].is_whole and words[index + 1].text.islower())
        ):
            continue
        if (choose_article(word.after) == "a" or word.after in _NEVER_AFTER) and prose.is_free(word.start, word.end):
            yield prose.candidate(word.start, word.end, "and", Category.WORD, "article:and", "«and» may be meant.")
