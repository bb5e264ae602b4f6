"""The words of the texts: how often each is met, which are one letter away, which belong to one family.

An error that makes another word of a word makes one that people write. Which words these are is for the texts to say, not for a dictionary.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rapidfuzz.distance import OSA

from tests.bench.proofreader.wordlists import read_lines

MIN_COUNT = 40
"""Rarer words are left out: most are names and misprints."""
MIN_NEAR_COUNT = 150
"""A word is only taken for another if it is met as often as this."""
MAX_WORD_CHARS = 20
MAX_NEAR = 16
"""Of each word, the commonest first."""
MAX_FAMILY = 10
_MIN_STEM_CHARS = 3
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_AFTER_E = frozenset({"ing", "ed", "er", "or", "ion", "able", "es", "d", "ers"})
"""Endings before which an e falls: `write`, `writing`."""
_AFTER_DOUBLED = frozenset({"ing", "ed", "er"})
"""Endings before which a letter doubles: `run`, `running`."""
_AFTER_Y = frozenset({"ies", "ied"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Words in lower case, with straight apostrophes."""

    counts: dict[str, int]
    """How often each is met."""
    near: dict[str, list[str]]
    """Words at one letter put in, left out, changed or taken before the one before it."""
    family: dict[str, list[str]]
    """Words that end otherwise: of `walk` `walked`, `walks`, `walking`."""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")


def read_vocabulary(path: Path) -> Vocabulary:
    """What `Vocabulary.write` wrote."""
    return Vocabulary(**json.loads(path.read_text(encoding="utf-8")))


def build_vocabulary(texts: Iterable[str]) -> Vocabulary:
    """Count the words of texts and find which are taken for one another."""
    met = Counter(fold(word) for text in texts for word in _WORD.findall(text))
    counts = {word: count for word, count in met.items() if count >= MIN_COUNT and len(word) <= MAX_WORD_CHARS}
    return Vocabulary(counts=counts, near=_find_near(counts), family=_find_families(counts))


def fold(word: str) -> str:
    """A word as the vocabulary has it."""
    return word.lower().replace("’", "'")


def _find_near(counts: dict[str, int]) -> dict[str, list[str]]:
    by_rest: dict[str, set[str]] = defaultdict(set)
    """Words that a text of letters is, or becomes when one letter is put in."""
    for word, count in counts.items():
        if count >= MIN_NEAR_COUNT and word.isalpha():
            for rest in _list_rests(word):
                by_rest[rest].add(word)
    near: dict[str, list[str]] = {}
    for word in counts:
        if len(word) > 1 and word.isalpha():
            met = {other for rest in _list_rests(word) for other in by_rest.get(rest, ()) if len(other) > 1}
            if found := [other for other in met if OSA.distance(word, other) == 1]:
                near[word] = _commonest(found, counts, MAX_NEAR)
    return near


def _list_rests(word: str) -> list[str]:
    return [word, *(word[:index] + word[index + 1 :] for index in range(len(word)))]


def _find_families(counts: dict[str, int]) -> dict[str, list[str]]:
    by_stem: dict[str, set[str]] = defaultdict(set)
    for word in counts:
        if word.isalpha():
            for stem in _list_stems(word):
                by_stem[stem].add(word)
    families: dict[str, set[str]] = defaultdict(set)
    for stem, words in by_stem.items():
        if stem in counts and len(words) > 1:
            for word in words:
                families[word] |= words - {word}
    return {word: _commonest(found, counts, MAX_FAMILY) for word, found in families.items()}


def _list_stems(word: str) -> list[str]:
    """What a word may be an inflection of, itself included."""
    stems = []
    for suffix in ("", *(suffix for (suffix,) in read_lines("suffixes"))):
        stem = word.removesuffix(suffix)
        if not word.endswith(suffix) or len(stem) < _MIN_STEM_CHARS:
            continue
        stems.append(stem)
        if suffix in _AFTER_E:
            stems.append(f"{stem}e")
        if suffix in _AFTER_DOUBLED and len(stem) > _MIN_STEM_CHARS and stem[-1] == stem[-2]:
            stems.append(stem[:-1])
        if suffix in _AFTER_Y:
            stems.append(f"{stem}y")
    return stems


def _commonest(words: Iterable[str], counts: dict[str, int], most: int) -> list[str]:
    return sorted(words, key=lambda word: (-counts[word], word))[:most]
