"""What the word before a word leaves no room for, however often the pairs occur: «an errors», «they is», «must has»."""

from functools import cache

from chunkers.candidates.articles import choose_article
from chunkers.candidates.verbs import MODALS, find_base, find_plural, find_singular, num_as_noun, num_as_verb
from chunkers.candidates.wordlists import list_words, read_words

_SINGULAR = list_words("a an each every another one")
_PLURAL = list_words("these those several many two three four five six few both are were")
_WANT_BASE = MODALS | list_words("to did does do didn't doesn't don't not let let's i you we they")
_HE = list_words("he she it")
_THEY = list_words("they we you i")
_SINGULAR_VERBS = list_words("is was has does isn't wasn't hasn't doesn't")
_PLURAL_VERBS = list_words("are were have do aren't weren't haven't don't")
_DETERMINERS = list_words("the a an my your his her its our their this these those each every any some no")


@cache
def is_wrong_number(before: str | None, old: str, new: str) -> bool:
    """Whether one of two forms that differ in an s is none that could be meant after the word before."""
    if _is_closed(old):
        return True
    base = min(old, new, key=len)
    is_noun, is_verb = find_plural(base) is not None or num_as_noun(base) >= 2, find_base(base) is not None
    if not (is_noun or is_verb):
        return True
    if len(new) > len(old):
        return before in _SINGULAR or (before in _WANT_BASE and is_verb and num_as_verb(base) >= 2)
    return before in _PLURAL or (before in _HE and is_verb)


@cache
def is_wrong_agreement(before: str | None, old: str, new: str) -> bool:
    """Whether the form that stands there is the only one that the word before allows."""
    if before is None:
        return False
    if old in _PLURAL_VERBS:
        return (before in _THEY and new not in ("am",)) or before in MODALS or (before in ("to", "not") and old in ("have", "do"))
    if old in _SINGULAR_VERBS:
        return before in _HE and new in _PLURAL_VERBS
    return False


@cache
def is_wrong_article(article: str, before: str, after: str, next_after: str | None) -> bool:
    """Whether an article cannot stand between two words, by them and by the word after the second."""
    if before in _DETERMINERS or after in _DETERMINERS or before.endswith("'s"):
        return True
    if article == "the":
        return False
    is_many = _is_plural(after) or (next_after is not None and num_as_noun(after) < 4 and _is_plural(next_after))
    return is_many or choose_article(after) != article


def _is_plural(word: str) -> bool:
    return find_singular(word) is not None and find_plural(word) is None and num_as_verb(word) == 0


@cache
def _is_closed(word: str) -> bool:
    """Whether it is a small word: those have no plural, though «is» is listed as often as if it were that of «I»."""
    return word in read_words("small_words") | read_words("deletable_words") or len(word) < 3
