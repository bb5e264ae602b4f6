"""A model that has learned to copy a passage with its errors mended, and what it would change.

It reads the passage and then the same words again. At each token of the copy it is sure of what stands there, or would rather have another:
there it is asked to go on from that one, until it is back in the passage. What lies between is its edit.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfuzz.distance import DamerauLevenshtein

from chunkers.candidates.lexicon import load_lexicon
from chunkers.records import Candidate, Category
from engine.adapters import ADDED_AS
from engine.reading import Reading
from engine.shown import count_shown, show_lines

DETECTOR = "copy"
MAX_READ_TOKENS = 600
"""Of a passage with its surroundings; it learned on up to 500, and copies what is longer less well."""
MIN_DOUBT = 0.25
"""Nats. A token of the copy as likely as this is not asked about: at 0.25 the model is 78 % sure of it."""
MIN_SECOND = math.log(0.2)
"""Log-probability from which a second way to go on is asked for too."""
MAX_MEND_TOKENS = 16
"""Of the model's own words at one place; after fewer it is nearly always back in the passage."""
_ANCHOR_CHARS = 12
"""So many characters of the passage in a row mean that the model is back in it."""
_REACH_CHARS = 100
"""How far into the passage an edit may reach."""


@dataclass(frozen=True, slots=True)
class CopyForm:
    """The tokens that a model which copies expects around a passage."""

    start: int
    end: int

    def frame(self, token_ids: Sequence[int]) -> list[int]:
        """What stands before the copy."""
        return [self.start, *token_ids, self.end]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A place of a copy at which the model would go on otherwise."""

    index: int
    """Of the token from which on the text is left."""
    token_ids: tuple[int, ...]
    """With which it goes on: the token that it would rather have, after those of the same character."""


def find_copy_form(folder: Path) -> CopyForm | None:
    """How the model in a folder wants to be asked; None where it has not learned to copy."""
    try:
        found = json.loads((folder / "config.json").read_text()).get(ADDED_AS, {}).get("copies")
    except (OSError, ValueError, AttributeError):
        return None  # what loads the model says what is wrong with it
    return CopyForm(found["start"], found["end"]) if found else None


def find_doubts(reading: Reading, form: CopyForm) -> Iterator[Doubt]:
    """Where the model would change the chunk itself, or put something at its end; one place for each word that it begins to doubt."""
    first = len(reading.chunk.context_before)
    last = first + len(reading.chunk.text)
    starts = reading.starts
    ends = [*starts[1:], len(reading.text)]
    was_doubted = False
    for index, (start, logprob) in enumerate(zip(starts, reading.logprobs, strict=True)):
        # the space before a chunk's first word is its context's, and in one token with the word
        word = start + (reading.text[start].isspace() and ends[index] - start > 1)
        is_doubted = -logprob >= MIN_DOUBT and first <= word and start <= last
        is_same_word = was_doubted and not reading.is_word_start(index)
        was_doubted = is_doubted
        if not is_doubted or is_same_word:
            continue
        left = index
        while left and starts[left] == starts[left - 1]:  # several tokens of one character
            left -= 1
        shared = tuple(reading.token_ids[left:index])
        wanted = [
            (token_id, preferred)
            for token_id, preferred in zip(*reading.alternatives[index], strict=True)
            if token_id not in (reading.token_ids[index], form.start, form.end)
        ]
        for number, (token_id, preferred) in enumerate(wanted[:2]):
            if number == 0 or preferred >= MIN_SECOND:
                yield Doubt(left, (*shared, token_id))


def read_mend(reading: Reading, doubt: Doubt, words: str, *, is_at_end: bool) -> Candidate | None:
    """The edit in what the model went on with; None where it did not come back into the passage, or changed nothing.

    `words` are the doubt's tokens and what followed them, `is_at_end` says whether the model ended the passage there.
    """
    text, left = reading.text, reading.starts[doubt.index]
    reach = min(len(text), left + _REACH_CHARS)
    old = show_lines(text[left:reach])
    shared = _count_shared(old, words)
    old, new, left = old[shared:], words[shared:], left + count_shown(text, shared, left)
    found = _find_return(old, new, is_at_end=is_at_end and reach == len(text))
    if found is None:
        return None
    num_old, made = count_shown(text, found[0], left), new[: found[1]]
    if "\r\n" in text:
        made = made.replace("\n", "\r\n")
    first = len(reading.chunk.context_before)
    last = first + len(reading.chunk.text)
    first_inserted = first + (first > 0)  # an insertion between two chunks is the first one's, as of other candidates
    start, end, replacement = _slide(text, first if num_old else first_inserted, left, left + num_old, made)
    start, end, replacement = _whole_words(text, start, end, replacement)
    if text[start:end] == replacement:
        return None
    original = reading.source[start:end]
    if "\ufffd" in replacement or "<|" in replacement or start < (first if original else first_inserted) or end > last:
        return None
    return Candidate(
        doc_id=reading.chunk.doc_id,
        start=reading.offset + start,
        end=reading.offset + end,
        original=original,
        replacement=replacement,
        category=categorize(original, replacement),
        detector=DETECTOR,
        message="",
    )


def _count_shared(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _find_return(old: str, new: str, *, is_at_end: bool) -> tuple[int, int] | None:
    """How much of each side is the edit, so that the rest goes on alike; the least of both together."""
    found: tuple[int, int] | None = None
    for num_new in range(len(new) + 1):
        anchor = new[num_new : num_new + _ANCHOR_CHARS]
        if len(anchor) < _ANCHOR_CHARS:
            # the last words of a text are anchor enough where both end there
            num_old = len(old) - len(anchor)
            if not is_at_end or num_old < 0 or old[num_old:] != anchor:
                continue
        else:
            num_old = old.find(anchor)
            if num_old < 0:
                continue
        if found is None or num_old + num_new < sum(found):
            found = num_old, num_new
    return found


def _slide(text: str, first: int, start: int, end: int, replacement: str) -> tuple[int, int, str]:
    """An insertion or deletion in the first of the places from `first` on where it does the same with whole words: rules say it so.

    «the the» loses its first «the », never the letters «he t».
    """
    if (start == end) == (not replacement):
        return start, end, replacement
    part, found = text[start:end] or replacement, (start, end, replacement)
    while True:
        before, after = text[start - 1 : start] if start else "", text[end : end + 1]
        if _is_letter(part[0]) and not _is_letter(before) and not (_is_letter(part[-1]) and _is_letter(after)):
            found = start, end, part if replacement else ""
        if start <= first or before != part[-1]:
            return found
        start, end, part = start - 1, end - 1, part[-1] + part[:-1]


def _whole_words(text: str, start: int, end: int, replacement: str) -> tuple[int, int, str]:
    """The same change of whole words: nobody wants to read that `if` became `ef`."""
    if _is_letter(text[start:end][:1] or replacement[:1]) or _is_letter(replacement[:1]):
        while start and _is_letter(text[start - 1]):
            start -= 1
            replacement = text[start] + replacement
    if _is_letter(text[start:end][-1:]) or _is_letter(replacement[-1:]):
        while end < len(text) and _is_letter(text[end]):
            replacement += text[end]
            end += 1
    return start, end, replacement


def _is_letter(character: str) -> bool:
    return character.isalnum() or character in ("’", "'")


def categorize(original: str, replacement: str) -> Category:
    """What kind of mistake a change mends, by its form."""
    if original.split() == replacement.split() or "".join(original.split()) == "".join(replacement.split()):
        return Category.SPACE
    if original.lower() == replacement.lower():
        return Category.CASE
    letters = [_letters(side) for side in (original, replacement)]
    if letters[0] == letters[1]:
        return Category.QUOTE if _QUOTES & (set(original) ^ set(replacement)) else Category.PUNCT
    before, after = original.split(), replacement.split()
    if (len(before) < len(after) and letters[0] in letters[1]) or not letters[0]:
        return Category.MISSING
    if (len(before) > len(after) and letters[1] in letters[0]) or not letters[1]:
        return Category.EXTRA
    if not load_lexicon().is_known(letters[0].lower()):
        return Category.SPELL
    stem = min(len(letters[0]), len(letters[1])) - 1
    alike = letters[0][:stem] == letters[1][:stem] and DamerauLevenshtein.distance(*letters) <= 3
    return Category.AGREEMENT if alike else Category.WORD


_QUOTES = set("“”‘’\"'«»")


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())
