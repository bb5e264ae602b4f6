"""Batches from processes that make them ahead, so that a GPU never waits for text."""

import itertools
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path

from tests.bench.proofreader.passages import Batch, Passages

QUEUED_BATCHES = 3
"""A process is ahead by so many."""
MAX_WAIT_S = 600
"""For a batch: the processes read all texts first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """How batches are made."""

    data: Path
    """What texts.py wrote."""
    tokenizer_path: Path
    lengths: tuple[int, ...]
    """Tokens of the rows of a batch, one of these by chance."""
    batch_tokens: int
    seed: int
    num_processes: int

    def read_passages(self, *, is_held_back: bool = False) -> Passages:
        """All texts; takes some seconds."""
        return Passages.read(self.data, self.tokenizer_path, self.lengths, is_held_back=is_held_back)

    def take_batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Batch `first` and every `stride`-th after it, in order. Raises queue.Empty where none comes, as when a process has died."""
        context = multiprocessing.get_context("spawn")
        queues: list[Queue[Batch]] = [context.Queue(QUEUED_BATCHES) for _ in range(self.num_processes)]
        for index, queue in enumerate(queues):
            numbers = itertools.count(first + index * stride, self.num_processes * stride)
            context.Process(target=_put_batches, args=(self, numbers, queue), daemon=True).start()
        for queue in itertools.cycle(queues):
            yield queue.get(timeout=MAX_WAIT_S)


def _put_batches(feed: Feed, numbers: Iterator[int], queue: "Queue[Batch]") -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    passages = feed.read_passages()
    for number in numbers:
        queue.put(passages.make_batch(number, num_tokens=feed.batch_tokens, seed=feed.seed))
