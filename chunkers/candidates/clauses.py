"""The comma between an opening clause and the sentence that it opens."""

from collections.abc import Iterator

from chunkers.candidates.prose import Prose
from chunkers.candidates.verbs import MODALS
from chunkers.candidates.wordlists import list_words
from chunkers.records import Candidate, Category

_OPENERS = list_words("if when once before after while for in as since because although unless until to by with whenever during")
_SUBJECTS = list_words("you we it they i he she this there")
_VERBS = MODALS | list_words("is are was were has have had do does did must need needs don't doesn't can't cannot won't")
_MIN_WORDS, _MAX_WORDS = 3, 16
_MIN_HABIT = 4
"""How many opening clauses with their comma must stand against each without."""
_NOT_BEFORE = list_words(
    "that which who what where how than and or but as if when because so before after until while whether once unless though although"
    " the a an of to in for with by on at from into"
)


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the commas that are missing, in a document that has them nearly everywhere else."""
    closed, places = 0, []
    words = prose.words
    opened: int | None = None
    for index, word in enumerate(words):
        if word.is_first:
            opened = index if word.lower in _OPENERS and word.text[0].isupper() else None
            continue
        if opened is None:
            continue
        num_inside = index - opened
        is_closed = word.before is None and "," in prose.masked[words[index - 1].end : word.start]
        if is_closed or num_inside > _MAX_WORDS:
            closed += is_closed and word.lower in _SUBJECTS and word.after in _VERBS
            opened = None
        elif num_inside >= _MIN_WORDS and word.lower in _SUBJECTS and word.after in _VERBS and _may_begin(word.before):
            places.append(words[index - 1].end)
            opened = None
    if closed < _MIN_HABIT * max(1, len(places)):
        return
    for place in places:
        if prose.is_free(place, place):
            yield prose.candidate(
                place, place, ",", Category.PUNCT, "clauses", "A comma closes the opening clause elsewhere in this document."
            )


def _may_begin(before: str | None) -> bool:
    """Whether the sentence itself may begin after this word."""
    return before is not None and before not in _NOT_BEFORE
