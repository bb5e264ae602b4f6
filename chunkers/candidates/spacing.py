"""Spaces: two words run together, one word cut in two, and white space around punctuation."""

import re
from collections import Counter
from collections.abc import Iterator

from chunkers.candidates.lexicon import Lexicon, load_lexicon
from chunkers.candidates.prose import Prose, match_apostrophe
from chunkers.candidates.wordlists import read_words
from chunkers.records import Candidate, Category

_BEFORE_MARK = re.compile(r"(?<=[^\s.…>|:#*-])[ \t]+(?=[,;.!?](?=[\s”’\"')]|\Z)(?!\.))")
_BEFORE_COLON = re.compile(r"(?<=[^\s.…>|:#*-])[ \t]+(?=:(?:\s|\Z))")
_AFTER_MARK = re.compile(r"(?<=[a-z\u2019)])[,;!?](?=[A-Za-z])|(?<=[a-z][a-z])\.(?=[A-Z][a-z]+[ ,’'])|(?<=[a-z]),(?=[“‘])")
_DOUBLE = re.compile(r"(?<=[^\s.!?:;”\"’)|>*+\-\d]) {2,}(?=[^\s|\-–—=\\])")
_SINGLE = frozenset("aio")
_WORDS_CUT = frozenset(
    ("it self", "him self", "her self", "them selves", "my self", "with out", "a cross", "to gether", "there fore", "an other")
)
_MIN_PART = 13.0
_SHORT_PARTS = read_words("short_parts")
_PREFIXES = ("a", "an", "in", "to", "no", "some", "any", "every", "may", "all", "with", "can", "more", "can")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields joined and split words in document order, then spaces in document order."""
    lexicon = load_lexicon()
    words = prose.words
    counts = Counter(word.lower for word in words)
    for index, word in enumerate(words):
        if not word.is_whole or not word.lower.isascii():
            continue
        if word.after is not None:
            following = words[index + 1]
            joined = _join(word.text, following.text, lexicon)
            if joined is not None and following.is_whole and prose.is_free(word.start, following.end):
                joined = match_apostrophe(prose.text, joined)
                yield prose.candidate(word.start, following.end, joined, Category.SPACE, "spacing:cut_word", f"«{joined}» is one word.")
        if "'" in word.lower or len(word.lower) < 4:
            continue
        if not lexicon.is_known(word.lower):
            cut = _split(word.lower, lexicon) if counts[word.lower] < 3 and not (word.text[0].isupper() and not word.is_first) else None
        else:
            cut = _split_known(word.lower, word.before, word.after, lexicon)
        if cut is not None and prose.is_free(word.start, word.end):
            text = f"{word.text[:cut]} {word.text[cut:]}"
            yield prose.candidate(word.start, word.end, text, Category.SPACE, "spacing:run_together", f"«{text}» is two words.")
    for start, end in prose.paragraphs:
        yield from _find_marks(prose, start, end)


def _find_marks(prose: Prose, start: int, end: int) -> Iterator[Candidate]:
    for pattern, detector, message in (
        (_BEFORE_MARK, "spacing:before_mark", "No space stands before this mark."),
        (_BEFORE_COLON, "spacing:before_colon", "No space stands before a colon."),
        (_DOUBLE, "spacing:double", "Two spaces inside a sentence."),
    ):
        for match in pattern.finditer(prose.masked, start, end):
            replacement = " " if detector == "spacing:double" else ""
            if prose.is_free(*match.span()):
                yield prose.candidate(*match.span(), replacement, Category.SPACE, detector, message)
    for match in _AFTER_MARK.finditer(prose.masked, start, end):
        if prose.is_free(match.end(), match.end()):
            yield prose.candidate(match.end(), match.end(), " ", Category.SPACE, "spacing:after_mark", "A space stands after this mark.")


def _join(left: str, right: str, lexicon: Lexicon) -> str | None:
    first, second = left.lower(), right.lower()
    if right == "t" and first.endswith("n") and lexicon.is_known(f"{first}'t"):
        return f"{left}'{right}"
    if right in ("ll", "ve", "re", "d", "m") and lexicon.is_known(f"{first}'{right}"):
        return f"{left}'{right}"
    if right == "s" and len(first) > 2 and lexicon.is_known(first) and first not in read_words("small_words"):
        return f"{left}'{right}"
    if first == "o" and second == "clock":
        return f"{left}'{right}"
    joined = first + second
    if not lexicon.is_known(joined) or right[0].isupper() or (left.isupper() and len(left) < 3):
        return None
    is_cut = (
        f"{first} {second}" in _WORDS_CUT
        or not lexicon.is_known(first)
        or not lexicon.is_known(second)
        or (len(first) == 1 and first not in _SINGLE)
        or (len(second) == 1 and second not in _SINGLE)
    )
    return left + right if is_cut else None


def _split(word: str, lexicon: Lexicon) -> int | None:
    best, place = 0.0, None
    for cut in range(1, len(word)):
        left, right = word[:cut], word[cut:]
        if (cut < 3 and left not in _SHORT_PARTS) or (len(right) < 3 and right not in _SHORT_PARTS):
            continue
        if min(lexicon.words.get(left, 0.0), lexicon.words.get(right, 0.0)) < _MIN_PART:
            continue
        score = lexicon.log_pair(left, right)
        if score > best:
            best, place = score, cut
    return place


def _split_known(word: str, before: str | None, after: str | None, lexicon: Lexicon) -> int | None:
    for prefix in _PREFIXES:
        if word.startswith(prefix):
            rest = word[len(prefix) :]
            if len(rest) > 2 and rest in lexicon.followers.get(prefix, ()) and lexicon.gain(before, (word,), (prefix, rest), after) > 0:
                return len(prefix)
    return None
