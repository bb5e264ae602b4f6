"""What the model learns from: passages of the texts, most of them with errors, and after each its copy without.

A row is `start passage end copy end`; the model learns the copy alone, its last `end` included. Batch number n is the same whoever makes
it, so a training that was stopped goes on with the batches that it would have had.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from tests.bench.proofreader.errors import make_errors
from tests.bench.proofreader.texts import BOOKS_NAME, DOCS_NAME, VOCABULARY_NAME, Document, read_documents
from tests.bench.proofreader.vocabulary import Vocabulary, read_vocabulary

START, END = 1, 2
"""Tokens of SmolLM2 around a turn of a conversation, which no text has."""
IGNORED = -100
"""Wanted at a place that is padding."""
LENGTHS = (1024, 1024, 1024, 640, 320)
"""Tokens of the rows of a batch, one of these by chance: what stands beside what it is a copy of, near and far."""
DOCS_SHARE = 0.38
"""Of the passages that are documentation."""
CLEAN_SHARE = 0.12
"""Of the passages without an error: most of a text has none."""
MIN_RATE, MAX_RATE = 1 / 150, 1 / 14
"""Errors a word, drawn evenly by their logarithm."""
HELD_BACK, MIN_HELD_BACK = 100, 2
"""One of so many documents of each sort, the last ones, and at least so many are never learned from."""
INSIDE_SHARE = 0.3
"""Of the passages that begin in the middle of a paragraph, as chunks do."""
_CHARS_PER_TOKEN = 4.5
_SENTENCE_ENDS = (". ", ".” ", "? ", "! ", "?” ", "!” ", ": ", "; ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A passage and what it should be."""

    passage: list[int]
    copy: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of one length, and where in them the copy is learned."""

    token_ids: npt.NDArray[np.int64]
    """(rows, length), padded with END."""
    places: npt.NDArray[np.int64]
    """In the flat rows; at each the model learns what comes next. Half as many as tokens, so that shapes are few."""
    wanted: npt.NDArray[np.int64]
    """The next token of each, IGNORED after the last."""


class Source:
    """Documents of one sort, from which passages are drawn by length: each character is as likely as any."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        self._ends = np.cumsum([sum(map(len, document)) for document in documents])

    def draw_passage(self, max_chars: float, chance: random.Random) -> str:
        """Paragraphs in a row from the start of one on, or from a sentence within it; the last one is cut after a sentence."""
        at = chance.random() * self._ends[-1]
        document = self._documents[int(np.searchsorted(self._ends, at, side="right"))]
        text = "\n\n".join(_take_paragraphs(document, chance.randrange(len(document)), max_chars))
        if len(text) > 60 and chance.random() < INSIDE_SHARE:
            found = text.find(". ", chance.randrange(len(text) // 2))
            return text[found + 2 :] if 0 < found < len(text) - 60 else text
        return text


def _take_paragraphs(document: Document, first: int, max_chars: float) -> list[str]:
    taken: list[str] = []
    num_chars = 0
    for paragraph in document[first:]:
        if num_chars >= max_chars:
            break
        if num_chars + len(paragraph) > max_chars * 1.15:
            end = _find_sentence_end(paragraph, int(max_chars * 1.1 - num_chars))
            if end >= 40 or not taken:
                taken.append(paragraph[: end if end >= 40 else int(max_chars)])
            break
        taken.append(paragraph)
        num_chars += len(paragraph) + 2
    return taken


def _find_sentence_end(paragraph: str, before: int) -> int:
    return max(paragraph.rfind(end, 0, max(0, before)) + len(end) - 1 for end in _SENTENCE_ENDS)


class Passages:
    """Makes batches, each by its number."""

    def __init__(self, books: Source, docs: Source, vocabulary: Vocabulary, tokenizer: Tokenizer, lengths: Sequence[int] = LENGTHS) -> None:
        self._books, self._docs = books, docs
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._lengths = lengths

    @classmethod
    def read(cls, data: Path, tokenizer_path: Path, lengths: Sequence[int] = LENGTHS, *, is_held_back: bool = False) -> Self:
        """Of what texts.py wrote, without what is held back, or of that alone."""
        books, docs = (Source(_choose(read_documents(data / name), is_held_back=is_held_back)) for name in (BOOKS_NAME, DOCS_NAME))
        return cls(books, docs, read_vocabulary(data / VOCABULARY_NAME), Tokenizer.from_file(str(tokenizer_path)), lengths)

    def make_batch(self, number: int, *, num_tokens: int, seed: int) -> Batch:
        """Rows of about `num_tokens` in all."""
        return self.draw_batch(num_tokens, random.Random(f"{seed} {number}"))

    def draw_batch(self, num_tokens: int, chance: random.Random) -> Batch:
        """Rows of one of the lengths."""
        length = chance.choice(self._lengths)
        rows = [self._draw_example(length, chance) for _ in range(num_tokens // length)]
        token_ids = np.full((len(rows), length), END, np.int64)
        places: list[int] = []
        wanted: list[int] = []
        for index, row in enumerate(rows):
            sequence = [START, *row.passage, END, *row.copy, END]
            first = len(row.passage) + 1
            token_ids[index, : len(sequence)] = sequence
            places.extend(range(index * length + first, index * length + len(sequence) - 1))
            wanted.extend(sequence[first + 1 :])
        return Batch(token_ids=token_ids, places=_pad(places, token_ids.size // 2, 0), wanted=_pad(wanted, token_ids.size // 2, IGNORED))

    def _draw_example(self, length: int, chance: random.Random) -> Example:
        """A passage that fills a row of `length` nearly."""
        while True:
            max_chars = (length - 8) / 2 * _CHARS_PER_TOKEN * chance.uniform(0.82, 1.04)
            source = self._docs if chance.random() < DOCS_SHARE else self._books
            text = source.draw_passage(max_chars, chance)
            spoiled = text
            if chance.random() >= CLEAN_SHARE:
                rate = math.exp(chance.uniform(math.log(MIN_RATE), math.log(MAX_RATE)))
                spoiled = make_errors(text, self._vocabulary, chance, rate=rate).text
            passage, copy = (self._tokenizer.encode(each, add_special_tokens=False).ids for each in (spoiled, text))
            if len(copy) > 8 and len(passage) + len(copy) + 3 <= length:
                return Example(passage=passage, copy=copy)


def _choose(documents: list[Document], *, is_held_back: bool) -> list[Document]:
    num_learned = len(documents) - max(MIN_HELD_BACK, len(documents) // HELD_BACK)
    return documents[num_learned:] if is_held_back else documents[:num_learned]


def _pad(numbers: list[int], size: int, padding: int) -> npt.NDArray[np.int64]:
    return np.array((numbers + [padding] * (size - len(numbers)))[:size], np.int64)
