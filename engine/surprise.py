"""The model's own candidates: words it did not expect, where it would rather have one that looks or works alike.

A better word is no error: only words that look alike, and small words that are missing, are proposed. Measured over 50,000 proofread words,
small words in each other's place and small words too many gave 5,000 candidates more and one correction.
"""

from collections.abc import Callable, Iterator

from rapidfuzz.distance import DamerauLevenshtein

from chunkers.records import Candidate, Category
from engine.reading import Reading

MIN_LEAD = 6.0
"""Nats by which the preferred token leads the one that stands there."""
MAX_LOGPROB_MISSING = -6.0
"""A word counts as unexpected enough for a missing word before it below this."""
MIN_LOGPROB_MISSING = -0.7
"""The model must want the missing word with an even chance or more."""

SMALL_WORDS = frozenset(
    """
    a an the of to in on at by for from with as is are was were be been has have had do does did not no or and but if than then that
    this these those it its he she they them his her their our your my we you i there here who whom which what when where so such any
    all some one into onto up out off over under about can could will would shall should may might must
    """.split()  # noqa: SIM905 - a list of a hundred quoted words is not read by anybody
)


def propose(reading: Reading, decode: Callable[[int], str]) -> Iterator[Candidate]:
    """Yields candidates in document order; `decode` gives the text of one token. Only places inside the chunk itself, never its context."""
    text, starts = reading.text, reading.starts
    first = len(reading.chunk.context_before)
    last = first + len(reading.chunk.text)
    ends = [*starts[1:], len(text)]
    for index in range(max(1, reading.token_at(first)), len(starts)):
        # the space before a chunk's first word is its context's; white space alone, such as a line break, says nothing of the word after it
        if starts[index] + 1 < first or ends[index] - starts[index] < 2 or not reading.is_word_start(index):
            continue
        stop = index + 1
        while stop < len(starts) and text[starts[stop]].isalpha():
            stop += 1
        word = text[starts[index] + 1 : ends[stop - 1]]
        if not word.isalpha() or ends[stop - 1] > last:
            continue
        start = reading.offset + starts[index] + 1
        logprob = reading.logprobs[index]
        for token_id, preferred in zip(*reading.alternatives[index], strict=True):
            if preferred - logprob < MIN_LEAD:
                break
            rather = decode(token_id)
            if not rather.startswith(" ") or not rather[1:].isalpha() or rather[1:] == word:
                continue
            rather = rather[1:]
            if _is_alike(word, rather):
                yield _candidate(reading, start, word, rather, _category(word, rather))
            if rather in SMALL_WORDS and preferred > MIN_LOGPROB_MISSING and logprob < MAX_LOGPROB_MISSING:
                yield _candidate(reading, start, "", f"{rather} ", Category.MISSING)


def _is_alike(word: str, rather: str) -> bool:
    if word.lower() == rather.lower():
        return False  # capitals are decided over the whole book, not here
    shorter = min(len(word), len(rather))
    if word[0] != rather[0] and shorter < 5:
        return False
    limit = 1 if shorter < 5 else 2 if shorter < 9 else 3
    return shorter > 2 and DamerauLevenshtein.distance(word.lower(), rather.lower(), score_cutoff=limit) <= limit


def _category(word: str, rather: str) -> Category:
    stem = min(len(word), len(rather)) - 1
    return Category.AGREEMENT if len(word) != len(rather) and word[:stem] == rather[:stem] else Category.WORD


def _candidate(reading: Reading, start: int, original: str, replacement: str, category: Category) -> Candidate:
    return Candidate(
        doc_id=reading.chunk.doc_id,
        start=start,
        end=start + len(original),
        original=original,
        replacement=replacement,
        category=category,
        detector="surprise",
        message="",
    )
