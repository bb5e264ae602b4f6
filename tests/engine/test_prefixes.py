"""The prefix plan against a simulated cache, which knows nothing of trees."""

import random
from collections import OrderedDict
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.prefixes import PrefixTree, plan_prefixes

BLOCK = 4
PROMPTS = st.lists(st.lists(st.integers(0, 1), max_size=24), max_size=30)


def read_from_cache(prompts: Sequence[Sequence[int]], max_blocks: int | None = None, score_from: Sequence[int | None] | None = None) -> int:
    """Tokens that a cache with least-recently-used eviction gives to prompts read one after the other."""
    cache: OrderedDict[tuple[int, ...], None] = OrderedDict()
    num_read = 0
    for position, prompt in enumerate(prompts):
        first = score_from[position] if score_from else None
        readable = (len(prompt) - 1 if first is None else first - 1) // BLOCK
        is_hit = True
        for end in range(BLOCK, len(prompt) + 1, BLOCK):
            block = tuple(prompt[:end])
            is_hit = is_hit and block in cache and end <= readable * BLOCK
            num_read += BLOCK * is_hit
            cache[block] = None
            cache.move_to_end(block)
        while max_blocks is not None and len(cache) > max_blocks:
            cache.popitem(last=False)
    return num_read


@settings(deadline=None, max_examples=100)
@given(PROMPTS)
def test_plan_is_an_order_that_reads_all_that_can_be_reused(prompts: list[list[int]]) -> None:
    plan = plan_prefixes(prompts, block_size=BLOCK)
    assert sorted(plan.order) == list(range(len(prompts)))
    assert plan.num_tokens == sum(map(len, prompts))
    # with blocks that a prompt must compute in any case, order decides who pays: never less than one block a distinct prompt end
    exact_ends = {tuple(prompt) for prompt in prompts if prompt and len(prompt) % BLOCK == 0}
    found = read_from_cache([prompts[position] for position in plan.order])
    assert plan.reusable_tokens - BLOCK * len(exact_ends) <= found <= plan.reusable_tokens


@settings(deadline=None, max_examples=100)
@given(PROMPTS, st.randoms())
def test_reuse_does_not_depend_on_the_order_of_adding(prompts: list[list[int]], chance: random.Random) -> None:
    shuffled = list(prompts)
    chance.shuffle(shuffled)
    trees = [PrefixTree(BLOCK), PrefixTree(BLOCK)]
    for tree, each in zip(trees, (prompts, shuffled), strict=True):
        for prompt in each:
            tree.add(prompt)
    assert trees[0].reusable_tokens == trees[1].reusable_tokens


def test_a_small_cache_is_enough_in_the_planned_order() -> None:
    """64 documents of 100 tokens that all their prompts begin with, shuffled; the cache holds a quarter of them."""
    chance = random.Random(5)
    sheets = [[chance.randrange(1000) for _ in range(100)] for _ in range(64)]
    prompts = [[*sheet, *(chance.randrange(1000) for _ in range(20))] for sheet in sheets for _ in range(8)]
    chance.shuffle(prompts)
    plan = plan_prefixes(prompts, block_size=BLOCK)
    assert plan.reusable_tokens == 64 * 7 * 100
    quarter = 64 * 100 // BLOCK // 4
    assert read_from_cache([prompts[position] for position in plan.order], quarter) == plan.reusable_tokens
    assert read_from_cache(prompts, quarter) < plan.reusable_tokens / 2


def test_scored_prompts_read_what_a_reading_computed_and_no_scored_token() -> None:
    reading, scored = list(range(100, 140)), [*range(100, 120), 1, 2, 3]
    tree = PrefixTree(BLOCK)
    for prompt, first in ((scored, 20), (reading, 1), (scored, 20)):
        tree.add(prompt, first)
    # 19 tokens stand before what computes a score: four blocks, twice, both given by the reading
    assert tree.reusable_tokens == 2 * 16
    assert read_from_cache([reading, scored, scored], score_from=[1, 20, 20]) == 32


def test_longest_answers_come_first_inside_a_group_and_groups_in_their_own_order() -> None:
    prompts = [[1] * 8 + [index] for index in range(3)] + [[2] * 8 + [index] for index in range(3)]
    plan = plan_prefixes(prompts, block_size=BLOCK, expected_tokens=[1, 3, 2, 9, 9, 10])
    assert plan.order == [1, 2, 0, 5, 3, 4]
