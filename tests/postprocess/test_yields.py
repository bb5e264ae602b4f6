"""What each proposer added: who counts as another proposer, what is right, and what it is called."""

import math

import pytest

from chunkers.shards import read_shard, write_shard
from postprocess.collate import collate_edits
from postprocess.records import FINDINGS, Edit, Finding
from postprocess.yields import YIELDS, Yield, describe_yield, measure_yields
from tests.postprocess.rows import make_document, make_edit

DOCUMENT = make_document("one two three four five six seven eight nine ten")
SCORED = 0.6


def edits_of(*said: tuple[str, str, float]) -> list[Edit]:
    """Each as word, proposers parted by blanks, confidence; `!` before a proposer is a rejection."""
    edits = []
    for word, proposers, confidence in said:
        start = DOCUMENT.text.index(word)
        for proposer in proposers.split():
            reason = "restyle" if proposer.startswith("!") else None
            name = proposer.removeprefix("!")
            edits.append(make_edit(DOCUMENT, start, start + len(word), "x", proposer=name, confidence=confidence, reason=reason))
    return edits


EDITS = edits_of(
    ("one", "harper:A", 0.9),
    ("two", "harper:A harper:B", 0.4),
    ("three", "harper:A spelling", 0.9),
    ("four", "harper:A m/score", 0.9),
    ("five", "m/score", 0.9),
    ("six", "a/edits", 0.5),
    ("seven", "a/edits b/rewrite", 0.5),
    ("eight", "a/edits m/score", 0.9),
    ("nine", "!a/edits !b/rewrite", 0.5),
    ("ten", "a/edits spelling", 0.9),
)
FOUND = collate_edits(EDITS, DOCUMENT)
SECONDS = {"m/score": 12.0, "a/edits": 212.4, "b/rewrite": 8.0, "c/edits": 1.0}


def measure(*right: str) -> dict[str, Yield]:
    is_right = {finding.finding_id: finding.original in right for finding in FOUND} if right else {}
    return {row.proposer: row for row in measure_yields(EDITS, FOUND, engine_seconds=SECONDS, is_right=is_right)}


def test_alone_is_what_would_not_be_there() -> None:
    rows = measure()
    assert list(rows) == ["a/edits", "b/rewrite", "c/edits", "harper", "m/score", "spelling"]
    counted = {
        name: (row.num_edits, row.num_rejected, row.num_findings, row.alone_accepted, row.alone_suggested) for name, row in rows.items()
    }
    assert counted == {
        # one, four: a model that scored it is no other proposer; two; three is the spelling detector's as well
        "harper": (5, 0, 4, 2, 1),
        "spelling": (2, 0, 2, 0, 0),
        # five is its own surprise; four is a rule's, eight is another model's
        "m/score": (3, 0, 3, 1, 0),
        # six; seven is another's too
        "a/edits": (5, 1, 4, 0, 1),
        "b/rewrite": (2, 1, 1, 0, 0),
        "c/edits": (0, 0, 0, 0, 0),
    }
    assert {row.accepted_right for row in rows.values()} == {None}
    assert (rows["a/edits"].engine_seconds, rows["harper"].engine_seconds) == (212.4, None)
    assert [name for name, row in rows.items() if row.is_idle_model] == ["b/rewrite", "c/edits"]


def test_right_and_false_are_of_what_was_its_alone() -> None:
    harper, scorer = measure("one", "two", "three")["harper"], measure("one", "six")["m/score"]
    assert (harper.accepted_right, harper.accepted_false, harper.suggested_right, harper.suggested_false) == (1, 1, 1, 0)
    assert (scorer.accepted_right, scorer.accepted_false, scorer.suggested_right) == (0, 1, 0)


def test_order_does_not_matter() -> None:
    again = measure_yields(EDITS[::-1], FOUND[::-1], engine_seconds=dict(reversed(SECONDS.items())), is_right={})
    assert again == list(measure().values())


@pytest.mark.parametrize(
    ("proposer", "right", "sentence"),
    [
        ("harper", (), "added 2 accepted findings nobody else had and 1 suggested"),
        ("harper", ("one",), "added 2 accepted findings nobody else had (1 right, 1 false) and 1 suggested (0 right, 1 false)"),
        ("a/edits", (), "added 1 suggested finding nobody else had, 212 engine-seconds"),
        ("b/rewrite", (), "added nothing: 2 edits, 1 rejected, 1 finding that others had too, 8 engine-seconds"),
        ("c/edits", (), "added nothing: it proposed nothing, 1 engine-seconds"),
        ("spelling", (), "added nothing: 2 edits, 0 rejected, 2 findings that others had too"),
    ],
)
def test_sentences(proposer: str, right: tuple[str, ...], sentence: str) -> None:
    assert describe_yield(measure(*right)[proposer]) == sentence


def test_a_scorer_that_found_nothing_itself_has_judged() -> None:
    edits = edits_of(("four", "harper:A m/score", 0.9))
    rows = measure_yields(edits, collate_edits(edits, DOCUMENT), engine_seconds={"m/score": 3.0}, is_right={})
    scorer = next(row for row in rows if row.proposer == "m/score")
    assert not scorer.is_idle_model
    assert describe_yield(scorer) == "judged what rules proposed, and added nothing of its own, 3 engine-seconds"


def test_table(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows = list(measure("one").values())
    write_shard(str(tmp_path / "y.parquet"), YIELDS, rows)
    assert list(read_shard(str(tmp_path / "y.parquet"), Yield)) == rows
    assert math.fsum(row.engine_seconds or 0 for row in rows) == 233.4


def test_findings_of_an_older_version_stay_readable(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import pyarrow as pa

    columns = [name for name in FINDINGS.names if name not in ("silent", "dissenters")]
    older = pa.schema([FINDINGS.field(name) for name in columns], metadata={"table": "findings", "schema_version": "1"})
    write_shard(str(tmp_path / "old.parquet"), older, [{name: getattr(finding, name) for name in columns} for finding in FOUND])
    assert list(read_shard(str(tmp_path / "old.parquet"), Finding)) == FOUND
