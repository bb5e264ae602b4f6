"""The index of a call folder: row key -> the rows that have it. Owns which parts count and which row of a key is the best."""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.keys import OUTCOMES, PartKeys, key_prefixes, read_keys
from engine.parts import PartError, PartFolder, PartGoneError
from engine.records import Outcome

logger = logging.getLogger(__name__)

Rank = tuple[bool, int, str]
"""(is ok, created_at in microseconds, worker): of rows with one key the one with the highest rank is the answer."""

FOLD_ROWS = 65536
"""Rows that are sorted anew with each part; when there are more, they are sorted in among the others."""
_NUM_READERS = 2
"""Threads that read parts from a disk: more wait for each other."""
_NUM_FETCHERS = 16
"""Threads that read parts from somewhere else."""
_MIN_POOLED = 8
"""Fewer parts are read one after the other: no new thread can be had while the interpreter ends, and a merge may be under way then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Limits an index to the rows of one worker from a moment on."""

    worker: str
    since: int
    """Microseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlace:
    """Where a row lies that may have the key: 64 of the key's 256 bits are compared."""

    rank: Rank
    part: PartKeys
    row: int

    @property
    def outcome(self) -> Outcome:
        return OUTCOMES[int(self.part.outcomes[self.row])]


class KeyTable:
    """The rows of some parts, sorted by key; the best row of a key comes last. Never changes."""

    def __init__(self, parts: Sequence[PartKeys], only: Writer | None) -> None:
        self.parts = tuple(parts)
        names = sorted({worker for part in parts for worker in part.workers})
        ranks = {worker: rank for rank, worker in enumerate(names)}
        none = np.empty(0, dtype=np.int32)
        sizes = [part.num_rows for part in parts]
        numbers = np.repeat(np.arange(len(parts), dtype=np.int32), sizes)
        rows = np.concatenate([none, *(np.arange(size, dtype=np.int32) for size in sizes)])
        prefixes = np.concatenate([np.empty(0, dtype=np.uint64), *(part.prefixes for part in parts)])
        outcomes = np.concatenate([np.empty(0, dtype=np.int8), *(part.outcomes for part in parts)])
        created_at = np.concatenate([np.empty(0, dtype=np.int64), *(part.created_at for part in parts)])
        by_worker = [np.array([ranks[worker] for worker in part.workers], dtype=np.int32)[part.worker_codes] for part in parts]
        workers = np.concatenate([none, *by_worker])
        order = np.argsort(prefixes)
        if only:
            order = order[(created_at[order] >= only.since) & (workers[order] == ranks.get(only.worker, -1))]
        # few keys repeat: only their rows are sorted by all of the rank
        is_same = prefixes[order][1:] == prefixes[order][:-1]
        repeated = np.flatnonzero(np.append(is_same, False) | np.append(False, is_same)) if len(order) else none
        those = order[repeated]
        order[repeated] = those[np.lexsort((workers[those], created_at[those], outcomes[those] == 0, prefixes[those]))]
        self._prefixes, self._numbers, self._rows, self._outcomes = prefixes[order], numbers[order], rows[order], outcomes[order]

    def __len__(self) -> int:
        return len(self._prefixes)

    def find(self, prefix: np.uint64) -> list[RowPlace]:
        first, end = (int(np.searchsorted(self._prefixes, prefix, side=side)) for side in ("left", "right"))
        return [self._place(at) for at in range(first, end)]

    def _place(self, at: int) -> RowPlace:
        part, row = self.parts[self._numbers[at]], int(self._rows[at])
        rank = (bool(part.outcomes[row] == 0), int(part.created_at[row]), part.workers[part.worker_codes[row]])
        return RowPlace(rank=rank, part=part, row=row)

    def best_outcomes(self, prefixes: NDArray[np.uint64]) -> NDArray[np.int8]:
        """Outcome code of the best row of each; -1 where there is none."""
        codes = np.full(len(prefixes), -1, dtype=np.int8)
        if len(self._prefixes):
            order = np.argsort(prefixes)  # in order, each search goes on where the last one ended
            asked = prefixes[order]
            at = np.searchsorted(self._prefixes, asked, side="right") - 1
            codes[order] = np.where((at >= 0) & (self._prefixes[at] == asked), self._outcomes[at], -1)
        return codes


