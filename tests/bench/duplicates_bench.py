"""Near-duplicate search over very many chunks. Prints its figures, and as the last line one JSON object.

python tests/bench/duplicates_bench.py [chunks]

The chunks are made of sentences of data/the-time-machine.md in random order, 330 words each; three in ten repeat one of the 1,000 before,
with up to ten words changed. Recall is measured by comparing each of 4,000 chunks of the middle with all before it there: of
those that have one at least so similar among the representatives, the share that was found. Only the search is timed, not the making.
"""

import json
import resource
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from time import perf_counter, process_time

from chunkers.duplicates import SHINGLE_WORDS, Duplicate, find_duplicates

BOOK = Path(__file__).parents[2] / "data" / "the-time-machine.md"
MIN_SIMILARITY = 0.9
CHUNK_WORDS = 330
REPEATED = 0.3
MAX_CHANGED = 10
WINDOW = 1_000
"""A repeated chunk is one of so many before it; also what the making holds in memory."""
SAMPLE = 4_000


def main(num_chunks: int) -> None:
    chunks = _Timed(make_chunks(num_chunks))
    started, cpu_started = perf_counter(), process_time()
    found = {duplicate.position: duplicate for duplicate in find_duplicates(chunks, MIN_SIMILARITY)}
    seconds = perf_counter() - started - chunks.seconds
    cpu_seconds = process_time() - cpu_started - chunks.cpu_seconds
    max_rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    recall, num_expected = measure_recall(num_chunks, found)
    result = {
        "chunks": num_chunks,
        "seconds": round(seconds, 1),
        "recall": round(recall, 4),
        "max_rss_mib": max_rss_mib,
        "cpu_seconds": round(cpu_seconds, 1),
        "duplicates": len(found),
        "sampled_duplicates": num_expected,
    }
    sys.stdout.write(
        f"{num_chunks:,} chunks of {CHUNK_WORDS} words: {len(found):,} near-duplicates in {seconds:.1f} s, "
        f"{num_chunks / seconds:,.0f} a second; making the chunks took another {chunks.seconds:.1f} s\n{json.dumps(result)}\n"
    )


class _Timed:
    """An iterator's items, and how long it took to make them."""

    def __init__(self, items: Iterator[str]) -> None:
        self._items, self.seconds, self.cpu_seconds = items, 0.0, 0.0

    def __iter__(self) -> "_Timed":
        return self

    def __next__(self) -> str:
        started, cpu_started = perf_counter(), process_time()
        try:
            return next(self._items)
        finally:
            self.seconds += perf_counter() - started
            self.cpu_seconds += process_time() - cpu_started


def make_chunks(num_chunks: int) -> Iterator[str]:
    """The same chunks each time."""
    draw = Random(11)
    book = BOOK.read_text("utf-8")
    sentences = [sentence.split() for sentence in book.replace("\n", " ").split(". ") if len(sentence.split()) > 4]
    words = book.split()
    recent: list[str] = []
    for number in range(num_chunks):
        if recent and draw.random() < REPEATED:
            made = recent[draw.randrange(len(recent))].split()
            for _ in range(draw.randrange(MAX_CHANGED + 1)):
                made[draw.randrange(len(made))] = words[int(draw.random() * len(words))]
        else:
            made = []
            while len(made) < CHUNK_WORDS:
                made += sentences[int(draw.random() * len(sentences))]
        chunk = " ".join(made)
        if len(recent) < WINDOW:
            recent.append(chunk)
        else:
            recent[number % WINDOW] = chunk
        yield chunk


def measure_recall(num_chunks: int, found: dict[int, Duplicate]) -> tuple[float, int]:
    """Share of the duplicates among a sample's chunks that were found, and how many there are; by comparing all pairs."""
    first = max(0, (num_chunks - SAMPLE) // 2)
    sample = [_shingles(chunk.split()) for chunk in islice(make_chunks(first + SAMPLE), first, first + SAMPLE)]
    places: dict[tuple[str, ...], list[int]] = {}
    num_expected = num_missed = 0
    for place, shingles in enumerate(sample):
        shared: dict[int, int] = {}
        for shingle in shingles:
            for other in places.get(shingle, ()):
                shared[other] = shared.get(other, 0) + 1
        is_duplicate = any(num / (len(shingles) + len(sample[other]) - num) >= MIN_SIMILARITY for other, num in shared.items())
        is_found = first + place in found
        num_expected += is_duplicate
        num_missed += is_duplicate and not is_found
        if not is_found:  # only representatives are compared with
            for shingle in shingles:
                places.setdefault(shingle, []).append(place)
    return 1 - num_missed / num_expected, num_expected


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + SHINGLE_WORDS]) for at in range(len(words) - SHINGLE_WORDS + 1)}


if __name__ == "__main__":
    if len(sys.argv) > 2:
        raise SystemExit(__doc__)
    main(int(sys.argv[1]) if len(sys.argv) == 2 else 1_000_000)
