"""Where sentences end, and that they tile any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkers.sentences import sentence_spans

PIECES = st.sampled_from(
    [
        "Word",
        "word",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\n\n",
        ".",
        "!",
        "?",
        "…",
        "...",
        "”",
        '"',
        ")",
        "Mr",
        "e.g",
        "U.S",
        "No",
        "7",
        "I",
        "。",
        "é",
        "🙂",
        "*",
    ]
)


@given(st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=200)))
def test_sentences_tile_the_text(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(start < end for start, end in spans)
    # white space goes with the sentence before it
    assert not any(text[start].isspace() for start, _ in spans[1:])


@pytest.mark.parametrize(
    "text",
    [
        "One. |Two! |Three? |Four.",
        "Mr. Bennet met Mrs. Long and Dr. J. R. Smith. |They talked.",
        "He paid 3.50 to St. Ives, i.e. Too much. |Then he left.",
        "See No. 5 and fig. 3 on p. 12. |No. |He did not.",
        "“Well?” |“No,” he said. |“Why?” he asked. |She left.",
        "“Stop!” she cried. |He stopped.",
        "He waited... and waited. |Then... |Nothing… |She went.",
        "It was I. |He said so.",
        "We met at 5 p.m. |It rained.",
        "The U.S. Senate met. |It rose.",
        "(He was late.) |She was not.",
        "*He was late.* |She was not.[^1] |They left.",
        "1. First thing.\n|2. Second thing.",
        "A heading\n\n|and lower case after it.",
        "A line\nthat goes on. |End",
        "Ends here.\r\n\r\n|Next.",
        "これは文です。|次の文です。",
        "He saw Smith et al. Then he left. |So it ended etc. |Fine.",
        "no stop at all",
        "Trailing space. ",
    ],
)
def test_sentence_ends(text: str) -> None:
    sentences = text.split("|")
    plain = "".join(sentences)
    assert [plain[start:end] for start, end in sentence_spans(plain)] == sentences


def test_long_runs_of_stops_take_linear_time() -> None:
    assert len(sentence_spans("." * 300_000 + "\"'" * 300_000 + ".)" * 300_000)) == 1
