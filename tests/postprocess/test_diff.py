import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postprocess.assemble import apply_findings
from postprocess.changes import Change
from postprocess.exports.critic import reject_marks
from postprocess.exports.diff import render_diff
from tests.postprocess.golden import read_cases
from tests.postprocess.rows import texts_with_changes

LINES = st.lists(st.sampled_from(["a", "b", "same", "", "-- x", "+++ y", "z\r", "\u2028", "\x0c", "é🖋"]), max_size=25).map("\n".join)


def patch_text(text: str, diff: str) -> str:
    """The text after the diff, by the format's rules, every old line checked: the oracle that works on any name and text."""
    if not diff:
        return text
    old = re.findall(r"[^\n]*\n|[^\n]+\Z", text)
    new: list[str] = []
    position = 0
    body = re.sub(r"\n\\ No newline at end of file\n", "\x00\n", diff)
    for line in re.findall(r"[^\n]*\n", body)[2:]:
        content = line[1:-2] if line.endswith("\x00\n") else line[1:]
        if match := re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n", line):
            start = int(match[1]) - (match[2] != "0")
            new += old[position:start]
            position = start
            assert len(new) == int(match[3]) - (match[4] != "0")
        elif line[0] == "+":
            new.append(content)
        else:
            assert old[position] == content
            new += [content] if line[0] == " " else []
            position += 1
    return "".join(new + old[position:])


@given(st.one_of(texts_with_changes(), texts_with_changes(LINES)).filter(lambda case: "\x00" not in case[0] + str(case[1])))
def test_the_diff_turns_the_text_into_the_corrected_one(case: tuple[str, list[Change]]) -> None:
    text, changes = case
    assert patch_text(text, render_diff("book.md", text, changes)) == apply_findings(text, changes)


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=texts_with_changes(LINES), name=st.sampled_from(["book.md", "my book.md", 'a"b\\c.md', "ü.md"]))
def test_patch_takes_the_diff(tmp_path: Path, case: tuple[str, list[Change]], name: str) -> None:
    text, changes = case
    path = tmp_path / name
    path.write_bytes(text.encode())
    diff = render_diff(name, text, changes)
    if diff:
        command = (
            ["patch", "--binary", "--fuzz=0", "--posix", "-p1", "-s"]
            if name == "book.md"
            else ["patch", "--binary", "--fuzz=0", "-p1", "-s"]
        )
        subprocess.run(command, input=diff.encode(), cwd=tmp_path, check=True, capture_output=True)
    expected = apply_findings(text, changes).encode()
    assert (path.read_bytes() if path.exists() else b"") == expected


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=texts_with_changes(LINES), name=st.sampled_from(["book.md", "my book.md", 'a"b\\c.md']))
def test_git_apply_takes_the_diff(tmp_path: Path, case: tuple[str, list[Change]], name: str) -> None:
    text, changes = case
    path = tmp_path / name
    path.write_bytes(text.encode())
    diff = render_diff(name, text, changes)
    if diff:
        subprocess.run(["git", "apply", "--unsafe-paths", "-p1"], input=diff.encode(), cwd=tmp_path, check=True, capture_output=True)
    assert path.read_bytes() == apply_findings(text, changes).encode()


@pytest.mark.parametrize(("marked", "expected"), read_cases("diff.txt"))
def test_diff(marked: str, expected: str) -> None:
    changes, position, length = [], 0, 0
    for match in re.finditer(r"\{(?:~~(.*?)~>(.*?)~~|--(.*?)--|\+\+(.*?)\+\+)\}", marked, re.DOTALL):
        length += match.start() - position
        old = match[1] or match[3] or ""
        changes.append(Change(length, length + len(old), old, match[2] or match[4] or ""))
        position, length = match.end(), length + len(old)
    assert render_diff("book.md", reject_marks(marked), changes) == f"--- a/book.md\n+++ b/book.md\n{expected}"


def test_nothing_changed_is_an_empty_diff() -> None:
    assert render_diff("book.md", "a\n", []) == ""
    assert render_diff("book.md", "a\n", [Change(0, 1, "a", "a")]) == ""


@pytest.mark.parametrize(("gap", "num_hunks"), [(6, 1), (7, 2)])
def test_changes_share_a_hunk_where_their_context_meets(gap: int, num_hunks: int) -> None:
    text = "x\n" + "line\n" * gap + "x\n"
    diff = render_diff("book.md", text, [Change(0, 1, "x", "y"), Change(len(text) - 2, len(text) - 1, "x", "y")])
    assert diff.count("\n@@ ") == num_hunks
