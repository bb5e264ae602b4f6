"""A table of documents copied with other texts in it: every other column, row and byte stays.

Owns how a text is put into a table's row. The copy appears whole or not at all.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq

import chunkers.storage  # noqa: F401 - leads fsspec to a store
from chunkers.paths import AnyPath
from chunkers.readers.tables import BATCH_ROWS, TableColumns, is_lines, iterate_lines, open_parquet, open_table, read_line
from chunkers.records import DocumentError

Correct = Callable[[str], str]
"""The text that is to stand in the place of a row's text."""
GROUP_BYTES = 64 << 20
"""Of texts, in memory and in a row group of the copy."""
_BLANKS = re.compile(r"[ \t\r\n]*")


def copy_table(source: str, target: AnyPath, columns: TableColumns, correct: Correct) -> None:
    """Copies a table, each text as `correct` has it; rows without a text stay as they are. What `correct` raises leaves no copy."""
    with open_table(source) as file, _create(target) as copy:
        if is_lines(source):
            for line in _change_lines(file, source, columns, correct):
                copy.write(line)
        else:
            _copy_parquet(file, source, copy, columns, correct)


@contextmanager
def _create(target: AnyPath) -> Iterator[IO[bytes]]:
    """A file that is under `target` once it is closed; nothing is where something is raised."""
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return
    with TemporaryDirectory(prefix="flows-apply-") as folder:
        path = Path(folder) / "table"
        with path.open("xb") as file:
            yield file
        filesystem, key = fsspec.core.url_to_fs(str(target))
        filesystem.put_file(str(path), key)


def _copy_parquet(file: IO[bytes], source: str, copy: IO[bytes], columns: TableColumns, correct: Correct) -> None:
    table = open_parquet(file, source, columns)
    schema = table.schema_arrow
    place = schema.get_field_index(columns.text)
    pending: list[pa.RecordBatch] = []
    with pq.ParquetWriter(copy, schema, compression="zstd") as writer:
        for batch in table.iter_batches(BATCH_ROWS):
            texts = [None if text is None else correct(text) for text in batch.column(place).to_pylist()]
            changed = pa.array(texts, type=pa.large_string()).cast(schema.field(place).type)
            pending.append(pa.RecordBatch.from_arrays([*batch.columns[:place], changed, *batch.columns[place + 1 :]], schema=schema))
            if sum(each.nbytes for each in pending) >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(pending))
                pending = []
        if pending:
            writer.write_table(pa.Table.from_batches(pending))


def _change_lines(file: IO[bytes], source: str, columns: TableColumns, correct: Correct) -> Iterator[bytes]:
    for line in iterate_lines(file):
        row = read_line(line, columns) if line.is_whole and line.data.strip() else None
        if row is None or row.text is None or (text := correct(row.text)) == row.text:
            yield line.data
            continue
        try:
            yield _put_text(line.data.decode("utf-8"), columns.text, text).encode("utf-8")
        except UnicodeDecodeError as error:
            raise DocumentError(f"{source}: line {line.number} is not UTF-8 ({error}); JSON lines are; save the file as UTF-8") from error


def _put_text(line: str, key: str, text: str) -> str:
    """The line with another text under the key; of a key that stands there twice, JSON's readers take the last."""
    decode = json.JSONDecoder().raw_decode
    start = end = 0
    at = _skip(line, line.index("{") + 1)
    while line[at] != "}":
        name, at = decode(line, at)
        at = _skip(line, _skip(line, at) + 1)  # the colon
        _, value_end = decode(line, at)
        if name == key:
            start, end = at, value_end
        at = _skip(line, value_end)
        at = _skip(line, at + 1) if line[at] == "," else at
    return line[:start] + json.dumps(text, ensure_ascii=line.isascii()) + line[end:]


def _skip(line: str, at: int) -> int:
    match = _BLANKS.match(line, at)
    return match.end() if match else at
