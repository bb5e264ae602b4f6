"""Plain text: paragraphs, headings, and what belongs to the distributor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkers.readers import parse_document, spans
from chunkers.readers import text as reader
from chunkers.readers.text import is_heading
from chunkers.records import BlockKind, Document

MODERN = """\
The Project Gutenberg EBook of A Tale, by Nobody

Title: A Tale

Language: English

*** START OF THIS PROJECT GUTENBERG EBOOK A TALE OF
MANY LINES ***



Produced by Someone



CHAPTER I

It was a hard-wrapped
paragraph of _two_ lines.


The last one.

End of the Project Gutenberg EBook of A Tale, by Nobody

*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***

*** START: FULL LICENSE ***
"""

OLD = """\
**The Project Gutenberg Etext of A Tale**

***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***

Why is this here?

*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*

CHAPTER I

The only paragraph.

End of The Project Gutenberg Etext of A Tale
"""


def read(text: str) -> Document:
    return parse_document(text.encode(), "a.txt")


def prose_of(document: Document) -> list[str]:
    return [document.text[block.start : block.end].strip() for block in document.blocks if block.kind.is_prose]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_gutenberg_header_and_licence_are_boilerplate(newline: str) -> None:
    document = parse_document(MODERN.replace("\n", newline).encode(), "a.txt")
    assert prose_of(document) == ["CHAPTER I", f"It was a hard-wrapped{newline}paragraph of _two_ lines.", "The last one."]
    kinds = [block.kind for block in document.blocks]
    assert (kinds[0], kinds[-1]) == (BlockKind.BOILERPLATE, BlockKind.BOILERPLATE)
    assert (document.title, document.language) == ("A Tale", "en")
    first, *_, last = document.protected
    assert document.text[first.start : first.end].endswith("Produced by Someone")
    assert document.text[last.start : last.end].startswith("End of the Project Gutenberg EBook")


def test_gutenberg_forms_of_the_1990s() -> None:
    document = read(OLD)
    assert prose_of(document) == ["CHAPTER I", "The only paragraph."]
    assert document.title == "CHAPTER I"


def test_a_book_that_quotes_the_marker_is_not_cut() -> None:
    text = "A tale.\n\nEND OF THE PROJECT\n\n*** START OF SOMETHING ELSE ***\n\nMore tale.\n"
    assert all(block.kind.is_prose for block in read(text).blocks)


def test_blank_lines_go_with_the_paragraph_before() -> None:
    document = read("\n\nOne\ntwo.\n \t\nThree.\n\n\n")
    assert [document.text[block.start : block.end] for block in document.blocks] == ["\n\nOne\ntwo.\n \t\n", "Three.\n\n\n"]


@pytest.mark.parametrize("newlines", ["\r\n\r\n", "\r\r", "\n\n", "\u2028\u2028", "\x0b\x0c"])
def test_every_kind_of_blank_line_parts_paragraphs(newlines: str) -> None:
    assert prose_of(read(f"One.{newlines}Two.")) == ["One.", "Two."]


def test_crlf_is_one_newline() -> None:
    assert prose_of(read("One\r\ntwo.")) == ["One\r\ntwo."]


@pytest.mark.parametrize(
    "paragraph",
    [
        "CHAPTER I",
        "Chapter 12. Down the Rabbit-Hole",
        "ADVENTURE I. A SCANDAL IN BOHEMIA",
        "IV.",
        "17",
        "Letter 4",
        "THE MEMOIRS\nOF A HOUSE",
        "Epilogue",
    ],
)
def test_headings(paragraph: str) -> None:
    assert is_heading(paragraph)


@pytest.mark.parametrize(
    "paragraph",
    [
        "",
        "NO!",
        "“STOP THERE”",
        "He read chapter one.",
        "Part of the crew left.",
        "Book that room for me, will you?",
        "A",
        "***",
        "X" * 200,
    ],
)
def test_what_only_looks_like_a_heading(paragraph: str) -> None:
    assert not is_heading(paragraph)


def test_protected_in_plain_text() -> None:
    text = "See _The Times_ at www.a.org/x_y, (http://b.org/(c)). Write to me@b.co.uk. snake_case_name\n\n * * * * *\n\n_one _two"
    document = read(text)
    assert [(text[span.start : span.end], span.kind) for span in document.protected] == [
        ("_", "markup"),
        ("_", "markup"),
        ("www.a.org/x_y", "url"),
        ("http://b.org/(c)", "url"),
        ("me@b.co.uk", "url"),
        ("* * * * *", "markup"),
    ]


MARKS = st.sampled_from(["http:", "HTTP:", "ftp://", "a", "x:1", "www.", "WWW.b", "doi:", " ", "\n", "<", "ſ", "urn:", ".", "ı", '"', "_"])


@given(text=st.lists(MARKS, max_size=9).map("".join))
def test_addresses_are_those_that_the_expression_finds(text: str) -> None:
    assert [match.span() for match in spans._find_urls(text)] == [match.span() for match in spans._URL.finditer(text)]


@given(text=st.text(st.sampled_from("\n \ta\u00a0\x1c"), max_size=12))
def test_plain_breaks_are_the_breaks_of_text_without_other_newlines(text: str) -> None:
    assert [match.span() for match in reader._PLAIN_BREAK.finditer(text)] == [match.span() for match in reader._BREAK.finditer(text)]
