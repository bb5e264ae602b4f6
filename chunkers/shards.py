"""The only reader and writer of Parquet: explicit schema, a temporary name and a rename, any fsspec URL.

Owns how a row becomes columns and comes back. A shard is either there whole or not there.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

import chunkers.storage  # noqa: F401 - leads fsspec to a store
from chunkers.paths import StorageError

Row = TypeVar("Row")
Convert = Callable[[Any], Any]

MAX_SHARD_TOKENS = 200_000
"""Of the chunks in one shard, where nothing else is asked for: half a minute of work for a fast engine."""
BATCH_ROWS = 8192
"""Rows in memory at once, and in one row group."""

_ARROW_TYPES: dict[Any, tuple[Callable[[pa.DataType], bool], ...]] = {
    str: (pa.types.is_string, pa.types.is_large_string),
    int: (pa.types.is_integer,),
    float: (pa.types.is_floating,),
    bool: (pa.types.is_boolean,),
    bytes: (pa.types.is_binary, pa.types.is_large_binary),
    Decimal: (pa.types.is_decimal,),
    datetime: (pa.types.is_timestamp,),
    date: (pa.types.is_date,),
}


class ShardError(Exception):
    """A shard or a row does not fit its schema: what was met, the rule, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A Parquet file that has been written whole."""

    url: str
    num_rows: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class _Column:
    """How one field of a row type is read."""

    accepts: Callable[[pa.DataType], bool]
    expected: str
    convert: Convert | None
    """None where Arrow's Python value is the field's value."""


def write_shard(url: str, schema: pa.Schema, rows: Iterable[Any], *, batch_rows: int = BATCH_ROWS) -> Shard:
    """Writes rows (dataclasses, or mappings with exactly the schema's columns) as zstd Parquet, `batch_rows` in memory at a time.

    A local shard is synced and renamed into place from a name that starts with a dot; a remote one is uploaded whole. Where writing fails
    nothing is left under `url`, and a shard that was there stays. Raises ShardError for a row that does not fit the schema.
    """
    filesystem, path = _resolve(url)
    if filesystem is None:
        return _write_local(Path(path), url, schema, rows, batch_rows)
    with TemporaryDirectory() as folder:
        shard = _write_local(Path(folder) / "shard.parquet", url, schema, rows, batch_rows)
        filesystem.put_file(str(Path(folder) / "shard.parquet"), path)
    return shard


def read_shard(url: str, row_type: type[Row]) -> Iterator[Row]:
    """Yields the rows of a shard as `row_type`, in their order, a batch in memory at a time.

    Raises ShardError where the file is missing, broken, or has other columns than the dataclass has fields; fields that the dataclass
    computes itself (`init=False`) may be in the file and are not read, and those with a default may lack, as in tables of an older version.
    Raises StorageError where its store cannot be asked.
    """
    columns = _columns_of(row_type)
    optional = {field.name for field in fields(row_type) if field.default is not MISSING}  # type: ignore[arg-type]
    computed = {field.name for field in fields(row_type) if not field.init}  # type: ignore[arg-type]
    filesystem, path = _resolve(url)
    try:
        with open(path, "rb") if filesystem is None else filesystem.open(path, "rb") as file:  # noqa: PTH123 - the same call for both kinds
            parquet = pq.ParquetFile(file)
            lacking = optional - set(parquet.schema_arrow.names)
            columns = {name: column for name, column in columns.items() if name not in lacking}
            _check_schema(url, parquet.schema_arrow, columns, computed, row_type.__name__)
            for batch in parquet.iter_batches(BATCH_ROWS, columns=list(columns)):
                yield from _rows_of(batch, columns, row_type)
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise ShardError(f"{url}: no such shard; a shard is a Parquet file that a run has written; check the run's folder") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardError(f"{url}: not a whole Parquet file ({error}); shards are written whole; delete it and run again") from error


def measure_shard(url: str) -> Shard:
    """What is there, by the file's end alone. Raises OSError where nothing can be read, and ArrowInvalid where it is no shard."""
    filesystem, path = fsspec.core.url_to_fs(url)
    with filesystem.open(path, "rb") as file:
        return Shard(url=url, num_rows=pq.read_metadata(file).num_rows, num_bytes=filesystem.size(path))


def _resolve(url: str) -> tuple[Any | None, str]:
    """The file system and the path in it; None for the local one."""
    if "://" not in url:
        return None, url
    filesystem, path = fsspec.core.url_to_fs(url)
    return (None if isinstance(filesystem, LocalFileSystem) else filesystem), path


def _write_local(path: Path, url: str, schema: pa.Schema, rows: Iterable[Any], batch_rows: int) -> Shard:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            num_rows = _write_rows(file, schema, rows, batch_rows)
            file.flush()
            os.fsync(file.fileno())
        num_bytes = temporary.stat().st_size
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return Shard(url=url, num_rows=num_rows, num_bytes=num_bytes)


def _write_rows(file: Any, schema: pa.Schema, rows: Iterable[Any], batch_rows: int) -> int:
    num_rows = 0
    remaining = iter(rows)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(remaining, batch_rows)):
            writer.write_batch(_to_batch(schema, batch, num_rows))
            num_rows += len(batch)
    return num_rows


