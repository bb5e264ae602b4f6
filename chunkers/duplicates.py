"""Near-duplicates among very many texts: which text repeats an earlier one but for a few words.

MinHash (Broder 1997) over word shingles names the pairs that are worth a look, by bands of slots (Leskovec, Rajaraman, Ullman: Mining of
Massive Datasets, chapter 3); each is then compared by its shingles themselves. Owns nothing of what follows from it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import IO, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash  # type: ignore[import-untyped]

SHINGLE_WORDS = 3
"""A changed word changes so many shingles: of a passage of 330 words with five words changed 0.91 is the same."""
NUM_SLOTS = 64
SEED = 20_261_129
MIN_FOUND = 0.99
"""Share of the pairs of exactly the similarity asked for that bands must find; of more similar ones they find more."""
LEAST_SIMILARITY = 0.5
"""Below, too many pairs that only look alike would be compared."""
BATCH_TEXTS = 2_000
MAX_KNOWN_WORDS = 1_000_000
MAX_COMPARED = 32
"""Texts that one is compared with at most, those first that share the most bands: a form that fills a corpus must not cost the square."""
MAX_HELD = 64
"""Representatives kept of those that share a band, for the same reason."""

Hashes = NDArray[np.uint64]
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93], dtype=np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A text that an earlier one can stand for. Both are named by their place in the stream, from 0."""

    position: int
    representative: int
    """Always less than `position`, and itself no duplicate."""
    similarity: float
    """Jaccard similarity of the two texts' sets of word shingles, at least what was asked for; 1.0 does not say that they are equal."""


def find_duplicates(texts: Iterable[str], min_similarity: float) -> Iterator[Duplicate]:
    """Yields each text that is at least so similar to an earlier one that is no duplicate itself, in order, with the most similar of those.

    The same texts in the same order give the same duplicates. Texts are read once and not kept: memory grows by about 200 bytes a text,
    and 4 bytes a word go into a temporary file. A text without a word is nobody's duplicate. Raises ValueError for a similarity outside
    0.5 to 1.
    """
    if not LEAST_SIMILARITY <= min_similarity <= 1:
        raise ValueError(f"min_similarity={min_similarity}: near-duplicates have a similarity of {LEAST_SIMILARITY} to 1.")
    num_rows = choose_rows(min_similarity)
    with TemporaryFile(prefix="galley-shingles-") as file:
        shingles = _ShingleFile(file)
        words = _WordHashes()
        keys = []
        remaining = iter(texts)
        while batch := list(islice(remaining, BATCH_TEXTS)):
            hashes, counts = _shingle(batch, words)
            shingles.add(hashes, counts)
            keys.append(_band_keys(_slots(hashes, counts), num_rows))
        if keys:
            yield from _compare(_buckets(keys, shingles.counts), shingles, min_similarity)


