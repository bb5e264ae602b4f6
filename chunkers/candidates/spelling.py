"""Words that no list has, one letter away from words that are common here: next to Harper's suggestions, chosen by the neighbours."""

from collections import Counter
from collections.abc import Iterator

from chunkers.candidates.confusion import list_neighbours
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose, match_case
from chunkers.records import Candidate, Category

MAX_SUGGESTIONS = 3
_MIN_COUNT = 11.5
_MIN_GAIN = 3.75
_MIN_REPEATS = 3
"""An unknown word that stands this often is a term of the document."""
_MIN_LENGTH = 3


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields up to three replacements of each unknown word that is neither a name nor a term, the likeliest between its neighbours."""
    lexicon = load_lexicon()
    counts = Counter(word.lower for word in prose.words)
    near: dict[str, list[str]] = {}
    for word in prose.words:
        text = word.lower
        if lexicon.is_known(text) or not word.is_whole or len(text) < _MIN_LENGTH or not (text.isascii() and text.isalpha()):
            continue
        if counts[text] >= _MIN_REPEATS or (word.text[0].isupper() and not word.is_first) or not word.text[1:].islower():
            continue
        if text not in near:
            near[text] = sorted({other for other in list_neighbours(text) if lexicon.words.get(other, 0.0) > _MIN_COUNT})
        old = lexicon.log_between(word.before, text, word.after)
        scored = sorted((old - lexicon.log_between(word.before, other, word.after), other) for other in near[text])
        for loss, other in scored[:MAX_SUGGESTIONS]:
            if -loss >= _MIN_GAIN and prose.is_free(word.start, word.end):
                replacement = match_case(word.text, other)
                yield prose.candidate(word.start, word.end, replacement, Category.SPELL, "spelling", f"«{word.text}» is in no word list.")
