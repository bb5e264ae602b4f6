"""What the errors do to a text that a model learns to mend: no more than was asked for, and all kinds of them."""

import difflib
import random
import re
from pathlib import Path

import pytest

from tests.bench.proofreader.draft import start_draft
from tests.bench.proofreader.errors import MAKERS, MIN_WORDS, WEIGHTS, Kind, make_errors
from tests.bench.proofreader.vocabulary import build_vocabulary, read_vocabulary

TEXT = (
    "“There’s no doubt,” said Mrs. Harker, “that the horses were seen in a field; whose were they?” Nobody knew. The old-fashioned "
    "carriage stood where it had been left — its wheels broken, its lamps out…\n\nI asked a servant about the driver’s story. He ran to "
    "the village to get an officer, and he was quite sure: they would weigh more than the whole team could carry through the wood!"
)
VOCABULARY = build_vocabulary([TEXT + " field fields fielded yield wood would could story stories storey " * 3] * 60)


def count_words(text: str) -> int:
    """Words as a draft has them."""
    return len(start_draft(text, VOCABULARY, random.Random(0)).words)


def count_changed(before: str, after: str) -> int:
    """Words and marks that are not in both, on the side that has more of them, place by place."""
    old_tokens, new_tokens = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (before, after))
    places = difflib.SequenceMatcher(None, old_tokens, new_tokens, autojunk=False).get_opcodes()
    return sum(max(old_end - old, new_end - new) for kind, old, old_end, new, new_end in places if kind != "equal")


@pytest.mark.parametrize("rate", [0.0, 1 / 150, 1 / 14, 1 / 5])
def test_no_more_errors_than_asked_for_and_the_rest_is_kept(rate: float) -> None:
    for seed in range(100):
        spoiled = make_errors(TEXT, VOCABULARY, random.Random(seed), rate=rate)
        assert len(spoiled.kinds) <= max(1, int(count_words(TEXT) * rate) + 1)
        # two words in the other order, or a full stop and a capital, and what stands between: five tokens at most
        assert count_changed(TEXT, spoiled.text) <= 5 * len(spoiled.kinds)
        assert (spoiled.text != TEXT) == bool(spoiled.kinds)


def test_the_rate_is_that_of_the_errors() -> None:
    num_made = sum(len(make_errors(TEXT, VOCABULARY, random.Random(seed), rate=1 / 14).kinds) for seed in range(400))
    # some kinds find no word to be made at
    assert 0.8 <= num_made / (400 * count_words(TEXT) / 14) <= 1.02


def test_a_seed_makes_the_same_errors_again() -> None:
    texts = [make_errors(TEXT, VOCABULARY, random.Random(seed), rate=1 / 14).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_all_kinds_occur_the_likelier_ones_more_often() -> None:
    made = [kind for seed in range(400) for kind in make_errors(TEXT, VOCABULARY, random.Random(seed), rate=1 / 14).kinds]
    assert set(made) == set(Kind) == set(MAKERS) == set(WEIGHTS)
    assert made.count(Kind.SPELLING) > made.count(Kind.SPACE) > made.count(Kind.ORDER)


@pytest.mark.parametrize("kind", Kind)
def test_an_error_says_whether_it_was_made(kind: Kind) -> None:
    chance = random.Random(3)
    said = set()
    for index in start_draft(TEXT, VOCABULARY, chance).words * 5:
        draft = start_draft(TEXT, VOCABULARY, chance)
        is_made = MAKERS[kind](draft, index)
        assert is_made == (draft.text != TEXT)
        said.add(is_made)
    assert True in said


def test_marks_are_replaced_added_and_join_sentences() -> None:
    text = "They came late. Nobody was there to see them."
    made = set()
    for seed in range(400):
        draft = start_draft(text, VOCABULARY, random.Random(seed))
        if MAKERS[Kind.PUNCTUATION](draft, draft.words[1]):
            made.add(draft.text)
    expected = {text.replace("late.", "late,"), text.replace("came", "came,"), text.replace("late. Nobody", "late, nobody")}
    assert expected <= made


def test_the_same_word_twice_is_not_put_in_the_other_order() -> None:
    draft = start_draft("That that was it", VOCABULARY, random.Random(0))
    assert not MAKERS[Kind.ORDER](draft, draft.words[0])
    assert MAKERS[Kind.ORDER](draft, draft.words[1])
    assert draft.text == "That was that it"


def test_a_short_text_stays_as_it_is() -> None:
    text = "a line of " + "words " * (MIN_WORDS - 4)
    assert make_errors(text, VOCABULARY, random.Random(0), rate=1.0).kinds == ()
    assert make_errors(text + "more", VOCABULARY, random.Random(0), rate=1.0).kinds


def test_a_vocabulary_knows_what_is_taken_for_what() -> None:
    common = "walk walks walked run running write writing city cities from form world word "
    vocabulary = build_vocabulary([common * 150, "wold " * 60, "wald " * 39])
    assert vocabulary.counts["walk"] == 150
    assert vocabulary.near["from"] == ["form"]
    assert vocabulary.near["wold"] == ["word", "world"]  # not the other way: it is rare
    assert vocabulary.near["world"] == ["word"]
    assert "wald" not in vocabulary.counts
    assert vocabulary.family["walk"] == ["walked", "walks"]
    assert [vocabulary.family[word] for word in ("run", "write", "city")] == [["running"], ["writing"], ["cities"]]


def test_a_vocabulary_comes_back_from_its_file(tmp_path: Path) -> None:
    VOCABULARY.write(tmp_path / "vocabulary.json")
    assert read_vocabulary(tmp_path / "vocabulary.json") == VOCABULARY
