"""The folder of call parts: listing, opening, writing whole and deleting, on any fsspec URL. Knows nothing of what their rows mean."""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EACCES, EIO, EISDIR, EPERM
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

import chunkers.storage  # noqa: F401 - leads fsspec to a store
from chunkers.shards import write_shard
from engine.records import CALLS

ROW_GROUP_ROWS = 1024
"""Rows of a row group: what one look-up decodes, and what a merge holds at once."""
REPLACES = b"replaces"
"""Parquet metadata of a merged part: JSON list of the names of the parts whose rows it has."""
_PART_NAME = re.compile(r"part-[^/]*\.parquet")
_MERGE_NAME = re.compile(r"\.merge-[0-9a-f]+\.tmp")
_WRITE_NAME = re.compile(r"\.part-.*\.tmp")
_MAX_WRITE_S = 3600.0
"""Writing a part takes milliseconds; what is older was left by a killed process."""
_SINCE_VERSION_2 = ("messages", "engine_settings")
"""The columns that parts of version 2 have not, in the order of the table."""
_READ_SCHEMAS = {
    b"3": CALLS,
    b"2": pa.schema([field for field in CALLS if field.name not in _SINCE_VERSION_2]),
}
"""By the version in their metadata."""
_BROKEN_ERRNOS = frozenset({None, EACCES, EPERM, EISDIR, EIO})
"""Of an OSError that says that this one file cannot be read; None is Arrow's for bytes that do not decode."""


class PartError(Exception):
    """This part cannot be read: what was met, the rule, what to do. The run goes on without its answers."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class PartGoneError(Exception):
    """This part is not there any more: another process has merged it. The folder has to be listed again."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is gone; list the folder again.")
        self.name = name


class PartFolder:
    """The parts of one model in one workspace."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.filesystem, self.path = fsspec.core.url_to_fs(url)
        self.is_local = isinstance(self.filesystem, LocalFileSystem)

    def list_names(self) -> list[str]:
        """Names of the parts that are there, sorted; no row of a part that is merged meanwhile is missed."""
        names = self._list_once()
        # a folder that changes is not listed at one moment: the merged part may be missed and the deleted ones too
        while names - (again := self._list_once()):
            names = again
        return sorted(again)

    def list_counted(self) -> list[str]:
        """Names of the parts whose rows count, sorted: each row is in one of them. Parts that cannot be read are left out.

        For readers of the table; a store has an index. A part may be merged by another process before it is read: then list again.
        """
        gone_before = set[str]()
        while True:
            replaced: dict[str, frozenset[str]] = {}
            gone = set[str]()
            for name in self.list_names():
                try:
                    with self.open(name) as parquet:
                        replaced[name] = read_replaced(parquet)
                except PartGoneError:
                    gone.add(name)
                except PartError:
                    continue
            if gone <= gone_before:  # what is listed and not there twice was not merged
                return sorted(replaced.keys() - frozenset[str]().union(*replaced.values()))
            gone_before = gone

    def _list_once(self) -> set[str]:
        try:
            if self.is_local:  # not through fsspec: it asks for the size of each file, and lists nothing if one is gone by then
                names = [path.name for path in Path(self.path).iterdir()]
            else:  # no glob: a workspace's name may hold a wildcard
                names = [path.rsplit("/", 1)[-1] for path in self.filesystem.ls(self.path, detail=False, refresh=True)]
        except FileNotFoundError:
            return set()
        return {name for name in names if _PART_NAME.fullmatch(name)}

    @contextmanager
    def open(self, name: str) -> Iterator[pq.ParquetFile]:
        """Raises PartGoneError where it is gone, and PartError where it is not whole or is of another schema version."""
        with self.reading(name):
            source = self._open_source(name)
            try:
                # fetching the columns ahead saves requests, and costs a local part twice the time
                parquet = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=not self.is_local)
                self._check_schema(name, parquet.metadata.schema.to_arrow_schema())
                yield parquet
            finally:
                source.close()

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Turns what reading a part raises into PartGoneError and PartError; an OSError that says nothing of the part goes through."""
        try:
            yield
        except FileNotFoundError as error:
            raise PartGoneError(name) from error
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno not in _BROKEN_ERRNOS:
                raise
            raise PartError(
                name, f"{self.path}/{name}: not a whole part ({error}); parts are written whole; its answers are asked again; delete it."
            ) from error

    def _open_source(self, name: str) -> Any:
        path = f"{self.path}/{name}"
        if self.is_local:
            return pa.OSFile(path, "rb")
        if isinstance(self.filesystem, MemoryFileSystem):  # its files have one position for all who read them
            return pa.BufferReader(self.filesystem.cat_file(path))
        # Arrow asks for whole column chunks; reading ahead would fetch the columns between them
        return self.filesystem.open(path, "rb", cache_type="none")

    def _check_schema(self, name: str, schema: pa.Schema) -> None:
        version = (schema.metadata or {}).get(b"schema_version", b"?")
        if version in _READ_SCHEMAS and schema.equals(_READ_SCHEMAS[version]):
            return
        differing = sorted({field.name for field in set(schema) ^ set(CALLS)})
        raise PartError(
            name,
            f"{self.path}/{name}: call table version {version.decode()}, columns that differ {differing}; only 2 and 3 are read; its "
            "answers are asked again; read it with the version that wrote it, or delete it.",
        )

    def write(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """A new part of these rows; raises ShardError for a row that does not fit the call table."""
        write_shard(f"{self.path if self.is_local else self.url}/{name}", CALLS, rows, batch_rows=ROW_GROUP_ROWS)

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """A file that becomes the part when the block ends well, and leaves nothing when it does not."""
        if self.is_local:
            temporary = Path(self.path) / f".merge-{uuid4().hex}.tmp"
            try:
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(Path(self.path) / name)
            finally:
                temporary.unlink(missing_ok=True)
            self._sync()
            return
        with TemporaryDirectory() as folder:
            temporary = Path(folder) / name
            with temporary.open("xb") as file:
                yield file
            self.filesystem.put_file(str(temporary), f"{self.path}/{name}")

    def remove(self, names: Iterable[str]) -> None:
        """Deletes parts; those that are gone already are no error."""
        for name in names:
            try:
                self.filesystem.rm_file(f"{self.path}/{name}")
            except FileNotFoundError:
                continue
        self._sync()

    def remove_unfinished(self) -> None:
        """Deletes what killed processes have left; only for the one who may merge now. A remote folder has nothing of the kind."""
        for path in Path(self.path).iterdir() if self.is_local else ():
            if _MERGE_NAME.fullmatch(path.name) or (_WRITE_NAME.fullmatch(path.name) and _is_old(path)):
                path.unlink(missing_ok=True)

    def _sync(self) -> None:
        if not self.is_local:
            return
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def complete_columns(table: pa.Table) -> pa.Table:
    """Rows of a part of any version that is read, as rows of the call table."""
    for name in _SINCE_VERSION_2:
        if name not in table.column_names:
            at = CALLS.get_field_index(name)
            table = table.add_column(at, CALLS.field(at), pa.nulls(table.num_rows, CALLS.field(at).type))
    return table


def read_replaced(parquet: pq.ParquetFile) -> frozenset[str]:
    """Names of the parts whose rows this one has; empty for one that was not merged."""
    return frozenset(json.loads((parquet.metadata.metadata or {}).get(REPLACES, b"[]")))


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _MAX_WRITE_S
    except FileNotFoundError:
        return False
