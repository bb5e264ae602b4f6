"""Which encoding is chosen, and that the user is told where it was a guess."""

import pytest

from chunkers.readers import parse_document


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (b"plain", "utf-8", "plain"),
        (b"\xef\xbb\xbfmark", "utf-8", "mark"),
        ("größer".encode("utf-16-be"), "utf-16-be", "größer"),
        ("größer".encode("utf-32-le"), "utf-32-le", "größer"),
    ],
)
def test_marked_and_valid_files_need_no_note(data: bytes, encoding: str, text: str) -> None:
    mark = "\ufeff".encode(encoding) if encoding != "utf-8" else b""
    document = parse_document(mark + data, "a.txt")
    assert (document.encoding, document.text, document.notes) == (encoding, text, ())


def test_western_bytes_are_windows_1252() -> None:
    document = parse_document(b"\x93Wa\xefl\x94, she said.", "a.txt")
    assert (document.encoding, document.text) == ("cp1252", "“Waïl”, she said.")
    assert document.notes == ("not valid UTF-8; read as Windows-1252",)


def test_bytes_that_windows_1252_lacks_are_latin_1() -> None:
    assert parse_document(b"caf\xe9 \x81", "a.txt").encoding == "latin-1"


def test_text_of_another_script_is_detected() -> None:
    text = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 5
    document = parse_document(text.encode("cp1251"), "a.txt")
    assert document.text == text
    assert document.notes


def test_stray_bytes_in_utf_8_are_kept_and_protected() -> None:
    data = "naïve “words”\n".encode() + b"one \xff\xfe stray\n"
    document = parse_document(data, "a.md")
    assert document.text.startswith("naïve “words”\none ")
    assert document.text.endswith(" stray\n")
    assert [document.encode(document.text[span.start : span.end]) for span in document.protected] == [b"\xff\xfe"]
    assert document.encode() == data
    assert document.notes == ("2 bytes are not valid UTF-8 (first on line 2); they are kept as they are and protected from edits",)


def test_an_edited_text_encodes_with_the_stray_bytes_in_place() -> None:
    document = parse_document("naïve “words” ".encode() + b"\xff adn", "a.md")
    assert document.encode(document.text.replace("adn", "and")) == "naïve “words” ".encode() + b"\xff and"