class CallIndex:
    """The rows of all parts of a folder; may be used from several threads."""

    def __init__(self, folder: PartFolder, *, only: Writer | None = None) -> None:
        self._folder, self._only = folder, only
        self._lock = threading.Lock()
        self._parts: dict[str, PartKeys] = {}
        self._unreadable: set[str] = set()
        self._tables = (KeyTable([], only), KeyTable([], only))

    @property
    def parts(self) -> Mapping[str, PartKeys]:
        """Those that count, by name."""
        parts = self._parts
        replaced = _replaced(parts.values())
        return {name: part for name, part in parts.items() if name not in replaced}

    @property
    def leftovers(self) -> list[str]:
        """Parts that are still there although a merged one has their rows."""
        parts = self._parts
        return sorted(parts.keys() & _replaced(parts.values()))

    def refresh(self) -> None:
        """Takes in the parts that are there now; those that cannot be read are named in a warning, once."""
        with self._lock:
            known, gone_before = dict(self._parts), set[str]()
            while True:
                names = self._folder.list_names()
                gone = self._read([name for name in names if name not in known and name not in self._unreadable], known)
                if not gone:
                    break
                # merged by another process since the folder was listed; what is listed and not there twice is something else
                for name in gone & gone_before:
                    self._leave_out(PartError(name, f"{self._folder.path}/{name}: listed but not there; its answers are asked again."))
                gone_before = gone
            there = {name: known[name] for name in names if name in known}
            if there.keys() != self._parts.keys():
                self._take(there)

    def leave(self, name: str) -> None:
        """Forgets a part that is gone and takes in what has come in its place."""
        self.refresh()
        if name in self._parts:
            self.drop(PartError(name, f"{self._folder.path}/{name}: listed but not there; its answers are asked again."))

    def add(self, part: PartKeys) -> None:
        """Takes in a part that was just written."""
        with self._lock:
            self._take({**self._parts, part.name: part})

    def drop(self, error: PartError) -> None:
        """Leaves out a part that turned out not to be readable."""
        with self._lock:
            self._leave_out(error)
            self._take({name: part for name, part in self._parts.items() if name != error.name})

    def find(self, row_key: str) -> list[RowPlace]:
        """Rows that may have the key, the best first; raises ValueError for a key that is none."""
        (prefix,) = key_prefixes(pa.array([row_key]))
        base, recent = self._tables
        return sorted(base.find(prefix) + recent.find(prefix), key=lambda place: place.rank, reverse=True)

    def best_outcomes(self, row_keys: Sequence[str]) -> list[Outcome | None]:
        """Outcome of the best row of each key, in order; None where there is none. A million keys take under a second."""
        with self._lock:
            base, recent = self._tables
            if len(recent):
                self._tables = base, recent = KeyTable(base.parts + recent.parts, self._only), KeyTable([], self._only)
        codes = base.best_outcomes(key_prefixes(pa.array(row_keys, type=pa.string())))
        outcomes = (*OUTCOMES, None)
        return [outcomes[code] for code in codes.tolist()]

    def _read(self, names: Sequence[str], known: dict[str, PartKeys]) -> set[str]:
        """Adds parts to the known ones; the names of those that are gone."""
        gone = set[str]()
        for name, found in zip(names, self._read_all(names), strict=True):
            if found is None:
                gone.add(name)
            elif isinstance(found, PartError):
                self._leave_out(found)
            else:
                known[name] = found
        return gone

    def _read_all(self, names: Sequence[str]) -> list[PartKeys | PartError | None]:
        if len(names) < _MIN_POOLED:
            return [self._read_one(name) for name in names]
        with ThreadPoolExecutor(_NUM_READERS if self._folder.is_local else _NUM_FETCHERS, thread_name_prefix="parts") as pool:
            return list(pool.map(self._read_one, names))

    def _read_one(self, name: str) -> PartKeys | PartError | None:
        try:
            return read_keys(self._folder, name)
        except PartGoneError:
            return None
        except PartError as error:
            return error

    def _leave_out(self, error: PartError) -> None:
        if error.name not in self._unreadable:
            self._unreadable.add(error.name)
            logger.warning("%s", error)

    def _take(self, parts: dict[str, PartKeys]) -> None:
        self._parts = parts
        counted = self.parts
        base, _ = self._tables
        in_base = {part.name for part in base.parts}
        recent = [part for name, part in counted.items() if name not in in_base]
        num_recent = sum(part.num_rows for part in recent)
        if in_base <= counted.keys() and num_recent <= max(FOLD_ROWS, len(base) // 8):
            self._tables = base, KeyTable(recent, self._only)
        else:
            self._tables = KeyTable(list(counted.values()), self._only), KeyTable([], self._only)


def _replaced(parts: Iterable[PartKeys]) -> set[str]:
    return {name for part in parts for name in part.replaces}
