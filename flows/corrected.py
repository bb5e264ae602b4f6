"""Documents that people have corrected: where the corrections of each lie, and to which book and group it belongs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError

from chunkers.paths import AnyPath, StorageError, is_web, path_of
from chunkers.records import Document
from postprocess.truth import Correction, TruthError, load_truth

TRUTH_SUFFIX = ".edits.json"
BOOKS_NAME = "docs-manifest.json"
"""A books file of this name is found by itself, beside the documents or one folder above."""
NOVELS_SOURCE = "standardebooks/"
"""Where one of the books is from there, those are shown as novels and the others as documentation, unless the file names groups."""


class CorrectedError(Exception):
    """Documents, corrections or books that do not fit together: what was met, the rule, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedDocument:
    """A document, what people corrected in it, and whose it is."""

    document: Document
    corrections: list[Correction]
    name: str
    """Its file name without suffix."""
    book: str
    """What it was cut from; its own path where nobody says."""
    group: str | None
    """What it is shown apart with; None where nobody says."""


class _Book(BaseModel):
    name: str = ""
    source: str
    group: str | None = None


_BookOfDocument = Annotated[_Book, BeforeValidator(lambda value: {"source": value} if isinstance(value, str) else value)]
_BOOKS = TypeAdapter[dict[str, _Book] | list[_Book]](dict[str, _BookOfDocument] | list[_Book])


class Books:
    """Which book and group a document belongs to, by its name."""

    def __init__(self, path: AnyPath | None, books: dict[str, _Book]) -> None:
        self.path = path
        self._books = books
        self._has_novels = any(book.source.startswith(NOVELS_SOURCE) for book in books.values())

    def find(self, path: str) -> tuple[str, str | None]:
        """Raises CorrectedError for a document that the file does not name."""
        if self.path is None:
            return path, None
        name = PurePosixPath(path).name
        book = self._books.get(name) or self._books.get(PurePosixPath(path).stem)
        if book is None:
            raise CorrectedError(f"{self.path} does not say of which book {name} is; every document needs one; add {name!r} to it.")
        if book.group is None and self._has_novels:
            return book.source, "novels" if book.source.startswith(NOVELS_SOURCE) else "documentation"
        return book.source, book.group


def find_books(path: AnyPath | None, document_paths: Iterable[str]) -> Books:
    """The books of that file, else of a docs-manifest.json near the documents, else none, where every document is its own book.

    Raises CorrectedError where the file cannot be used.
    """
    if path is None:
        folders = dict.fromkeys(path_of(each).parent for each in document_paths if not is_web(each))
        near: list[AnyPath] = []
        for folder in folders:
            above = folder / ".." if isinstance(folder, Path) else folder.parent
            near += [folder / BOOKS_NAME, above / BOOKS_NAME]
        path = next((each.resolve() for each in near if each.is_file()), None)
    if path is None:
        return Books(None, {})
    try:
        found = _BOOKS.validate_python(json.loads(path.read_text("utf-8")))
    except StorageError:
        raise
    except (OSError, ValueError, ValidationError) as error:
        raise CorrectedError(
            f'{path}: no books file ({_first_line(error)}); it is {{"NAME": "BOOK"}}, {{"NAME": {{"source": "BOOK", "group": "LABEL"}}}}, '
            "or a list of objects with name and source; mend it, or give another as --books."
        ) from error
    return Books(path, found if isinstance(found, dict) else {book.name: book for book in found})


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def load_corrected(documents: Iterable[Document], truth: Sequence[Path], books: Books) -> list[CorrectedDocument]:
    """Each document with its corrections, in the order given.

    `truth` are folders and files of corrections named NAME.edits.json; without any they lie beside the documents. Raises CorrectedError for
    a document that has none, or corrections that do not fit its text.
    """
    folders = [path for path in truth if path.is_dir()]
    files = {path.name: path for path in truth if path not in folders}
    corrected = []
    for document in documents:
        if document.table is not None:
            raise CorrectedError(f"{document.table} is a table of documents; corrections are of files; give its documents as files.")
        name = PurePosixPath(document.path).stem
        path = _find_truth(document.path, f"{name}{TRUTH_SUFFIX}", folders, files) if truth else _path_beside(document.path)
        try:
            corrections = load_truth(path, document.text)
        except TruthError as error:
            raise CorrectedError(str(error)) from error
        book, group = books.find(document.path)
        corrected.append(CorrectedDocument(document=document, corrections=corrections, name=name, book=book, group=group))
    return corrected


def _path_beside(document_path: str) -> AnyPath:
    path = path_of(document_path).with_suffix(TRUTH_SUFFIX)
    if is_web(document_path) or not path.is_file():
        raise CorrectedError(
            f"{document_path} has no corrections beside it ({path.name}); what is measured needs some; name their folder or file as "
            "--truth, write [] into the file for a document without errors, or leave the document out."
        )
    return path


def _find_truth(document_path: str, name: str, folders: Sequence[Path], files: dict[str, Path]) -> Path:
    found = [files[name]] if name in files else [folder / name for folder in folders if (folder / name).is_file()]
    if not found:
        raise CorrectedError(
            f"--truth has no {name} for {document_path}; every document needs its corrections; add the file, write [] into it for "
            "a document without errors, or leave the document out."
        )
    return found[0]
