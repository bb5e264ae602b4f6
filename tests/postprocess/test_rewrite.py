"""Rewritten passages become edits: what a model writes in its own way is none, another text is refused, and nothing overlaps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.outcomes import SemanticError
from postprocess.assemble import apply_findings
from postprocess.edits import AnswerError
from postprocess.exports.critic import render_critic
from postprocess.records import Edit, EditStatus
from postprocess.rewrite import anchor_rewrite, check_rewrite, name_category
from tests.postprocess.golden import read_cases
from tests.postprocess.rows import make_chunk

START = 500
PASSAGE = """The keeper counted tho letters that “nobody” had
sent—he could of wept, and and yet it were *late* . It’s
all the same to him … said she, the
the day before."""
MENDED = """The keeper counted the letters that “nobody” had
sent—he could have wept, and yet it was *late*. It’s
all the same to him … said she, the
day before."""
CHANGES = [("tho", "the"), ("of", "have"), ("and ", ""), ("were", "was"), (" ", ""), (" the", "")]


def rewrite(passage: str, answer: str, *, is_cut: bool = False) -> list[Edit]:
    return anchor_rewrite(answer, make_chunk(passage, start=START), proposer="m/rewrite", row_key="k", confidence=0.5, is_cut=is_cut)


def changes(passage: str, answer: str) -> list[tuple[str, str]]:
    return [(edit.original, edit.replacement) for edit in rewrite(passage, answer) if edit.status is EditStatus.ANCHORED]


@pytest.mark.parametrize(("case", "expected"), read_cases("rewriting.txt"))
def test_rewriting(case: str, expected: str) -> None:
    text, _, answer = case.partition(" || ")
    edits = rewrite(text, answer)
    reasons = [edit.reason for edit in edits if edit.reason]
    if reasons:
        assert reasons == [expected]
    else:
        assert render_critic(" " * START + text, edits)[START:] == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        MENDED,
        f"Here is the corrected text:\n\n{MENDED}",
        f"Sure! Here’s the corrected passage:\n{MENDED}\n\nLet me know if you need anything else!",
        f"**Corrected text:**\n\n{MENDED}\n\n---\n\n**Changes made:**\n\n- tho → the\n- could of → could have",
        f"```markdown\n{MENDED}\n```",
        f"I have corrected the passage:\n\n```\n{MENDED}\n```\n\nI changed six things.",
        f"<passage>\n{MENDED}\n</passage>",
        f'"{MENDED}"',
        f"Passage:\n{MENDED}",
        f"{MENDED}\n\n(Note: “said she” was left as it is.)",
        " ".join(MENDED.split()),
        MENDED.replace("\n", "\r\n").replace(" ", "  "),
        MENDED.replace("“", '"').replace("”", '"').replace("’", "'").replace("—", " -- ").replace(" …", "..."),
        f"Here is the corrected text: {' '.join(MENDED.split())}",
    ],
)
def test_answers_of_real_shape_give_the_same_edits(answer: str) -> None:
    check_rewrite(make_chunk(PASSAGE), answer)
    assert changes(PASSAGE, answer) == CHANGES


@pytest.mark.parametrize(
    "answer", [PASSAGE, "No corrections needed.", "There are no mistakes in this passage.", "The text is correct as it stands."]
)
def test_nothing_to_mend(answer: str) -> None:
    assert rewrite(PASSAGE, answer) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "answer_empty"),
        ("``` \n```", "answer_empty"),
        (
            "A keeper without friends is brought to tears by an evening on which, once more, not one of his letters came.",
            "answer_rewritten",
        ),
        ("The keeper counted the letters.", "answer_rewritten"),
        ("I think that this is a very fine piece of prose, which I would not dare to change in any way whatever.", "answer_rewritten"),
        (MENDED + " " + MENDED, "answer_rewritten"),
        (MENDED * 50, "answer_rewritten"),
        ("x" * 3_000_000, "answer_rewritten"),
        ("the " * 2_000, "answer_rewritten"),
    ],
)
def test_another_text_is_refused(answer: str, reason: str) -> None:
    with pytest.raises(AnswerError) as caught:
        rewrite(PASSAGE, answer)
    assert caught.value.reason == reason
    with pytest.raises(SemanticError, match="answer again with"):
        check_rewrite(make_chunk(PASSAGE), answer)


def test_cut_answer_counts_as_far_as_it_follows_the_passage() -> None:
    pages = [
        f"On day {number} the keeper counted tho letters, and it were late when he had done with page {number}. " for number in range(30)
    ]
    passage = "".join(pages)
    answer = passage.replace("tho", "the").replace("were", "was")
    whole = changes(passage, answer)
    assert len(whole) == 60
    for cut in range(200, len(answer), 97):
        edits = [(edit.original, edit.replacement) for edit in rewrite(passage, answer[:cut], is_cut=True)]
        assert edits == whole[: len(edits)]
        assert len(edits) >= len([change for change in whole if change[0] == "tho"][: cut // 90]) - 3


WORDS = st.lists(
    st.sampled_from(["he", "go", "home", "“yes”", "—", "...", "it’s", "\n", "*late*", ",", ".", "e\u0301t\u00e9", "don't", "a b"]),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS, st.booleans())
def test_edits_stand_where_they_say_and_can_all_be_applied(old: list[str], new: list[str], is_cut: bool) -> None:
    passage, answer = " ".join(old), " ".join(new)
    try:
        edits = rewrite(passage, answer, is_cut=is_cut)
    except AnswerError:
        return
    anchored = [edit for edit in edits if edit.status is EditStatus.ANCHORED]
    for edit in anchored:
        assert passage[edit.start - START : edit.end - START] == edit.original != edit.replacement  # type: ignore[operator]
    applied = apply_findings(" " * START + passage, anchored)[START:]  # type: ignore[arg-type]
    if not is_cut and len(anchored) == len(edits):
        try:
            assert rewrite(applied, answer) == []
        except AnswerError:
            assert not applied.split()


@settings(max_examples=100, deadline=None)
@given(WORDS)
def test_a_passage_that_comes_back_gives_nothing(words: list[str]) -> None:
    passage = " ".join(words)
    if passage.strip():
        assert rewrite(passage, passage) == []


@pytest.mark.parametrize(
    ("old", "new", "category"),
    [
        ("tho", "the", "spell"), ("of", "have", "word"), ("the ", "", "extra"), ("", "to ", "missing"), (" ", "", "space"),
        ("he", "He", "case"),
        ("", ",", "punct"), ("”", "“", "quote"), ("in side", "inside", "space"), ("him self go", "himself goes", "word"),
    ],
)  # fmt: skip
def test_categories(old: str, new: str, category: str) -> None:
    assert name_category(old, new) == category
