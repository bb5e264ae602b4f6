import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postprocess.assemble import apply_findings
from postprocess.changes import Change
from postprocess.exports.critic import accept_marks, reject_marks, render_critic
from tests.postprocess.golden import read_cases
from tests.postprocess.rows import make_finding, texts_with_changes

MARKS = st.lists(st.sampled_from(["{++", "++}", "{--", "--}", "{~~", "~>", "~~}", "{==", "{>>", "<<}", "{", "}", "-", "~", "+", "a"])).map(
    "".join
)


@given(st.one_of(texts_with_changes(), texts_with_changes(MARKS)))
@example(("a--}b", [Change(0, 5, "a--}b", "")]))
@example(("{", [Change(1, 1, "", "++x++}")]))
def test_rejecting_gives_the_text_and_accepting_the_corrected_one(case: tuple[str, list[Change]]) -> None:
    text, changes = case
    marked = render_critic(text, changes)
    assert reject_marks(marked) == text
    assert accept_marks(marked) == apply_findings(text, changes)


@pytest.mark.parametrize(("case", "expected"), read_cases("critic.txt"))
def test_critic(case: str, expected: str) -> None:
    text, _, change = case.partition(" || ")
    change, _, message = change.partition(" -- ")
    old, _, new = change.partition(" => ")
    start = text.index(old)
    assert render_critic(text, [make_finding(text, start, start + len(old), new, message=message)]) == expected


@given(MARKS)
def test_a_message_never_becomes_text(message: str) -> None:
    marked = render_critic("He go.", [make_finding("He go.", 3, 5, "goes", message=message)])
    assert (reject_marks(marked), accept_marks(marked)) == ("He go.", "He goes.")


@pytest.mark.parametrize("text", ["{++", "a {-- b", "}{", "{>>x"])
def test_a_brace_that_opens_no_whole_mark_is_text(text: str) -> None:
    assert reject_marks(text) == accept_marks(text) == text
