"""The style sheets of a run: which file is whose, and the sheets beside the run's documents.

A sheet is what decides results beside the document itself: its content, not its place, is part of a run's name.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from chunkers.passages import apply_style
from chunkers.paths import AnyPath, StorageError, is_web, path_of
from chunkers.records import Document, table_schema
from chunkers.shards import read_shard, write_shard
from chunkers.style import NO_STYLE, Style, StyleError, parse_style, restore_style
from engine.style_prompt import render_style
from flows.config import ConfigError

FILE_NAME = "style.toml"
TABLE_NAME = "styles.parquet"
MAX_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleSheet:
    """A style sheet with the file that it was read from."""

    path: str | None
    """None where there is no sheet."""
    style: Style


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleRow:
    """A row of `styles`: the sheet that holds for one document."""

    doc_id: str
    path: str
    """The sheet's file; shown, never opened again."""
    style: str
    """As `Style.to_json` gives it."""
    passage: str
    """What models are told of it; empty where nothing is."""


STYLES = table_schema(
    "styles", [("doc_id", pa.string()), ("path", pa.string()), ("style", pa.large_string()), ("passage", pa.large_string())]
)
"""Sorted by doc_id; documents without a sheet have no row."""


def find_sheet(document_path: str, given: str | None) -> StyleSheet:
    """The sheet of a document: the one given for all, else `NAME.style.toml` beside it, else `style.toml` in its folder.

    Raises ConfigError where a sheet cannot be used. A document of the web has none but a given one.
    """
    if given is not None:
        return StyleSheet(path=given, style=_load(path_of(given)))
    path = path_of(document_path)
    if not is_web(document_path) and path.name:  # «.» has none, and the reader of the document says so
        for sheet in (path.with_name(f"{path.stem}.{FILE_NAME}"), path.with_name(FILE_NAME)):
            if _exists(sheet):
                return StyleSheet(path=str(sheet), style=_load(sheet))
    return StyleSheet(path=None, style=NO_STYLE)


def _exists(path: AnyPath) -> bool:
    try:
        return path.exists()
    except StorageError:
        raise
    except OSError:
        return False  # a name too long: the reader of the document says so


def _load(path: AnyPath) -> Style:
    try:
        data = path.read_bytes()
    except StorageError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error}); a style sheet is a TOML file; mend its path.") from error
    try:
        return parse_style(data, str(path))
    except StyleError as error:
        raise ConfigError(str(error)) from error


def identify_styles(sheets: Iterable[StyleSheet]) -> list[str]:
    """What the sheets of the inputs decide, in their order, for the name of a run; empty where they decide nothing."""
    decided = [sheet.style.to_json() for sheet in sheets]
    return decided if any(decided) else []


class StyleBook:
    """Gives every document of a run its sheet, and remembers what each sheet found."""

    def __init__(self, given: str | None) -> None:
        self._given = given
        self._rows: list[StyleRow] = []
        self._missing: dict[str, tuple[str, ...]] = {}
        """By sheet: what has stood in no document so far."""
        self._of_table: tuple[str, StyleSheet] | None = None

    def apply(self, document: Document) -> None:
        """Note the document's sheet and which of its passages do not stand in it. Raises ConfigError as `find_sheet`."""
        sheet = self._find(document)
        if sheet.path is None or sheet.style.is_empty:
            return
        missing = apply_style(document, sheet.style).missing
        self._missing[sheet.path] = tuple(passage for passage in self._missing.get(sheet.path, missing) if passage in missing)
        passage = render_style(sheet.style, document.text)
        self._rows.append(StyleRow(doc_id=document.doc_id, path=sheet.path, style=sheet.style.to_json(), passage=passage))

    def _find(self, document: Document) -> StyleSheet:
        """Of the rows of a table, that of the table."""
        if document.table is None:
            return find_sheet(document.path, self._given)
        if self._of_table is None or self._of_table[0] != document.table:
            self._of_table = document.table, find_sheet(document.table, self._given)
        return self._of_table[1]

    def list_missing(self) -> Iterator[str]:
        """A warning for each protected passage or heading that stands in none of the documents of its sheet."""
        for path, missing in self._missing.items():
            for passage in missing:
                yield (
                    f"{path}: «{_cut(passage)}» is protected and stands nowhere in the book; a passage is quoted as it stands there; "
                    "mend it, or remove it."
                )

    def write(self, folder: AnyPath) -> None:
        """The table of styles."""
        write_shard(str(folder / TABLE_NAME), STYLES, sorted(self._rows, key=lambda row: row.doc_id))


def _cut(passage: str) -> str:
    shown = " ".join(passage.split())
    return shown if len(shown) <= MAX_SHOWN_CHARS else shown[:MAX_SHOWN_CHARS] + "…"


def read_styles(folder: AnyPath) -> dict[str, StyleRow]:
    """The table of styles by doc_id; empty for a run of a version that knew none."""
    path = folder / TABLE_NAME
    return {row.doc_id: row for row in read_shard(str(path), StyleRow)} if path.exists() else {}


def style_of(row: StyleRow | None) -> Style:
    """The sheet of a row."""
    return NO_STYLE if row is None else restore_style(row.style)


def style_passages(folder: AnyPath) -> dict[str, str]:
    """What models are told of each document's sheet, by doc_id."""
    return {doc_id: row.passage for doc_id, row in read_styles(folder).items() if row.passage}


def describe_proposal(counts: Mapping[str, Any]) -> str:
    """One line: what the sheet holds and what is left to decide."""
    nouns = (("words", "word"), ("casing", "casing"), ("variants", "variant"))
    parts = [f"{counts[key]} {noun}{'s' if counts[key] != 1 else ''}" for key, noun in nouns if counts[key]]
    if counts["language"] is not None:
        parts.append(f"{counts['language']} spelling ({counts['spelling']})")
    held = ", ".join(parts) or "nothing that is clear"
    left = f"; {counts['to_decide']} to decide" if counts["to_decide"] else ""
    return f"{counts['file']}: {held}{left}"
