"""What the model learns from: texts without what it is measured on, and rows that hold a passage and its copy."""

import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.bench.proofreader.paragraphs import list_book_paragraphs, list_page_paragraphs, set_marks
from tests.bench.proofreader.passages import END, IGNORED, START, Passages
from tests.bench.proofreader.texts import BOOKS_NAME, DOCS_NAME, VOCABULARY_NAME, HeldOut, read_held_out, take_slice, write_documents
from tests.bench.proofreader.vocabulary import build_vocabulary

SENTENCE = "In the year {} the men of the town were seen to carry all of their goods over the river, and nobody ever knew why. "
BOOK = """The Project Gutenberg EBook
*** START OF THIS PROJECT GUTENBERG EBOOK ***

CHAPTER I

It was late in the evening when the old man came down to the harbour,
and there was nobody to be seen _at all_.

   Full fathom five thy father lies; of his bones are coral made;
   Those are pearls that were his eyes, and nothing of him fades

*** END OF THIS PROJECT GUTENBERG EBOOK ***
Everybody may copy this text as often as it is of use to him, and give it away to others.
"""
PAGE = """---
title: The title of the page is not for reading
---
The first paragraph of the page says what it is about,
and it is on two lines.

```
the code that is in the block is not a text that a person would read
```

- a list is kept with its marks, because
- that is how chunks have it

| the table | of the page |
"""


def test_of_a_book_its_prose_is_read() -> None:
    assert list_book_paragraphs(BOOK.replace("\n", "\r\n")) == [
        "It was late in the evening when the old man came down to the harbour, and there was nobody to be seen _at all_."
    ]


def test_of_a_page_its_prose_and_lists_are_read() -> None:
    first, second = "The first paragraph of the page says what it is about,", "and it is on two lines."
    items = "- a list is kept with its marks, because\n- that is how chunks have it"
    read = [tuple(list_page_paragraphs(PAGE, f"page{number}.md")) for number in range(20)]
    assert set(read) == {(f"{first} {second}", items), (f"{first}\n{second}", items)}


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ('"Well," he said--\'tis late...', "“Well,” he said—’tis late…"),
        ("(\"No, 'never' is the dog's word.\")", "(“No, ‘never’ is the dog’s word.”)"),
        ("Nothing to set here...", "Nothing to set here..."),
    ],
)
def test_a_book_is_set_in_marks_of_print(typed: str, printed: str) -> None:
    assert set_marks(typed) == printed


def test_nine_words_in_a_row_are_held_out(tmp_path: Path) -> None:
    (tmp_path / "chapter.md").write_text("One two three: four, five\nsix “seven” eight NINE.")
    (tmp_path / "pairs.jsonl").write_text('{"before": "ten words that are in an object of a line, all", "number": 3}\n')
    held_out = HeldOut(read_held_out([tmp_path]))
    kept = ["zero one two three four five six seven eight", "two three four five six seven eight nine ten"]
    dropped = ["zero one two three four five six seven eight nine", "Words that are in an object of a line."]
    assert held_out.drop_from([kept[0], *dropped, kept[1]]) == kept
    assert held_out.num_dropped == 2


@pytest.mark.parametrize(("num_paragraphs", "num_taken"), [(60, 60), (100, 50), (1_100, 600)])
def test_a_slice_is_paragraphs_in_a_row(num_paragraphs: int, num_taken: int) -> None:
    book = [f"{number:06}".ljust(1_000) for number in range(num_paragraphs)]
    taken = take_slice(book, random.Random(1))
    assert taken == book[book.index(taken[0]) :][: len(taken)]
    # a slice that begins near the end is shorter
    assert len(taken) == num_taken or (num_taken == 600 and taken[-1] == book[-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As texts.py and the model's folder have it."""
    folder = tmp_path_factory.mktemp("data")
    documents = [[SENTENCE.format(1000 + 100 * number + line) * 3 for line in range(40)] for number in range(8)]
    write_documents(documents[:4], folder / BOOKS_NAME)
    write_documents(documents[4:], folder / DOCS_NAME)
    text = " ".join(paragraph for document in documents for paragraph in document)
    build_vocabulary([text]).write(folder / VOCABULARY_NAME)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<none>", "<start>", "<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_row_is_a_passage_and_its_copy_without_errors(data: Path) -> None:
    tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
    texts = [(data / name).read_text() for name in (BOOKS_NAME, DOCS_NAME)]
    num_spoiled = 0
    batch = Passages.read(data, data / "tokenizer.json", [320]).make_batch(5, num_tokens=320 * 40, seed=0)
    assert batch.token_ids.shape == (40, 320)
    assert len(batch.places) == len(batch.wanted) == 320 * 20
    num_learned = int((batch.wanted != IGNORED).sum())
    learned = dict(zip(batch.places[:num_learned].tolist(), batch.wanted[:num_learned].tolist(), strict=True))
    assert set(batch.wanted[num_learned:].tolist()) <= {IGNORED}
    for index, row in enumerate(batch.token_ids.tolist()):
        first, last = row.index(END), row.index(END, row.index(END) + 1)
        assert row[0] == START
        assert set(row[last:]) == {END}
        passage, copy = tokenizer.decode(row[1:first]), tokenizer.decode(row[first + 1 : last])
        assert any(copy in text for text in texts)
        num_spoiled += passage != copy
        for place in range(320):
            assert learned.get(index * 320 + place) == (row[place + 1] if first <= place < last else None)
    assert 25 <= num_spoiled < 40


def test_a_batch_is_the_same_whoever_makes_it(data: Path) -> None:
    passages, others = (Passages.read(data, data / "tokenizer.json", [320, 640]) for _ in range(2))
    made = [passages.make_batch(number, num_tokens=2_560, seed=0) for number in range(3)]
    again = others.make_batch(2, num_tokens=2_560, seed=0)
    assert np.array_equal(again.token_ids, made[2].token_ids)
    assert len({batch.token_ids.tobytes() for batch in made}) == 3
    assert not np.array_equal(again.token_ids, others.make_batch(2, num_tokens=2_560, seed=1).token_ids)


def test_what_is_held_back_is_in_no_batch(data: Path) -> None:
    tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
    last = "In the year 1"  # a year of books 2 and 3 is 12.. or 13.., of pages 6 and 7 16.. or 17..
    for is_held_back, years in ((False, "0145"), (True, "2367")):
        passages = Passages.read(data, data / "tokenizer.json", [320], is_held_back=is_held_back)
        batch = passages.make_batch(0, num_tokens=320 * 20, seed=0)
        text = " ".join(tokenizer.decode(row) for row in batch.token_ids.tolist())
        assert {text[found + len(last)] for found in range(len(text)) if text.startswith(last, found)} <= set(years)
