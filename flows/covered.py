"""What the runs of a schedule have covered: a table in the workspace, and what is new beside it.

A document is known by its bytes, the style sheet that holds for it, and what was asked of it: models and settings. A name says nothing, so
that a file that was only moved is not new.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa

from chunkers.paths import StorageError, is_url, is_web, path_of
from chunkers.readers.tables import is_table
from chunkers.records import hash_id, table_schema
from chunkers.shards import read_shard, write_shard
from flows.config import RunConfig
from flows.corpus import NothingFitsError, expand_inputs, read_rows
from flows.ends import ExitCode
from flows.errors import ErrorRow
from flows.identity import UNREADABLE, canonical_json, digest_input
from flows.runs import Run
from flows.styles import find_sheet, identify_styles

MAX_AT_ONCE = 16
"""Inputs that are looked at at the same time: in a store each takes some requests, whose time is nearly all spent in waiting."""
FOLDER = "served"
"""Of a workspace: the tables of its schedules."""

COVERED = table_schema(
    "covered", [("path", pa.string()), ("stamp", pa.string()), ("doc_id", pa.string()), ("key", pa.string()), ("run", pa.string())]
)
"""Sorted by path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveredRow:
    """A row of `covered`: an input as a finished run had it last."""

    path: str
    stamp: str
    """Of the file then: while it is the same, the file is not read again."""
    doc_id: str
    """sha256 of its bytes; `unreadable` where they cannot be read."""
    key: str
    """With what was asked of it."""
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInputs:
    """Inputs that no finished run covers."""

    rows: tuple[CoveredRow, ...]
    """As they will stand once a run has covered them; in the order of the patterns."""
    num_known: int
    """The other inputs of the patterns."""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(row.path for row in self.rows)


@dataclass(frozen=True)
class Coverage:
    """The table of one schedule, under the settings of now."""

    url: str
    settings_key: str
    """Of models and settings, without inputs."""
    style: str | None
    """The sheet given for all inputs."""

    @classmethod
    def of(cls, name: str, config: RunConfig, settings_key: str) -> "Coverage":
        """Of the schedule of that name in the workspace of `config`."""
        return cls(f"{config.out}/{FOLDER}/{name}.parquet", settings_key, config.style)

    @cached_property
    def rows(self) -> Mapping[str, CoveredRow]:
        """By path; empty before the first run has ended."""
        return {row.path: row for row in read_shard(self.url, CoveredRow)} if path_of(self.url).exists() else {}

    def find_new(self, patterns: Iterable[str]) -> NewInputs:
        """The inputs of the patterns, as they are now, that no finished run covers. A pattern that fits nothing yet is no error.

        Raises DocumentError, ConfigError for a style sheet that cannot be used, and StorageError where a store cannot be asked.
        """
        known = {row.key for row in self.rows.values()}
        with ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="covered") as threads:
            rows = list(threads.map(self._row, _expand(patterns)))
        new = tuple(row for row in rows if row.key not in known)
        return NewInputs(rows=new, num_known=len(rows) - len(new))

    def _row(self, path: str) -> CoveredRow:
        before, stamp = self.rows.get(path), _stamp(path)
        is_same = before is not None and stamp and before.stamp == stamp and before.doc_id != UNREADABLE
        doc_id = before.doc_id if before and is_same else digest_input(path)
        what = path if doc_id == UNREADABLE else doc_id
        styles = identify_styles([find_sheet(path, self.style)])
        key = hash_id("covered", self.settings_key, what, canonical_json(styles))
        return CoveredRow(path=path, stamp=stamp, doc_id=doc_id, key=key, run="")

    def cover(self, new: NewInputs, run: Run, code: ExitCode, errors: Iterable[ErrorRow]) -> int:
        """Write down what the finished run has covered; returns how many inputs that is.

        All of them where it ended well. Where too much failed or a limit was reached, those that were read and of which no call failed: the
        others are new again next time, a table as a whole. A file that was changed while the run began is new too.
        """
        documents, errors = read_rows(run.folder / "documents.parquet"), list(errors)
        unread = {error.path for error in errors if error.path is not None}
        failed = {error.doc_id for error in errors}
        failed_tables = {documents[doc_id].table for doc_id in failed if doc_id in documents}
        failed_tables |= {path.partition("#")[0] for path in unread}
        is_well = code in (ExitCode.DONE, ExitCode.FINDINGS)

        def is_covered(row: CoveredRow) -> bool:
            if is_table(row.path):  # its documents are its rows
                return _stamp(row.path) == row.stamp and (is_well or row.path not in failed_tables)
            return (row.doc_id in documents and (is_well or row.doc_id not in failed)) or (is_well and row.path in unread)

        covered = {
            row.path: CoveredRow(path=row.path, stamp=row.stamp, doc_id=row.doc_id, key=row.key, run=run.name)
            for row in new.rows
            if is_covered(row)
        }
        if covered:
            write_shard(self.url, COVERED, sorted({**self.rows, **covered}.values(), key=lambda row: row.path))
        return len(covered)


def _expand(patterns: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in patterns:
        with suppress(NothingFitsError):
            found |= dict.fromkeys(expand_inputs([pattern]))
    return list(found)


def _stamp(path: str) -> str:
    """What changes when the file does, as far as can be told without reading it; empty where nobody can tell, as of a page of the web."""
    if is_web(path):
        return ""
    try:
        if is_url(path):
            filesystem, name = fsspec.core.url_to_fs(path)
            return str(filesystem.checksum(name))
        status = Path(path).stat()
    except StorageError:
        raise
    except (OSError, ValueError, ImportError, NotImplementedError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
