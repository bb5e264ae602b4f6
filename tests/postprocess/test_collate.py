import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkers.records import Category
from postprocess.assemble import apply_findings
from postprocess.collate import CollateError, Voter, collate_edits, has_overlap
from postprocess.records import FindingStatus
from tests.postprocess.rows import make_document, make_edit

TEXT = "# One\n\nHe go home.\nHe go out.\r\n\r\n## Two *b*\n\nShe come."


def test_edits_that_say_the_same_are_one_finding() -> None:
    document = make_document(TEXT)
    edits = [
        make_edit(document, 10, 12, "goes", proposer="m/score", confidence=0.6, category=Category.AGREEMENT),
        make_edit(document, 10, 12, "goes", proposer="harper:X", confidence=0.85),
        make_edit(document, 10, 12, "goes", proposer="m/score", confidence=0.5),
        make_edit(document, 22, 24, "goes", proposer="m/score", confidence=0.79),
    ]
    first, second = collate_edits(edits, document)
    assert (first.votes, first.proposers, first.confidence) == (2, ("harper:X", "m/score"), 0.85)
    assert (first.category, first.status) == (Category.SPELL, FindingStatus.ACCEPTED)
    assert (second.votes, second.status) == (1, FindingStatus.SUGGESTED)


@pytest.mark.parametrize(
    ("proposers", "confidence"),
    [
        ("a/edits", 0.5),
        ("a/edits b/rewrite", 0.75),
        ("a/edits b/rewrite c/edits", 0.875),
        ("a/edits twin/rewrite", 0.5),
        ("rule:0.3 a/edits", 0.65),
        ("rule:0.3 s/score:0.3 a/edits", 0.65),
        ("rule:0.3 s/score:0.3", 0.3),
        ("hf:org/s/score:0.4 x/y:0.2", 0.4),
    ],
)
def test_models_that_looked_for_mistakes_themselves_are_witnesses(proposers: str, confidence: float) -> None:
    document = make_document(TEXT)
    edits = []
    for word in proposers.split():
        name, _, given = word.rpartition(":") if word[-1].isdigit() else (word, "", "")
        edits.append(make_edit(document, 10, 12, "goes", proposer=name, confidence=float(given or 0.5)))
    voters = [
        Voter(proposer=edit.proposer, origin={"twin/rewrite": "a/edits"}.get(edit.proposer, edit.proposer), answered=()) for edit in edits
    ]
    for given in (edits, edits[::-1]):
        (finding,) = collate_edits(given, document, voters=voters)
        assert finding.confidence == confidence
        assert finding.status is (FindingStatus.ACCEPTED if confidence >= 0.8 else FindingStatus.SUGGESTED)


def test_who_was_asked_and_said_nothing_or_wants_something_else() -> None:
    document = make_document("He go home. She go out. They goes in.")
    edits = [
        make_edit(document, 3, 5, "goes", proposer="a/edits", confidence=0.5),
        make_edit(document, 0, 10, "They go home", proposer="b/edits", confidence=0.5),
        make_edit(document, 5, 5, ",", proposer="d/rewrite", confidence=0.5),
        make_edit(document, 16, 18, "goes", proposer="harper:X", confidence=0.3),
        make_edit(document, 29, 33, "go", proposer="c/edits", confidence=0.5, reason="restyle"),
        make_edit(document, 29, 33, "gone", proposer="d/rewrite", confidence=0.5),
    ]
    whole, first = ((0, 37),), ((0, 11), (24, 37))
    voters = [
        Voter(proposer=name, origin=name, answered=spans)
        for name, spans in {"d/rewrite": whole, "c/edits": first, "b/edits": whole, "a/edits": first}.items()
    ]
    found = {(f.start, f.end): (f.proposers, f.silent, f.dissenters) for f in collate_edits(edits, document, voters=voters)}
    assert found == {
        (0, 10): (("b/edits",), ("c/edits",), ("a/edits", "d/rewrite")),
        (3, 5): (("a/edits",), ("c/edits",), ("b/edits", "d/rewrite")),
        (5, 5): (("d/rewrite",), ("c/edits",), ("a/edits", "b/edits")),
        (16, 18): (("harper:X",), ("b/edits", "d/rewrite"), ()),
        (29, 33): (("d/rewrite",), ("a/edits", "b/edits", "c/edits"), ()),
    }


SPANS = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted).map(tuple)


@given(st.lists(st.tuples(SPANS, st.sampled_from(["a/edits", "b/edits"]), st.sampled_from("xy")), max_size=10))
def test_dissent_is_an_overlap(said: list[tuple[tuple[int, int], str, str]]) -> None:
    document = make_document("one two three")
    edits = [make_edit(document, *span, new, proposer=proposer, confidence=0.5) for span, proposer, new in said]
    voters = [Voter(proposer=name, origin=name, answered=((0, 13),)) for name in ("a/edits", "b/edits")]
    for finding in collate_edits(edits, document, voters=voters):
        for voter in voters:
            spans = [span for span, proposer, _ in said if proposer == voter.proposer]
            is_proposer = voter.proposer in finding.proposers
            overlaps = any(has_overlap((finding.start, finding.end), span) for span in spans)
            assert (voter.proposer in finding.dissenters) == (overlaps and not is_proposer)
            assert (voter.proposer in finding.silent) == (not overlaps and not is_proposer)


@pytest.mark.parametrize(
    ("word", "place", "chapter", "before", "after"),
    [
        ("One", (1, 3), "One", "# ", ""),
        ("home", (3, 7), "One", "He go ", ".\nHe go out."),
        ("out", (4, 7), "One", "He go home.\nHe go ", "."),
        ("come", (8, 5), "Two *b*", "She ", "."),
    ],
)
def test_a_reader_finds_the_place(word: str, place: tuple[int, int], chapter: str, before: str, after: str) -> None:
    document = make_document(TEXT)
    start = TEXT.index(word)
    (finding,) = collate_edits([make_edit(document, start, start + len(word), "x")], document)
    assert (finding.line, finding.column) == place
    assert (finding.chapter, finding.context_before, finding.context_after) == (chapter, before, after)


