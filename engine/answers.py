"""Answers of rows whose place is known: read by row group, the latest ones kept decoded."""

import threading
from collections import OrderedDict
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.keys import PartKeys
from engine.parts import PartFolder
from engine.records import Alternatives, Completion, Outcome, Request

MAX_CACHED_BYTES = 128 * 2**20
"""Of decoded row groups; the one that was read last is kept even if it is larger."""
_MAX_OPEN_PARTS = 16
_COLUMNS = [
    "row_key",
    "outcome",
    "finish_reason",
    "text",
    "logprobs",
    "alternative_ids",
    "alternative_logprobs",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "engine_seconds",
    "decode_seconds",
    "error",
    "created_at",
]


class Answers:
    """The answers in one folder of parts; may be used from several threads."""

    def __init__(self, folder: PartFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._num_bytes = 0
        self._open: OrderedDict[str, tuple[pq.ParquetFile, ExitStack]] = OrderedDict()

    def read(self, part: PartKeys, row: int, request: Request) -> Completion | None:
        """The row as the answer to this request; None where it answers another key.

        Raises PartGoneError where the part is gone, and PartError where it is not whole.
        """
        with self._lock, self._folder.reading(part.name):
            number = int(np.searchsorted(part.row_groups, row, side="right")) - 1
            table, index = self._row_group(part.name, number), row - int(part.row_groups[number])
            values = {name: table.column(name)[index].as_py() for name in _COLUMNS}
        if values.pop("row_key") != request.row_key:
            return None
        alternatives = zip(values.pop("alternative_ids"), values.pop("alternative_logprobs"), strict=True)
        return Completion(
            request=request,
            **{**values, "outcome": Outcome(values["outcome"]), "logprobs": tuple(values["logprobs"])},
            alternatives=tuple(Alternatives(token_ids=tuple(ids), logprobs=tuple(logprobs)) for ids, logprobs in alternatives),
        )

    def close(self) -> None:
        """Lets go of open files; a later read opens them again."""
        with self._lock:
            while self._open:
                self._open.popitem()[1][1].close()

    def _row_group(self, name: str, number: int) -> pa.Table:
        if (table := self._tables.get((name, number))) is not None:
            self._tables.move_to_end((name, number))
            return table
        table = self._parquet(name).read_row_group(number, columns=_COLUMNS, use_threads=False)
        self._tables[name, number] = table
        self._num_bytes += table.nbytes
        while self._num_bytes > MAX_CACHED_BYTES and len(self._tables) > 1:
            self._num_bytes -= self._tables.popitem(last=False)[1].nbytes
        return table

    def _parquet(self, name: str) -> pq.ParquetFile:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name][0]
        while len(self._open) >= _MAX_OPEN_PARTS:
            self._open.popitem(last=False)[1][1].close()
        stack = ExitStack()
        parquet = stack.enter_context(self._folder.open(name))
        self._open[name] = parquet, stack
        return parquet
