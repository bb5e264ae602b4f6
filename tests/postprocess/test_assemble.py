import json

import pytest
from hypothesis import example, given

from postprocess.assemble import (
    AssembleError,
    Decisions,
    OwnWords,
    apply_findings,
    invert_findings,
    parse_decisions,
    rebuild_text,
    select_findings,
)
from postprocess.changes import Change
from postprocess.records import Finding, FindingStatus
from tests.postprocess.rows import make_chunk, make_finding, texts_with_changes

TEXT = "He go home. He go out."


def find(start: int, end: int, replacement: str, **fields: object) -> Finding:
    return make_finding(TEXT, start, end, replacement, **fields)


@given(texts_with_changes())
@example(("abcd", [Change(0, 2, "ab", ""), Change(2, 3, "c", ""), Change(3, 3, "", "x")]))
def test_applying_then_inverting_gives_the_text_back(case: tuple[str, list[Change]]) -> None:
    text, changes = case
    applied = apply_findings(text, changes)
    assert apply_findings(applied, invert_findings(changes)) == text


@given(texts_with_changes())
def test_applying_is_the_same_as_replacing_from_the_right(case: tuple[str, list[Change]]) -> None:
    text, changes = case
    expected = text
    for start, end, _, replacement in sorted(changes, key=lambda change: change[:2], reverse=True):
        expected = expected[:start] + replacement + expected[end:]
    assert apply_findings(text, changes) == expected


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ([Change(0, 5, "He go", "x"), Change(3, 7, "go h", "y")], "overlap at 3:7"),
        ([Change(3, 3, "", "x"), Change(3, 3, "", "y")], "overlap at 3:3"),
        ([Change(3, 3, "", "x"), Change(2, 5, " go", "y")], "overlap at 3:3"),
        ([Change(0, 2, "She", "x")], "'She' does not stand at 0:2"),
        ([Change(20, 30, "t.", "x")], "does not stand at 20:30"),
    ],
)
def test_findings_that_do_not_fit_are_refused(changes: list[Change], met: str) -> None:
    with pytest.raises(AssembleError, match=met):
        apply_findings(TEXT, changes)


def test_chunks_that_tile_rebuild_the_text() -> None:
    chunks = [make_chunk("One\r\n"), make_chunk("two 🖋", start=5, index=1), make_chunk("", start=10, index=2)]
    assert rebuild_text(chunks) == "One\r\ntwo 🖋"
    assert rebuild_text([]) == ""


@pytest.mark.parametrize(
    "chunks",
    [
        [make_chunk("One", start=1)],
        [make_chunk("One"), make_chunk("two", start=4)],
        [make_chunk("One"), make_chunk("two", start=2)],
        [make_chunk("One"), make_chunk("two", start=3, doc_id="e")],
    ],
)
def test_chunks_that_do_not_tile_are_refused(chunks: list) -> None:  # type: ignore[type-arg]
    with pytest.raises(AssembleError, match="tile it; read its shard again"):
        rebuild_text(chunks)


def test_decisions_outweigh_confidence() -> None:
    sure, unsure = find(3, 5, "goes", confidence=0.95), find(15, 17, "goes", confidence=0.3)
    rival = find(3, 10, "went home", confidence=0.6, status=FindingStatus.CONFLICT)
    findings = [sure, rival, unsure]

    assert select_findings(findings) == []
    assert select_findings(findings, min_confidence=0.5) == [sure]
    assert select_findings(findings, min_confidence=0.3) == [sure, unsure]
    decided = Decisions(run="r", decisions={rival.finding_id: "accept", unsure.finding_id: "reject"})
    assert select_findings(findings, decisions=decided) == [rival]
    assert select_findings(findings, min_confidence=0.3, decisions=decided) == [rival]


def test_own_words_stand_in_for_the_proposal() -> None:
    finding = find(3, 5, "goes")
    chosen = select_findings([finding], decisions=Decisions(run="r", decisions={finding.finding_id: OwnWords(replace="went")}))
    assert apply_findings(TEXT, chosen) == "He went home. He go out."


def test_decisions_of_another_run_are_refused() -> None:
    decisions = parse_decisions(json.dumps({"run": "other", "decisions": {"f" * 64: "accept"}}))
    with pytest.raises(AssembleError, match=r"1 of 1 decisions .* such as ffffffffffffffff; .*\(other\); open that run's report"):
        select_findings([find(3, 5, "goes")], decisions=decisions)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "the file"),
        ('{"run": "r"}', "decisions"),
        ('{"run": 1, "decisions": {}}', "run"),
        ('{"run": "r", "decisions": {"a": "maybe"}}', "decisions.a"),
        ('{"run": "r", "decisions": {"a": {"replace": 1}}}', "decisions.a"),
        ('{"run": "r", "decisions": {}, "by": "me"}', "by"),
    ],
)
def test_files_that_hold_no_decisions_are_refused(text: str, place: str) -> None:
    with pytest.raises(AssembleError, match=rf"^{place}.*save them from the report again"):
        parse_decisions(text)