@pytest.mark.parametrize(
    ("one", "other", "is_conflict"),
    [
        ((0, 2, "She"), (0, 2, "They"), True),
        ((0, 5, "She goes"), (3, 5, "goes"), True),
        ((0, 2, "She"), (3, 5, "goes"), False),
        ((0, 3, "She "), (3, 5, "goes"), False),
        ((3, 3, "will "), (3, 3, "may "), True),
        ((3, 3, "will "), (3, 5, "goes"), True),
        ((5, 5, ","), (3, 5, "goes,"), True),
        ((4, 4, "x"), (3, 5, "goes"), True),
        ((2, 2, ","), (3, 5, "goes"), False),
    ],
)
@pytest.mark.parametrize("is_swapped", [False, True])
def test_of_findings_that_overlap_the_surest_stays(
    one: tuple[int, int, str], other: tuple[int, int, str], is_conflict: bool, is_swapped: bool
) -> None:
    document = make_document("He go home.")
    sure, unsure = (other, one) if is_swapped else (one, other)
    edits = [make_edit(document, *sure, confidence=0.9), make_edit(document, *unsure, confidence=0.5)]
    statuses = {(f.start, f.end, f.replacement): f.status for f in collate_edits(edits, document)}
    assert statuses == {sure: FindingStatus.ACCEPTED, unsure: FindingStatus.CONFLICT if is_conflict else FindingStatus.SUGGESTED}


def test_a_conflict_with_a_conflict_is_none() -> None:
    document = make_document("one two three")
    edits = [
        make_edit(document, 0, 7, "1 2", confidence=0.7),
        make_edit(document, 4, 13, "2 3", confidence=0.6),
        make_edit(document, 8, 13, "3", confidence=0.5),
    ]
    assert [f.status.value for f in collate_edits(edits, document)] == ["suggested", "conflict", "suggested"]


@pytest.mark.parametrize("place", [(0, 1), (3, 4), (5, 6), (1, 5), (2, 2)])
def test_every_neighbour_counts(place: tuple[int, int]) -> None:
    document = make_document("aabbcc")
    edits = [make_edit(document, start, start + 2, "x") for start in (0, 2, 4)]
    findings = collate_edits([*edits, make_edit(document, *place, "y", confidence=0.5)], document)
    assert [f.replacement for f in findings if f.status is FindingStatus.CONFLICT] == ["y"]


@st.composite
def edits_of_a_text(draw: st.DrawFn) -> tuple[str, list[tuple[int, int, str, float, str]]]:
    text = draw(st.text(alphabet="ab \n#", min_size=1, max_size=30))
    spans = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    edits = st.builds(
        lambda span, *rest: (*span, *rest), spans, st.sampled_from(["x", "y", ""]), st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from("pq")
    )
    return text, draw(st.lists(edits, max_size=12))


@given(edits_of_a_text(), st.randoms(use_true_random=False))
def test_every_edit_is_accounted_for_in_any_order(case, random) -> None:  # type: ignore[no-untyped-def]
    document = make_document(case[0])
    edits = [make_edit(document, *span, proposer=p, confidence=c, reason="x" if c == 0.5 and p == "q" else None) for *span, c, p in case[1]]
    findings = collate_edits(edits, document)
    anchored = {}
    for edit in edits:
        if edit.reason is None:
            anchored.setdefault((edit.start, edit.end, edit.replacement), []).append(edit)
    expected = {span: max(e.confidence for e in group) for span, group in anchored.items() if max(e.confidence for e in group) >= 0.2}
    assert {(f.start, f.end, f.replacement): f.confidence for f in findings} == expected
    assert [(f.start, f.end, f.replacement) for f in findings] == sorted(expected)
    apply_findings(document.text, [f for f in findings if f.status is not FindingStatus.CONFLICT])
    random.shuffle(edits)
    assert collate_edits(edits, document) == findings


def test_edits_that_do_not_belong_are_refused() -> None:
    document = make_document("He go home.")
    with pytest.raises(CollateError, match=r"'went' stands at 3:5 .* run guard_edits before"):
        collate_edits([make_edit(document, 3, 5, "goes", original="went")], document)
    with pytest.raises(CollateError, match="group them by doc_id first"):
        collate_edits([make_edit(make_document("x"), 0, 1, "y")], document)


def test_a_novel_takes_about_a_second() -> None:
    text = "# Chapter\n\n" + "He go home and say so to the others at last.\n\n" * 11_000
    document = make_document(text)
    starts = range(14, len(text) - 100, 46 * 2)
    edits = [make_edit(document, start, start + 2, "goes") for start in starts]
    began = time.perf_counter()
    assert len(collate_edits(edits, document)) == len(starts) > 5_000
    assert time.perf_counter() - began < 5  # 0.2 s where nothing else runs


SCRIPT = """
from tests.postprocess.rows import make_document, make_edit
from postprocess.collate import collate_edits
document = make_document("He go home. " * 50)
edits = [make_edit(document, s, s + n, r, proposer=p) for s in range(0, 500, 3) for n in (2, 4) for r in "xy" for p in {"a", "b", "c"}]
print(collate_edits(edits, document))
"""


def test_the_same_edits_give_the_same_bytes_in_every_process() -> None:
    outputs = set()
    for seed in ("1", "2", "3"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(["."]), "POLARS_MAX_THREADS": seed}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, check=True)
        outputs.add(done.stdout)
    assert len(outputs) == 1
