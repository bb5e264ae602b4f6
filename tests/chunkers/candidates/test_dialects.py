"""British and American spellings are told apart, and neither is an error; nor is an old one."""

import pytest

from chunkers.candidates import find_candidates
from chunkers.candidates.dialects import fold_spelling, tell_dialect, to_american, to_british, weigh_spelling
from tests.chunkers.candidates.documents import make_document

PAIRS = [
    ("colour", "color"), ("favourite", "favorite"), ("honourable", "honorable"), ("neighbours", "neighbors"), ("centre", "center"),
    ("kilometres", "kilometers"), ("travelling", "traveling"), ("counsellor", "counselor"), ("worshipped", "worshiped"),
    ("defence", "defense"), ("analysed", "analyzed"), ("grey", "gray"), ("plough", "plow"), ("skilful", "skillful"),
]  # fmt: skip


@pytest.mark.parametrize(("british", "american"), PAIRS)
def test_pairs_turn_into_each_other(british: str, american: str) -> None:
    assert (to_american(british), to_british(american)) == (american, british)
    assert (tell_dialect(british), tell_dialect(american)) == ("en-GB", "en-US")
    assert fold_spelling(british) == fold_spelling(american)


@pytest.mark.parametrize(
    "word", ["four", "hour", "our", "honorary", "rigor", "glamour", "realize", "realise", "storey", "story", "metre", "surprise", "size",
             "curb", "program", "fulfilment's", "toward", "expanded", "license", "install", "doctor", "author", "minister", "order"]
)  # fmt: skip
def test_words_that_tell_nothing(word: str) -> None:
    assert tell_dialect(word) is None


@pytest.mark.parametrize(
    ("old", "new"), [("shew", "show"), ("connexion", "connection"), ("gaol", "jail"), ("to-day", "today"), ("stopt", "stopped")]
)
def test_old_spellings_are_spellings(old: str, new: str) -> None:
    assert fold_spelling(old) == fold_spelling(new) != old


@pytest.mark.parametrize(
    ("text", "language", "is_clear"),
    [
        ("colour honour grey realize organize recognize civilize", "en-GB", False),
        ("colour honour grey centre theatre travelled realize organize recognize", "en-GB", True),
        ("realise organise recognise", "en-GB", False),
        ("realize organize recognize", "en-US", False),
        ("color " * 400 + "colour honour grey theatre travelled defence neighbour", "en-GB", False),
        ("color honor gray center theater traveled neighbor defense plow labor harbor colour", "en-US", True),
        ("nothing at all", None, False),
    ],
)
def test_evidence(text: str, language: str | None, is_clear: bool) -> None:
    evidence = weigh_spelling(text.split())
    assert (evidence.language, evidence.is_clear) == (language, is_clear)


def find(text: str) -> set[tuple[str, str, str]]:
    return {
        (candidate.detector.split(":")[0], candidate.original, candidate.replacement) for candidate in find_candidates(make_document(text))
    }


BRITISH = "The colour of the theatre in the centre was grey; he travelled in honour of a neighbour, with favourite ploughs in the parlour. "
AMERICAN = "The color of the theater in the center was gray; he traveled in honor of a neighbor, with favorite plows in the parlor. "


def test_a_lone_exception_is_for_consistency_and_no_misspelling() -> None:
    assert ("dialect", "labor", "labour") in (found := find(BRITISH + "His labor was long."))
    assert {detector for detector, original, _ in found if original == "labor"} <= {"dialect", "confusion"}
    assert ("dialect", "Labour", "Labor") in find(AMERICAN + "Labour was long.")
    assert not [row for row in find(BRITISH + "He saw Pearl Harbor.") if "Harbor" in row[1]]


def test_a_text_of_both_is_left_alone() -> None:
    words = {"colour", "theatre", "centre", "grey", "travelled", "honour", "neighbour", "color", "theater", "center", "gray", "traveled"}
    spelled = {"dialect", "harper", "spelling", "own_words", "misspelled"}
    assert not [row for row in find(BRITISH + AMERICAN) if row[1] in words and row[0] in spelled]


def test_oxford_spelling_is_british() -> None:
    assert not [
        row
        for row in find(BRITISH + "They realized and organized the civilization.")
        if row[1].startswith(("reali", "organi", "civili")) and row[0] != "confusion"
    ]


def test_old_spellings_are_no_errors() -> None:
    text = "He will shew the connexion to-day; the gaoler stopt the waggon, and dropt his burthen in the gaol. "
    old = {"shew", "connexion", "to-day", "gaoler", "stopt", "waggon", "dropt", "burthen", "gaol"}
    assert not [row for row in find(text) if row[1] in old and row[0] in {"harper", "spelling", "own_words", "misspelled", "spacing"}]