def choose_rows(min_similarity: float) -> int:
    """Slots that make a band: as many as leave MIN_FOUND of the pairs with that similarity at least one equal band."""
    fitting = [rows for rows in range(1, NUM_SLOTS + 1) if 1 - (1 - min_similarity**rows) ** (NUM_SLOTS // rows) >= MIN_FOUND]
    return min(max(fitting), 16)  # of exact duplicates one band would do; more bands cost little and find near ones for the best choice


class _WordHashes(dict[str, int]):
    """A word's hash of 32 bits, the same on every machine; forgets all when there are too many."""

    def __missing__(self, word: str) -> int:
        if len(self) >= MAX_KNOWN_WORDS:
            self.clear()
        value = self[word] = crc32(word.encode("utf-8", "surrogatepass"))
        return value


class _ShingleFile:
    """The shingles of all texts so far, on disk, 32 bits each."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._ends, self._num_shingles = file, [np.zeros(1, dtype=np.int64)], 0
        self._offsets: NDArray[np.int64] | None = None

    def add(self, hashes: Hashes, counts: NDArray[np.int64]) -> None:
        (hashes >> np.uint64(32)).astype(np.uint32).tofile(self._file)
        self._ends.append(self._num_shingles + np.cumsum(counts))
        self._num_shingles += len(hashes)

    @property
    def offsets(self) -> NDArray[np.int64]:
        if self._offsets is None:
            self._file.flush()
            self._offsets, self._ends = np.concatenate(self._ends), []
        return self._offsets

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def read(self, position: int) -> NDArray[np.uint32]:
        """The set of a text's shingles, sorted."""
        start, end = self.offsets[position : position + 2].tolist()
        self._file.seek(4 * start)
        return np.unique(np.frombuffer(self._file.read(4 * (end - start)), dtype=np.uint32))


def _shingle(texts: list[str], words: _WordHashes) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of all shingles, text after text, repeated ones too; and how many each text has. A shorter text is one shingle."""
    split = [text.split() for text in texts]
    lengths = np.fromiter(map(len, split), dtype=np.int64, count=len(split))
    padding = [0] * (SHINGLE_WORDS - 1)
    spread = chain.from_iterable(chain(map(words.__getitem__, of_text), padding) for of_text in split)
    padded = lengths + len(padding)
    flat = np.fromiter(spread, dtype=np.uint64, count=int(padded.sum()))
    hashes = np.zeros(len(flat), dtype=np.uint64)
    for index in range(SHINGLE_WORDS):
        hashes[: len(flat) - index] += flat[index:]
        hashes *= _FACTORS[index]
    hashes ^= hashes >> np.uint64(32)
    hashes *= _FACTORS[0]
    # a text's last words begin no shingle, except its first word
    counts = np.where(lengths == 0, 0, np.maximum(lengths - len(padding), 1))
    place = np.arange(len(flat)) - np.repeat(np.cumsum(padded) - padded, padded)
    return hashes[place < np.repeat(counts, padded)], counts


def _slots(hashes: Hashes, counts: NDArray[np.int64]) -> Hashes:
    offsets = np.append(0, np.cumsum(counts)).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, NUM_SLOTS, SEED)
    return np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(counts), NUM_SLOTS)


def _band_keys(slots: Hashes, num_rows: int) -> Hashes:
    """One key for each text and band: equal where all slots of the band are."""
    num_bands = NUM_SLOTS // num_rows
    bands = slots[:, : num_bands * num_rows].reshape(len(slots), num_bands, num_rows)
    keys = np.zeros((len(slots), num_bands), dtype=np.uint64)
    for row in range(num_rows):
        keys = (keys ^ bands[:, :, row]) * _FACTORS[row % len(_FACTORS)]
        keys ^= keys >> np.uint64(29)
    return keys


def _buckets(keys: list[Hashes], counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """For each text and band the number of the bucket that it shares with others, -1 where it is alone. Takes the keys from the list."""
    num_bands, first = keys[0].shape[1], 0
    buckets = np.full((len(counts), num_bands), -1, dtype=np.int32)
    for band in range(num_bands):
        of_band = np.concatenate([batch[:, band] for batch in keys])
        order = np.argsort(of_band, kind="stable")
        is_new = np.append(True, of_band[order][1:] != of_band[order][:-1])
        number = np.cumsum(is_new) - 1
        is_shared = np.bincount(number)[number] > 1
        buckets[order, band] = np.where(is_shared, number + first, -1)
        first += int(number[-1]) + 1
    buckets[counts == 0] = -1
    keys.clear()
    return buckets


def _compare(buckets: NDArray[np.int32], shingles: _ShingleFile, min_similarity: float) -> Iterator[Duplicate]:
    held: dict[int, list[int]] = {}
    for position in np.flatnonzero((buckets >= 0).any(axis=1)).tolist():
        own = [bucket for bucket in buckets[position].tolist() if bucket >= 0]
        shared = Counter(chain.from_iterable(held.get(bucket, ()) for bucket in own))
        found = _find_most_similar(position, shared, shingles)
        if found is not None and found.similarity >= min_similarity:
            yield found
            continue
        for bucket in own:
            of_bucket = held.setdefault(bucket, [])
            if len(of_bucket) < MAX_HELD:
                of_bucket.append(position)


def _find_most_similar(position: int, shared: Counter[int], shingles: _ShingleFile) -> Duplicate | None:
    """The first of the most similar; None where there is nothing to compare with."""
    if not shared:
        return None
    mine = shingles.read(position)
    nearest = sorted(shared, key=lambda other: (-shared[other], other))[:MAX_COMPARED]
    similarity, other = max((_similarity(mine, shingles.read(other)), -other) for other in nearest)
    return Duplicate(position=position, representative=-other, similarity=similarity)


def _similarity(mine: NDArray[Any], theirs: NDArray[Any]) -> float:
    num_shared = len(np.intersect1d(mine, theirs, assume_unique=True))
    return num_shared / (len(mine) + len(theirs) - num_shared)
