"""What a style sheet changes in a text, what it keeps the detectors from, and which changes it takes for undoing a decision."""

from dataclasses import replace

import pytest

from chunkers.candidates import find_candidates, find_decided
from chunkers.candidates.decisions import Decisions
from chunkers.style import Style, parse_style
from tests.chunkers.candidates.documents import make_document

SHEET = """
words = ["Zorp", "New Zorp", "glim"]
[casing]
github = "GitHub"
internet = "internet"
[variants]
email = ["e-mail"]
good-bye = ["goodbye", "good bye"]
prison = ["gaol"]
"""
WORDS = parse_style(SHEET.encode(), "style.toml")


def decide(text: str, style: Style) -> str:
    document = replace(make_document(text), style=style)
    for candidate in reversed(find_decided(document)):
        assert candidate.original == text[candidate.start : candidate.end]
        text = text[: candidate.start] + candidate.replacement + text[candidate.end :]
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Send e-mail, e-mails, E-mailed by E-MAIL.", "Send email, emails, Emailed by EMAIL."),
        ("An e-mail-like thing, and snail-e-mail.", "An e-mail-like thing, and snail-e-mail."),
        ("He said goodbye.\nGood\nbye!", "He said good-bye.\nGood\nbye!"),
        ("A gaol, the gaol’s gaoler, two gaols.", "A prison, the prison’s gaoler, two gaols."),
        ("We use Github and GITHUB's site.", "We use GitHub and GitHub's site."),
        ("ON GITHUB AND HERE", "ON GITHUB AND HERE"),
        (
            "The Internet. Internet things.\n\nInternet “Internet” of the Internet",
            "The internet. Internet things.\n\nInternet “Internet” of the internet",
        ),
        ("See `Github` here.", "See `Github` here."),
    ],
)
def test_words_as_decided(text: str, expected: str) -> None:
    assert decide(text, WORDS) == expected
    assert decide(expected, WORDS) == expected


def test_terms_are_known_over_line_ends_with_either_apostrophe_and_beside_letters_that_only_look_alike() -> None:
    style = parse_style(b'[casing]\n"new york" = "New York"\n"o\'reilly" = "O\'Reilly"\nit = "IT"\n', "style.toml")
    assert decide("In new\nyork the o’reilly, by o'reilly of İt.", style) == "In New\nYork the O’Reilly, by O'Reilly of İt."


@pytest.mark.parametrize(
    ("conventions", "text", "expected"),
    [
        ('dash = "—"', "He – she -- they - we—all, 3 - 2, well-known.", "He—she—they—we—all, 3 - 2, well-known."),
        ('dash = " – "', "“But”—he said—“wait—”", "“But” – he said – “wait—”"),
        ('ellipsis = "…"', "Well... so. . . . What . . . no ..", "Well… so. . . . What … no .."),
        ('ellipsis = "..."', "Well… no.", "Well... no."),
        ('quotes = "curly"', "\"It's 'so',\" 'tis 6\" by 5' said.", "“It’s ‘so’,” ’tis 6\" by 5' said."),
        ('quotes = "straight"', "“It’s ‘so’.”", "\"It's 'so'.\""),
    ],
)
def test_marks_as_decided(conventions: str, text: str, expected: str) -> None:
    style = parse_style(f"[conventions]\n{conventions}".encode(), "style.toml")
    assert decide(text, style) == expected
    assert decide(expected, style) == expected


def test_language_as_decided() -> None:
    text = "The color of Pearl Harbor, a theatre; he realized it."
    assert decide(text, Style(language="en-GB")) == "The colour of Pearl Harbor, a theatre; he realized it."
    assert decide(text, Style(language="en-US")) == "The color of Pearl Harbor, a theater; he realized it."
    assert decide(text, Style(language="en-GB", words=("color",))) == text


def list_originals(text: str, style: Style) -> set[str]:
    return {candidate.original for candidate in find_candidates(replace(make_document(text), style=style))}


def test_a_listed_word_is_no_candidate() -> None:
    text = "He saw a glimm and it was a messsage. Glimm it was."
    assert {"glimm", "Glimm", "messsage"} <= list_originals(text, Style())
    assert not {"glimm", "Glimm"} & list_originals(text, Style(words=("glimm",)))
    assert {"messsage", "glimm"} & list_originals(text, Style(words=("glimm",))) == {"messsage"}


@pytest.mark.parametrize(
    ("text", "start", "end", "replacement", "undoes"),
    [
        ("A Zorp here.", 2, 6, "Corp", True),
        ("A Zorp here.", 2, 7, "", True),
        ("A Zorp here.", 6, 6, "s", True),
        ("A Zorp here.", 2, 6, "zorp", True),
        ("A Zorp Zorp here.", 2, 7, "", False),
        ("A Zorp Zorp here.", 2, 6, "Corp", True),
        ("A Zorp, a Zorp.", 2, 6, "Corp", True),
        ("A Zorp here.", 0, 1, "The", False),
        ("A Zorp’s hat.", 9, 12, "hats", False),
        ("A ZORP here.", 2, 6, "CORP", False),
        ("A New Zorp.", 2, 5, "new", True),
        ("The glim. Glim.", 10, 14, "Gleam", True),
        ("The glim. glim.", 10, 14, "Glim", False),
        ("A github.", 2, 8, "Github", True),
        ("A github.", 2, 8, "GitHub", False),
        ("On GitHub.", 3, 9, "Github", True),
        ("The internet.", 4, 12, "Internet", True),
        ("So. internet it is.", 4, 12, "Internet", False),
        ("An email.", 3, 8, "e-mail", True),
        ("An mail.", 0, 7, "An e-mail", True),
        ("An e-mail.", 3, 9, "email", False),
        ("An e-mail.", 3, 9, "e-mails", True),
        ("A prison.", 2, 8, "prisons", False),
        ("A good-bye.", 2, 10, "good-buy", True),
    ],
)
def test_changes_that_undo_a_decision(text: str, start: int, end: int, replacement: str, undoes: bool) -> None:
    assert Decisions(WORDS).undoes(text, start, end, replacement) is undoes
    assert not Decisions(Style()).undoes(text, start, end, replacement)


@pytest.mark.parametrize(
    ("wanted", "old", "new", "undoes"),
    [
        (True, "red, white, and blue", "red, white and blue", True),
        (True, "red, white and blue", "red, white, and blue", False),
        (False, "red, white and blue", "red, white, and blue", True),
        (False, "red, white, and blue", "red, white and blue", False),
        (False, "he went and she stayed", "he went, and she stayed", False),
        (True, "He went, and she stayed", "He went and she stayed", False),
    ],
)
def test_the_serial_comma(wanted: bool, old: str, new: str, undoes: bool) -> None:
    style = parse_style(f"[conventions]\nserial_comma = {str(wanted).lower()}".encode(), "style.toml")
    assert Decisions(style).undoes(old, 0, len(old), new) is undoes


def test_a_convention_is_not_broken_by_others() -> None:
    decisions = Decisions(parse_style('[conventions]\nellipsis = "…"\ndash = "—"'.encode(), "style.toml"))
    assert decisions.undoes("Well… no.", 4, 5, "...")
    assert decisions.undoes("He—she.", 2, 3, " - ")
    assert not decisions.undoes("Well... no.", 4, 7, "…")
    assert not decisions.undoes("Well... no.", 8, 10, "yes")