def _to_batch(schema: pa.Schema, rows: list[Any], first_row: int) -> pa.RecordBatch:
    values = [_values_of(row, schema.names, first_row + index) for index, row in enumerate(rows)]
    arrays = []
    for field, column in zip(schema, zip(*values, strict=True), strict=True):
        try:
            array = pa.array(column, type=field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
            raise ShardError(f"column {field.name}: {error}; its type is {field.type}; correct the row or the schema") from error
        if array.null_count and not field.nullable:
            row = first_row + column.index(None)
            raise ShardError(f"column {field.name}: null in row {row}; the schema has it never null; give a value, or make it nullable")
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _values_of(row: Any, names: list[str], number: int) -> list[Any]:
    if isinstance(row, Mapping):
        if row.keys() != set(names):
            missing, unknown = sorted(set(names) - row.keys()), sorted(row.keys() - set(names))
            raise ShardError(f"row {number}: columns missing {missing}, unknown {unknown}; a row has the schema's columns; correct the row")
        return [row[name] for name in names]
    try:
        return [getattr(row, name) for name in names]
    except AttributeError as error:
        raise ShardError(
            f"row {number}: {error}; a row has a field for each column of the schema; correct the schema or the row"
        ) from error


def _check_schema(url: str, schema: pa.Schema, columns: Mapping[str, _Column], computed: set[str], row_name: str) -> None:
    missing = sorted(columns.keys() - set(schema.names))
    unknown = sorted(set(schema.names) - columns.keys() - computed)
    mistyped = [
        f"{name} is {schema.field(name).type}, not {column.expected}"
        for name, column in columns.items()
        if name in schema.names and not column.accepts(schema.field(name).type)
    ]
    if missing or unknown or mistyped:
        raise ShardError(
            f"{url}: columns missing {missing}, unknown {unknown}, mistyped {mistyped}; its columns must be the fields of {row_name}; "
            "read it with the version that wrote it, or run again"
        )


def _rows_of(batch: pa.RecordBatch, columns: Mapping[str, _Column], row_type: type[Row]) -> Iterator[Row]:
    lists = []
    for name, column in columns.items():
        values = batch.column(name).to_pylist()
        if column.convert is not None:
            try:
                values = [None if value is None else column.convert(value) for value in values]
            except ValueError as error:
                raise ShardError(f"column {name}: {error}; its values are a closed set; read it with the version that wrote it") from error
        lists.append(values)
    for values in zip(*lists, strict=True):
        yield row_type(**dict(zip(columns, values, strict=True)))


def _columns_of(row_type: type[Any]) -> dict[str, _Column]:
    """The columns that a row type is built from, by name; raises TypeError for a field type that has no Arrow type here."""
    if not is_dataclass(row_type):
        raise TypeError(f"{row_type.__name__} is no dataclass; rows are dataclasses; pass a row type")
    hints = get_type_hints(row_type)
    return {field.name: _column_of(hints[field.name]) for field in fields(row_type) if field.init}


def _column_of(hint: Any) -> _Column:
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        if len(kinds) == 1:
            return _column_of(kinds[0])
    if get_origin(hint) in (tuple, list):
        item = _column_of(get_args(hint)[0])
        container = get_origin(hint)
        return _Column(
            lambda kind: (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and item.accepts(kind.value_type),
            f"list of {item.expected}",
            lambda values: container(values if item.convert is None else map(item.convert, values)),
        )
    if isinstance(hint, type):
        if issubclass(hint, StrEnum):
            return _Column(_accepts_any(_ARROW_TYPES[str]), "string", hint)
        if hint in _ARROW_TYPES:
            return _Column(_accepts_any(_ARROW_TYPES[hint]), hint.__name__, None)
    raise TypeError(f"{hint}: no Arrow type is known for it; add it to shards.py")


def _accepts_any(tests: tuple[Callable[[pa.DataType], bool], ...]) -> Callable[[pa.DataType], bool]:
    return lambda kind: any(test(kind) for test in tests)
