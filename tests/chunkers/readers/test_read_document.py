"""Any bytes become a document that encodes to them again, or a DocumentError that says what to do."""

from hashlib import sha256
from pathlib import Path

import fsspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chunkers.readers import parse_document, read_document
from chunkers.records import Document, DocumentError

PIECES = st.sampled_from(
    ["\r", "\n", "\r\n", "\n\n", " ", "\t", "e\u0301", "🙂\u200d", "\ufeff", "\u2028", "\x85", "\x0c", "“", "_", "*", "`", "[", "](",
     ")", "$", "> ", "- ", "1. ", "# ", "|", "---\n", "```\n", "<b>", "&amp;", "\\", "[^1]", "[^1]: ", "http://a.b", "Word ", "end. ",
     "CHAPTER I\n\n", "\U0010ff99", "    "]
)  # fmt: skip
ANY_TEXT = st.one_of(
    st.lists(PIECES, max_size=40).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200),
)
FORMATS = st.sampled_from(["book.md", "book.txt"])


def assert_sound(document: Document, data: bytes) -> None:
    assert document.encode() == data
    assert document.doc_id == sha256(data).hexdigest()
    assert "".join(document.text[block.start : block.end] for block in document.blocks) == document.text
    assert [block.start for block in document.blocks] == [0, *[block.end for block in document.blocks]][: len(document.blocks)]
    assert all(block.start < block.end for block in document.blocks)
    ends = [0, *[span.end for span in document.protected]]
    assert all(end <= span.start < span.end <= len(document.text) for end, span in zip(ends, document.protected, strict=False))
    document.text.encode("utf-8")


@given(ANY_TEXT, FORMATS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_any_text_is_read_and_written_back(text: str, name: str, encoding: str) -> None:
    data = text.encode(encoding)
    document = parse_document(data, name)
    assert document.bom + document.text == ("\ufeff" * (encoding != "utf-8") + text)
    assert_sound(document, data)


@given(st.binary(max_size=200), FORMATS)
@example(b"caf\xe9 and tea", "book.txt")
@example("naïve “quotes” and one ".encode() + b"\xff byte", "book.md")
@example(b"\x81\x8d cp1252 has no such bytes", "book.txt")
@example("\U0010ff99".encode() * 3 + b" \x99", "book.txt")
@example(b"\xff\xfe\x00\xd8", "book.txt")
def test_any_bytes_are_written_back_or_refused(data: bytes, name: str) -> None:
    try:
        document = parse_document(data, name)
    except DocumentError as error:
        refusal = str(error)
    else:
        assert_sound(document, data)
        return
    assert name in refusal
    assert refusal.count(";") >= 2


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b" \t\r\n\n \xc2\xa0\n\xe3\x80\x80"])
@pytest.mark.parametrize("name", ["empty.md", "empty.txt"])
def test_a_file_without_words_is_a_document_without_prose(data: bytes, name: str) -> None:
    document = parse_document(data, name)
    assert_sound(document, data)
    assert document.num_words == 0
    assert document.protected == ()


@pytest.mark.parametrize(
    ("data", "name", "met"),
    [
        (b"PK\x03\x04 rest", "letter.txt", "zip"),
        (b"plain words", "letter.docx", "Word"),
        (b"%PDF-1.7 rest", "letter", "PDF"),
        (b"words\0more", "letter.txt", "NUL"),
        ("words\0more".encode("utf-16"), "letter.txt", "NUL"),
        (b"\xff\xfea", "letter.txt", "utf-16-le"),
        (bytes(range(1, 32)) + b"\xff" * 40, "letter.txt", "control codes"),
    ],
)
def test_what_is_not_text_is_refused_by_name(data: bytes, name: str, met: str) -> None:
    with pytest.raises(DocumentError, match=met):
        parse_document(data, name)


@pytest.mark.parametrize(("name", "met"), [("missing.md", "no such file"), ("", "a folder")])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str, met: str) -> None:
    with pytest.raises(DocumentError, match=met):
        read_document(str(tmp_path / name))


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(DocumentError, match="nosuch://"):
        read_document("nosuch://bucket/book.md")


def test_urls_and_odd_local_names_are_read(tmp_path: Path) -> None:
    name = tmp_path / "a[1]*::b.md"
    name.write_bytes(b"# One\r\n")
    fsspec.filesystem("memory").pipe_file("/shelf/book.md", b"# One\r\n")
    for url in (str(name), "memory://shelf/book.md"):
        document = read_document(url)
        assert (document.path, document.format, document.title, document.text) == (url, "markdown", "One", "# One\r\n")


def test_a_long_line_is_read_in_one_block() -> None:
    data = b"All work and no play makes Jack a dull boy. " * 100_000
    document = parse_document(data, "line.txt")
    assert len(document.blocks) == 1
    assert_sound(document, data)
