"""The sheet that is proposed from a book: what it says, and that it holds when it is copied as it is."""

from dataclasses import replace

from chunkers.candidates import find_candidates, find_decided
from chunkers.readers import parse_document
from chunkers.records import Document
from chunkers.style import NO_STYLE, Style, parse_style
from postprocess.style_proposal import propose_style
from postprocess.style_survey import Survey
from postprocess.style_toml import render_proposal

BOOK = (
    "# A Book of Zorvex\n\n" + "The old Zorvex of Hallowmire wrote an email from the harbour; the colour was grey in the theatre. "
    "Then he pushed it to GitHub — the centre of it all — and the Zorvex’s neighbour travelled on. "
    "“It’s a trilfic honour,” said the Zorvex in Hallowmire, so trilfic and trilfic.\n\n"
    * 4
    + "A Zorvex sent an e-mail to Github from the harbor, by good-will and goodwill – or so. The dog’s day, the god and the God.\n\n"
    + "- Hallowmire’s last word...\n\nOnce upon a midnight dreary,\nWhile I pondered, weak and weary,\nOver many a quaint volume\n"
)


def read(text: str) -> Document:
    return parse_document(text.encode(), "book.md")


def propose(*texts: str, base: Style = NO_STYLE) -> str:
    survey = Survey()
    for text in texts:
        survey.add(read(text))
    return render_proposal(propose_style(survey, base))


def test_it_says_what_the_book_does_with_its_counts() -> None:
    content = propose(BOOK)
    style = parse_style(content.encode(), "style.proposed.toml")
    assert style.language == "en-GB"
    assert set(style.words) == {"Zorvex", "Hallowmire", "trilfic"}
    assert style.casing == {"github": "GitHub"}
    assert style.variants == {"email": ("e-mail",)}
    assert style.conventions.quotes == "curly"
    for line in (
        'language = "en-GB"  # 32 British, 1 American',
        '  "Zorvex",  # 14',
        'github = "GitHub"  # 4 «GitHub», 1 «Github»',
        'email = ["e-mail"]  # 4 «email», 1 «e-mail»',
        '# ellipsis = "..."  # 1 «...»',
        '# kinds = ["verse"]  # 1 paragraph looks like verse',
    ):
        assert f"\n{line}\n" in content


def test_copied_as_it_is_it_changes_what_is_found() -> None:
    style = parse_style(propose(BOOK).encode(), "style.toml")
    document = replace(read(BOOK), style=style)
    decided = {(candidate.detector, candidate.original, candidate.replacement) for candidate in find_decided(document)}
    assert decided >= {
        ("style:casing", "Github", "GitHub"),
        ("style:variant", "e-mail", "email"),
        ("style:language", "harbor", "harbour"),
    }
    assert find_decided(read(BOOK)) == []
    rare = "A trilfic day."
    assert "trilfic" in {candidate.original for candidate in find_candidates(read(rare))}
    assert "trilfic" not in {candidate.original for candidate in find_candidates(replace(read(rare), style=style))}


def test_decisions_in_force_stay_and_are_not_asked_again() -> None:
    base = parse_style(
        b'words = ["Hallowmire"]\n[casing]\ngod = "God"\n[variants]\n"e-mail" = ["email"]\n[protected]\ntext = ["a \\"b\\""]', "s"
    )
    style = parse_style(propose(BOOK, base=base).encode(), "style.proposed.toml")
    assert style.variants == {"e-mail": ("email",)}
    assert style.words == ("Hallowmire", "Zorvex", "trilfic")
    assert style.casing == {"god": "God", "github": "GitHub"}
    assert style.protected == base.protected
    again = parse_style(propose(BOOK, base=style).encode(), "style.proposed.toml")
    assert again == style


def test_documents_count_together_in_any_order() -> None:
    first, second = "The Zorvex and the Zorvex.\n", "He saw the Zorvex.\n"
    assert "Zorvex" in propose(first, second)
    assert propose(first, second) == propose(second, first)
    assert "Zorvex" not in propose(first)


def test_a_slip_for_a_common_word_is_no_word_of_the_book() -> None:
    content = propose("They wrote about the village. " * 30 + "They wrote about the vilage. " * 3)
    assert "vilage" not in content


def test_names_titles_and_beginnings_are_no_competing_capitals() -> None:
    content = propose("He met Lady Anne and Mrs. Long. The lady took the long way. Long it was. " * 8)
    assert parse_style(content.encode(), "s").casing == {}
    assert "lady" not in content
    assert "long" not in content


def test_a_form_is_not_proposed_both_as_right_and_to_be_changed() -> None:
    hyphened = "We use zor-vex and the zor-vex and a zor-vex here. " * 6 + "We have zorvex and use zorvex and the zorvex, my zorVex. "
    style = parse_style(propose(hyphened).encode(), "s")
    assert style.variants == {"zor-vex": ("zorvex",)}
    assert style.casing == {}
    decided = parse_style(b'[casing]\n"ZORVEX" = "Zorvex"\n', "s")
    for text in (hyphened, "He saw a zorvex and the Zorvex and the Zorvex, a Zorvex there. " * 4):
        style = parse_style(propose(text, base=decided).encode(), "s")
        assert (style.casing, style.variants) == (decided.casing, {})


def test_a_text_that_shows_nothing_gives_a_valid_sheet() -> None:
    for text in ("", "Nothing.", "    code\n"):
        assert parse_style(propose(text).encode(), "s").is_empty
