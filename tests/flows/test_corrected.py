"""Where corrections are found, and which book a document belongs to."""

import json
from pathlib import Path

import pytest

from chunkers.readers import read_document
from chunkers.records import Document
from flows.corrected import CorrectedError, find_books, load_corrected

TEXT = "It was emtpy.\n"
FIX = [{"start": 7, "end": 12, "original": "emtpy", "corrected": "empty"}]


def write(folder: Path, *names: str, has_truth: bool = True) -> list[Document]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.md").write_text(f"{TEXT}{name}\n", "utf-8")
        if has_truth:
            (folder / f"{name}.edits.json").write_text(json.dumps(FIX), "utf-8")
    return [read_document(str(folder / f"{name}.md")) for name in names]


def load(documents: list[Document], *truth: Path, books: Path | None = None) -> list[tuple[str, int, str, str | None]]:
    known = find_books(books, [document.path for document in documents])
    return [(each.name, len(each.corrections), each.book, each.group) for each in load_corrected(documents, truth, known)]


def test_corrections_lie_beside_a_document_or_where_truth_says(tmp_path: Path) -> None:
    beside = write(tmp_path / "a", "one", "two")
    paths = [document.path for document in beside]
    assert load(beside) == [("one", 1, paths[0], None), ("two", 1, paths[1], None)], "without a books file each document is a book"
    apart = write(tmp_path / "b", "one", "two", has_truth=False)
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "two.edits.json").write_text("[]")
    found = load(apart, tmp_path / "a" / "one.edits.json", tmp_path / "clean")
    assert [each[:2] for each in found] == [("one", 1), ("two", 0)], "a file by its name, then the folders in their order"


def test_document_without_corrections_is_an_error_that_says_where_they_are_looked_for(tmp_path: Path) -> None:
    documents = write(tmp_path, "one", has_truth=False)
    with pytest.raises(CorrectedError, match=r"one\.md has no corrections beside it \(one\.edits\.json\)"):
        load(documents)
    (tmp_path / "truth").mkdir()
    with pytest.raises(CorrectedError, match=r"--truth has no one\.edits\.json"):
        load(documents, tmp_path / "truth")


def test_corrections_of_another_text_are_an_error(tmp_path: Path) -> None:
    documents = write(tmp_path, "one")
    (tmp_path / "one.edits.json").write_text(json.dumps([FIX[0] | {"start": 8, "end": 13}]))
    with pytest.raises(CorrectedError, match="does not stand at 8:13"):
        load(documents)


MANIFEST = [{"name": "one", "source": "standardebooks/x", "words": 3}, {"name": "two", "source": "someone/manual"}]


@pytest.mark.parametrize("place", ["docs", "."])
def test_manifest_beside_the_documents_or_one_above_is_found(tmp_path: Path, place: str) -> None:
    documents = write(tmp_path / "docs", "one", "two")
    (tmp_path / place / "docs-manifest.json").write_text(json.dumps(MANIFEST))
    assert [each[2:] for each in load(documents)] == [("standardebooks/x", "novels"), ("someone/manual", "documentation")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"one": "x", "two.md": "y"}, [("x", None), ("y", None)]),
        ({"one": {"source": "x", "group": "letters"}, "two": "y"}, [("x", "letters"), ("y", None)]),
        (
            [{"name": "one", "source": "standardebooks/x", "group": "old"}, MANIFEST[1]],
            [("standardebooks/x", "old"), ("someone/manual", "documentation")],
        ),
    ],
)
def test_books_file_may_be_a_mapping_or_a_list(tmp_path: Path, content: object, expected: list[tuple[str, str | None]]) -> None:
    documents = write(tmp_path, "one", "two")
    path = tmp_path / "books.json"
    path.write_text(json.dumps(content))
    assert [each[2:] for each in load(documents, books=path)] == expected


@pytest.mark.parametrize("content", ["", "[1]", '{"one": 3}', '[{"name": "one"}]', '"one"'])
def test_file_that_is_no_books_file_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "books.json"
    path.write_text(content)
    with pytest.raises(CorrectedError, match=r"books\.json: no books file"):
        find_books(path, [])


def test_document_that_the_books_file_does_not_name_is_an_error(tmp_path: Path) -> None:
    documents = write(tmp_path, "one", "two")
    path = tmp_path / "books.json"
    path.write_text('{"one": "x"}')
    with pytest.raises(CorrectedError, match=r"does not say of which book two\.md is"):
        load(documents, books=path)
