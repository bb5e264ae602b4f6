"""A prefix plan: which order of the prompts that are known lets an engine's prefix cache do most, and how much that is.

A prefix cache keeps whole blocks of tokens. Prompts therefore form a tree of blocks: what two of them share is a path from its root. Read
in the order of a walk through that tree, each block is computed once while the next prompts need it, however small the cache.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

CPU_BLOCK_SIZE, GPU_BLOCK_SIZE = 32, 16
"""Tokens of a block where no setting says. vLLM's own on a CPU is 128: a prefix shorter than a block is never reused."""


class PrefixTree:
    """The blocks of all prompts seen, and the tokens that a cache could have spared at best, whatever their order."""

    def __init__(self, block_size: int) -> None:
        """`block_size` is in tokens, at least 1."""
        self.block_size = block_size
        self.num_tokens = 0
        """Of all prompts."""
        self.reusable_tokens = 0
        """Of those, the ones that some other prompt's computation gives, were the cache large enough and the order right."""
        self._nodes: dict[int, int] = {}
        """By the hash of its block and its parent; numbered in the order of appearance."""
        self._is_paid: list[bool] = []
        """Of each node: whether a prompt computes it in any case, so that all others can read it."""

    @property
    def num_blocks(self) -> int:
        """Different ones so far."""
        return len(self._is_paid)

    def add(self, token_ids: Sequence[int], score_from: int | None = None) -> list[int]:
        """Add a prompt and give its path, the numbers of its whole blocks' nodes.

        An engine computes at least a prompt's last token, and of a scored prompt every token from the one before `score_from` on.
        """
        size = self.block_size
        num_readable = (len(token_ids) - 1 if score_from is None else score_from - 1) // size
        self.num_tokens += len(token_ids)
        tokens = array("q", token_ids).tobytes()
        path: list[int] = []
        parent = -1
        for index in range(len(token_ids) // size):
            key = hash((parent, tokens[8 * size * index : 8 * size * (index + 1)]))
            node = self._nodes.setdefault(key, len(self._is_paid))
            is_new, is_readable = node == len(self._is_paid), index < num_readable
            if is_new:
                self._is_paid.append(not is_readable)
            elif is_readable:
                self.reusable_tokens += size
            elif not self._is_paid[node]:
                self._is_paid[node] = True
                self.reusable_tokens += size  # the reader that came first need not have paid
            path.append(node)
            parent = node
        return path


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """An order of prompts."""

    order: list[int]
    """Positions of the prompts as they were given: each once, those that share most beside each other."""
    num_tokens: int
    reusable_tokens: int
    """At best, as in PrefixTree; this order needs no larger cache for it than the longest prompts in flight."""


def plan_prefixes(
    prompts: Sequence[Sequence[int]],
    *,
    block_size: int,
    expected_tokens: Sequence[int] | None = None,
    score_from: Sequence[int | None] | None = None,
) -> PrefixPlan:
    """Order prompts by a walk through their tree, groups in the order of their first prompts.

    Inside a group, which is what shares the same blocks, the longest expected answer comes first (`expected_tokens`, one for each prompt):
    what is begun last then ends soonest, and the engine runs full until the end. Deterministic: the same prompts give the same order.
    """
    tree = PrefixTree(block_size)
    scored = score_from or [None] * len(prompts)
    paths = [tree.add(prompt, first) for prompt, first in zip(prompts, scored, strict=True)]
    expected = expected_tokens or [0] * len(prompts)
    by_path = sorted(range(len(prompts)), key=lambda position: (paths[position], position))
    shared = [0, *(_common(paths[left], paths[right]) for left, right in pairwise(by_path)), 0]
    groups = {position: tuple(paths[position][: max(shared[rank : rank + 2])]) for rank, position in enumerate(by_path)}
    order = sorted(by_path, key=lambda position: (groups[position], -expected[position], position))
    return PrefixPlan(order, tree.num_tokens, tree.reusable_tokens)


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    for depth, (first, second) in enumerate(zip(left, right, strict=False)):
        if first != second:
            return depth
    return min(len(left), len(right))
