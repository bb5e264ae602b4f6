"""Names that are one letter away from a name that the document has much more often, where a dictionary knows both as words.

«Mr. Dickering» among «Mr. Pickering»: `names` leaves it alone, for «dickering» is a word.
"""

from collections import Counter
from collections.abc import Iterator

from chunkers.candidates.confusion import list_neighbours
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose, match_apostrophe
from chunkers.records import Candidate, Category

_MIN_LENGTH = 4
_SURE_LENGTH = 6
"""Shorter names are often two families'; they must follow the word that the commoner name follows."""
_MUCH_MORE = 5
_MAX_TIMES = 5


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the commoner name, in document order."""
    lexicon = load_lexicon()
    names: Counter[str] = Counter()
    small: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for word in prose.words:
        base = word.lower.removesuffix("'s")
        if not word.text[0].isupper():
            small[base] += 1
        elif not word.text.isupper() or len(word.text) == 1:
            names[base] += 1
            inside[base] += not word.is_first
    leads = Counter(
        (prose.words[index - 1].lower, word.lower.removesuffix("'s"))
        for index, word in enumerate(prose.words)
        if index and word.text[0].isupper()
    )
    near: dict[str, list[str]] = {}
    for index, word in enumerate(prose.words):
        base = word.lower.removesuffix("'s")
        if word.is_first or not word.is_whole or not word.text[0].isupper() or word.text.isupper() or len(base) < _MIN_LENGTH:
            continue
        if not lexicon.is_known(base) or small[base] or names[base] > _MAX_TIMES:
            continue
        if base not in near:
            near[base] = [
                other
                for other in sorted(set(list_neighbours(base)))
                if inside[other] >= _MUCH_MORE * names[base] and not small[other] and _cut(other) != _cut(base)
            ]
        for other in near[base]:
            is_led = leads[prose.words[index - 1].lower, other] >= 3
            if (len(base) >= _SURE_LENGTH or is_led) and prose.is_free(word.start, word.end):
                text = match_apostrophe(prose.text, other.capitalize() + word.lower[len(base) :])
                message = f"The document has «{other.capitalize()}» {names[other]} times."
                yield prose.candidate(word.start, word.end, text, Category.SPELL, "own_names", message)


def _cut(name: str) -> str:
    """A name without what makes a people of a country, or several of one."""
    return name.rstrip("nse")
