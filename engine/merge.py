"""Keeps the number of parts small while runs go on: parts of one size are merged into one of the next, as a log-structured tree does.

The merged part names those that it replaces; they are deleted when it is there whole, and ignored from then on. So a process may be killed
at any moment, and two may even merge the same parts: rows are there twice for a while, never not at all. The idea is O'Neil et al., «The
log-structured merge-tree» (1996), with size tiers.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.index import CallIndex
from engine.keys import PartKeys
from engine.locks import lock_folder
from engine.parts import REPLACES, ROW_GROUP_ROWS, PartError, PartFolder, PartGoneError, complete_columns
from engine.records import CALLS

logger = logging.getLogger(__name__)

MERGE_PARTS = 32
"""So many parts of one size make one of the next; at most 31 of each size stay: 155 in all for 33 million calls."""
_REST_S = 60.0
"""After a merge that failed, so long none is tried."""


class PartMerger:
    """Merges the parts of one folder whenever it is asked and enough of them are there."""

    def __init__(self, folder: PartFolder, index: CallIndex, *, num_parts: int = MERGE_PARTS) -> None:
        self._folder, self._index, self._num_parts = folder, index, num_parts
        self._rests_until = 0.0

    def merge(self) -> Iterator[None]:
        """Merges what is due, one row group a step; may be closed between two steps. What fails is a warning: no row is lost by it."""
        if time.monotonic() < self._rests_until:
            return
        try:
            self._index.refresh()
            if not self._index.leftovers and not _due_parts(self._index.parts, self._num_parts):
                return
            with lock_folder(self._folder) as is_held:
                if is_held:
                    self._folder.remove_unfinished()
                    yield from self._merge_due()
        except PartGoneError:
            return  # merged by another process, on a file system where locks do not hold
        except (OSError, pa.ArrowException) as error:
            self._rests_until = time.monotonic() + _REST_S
            logger.warning(
                "%s: small parts are not merged (%s); a merge needs room for its parts twice; nothing is lost; make room.",
                self._folder.path,
                error,
            )

    def _merge_due(self) -> Iterator[None]:
        while True:
            self._index.refresh()
            if leftovers := self._index.leftovers:
                self._folder.remove(leftovers)
            parts = _due_parts(self._index.parts, self._num_parts)
            if not parts:
                return
            yield from self._merge_parts(parts)

    def _merge_parts(self, parts: Sequence[PartKeys]) -> Iterator[None]:
        names = [part.name for part in parts]
        schema = CALLS.with_metadata({**CALLS.metadata, REPLACES: json.dumps(names).encode()})
        merged_name = f"part-{sha256(' '.join(names).encode()).hexdigest()[:24]}.parquet"
        try:
            kept = _kept_rows(parts, [self._read_attempts(part) for part in parts])
            with (
                self._folder.create(merged_name) as file,
                pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
            ):
                waiting = schema.empty_table()
                for table in self._read_tables(parts, kept):
                    waiting = pa.concat_tables([waiting, table.replace_schema_metadata(schema.metadata)])
                    while waiting.num_rows >= ROW_GROUP_ROWS:
                        writer.write_table(waiting.slice(0, ROW_GROUP_ROWS))
                        waiting = waiting.slice(ROW_GROUP_ROWS)
                    yield
                if waiting.num_rows:
                    writer.write_table(waiting)
        except PartError as error:
            self._index.drop(error)

    def _read_attempts(self, part: PartKeys) -> NDArray[np.int32]:
        with self._folder.open(part.name) as parquet:
            attempts: NDArray[np.int32] = parquet.read(columns=["attempt"], use_threads=False)["attempt"].to_numpy()
        return attempts

    def _read_tables(self, parts: Sequence[PartKeys], kept: Sequence[NDArray[np.bool_]]) -> Iterator[pa.Table]:
        """The rows that are kept, a row group at a time."""
        for part, is_kept in zip(parts, kept, strict=True):
            ends = [*part.row_groups[1:].tolist(), part.num_rows]
            with self._folder.open(part.name) as parquet:
                for number, (first, end) in enumerate(zip(part.row_groups.tolist(), ends, strict=True)):
                    table = complete_columns(parquet.read_row_group(number, use_threads=False))
                    yield table if is_kept[first:end].all() else table.filter(pa.array(is_kept[first:end]))


def _kept_rows(parts: Sequence[PartKeys], attempts: Sequence[NDArray[np.int32]]) -> list[NDArray[np.bool_]]:
    """For each part which rows are not in the parts before it, or before it in the part, already.

    A row is the same if worker, created_at, attempt and 64 bits of its key are: no store gives one created_at twice.
    """
    ranks = {worker: rank for rank, worker in enumerate(sorted({worker for part in parts for worker in part.workers}))}
    workers = np.concatenate([np.array([ranks[worker] for worker in part.workers])[part.worker_codes] for part in parts])
    columns = (
        np.concatenate(attempts),
        workers,
        np.concatenate([part.created_at for part in parts]),
        np.concatenate([part.prefixes for part in parts]),
    )
    order = np.lexsort(columns)
    is_repeated = np.logical_and.reduce([column[order][1:] == column[order][:-1] for column in columns])
    is_kept = np.ones(len(order), dtype=np.bool_)
    is_kept[order[1:][is_repeated]] = False
    return np.split(is_kept, np.cumsum([part.num_rows for part in parts])[:-1])


def _due_parts(parts: Mapping[str, PartKeys], num_parts: int) -> list[PartKeys]:
    """The oldest parts of the smallest size that has enough of them, oldest first; empty where nothing is due."""
    tiers: dict[int, list[PartKeys]] = {}
    for part in parts.values():
        tiers.setdefault(_tier(part.num_rows, num_parts), []).append(part)
    due = [tier for tier, members in tiers.items() if len(members) >= num_parts]
    return sorted(tiers[min(due)], key=lambda part: (part.created_at[:1].tolist(), part.name))[:num_parts] if due else []


def _tier(num_rows: int, num_parts: int) -> int:
    """Digits of the number of rows to the base `num_parts`: parts that are merged give one with a digit more."""
    tier = 0
    while num_rows:
        num_rows //= num_parts
        tier += 1
    return tier
