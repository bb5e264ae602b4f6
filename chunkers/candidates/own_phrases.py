"""A word that differs in a letter from the one that the document has everywhere else between the same two neighbours.

«W. Newer» beside fifty «W. Hewer»; «the Duke or York» beside «the Duke of York»: nothing but the book itself can tell.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from rapidfuzz.distance import DamerauLevenshtein

from chunkers.candidates.prose import Prose, match_case
from chunkers.candidates.wordlists import read_words
from chunkers.records import Candidate, Category

MIN_TIMES = 4
"""How often the other word must stand between the neighbours; the word itself stands there once."""
_MIN_SHARE = 0.75


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the usual word, in document order."""
    words = prose.words
    closed = read_words("small_words") | read_words("deletable_words") | read_words("function_words")
    between: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for word in words:
        if word.before is not None and word.after is not None and word.is_whole:
            between[word.before, word.after][word.lower] += 1
    usual = {}
    for neighbours, counts in between.items():
        (most, times), *rest = counts.most_common(2)
        if rest and len(most) > 1 and times >= MIN_TIMES and times >= _MIN_SHARE * counts.total():
            usual[neighbours] = most
    for word in words:
        if word.before is None or word.after is None or not word.is_whole:
            continue
        common = usual.get((word.before, word.after))
        if common is None or common == word.lower or between[word.before, word.after][word.lower] > 1:
            continue
        if {word.lower, common} <= closed and {word.before, word.after} & closed:
            continue  # «on the» and «in the» are both right
        if not _is_slip(word.lower, common) or not prose.is_free(word.start, word.end):
            continue
        message = f"«{word.before} {common} {word.after}» stands {between[word.before, word.after][common]} times in the document."
        yield prose.candidate(word.start, word.end, match_case(word.text, common), Category.WORD, "own_phrases", message)


def _is_slip(text: str, common: str) -> bool:
    if DamerauLevenshtein.distance(text, common, score_cutoff=2 if len(text) > 6 else 1) > (2 if len(text) > 6 else 1):
        return False
    return text.replace("'", "") != common.replace("'", "")
