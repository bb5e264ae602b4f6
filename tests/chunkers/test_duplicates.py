"""Near-duplicates against comparing all pairs, and what is promised of any texts."""

import subprocess
import sys
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.duplicates import MIN_FOUND, NUM_SLOTS, SHINGLE_WORDS, Duplicate, choose_rows, find_duplicates

WORDS = [f"{first}{last}" for first in ("lo", "ma", "ti", "re", "su") for last in ("ne", "ra", "ko", "vi", "st", "pa")]


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    if not words:
        return set()
    return {tuple(words[at : at + SHINGLE_WORDS]) for at in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def similarity(one: str, other: str) -> float:
    return jaccard(shingles_of(one), shingles_of(other))


def jaccard(mine: set[tuple[str, ...]], theirs: set[tuple[str, ...]]) -> float:
    return len(mine & theirs) / len(mine | theirs) if mine | theirs else 0.0


def find_by_force(texts: list[str], min_similarity: float) -> list[Duplicate]:
    """The same rule, every text compared with every representative before it."""
    found, held = [], list[int]()
    shingles = [shingles_of(text) for text in texts]
    for position, text in enumerate(texts):
        best = max(((jaccard(shingles[position], shingles[other]), -other) for other in held), default=(0.0, 0))
        if best[0] >= min_similarity:
            found.append(Duplicate(position=position, representative=-best[1], similarity=best[0]))
        elif text.split():
            held.append(position)
    return found


def make_texts(num: int, seed: int, *, max_changed: int) -> list[str]:
    """Texts of 60 words, every other one an earlier one with some words changed."""
    draw = Random(seed)
    vocabulary = [f"word{index}" for index in range(3000)]
    texts: list[str] = []
    for _ in range(num):
        if texts and draw.random() < 0.5:
            words = draw.choice(texts).split()
            for _ in range(draw.randrange(max_changed + 1)):
                words[draw.randrange(len(words))] = draw.choice(vocabulary)
        else:
            words = draw.choices(vocabulary, k=60)
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize(("min_similarity", "max_changed"), [(0.5, 12), (0.7, 6), (0.8, 4), (0.9, 2), (1.0, 1)])
def test_finds_what_comparing_all_pairs_finds(min_similarity: float, max_changed: int) -> None:
    texts = make_texts(500, seed=3, max_changed=max_changed)
    expected = {(one.position, one.representative): one.similarity for one in find_by_force(texts, min_similarity)}
    found = {(one.position, one.representative): one.similarity for one in find_duplicates(texts, min_similarity)}
    assert len(expected) > 80
    assert len(expected.keys() & found.keys()) >= 0.98 * len(expected)
    assert all(found[pair] == pytest.approx(expected[pair]) for pair in expected.keys() & found.keys())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=20), max_size=30),
    st.sampled_from([0.5, 0.75, 0.9, 1.0]),
)
def test_every_duplicate_is_as_similar_to_its_representative_as_it_says(texts: list[str], min_similarity: float) -> None:
    found = list(find_duplicates(texts, min_similarity))
    positions = [one.position for one in found]
    assert positions == sorted(set(positions))
    for one in found:
        assert one.representative < one.position
        assert one.representative not in positions, "a representative is no duplicate itself"
        assert one.similarity == pytest.approx(similarity(texts[one.position], texts[one.representative]))
        assert one.similarity >= min_similarity
    assert list(find_duplicates(iter(texts), min_similarity)) == found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(), max_size=40), min_size=1, max_size=20))
def test_repeated_text_is_always_found(texts: list[str]) -> None:
    found = {one.position: one for one in find_duplicates([*texts, *texts], 1.0)}
    for place, text in enumerate(texts):
        repeated = found.get(len(texts) + place)
        assert (repeated is not None) == bool(text.split()), "a text without a word is nobody's duplicate"
        assert repeated is None or shingles_of(texts[repeated.representative]) == shingles_of(text)


def test_order_of_words_and_white_space() -> None:
    text = "one two three four five six seven eight nine ten"
    backwards = " ".join(reversed(text.split()))
    assert list(find_duplicates([text, backwards], 0.5)) == []
    assert [one.similarity for one in find_duplicates([text, text.replace(" ", "\n")], 0.9)] == [1.0]


def test_most_similar_is_taken_and_of_equal_ones_the_first() -> None:
    draw = Random(1)
    words = [f"w{draw.randrange(10_000)}" for _ in range(200)]
    near, nearer = words.copy(), words.copy()
    near[20] = near[100] = near[180] = "other"
    nearer[60] = "else"
    texts = [" ".join(each) for each in (near, nearer, words)]
    # 9 of 198 shingles differ, and 3: the two first are 12 apart, 186 / 210
    found = list(find_duplicates(texts, 0.9))
    assert [(one.position, one.representative, round(one.similarity, 4)) for one in found] == [(2, 1, round(195 / 201, 4))]
    assert [(one.position, one.representative) for one in find_duplicates([texts[0], texts[2], texts[2]], 0.95)] == [(2, 1)]


def test_shape_of_the_bands_finds_pairs_at_the_limit() -> None:
    for min_similarity in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        rows = choose_rows(min_similarity)
        assert 1 - (1 - min_similarity**rows) ** (NUM_SLOTS // rows) >= MIN_FOUND
    assert choose_rows(0.9) > choose_rows(0.7) > choose_rows(0.5)


@pytest.mark.parametrize("wrong", [0.49, 1.01, float("nan")])
def test_similarity_that_means_nothing_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="near-duplicates"):
        next(find_duplicates(["a b c"], wrong))


def test_same_duplicates_in_another_process() -> None:
    """Python's own hashes of words change with the process."""
    code = "from tests.chunkers.test_duplicates import *\nprint(list(find_duplicates(make_texts(300, 3, max_changed=2), 0.9)))"
    root = Path(__file__).parents[2]
    told = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{list(find_duplicates(make_texts(300, 3, max_changed=2), 0.9))}\n"}


def test_texts_are_read_once_and_not_kept() -> None:
    """Of 20,000 texts of 20 kB, which are 400 MB, a process holds no more than a batch and what tells them apart."""
    code = """
import resource
from chunkers.duplicates import find_duplicates
list(find_duplicates(["a b c"], 0.9))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
texts = (f"{number} {number + 1} {number + 2} " + "x" * 20_000 for number in range(20_000))
print(len(list(find_duplicates(texts, 0.9))), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    root = Path(__file__).parents[2]
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=True).stdout
    _, grown_kib = map(int, told.split())
    assert grown_kib < 100 * 1024


def test_first_texts_decide_nothing_about_later_batches() -> None:
    """A batch is no border: a text repeats one of another batch as well as one of its own."""
    texts = make_texts(2_100, seed=9, max_changed=0)
    found = {one.position: one.representative for one in find_duplicates(texts, 1.0)}
    for position in islice(found, 0, None, 7):
        assert texts[found[position]] == texts[position]
    assert {position for position, text in enumerate(texts) if text in texts[:position]} == set(found)
