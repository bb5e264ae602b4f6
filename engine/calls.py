"""The call store: one append-only table a model, shared by all runs of a workspace; nothing in it is computed twice.

Owns row keys, what a call is as a row, and which row answers a question. Parts, index, merges and the writer have their own modules.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from chunkers.shards import ShardError
from engine.answers import Answers
from engine.index import CallIndex, Rank, Writer
from engine.keys import KEY_COLUMNS, make_keys
from engine.merge import MERGE_PARTS, PartMerger
from engine.models import Model
from engine.parts import ROW_GROUP_ROWS, PartError, PartFolder, PartGoneError
from engine.records import CALLS, Completion, Messages, Outcome, Request, Sampling
from engine.writer import BatchWriter

Price = Callable[[Completion], Decimal | None]
"""The money that a call costs; None where no prices are set."""

_COST_STEP = Decimal(1).scaleb(-CALLS.field("cost").type.scale)
_KEYS = pa.schema([CALLS.field(name) for name in KEY_COLUMNS])
_ROW_KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A row that is not written yet."""

    completion: Completion
    cost: Decimal | None
    determinism: str
    engine_build: str
    created_at: int
    """Microseconds since 1970."""
    worker: str

    @property
    def rank(self) -> Rank:
        return self.completion.outcome is Outcome.OK, self.created_at, self.worker


def row_key(
    model: Model,
    engine_kind: str,
    token_ids: Sequence[int],
    sampling: Sampling,
    sample_index: int = 0,
    *,
    messages: Messages | None = None,
) -> str:
    """Hash of everything that decides the answer; 64 hex digits. Where there are messages, the token ids are not part of it.

    The template's name is not part of it: two templates that render the same tokens ask the same question.
    """
    decided_by = {
        "revision": model.revision,
        "weights": model.weights_sha256,
        "quantization": model.quantization,
        "engine": engine_kind,
        "sampling": sampling.settings(),
        "sample_index": sample_index,
    }
    head = json.dumps(decided_by, sort_keys=True, separators=(",", ":")).encode()
    if messages is not None:
        return sha256(head + b"\x01" + json.dumps(messages, separators=(",", ":")).encode()).hexdigest()
    return sha256(head + b"\x00" + np.asarray(token_ids, dtype="<u4").tobytes()).hexdigest()


