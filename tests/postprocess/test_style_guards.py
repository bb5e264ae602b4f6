"""Decisions of a style sheet hold against every proposer: protected passages and decided words come out as they were."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.passages import apply_style
from chunkers.readers import parse_document
from chunkers.style import Style, parse_style
from postprocess.assemble import apply_findings, select_findings
from postprocess.collate import collate_edits
from postprocess.guards import guard_edits
from postprocess.records import Edit
from postprocess.style_edits import edits_of_style
from tests.postprocess.rows import make_document, make_edit

STYLE = parse_style(
    b"""
words = ["Zorp"]
[casing]
github = "GitHub"
[variants]
email = ["e-mail"]
[protected]
text = ["the *raven* never came"]
headings = ["Two"]
kinds = ["verse", "dialogue"]
""",
    "style.toml",
)
BOOK = """# One

A Zorp on GitHub, and the *raven*
never came by email. “Go,” he said.

Once upon a midnight dreary,
While I pondered, weak and weary,
Over many a quaint volume

## Two

Never [mind](here).

# Three

The end of e-mail.
"""
PASSAGES = ("the *raven*\nnever came", "“Go,”", BOOK[BOOK.index("Once") : BOOK.index("\n\n## Two")], "## Two\n\nNever [mind](here).\n\n")
PIECES = st.sampled_from(["", " ", "Zorp", "raven", "a", "e-mail", "GitHub", "github", "never came", "“", "”", "\n", "*", "the ", ","])


def read(text: str, style: Style) -> tuple[Edit, ...]:
    return tuple(edits_of_style(replace(make_document(text), style=style)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_protected_passages_come_out_unchanged_whatever_is_proposed(data: st.DataObject) -> None:
    document = apply_style(parse_document(BOOK.encode(), "book.md"), STYLE).document
    proposed = []
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(BOOK)))
        end = data.draw(st.integers(start, min(len(BOOK), start + 40)))
        proposer = data.draw(st.sampled_from(["m/edits", "harper:X", "dialect", "style:casing", "style:variant"]))
        proposed.append(
            make_edit(document, start, end, "".join(data.draw(st.lists(PIECES, max_size=3))), proposer=proposer, confidence=1.0)
        )
    guarded = guard_edits(proposed, document)
    made = apply_findings(BOOK, select_findings(collate_edits(guarded, document), min_confidence=0.0))
    for passage in PASSAGES:
        assert passage in made
    if not any(edit.proposer.startswith("style:") for edit in proposed):
        assert "Zorp" in made
        assert "GitHub" in made


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Zorp", "Corp", "style"),
        ("Zorp ", "", "style"),
        ("GitHub", "Github", "style"),
        ("email", "e-mail", "style"),
        ("raven", "crow", "style"),
        ("weak", "week", "style"),
        ("mind", "mine", "style"),
        ("The end", "An end", None),
        ("e-mail.", "email.", None),
    ],
)
def test_the_reason_is_style(old: str, new: str, reason: str | None) -> None:
    document = apply_style(parse_document(BOOK.encode(), "book.md"), STYLE).document
    start = BOOK.index(old)
    (guarded,) = guard_edits([make_edit(document, start, start + len(old), new)], document)
    assert guarded.reason == reason
    plain = replace(document, style=Style(), protected=parse_document(BOOK.encode(), "book.md").protected)
    assert guard_edits([make_edit(plain, start, start + len(old), new)], plain)[0].reason is None


def test_what_the_sheet_asks_for_stands_alone_and_is_sure() -> None:
    style = parse_style(b'language = "en-US"\n[variants]\nemail = ["e-mail"]', "style.toml")
    document = replace(make_document("The colour of e-mail."), style=style)
    guarded = guard_edits(edits_of_style(document), document)
    findings = collate_edits(guarded, document)
    assert [(finding.original, finding.replacement, finding.proposers) for finding in findings] == [
        ("colour", "color", ("style:language",)),
        ("e-mail", "email", ("style:variant",)),
    ]
    assert all(finding.confidence >= 0.9 for finding in findings)


@pytest.mark.parametrize(
    ("text", "start", "end", "replacement"),
    [
        ("colour", 4, 5, ""),
        ("color", 4, 4, "u"),
        ("to-day", 2, 3, ""),
        ("shew", 2, 3, "o"),
        ("connexion", 5, 6, "ct"),
        ("gaol", 0, 4, "jail"),
    ],
)
def test_another_spelling_restyles_however_it_is_cut(text: str, start: int, end: int, replacement: str) -> None:
    document = make_document(f"It is {text} here.")
    (guarded,) = guard_edits([make_edit(document, 6 + start, 6 + end, replacement)], document)
    assert guarded.reason == "restyle"
