"""Words that differ in a letter, or in capitals, from a word that the document uses much more often."""

from collections import Counter
from collections.abc import Iterator

from chunkers.candidates.confusion import list_neighbours
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose
from chunkers.records import Candidate, Category

_MIN_LENGTH = 4
_MUCH_MORE = 3
_MUCH_MORE_CAPITALS = 6
_MAX_TIMES = 12


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields a commoner spelling of a word that no dictionary has, and the commoner capitals of any word inside a sentence."""
    lexicon = load_lexicon()
    inside = [word for word in prose.words if word.is_whole and not word.is_first]
    counts = Counter(word.text for word in inside)
    by_lower: dict[str, list[str]] = {}
    for text in counts:
        by_lower.setdefault(text.lower(), []).append(text)
    spellings: dict[str, list[str]] = {}
    for word in prose.words:
        if len(word.text) < _MIN_LENGTH or not word.is_whole or "'" in word.lower:
            continue
        if word.text not in spellings:
            spellings[word.text] = list(_list_commoner(word.text, counts, by_lower, lexicon.is_known(word.lower)))
        for replacement in spellings[word.text]:
            same = replacement.lower() == word.text.lower()
            if same and (word.is_first or word.before is None):
                continue
            if prose.is_free(word.start, word.end):
                detector = "own_words:capitals" if same else "own_words:spelling"
                category = Category.CASE if same else Category.SPELL
                message = f"The document has «{replacement}» {counts[replacement]} times."
                yield prose.candidate(word.start, word.end, replacement, category, detector, message)


def _list_commoner(text: str, counts: Counter[str], by_lower: dict[str, list[str]], is_known: bool) -> Iterator[str]:
    times = counts[text]
    if times > _MAX_TIMES:
        return
    for other in by_lower.get(text.lower(), ()):
        if other != text and not other.isupper() and counts[other] >= _MUCH_MORE_CAPITALS * max(times, 1):
            yield other
    if is_known:
        return
    lower = text.lower()
    for neighbour in sorted(by_lower.keys() & set(list_neighbours(lower))):
        if neighbour == lower or neighbour.rstrip("s") == lower.rstrip("s"):
            continue
        for other in by_lower.get(neighbour, ()):
            if other[0].isupper() == text[0].isupper() and counts[other] >= _MUCH_MORE * max(times, 1):
                yield other