class CallStore:
    """The calls of one model in one workspace; may be used from several threads. Close it, or use it in a `with`.

    Rows are written by a thread of its own when `flush_rows` of them wait, and `flush_s` seconds after the oldest that waits.
    """

    def __init__(
        self,
        workspace_url: str,
        model: Model,
        *,
        worker: str,
        price: Price = lambda completion: None,
        flush_rows: int = 256,
        flush_s: float = 5.0,
        is_fresh: bool = False,
        merge_parts: int = MERGE_PARTS,
        engine_settings: str = "{}",
    ) -> None:
        """A fresh store finds what it has appended itself and nothing else; nothing is deleted.

        `merge_parts` parts of one size, at least 2, are merged into one. `engine_settings` is canonical JSON and kept with every call.
        Raises OSError where the workspace cannot be listed. A part that is broken or of a schema version that is not read is a warning, and
        its answers are not found.
        """
        self._folder = PartFolder(f"{workspace_url}/calls/model={model.slug}")
        self._model, self._worker, self._price, self._engine_settings = model, worker, price, engine_settings
        self._last_created_at = _now()
        since = Writer(worker=worker, since=self._last_created_at) if is_fresh else None
        self._index = CallIndex(self._folder, only=since)
        self._answers = Answers(self._folder)
        self._lock = threading.Lock()
        self._waiting: dict[str, _Call] = {}
        self._is_fresh = is_fresh
        merger = PartMerger(self._folder, self._index, num_parts=merge_parts)
        self._writer = BatchWriter(self._write, merger.merge, flush_rows=flush_rows, flush_s=flush_s)
        self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have written since; a fresh store finds its own alone. Raises OSError as the constructor."""
        if not self._is_fresh:
            self._index.refresh()

    def find(self, request: Request) -> Completion | None:
        """The latest answer to the same question that is ok; where there is none, its latest failure; None where it was never asked.

        Written or not; the latest has the highest created_at, then the last worker by name. Raises ValueError for a row key that is none.
        """
        with self._lock:
            waiting = self._waiting.get(request.row_key)
        while True:
            try:
                return self._find_best(request, waiting)
            except PartGoneError as error:
                self._index.leave(error.name)
            except PartError as error:
                self._index.drop(error)

    def _find_best(self, request: Request, waiting: _Call | None) -> Completion | None:
        for place in self._index.find(request.row_key):
            if waiting and waiting.rank >= place.rank:
                break
            if found := self._answers.read(place.part, place.row, request):
                return found
        return replace(waiting.completion, request=request) if waiting else None

    def known_outcomes(self, row_keys: Sequence[str]) -> list[Outcome | None]:
        """How the call that `find` gives ended, for each key in order; None where there is none. Reads nothing.

        64 bits of a key are compared: one key in 10^13 of a store of a million calls is taken for another. Raises ValueError for a row key
        that is none.
        """
        with self._lock:
            waiting = dict(self._waiting)
        outcomes = self._index.best_outcomes(row_keys)
        for at, key in enumerate(row_keys) if waiting else ():
            if call := waiting.get(key):
                places = self._index.find(key)
                outcomes[at] = places[0].outcome if places and places[0].rank > call.rank else call.completion.outcome
        return outcomes

    def append(self, completion: Completion, *, determinism: str, engine_build: str) -> None:
        """Keep one answer or failure; it is found from now on, and written soon.

        Raises OSError or ShardError where writing earlier rows has failed, once for each failure; after an OSError those rows and this one
        are kept and tried again. Raises ValueError for a call that was skipped: it was never made, and after `close`.
        """
        request = completion.request
        if completion.outcome is Outcome.SKIPPED_BUDGET:
            raise ValueError(f"{request.chunk_id}: a call that was skipped was never made; only calls are rows; do not append it.")
        if not _ROW_KEY.fullmatch(request.row_key):
            raise ValueError(f"{request.chunk_id}: row key {request.row_key!r}; a row key has 64 hex digits; make it with row_key.")
        cost = self._price(completion)
        with self._lock:
            # strictly increasing: which row of a key is the latest has to be clear
            self._last_created_at = max(_now(), self._last_created_at + 1)
            call = _Call(
                completion=completion,
                cost=None if cost is None else cost.quantize(_COST_STEP),
                determinism=determinism,
                engine_build=engine_build,
                created_at=self._last_created_at,
                worker=self._worker,
            )
            kept = self._waiting.get(request.row_key)
            if kept is None or kept.rank < call.rank:
                self._waiting[request.row_key] = call
            self._writer.put(call)

    def flush(self) -> None:
        """Every row appended before is on disk when it returns; raises OSError or ShardError where writing them fails now."""
        self._writer.flush()

    def close(self) -> None:
        """Flush, and end the writer at most 2 s later; a second call does nothing. Raises as `flush`."""
        try:
            self._writer.close()
        finally:
            self._answers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _write(self, calls: list[_Call]) -> None:
        """As BatchWriter wants it: where a row does not fit the table, the others are written each by itself."""
        misfit: ShardError | None = None
        rows = [self._row(call) for call in calls]
        try:
            self._write_part(rows)
        except ShardError:
            for row in rows:
                try:
                    self._write_part([row])
                except ShardError as error:
                    misfit = error
        with self._lock:
            for call in calls:
                if self._waiting.get(call.completion.request.row_key) is call:
                    del self._waiting[call.completion.request.row_key]
        if misfit:
            raise misfit

    def _write_part(self, rows: list[dict[str, Any]]) -> None:
        # not after the row keys alone: a worker that fails at what another has answered would write over its part
        ids = " ".join(f"{row['row_key']} {row['attempt']} {row['created_at']} {row['worker']}" for row in rows)
        name = f"part-{sha256(ids.encode()).hexdigest()[:24]}.parquet"
        self._folder.write(name, rows)
        keys = pa.RecordBatch.from_pylist([{column: row[column] for column in KEY_COLUMNS} for row in rows], schema=_KEYS)
        self._index.add(make_keys(name, [keys], np.arange(0, len(rows), ROW_GROUP_ROWS)))

    def _row(self, call: _Call) -> dict[str, Any]:
        completion, request = call.completion, call.completion.request
        return {
            "row_key": request.row_key,
            "chunk_id": request.chunk_id,
            "doc_id": request.doc_id,
            "model": self._model.name,
            "model_revision": self._model.revision,
            "quantization": self._model.quantization,
            "template": request.template,
            "template_version": request.template_version,
            "sample_index": request.sample_index,
            "outcome": completion.outcome.value,
            "finish_reason": completion.finish_reason,
            "attempt": request.attempt,
            "prompt_tokens": completion.prompt_tokens,
            "cached_tokens": completion.cached_tokens,
            "completion_tokens": completion.completion_tokens,
            "engine_seconds": completion.engine_seconds,
            "decode_seconds": completion.decode_seconds,
            "cost": call.cost,
            "prompt_ids": request.token_ids if request.messages is None else (),
            "messages": None if request.messages is None else json.dumps(request.messages, ensure_ascii=False),
            "sampling": json.dumps(request.sampling.settings(), sort_keys=True, separators=(",", ":")),
            "text": completion.text,
            "logprobs": completion.logprobs,
            "alternative_ids": [at.token_ids for at in completion.alternatives],
            "alternative_logprobs": [at.logprobs for at in completion.alternatives],
            "error": completion.error,
            "determinism": call.determinism,
            "engine_build": call.engine_build,
            "engine_settings": self._engine_settings,
            "created_at": call.created_at,
            "worker": call.worker,
        }


def _now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
