"""Capitals at the start of a sentence, and small words with a capital inside one."""

from collections.abc import Iterator

from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import Prose, Word
from chunkers.candidates.wordlists import read_words
from chunkers.records import Candidate, Category

_ABBREVIATIONS = read_words("abbreviations")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields a capital for «i» and for a sentence's first word, and small letters for a small word after a comma or inside a sentence."""
    small = read_words("small_words") | read_words("deletable_words")
    lexicon = load_lexicon()
    masked = prose.masked
    for index, word in enumerate(prose.words):
        if not word.is_whole:
            continue
        if word.text == "i":
            if masked[word.end : word.end + 1] not in (".", ")") and prose.is_free(word.start, word.end):
                yield prose.candidate(
                    word.start, word.end, "I", Category.CASE, "capitals:pronoun", "The pronoun «I» is written with a capital."
                )
        elif word.text[0].islower():
            gap = masked[max(0, word.start - 6) : word.start].replace("\r", "")
            mark = gap.rstrip(" \n“\"‘'(")
            if index and mark and mark != gap and mark[-1] in ".!?" and gap.count("\n") < 2 and not mark.endswith(("..", "…")):
                previous = prose.words[index - 1]
                if mark[-1] == "." and (previous.lower in _ABBREVIATIONS or len(previous.text) == 1):
                    continue
                if mark[-1] != "." and not gap.endswith(("“", "‘", '"')):
                    continue
                if lexicon.is_known(word.lower) and prose.is_free(word.start, word.end):
                    yield _capitalise(prose, word)
            elif gap.endswith("\n\n“") and prose.is_free(word.start, word.end):
                yield _capitalise(prose, word)
        elif word.text.istitle() and len(word.text) > 1 and word.lower in small and not word.is_first:
            gap = masked[max(0, word.start - 2) : word.start]
            if (word.before is not None or gap == ", ") and prose.is_free(word.start, word.end):
                yield prose.candidate(word.start, word.end, word.lower, Category.CASE, "capitals:inside", "No sentence starts here.")


def _capitalise(prose: Prose, word: Word) -> Candidate:
    text = word.text[0].upper() + word.text[1:]
    return prose.candidate(word.start, word.end, text, Category.CASE, "capitals:sentence", "A sentence starts with a capital.")
