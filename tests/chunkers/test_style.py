"""What a style sheet may hold, what is said of one that cannot be used, and where its protected passages stand."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.passages import apply_style
from chunkers.readers import parse_document
from chunkers.style import NO_STYLE, Style, StyleError, parse_style, restore_style

SHEET = """
language = "en-GB"
words = ["Zorp", "shewen"]  # ours
[casing]
github = "GitHub"
[variants]
email = ["e-mail", "E-Mail"]
[protected]
text = ["the raven"]
kinds = ["verse"]
[conventions]
dash = " – "
serial_comma = true
"""


def test_a_sheet_is_what_it_decides_and_not_how_it_is_written() -> None:
    sheet = parse_style(SHEET.encode(), "style.toml")
    turned = "words = ['Zorp', 'shewen']\nlanguage = 'en-GB'\nvariants.email = ['e-mail', 'E-Mail']\ncasing.github = 'GitHub'\n"
    turned += "[conventions]\nserial_comma = true\ndash = ' – '\n[protected]\nkinds = ['verse']\ntext = ['the raven']\n"
    other = parse_style(b"\xef\xbb\xbf" + turned.encode(), "other.toml")
    assert other.to_json() == sheet.to_json()
    assert restore_style(sheet.to_json()) == sheet
    assert parse_style(SHEET.replace("GitHub", "Github").encode(), "style.toml").to_json() != sheet.to_json()


def test_order_of_terms_is_no_decision() -> None:
    one, two = Style(casing={"a": "A", "b": "B"}), Style(casing={"b": "B", "a": "A"})
    assert one.to_json() == two.to_json()


def test_an_empty_sheet_decides_nothing() -> None:
    for content in (b"", b"# later\n", b"words = []\n[casing]\n"):
        assert parse_style(content, "style.toml").is_empty
        assert parse_style(content, "style.toml").to_json() == ""
    assert restore_style("") == NO_STYLE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('word = ["a"]', r"book: word is no key of a style sheet; did you mean words\? There are language, words, "),
        ("[protected]\nkind = []", r"book: protected.kind is no key .* did you mean kinds\? There are text, headings, kinds."),
        ("[conventions]\ndashes = '—'", r"did you mean dash\?"),
        ("[varients]", r"did you mean variants\?"),
        ('language = "english"', r"language: Input should be 'auto', 'en-GB' or 'en-US' \('english'\)"),
        ('words = "Zorp"', r"words: Input should be a list, such as \[\"Zorp\"\]"),
        ('[casing]\ngithub = "GitLab"', r"«github» and «GitLab» differ in more than capitals; .* \[variants\]"),
        ('[casing]\ngithub = "GitHub"\nGITHUB = "Github"', r"«Github» is decided twice"),
        ('[variants]\nemail = ["e-mail"]\nmail = ["e-mail"]', r"«e-mail» is changed to two forms"),
        ('words = ["e-mail"]\n[variants]\nemail = ["e-mail"]', r"«e-mail» is both right and to be changed"),
        ('words = ["  "]', r"holds no letter"),
        ('words = ["a  b"]', r"odd white space"),
        ("[protected]\nkinds = ['poem']", r"protected.kinds.0: .*'verse'.*\('poem'\)"),
        ("[conventions]\nserial_comma = 'yes'", r"conventions.serial_comma: .*boolean \('yes'\)"),
        ("words = [", r"book is no TOML"),
    ],
)
def test_what_cannot_be_used_is_said(content: str, message: str) -> None:
    with pytest.raises(StyleError, match=message):
        parse_style(content.encode(), "book")


def test_a_sheet_that_is_not_utf8() -> None:
    with pytest.raises(StyleError, match="book is not UTF-8"):
        parse_style(b'words = ["caf\xe9"]', "book")


BOOK = """# One

He said, “The *raven*
never came.” She left. “It
did.”

Once upon a midnight dreary,
While I pondered, weak and weary,
Over many a quaint volume

> A letter.

## Two

Text of two.

# Three

‘He said, “Go,” and didn’t,’ she said.
"""


def list_protected(sheet: str, text: str = BOOK) -> tuple[list[str], tuple[str, ...]]:
    styled = apply_style(parse_document(text.encode(), "book.md"), parse_style(sheet.encode(), "style.toml"))
    document = styled.document
    return [document.text[span.start : span.end] for span in document.protected if span.kind == "style"], styled.missing


@pytest.mark.parametrize(
    ("sheet", "expected"),
    [
        ('text = ["never came.\\" She left"]', ["never came.” She left"]),
        ('text = ["The *raven* never"]', ["The *raven*\nnever"]),
        ('headings = ["two"]', ["## Two\n\nText of two.\n\n"]),
        ('headings = ["# One"]', [BOOK[: BOOK.index("# Three")]]),
        ('kinds = ["verse"]', [BOOK[BOOK.index("Once") : BOOK.index("\n\n> A")]]),
        ('kinds = ["quotations"]', ["> A letter."]),
        ('kinds = ["dialogue"]', ["“The *raven*\nnever came.”", "“It\ndid.”", "‘He said, “Go,” and didn’t,’"]),
    ],
)
def test_passages_are_found(sheet: str, expected: list[str]) -> None:
    assert list_protected(f"[protected]\n{sheet}") == (expected, ())


def test_what_stands_nowhere_is_told() -> None:
    sheet = '[protected]\ntext = ["never came", "nevermore"]\nheadings = ["Four"]'
    assert list_protected(sheet) == (["never came"], ("nevermore", "Four"))


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab*` \n“”", max_size=60), st.integers(0, 59), st.integers(1, 20))
def test_spans_never_overlap_and_hold_the_passage(text: str, start: int, length: int) -> None:
    passage = text[start : start + length]
    document = parse_document(text.encode(), "book.md")
    styled = apply_style(document, Style.model_construct(protected=Style().protected.model_copy(update={"text": (passage,)})))
    spans = styled.document.protected
    assert all(before.end <= after.start for before, after in pairwise(spans))
    if passage.strip():
        at = document.text.find(passage.strip())
        assert any(span.start <= at and at + len(passage.strip()) <= span.end for span in spans if span.kind == "style")
    assert all(any(own.start <= span.start and span.end <= own.end for own in spans) for span in document.protected)
