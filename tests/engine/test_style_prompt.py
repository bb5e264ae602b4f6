"""What a prompt says of a style sheet: nothing where there is none, and what the book has, within bounds."""

from chunkers.style import NO_STYLE, Style, parse_style
from engine.prompts import load_prompt
from engine.style_prompt import MAX_PASSAGE_CHARS, add_style, render_style

PROMPT = load_prompt("proofread", 1)


def test_no_sheet_leaves_the_prompt_as_it_was() -> None:
    assert render_style(NO_STYLE, "Any text.") == ""
    assert add_style(PROMPT, "") is PROMPT
    assert render_style(Style(words=("Zorp",)), "No such word here.") == ""


def test_decisions_that_the_book_has_are_told() -> None:
    sheet = """
language = "en-GB"
words = ["Zorp", "Nowhere"]
casing = {github = "GitHub"}
variants = {email = ["e-mail"]}
protected = {text = ["one two three four five six seven eight nine ten"], kinds = ["verse"]}
conventions = {dash = "—", serial_comma = false}
"""
    passage = render_style(parse_style(sheet.encode(), "style.toml"), "A zorp sent e-mail to Github.")
    for told in (
        "British",
        "Zorp",
        "GitHub",
        "email (not e-mail)",
        "«—»",
        "No comma",
        "verse",
        "«one two three four five six seven eight …»",
    ):
        assert told in passage
    assert "Nowhere" not in passage
    assert "$" not in passage
    told = add_style(PROMPT, passage)
    assert told.system == f"{PROMPT.system}\n\n{passage}"
    assert told.user is PROMPT.user


def test_a_long_sheet_is_cut() -> None:
    words = tuple(f"word{number}" for number in range(5000))
    passage = render_style(Style(words=words, language="en-US"), " ".join(words))
    assert "word0," in passage
    assert len(passage) <= MAX_PASSAGE_CHARS
