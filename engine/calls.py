"""The call store: one append-only table a model, shared by all runs of a workspace; nothing in it is computed twice.

Owns row keys, parts and look-up. A part is written under a temporary name and renamed, so that a reader never meets half a file.
"""

import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chunkers.shards import write_shard
from engine.models import Model
from engine.protocol import Engine
from engine.records import CALLS, Alternatives, Completion, Outcome, Request, Sampling

logger = logging.getLogger(__name__)


def row_key(model: Model, engine_kind: str, token_ids: Sequence[int], sampling: Sampling, sample_index: int = 0) -> str:
    """Hash of everything that decides the answer; 64 hex digits.

    The template's name is not part of it: two templates that render the same tokens ask the same question.
    """
    decided_by = {
        "revision": model.revision,
        "weights": model.weights_sha256,
        "quantization": model.quantization,
        "engine": engine_kind,
        "sampling": asdict(sampling),
        "sample_index": sample_index,
    }
    head = json.dumps(decided_by, sort_keys=True, separators=(",", ":")).encode()
    return sha256(head + b"\x00" + np.asarray(token_ids, dtype="<u4").tobytes()).hexdigest()


class CallStore:
    """The calls of one model in one workspace.

    Rows are written when `flush_rows` of them wait, at the first append more than `flush_s` seconds after the last write, and by `flush`.
    """

    def __init__(self, workspace_url: str, model: Model, *, worker: str, flush_rows: int = 256, flush_s: float = 5.0) -> None:
        self._url = f"{workspace_url}/calls/model={model.slug}"
        self._model, self._worker = model, worker
        self._flush_rows, self._flush_s, self._flushed_at = flush_rows, flush_s, time.monotonic()
        self._pending: dict[str, Completion] = {}
        self._rows: list[dict[str, Any]] = []
        self._known = _read_known(self._url)

    def find(self, request: Request) -> Completion | None:
        """The stored answer to the same question; None if it was never answered or never well."""
        if request.row_key in self._pending:
            return replace(self._pending[request.row_key], request=request)
        row = self._known.get(request.row_key)
        if row is None:
            return None
        table, index = row
        values = {name: table.column(name)[index].as_py() for name in _ANSWER_COLUMNS}
        alternatives = zip(values.pop("alternative_ids"), values.pop("alternative_logprobs"), strict=True)
        return Completion(
            request=request,
            **{**values, "outcome": Outcome(values["outcome"]), "logprobs": tuple(values["logprobs"])},
            alternatives=tuple(Alternatives(token_ids=tuple(ids), logprobs=tuple(logprobs)) for ids, logprobs in alternatives),
        )

    def append(self, completion: Completion, engine: Engine, attempt: int = 1) -> None:
        """Keep one answer, failed ones too; only those that are ok are ever found again."""
        if completion.outcome is Outcome.OK:
            self._pending[completion.request.row_key] = completion
        self._rows.append(self._row(completion, engine, attempt))
        if len(self._rows) >= self._flush_rows or time.monotonic() - self._flushed_at >= self._flush_s:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one part."""
        self._flushed_at = time.monotonic()
        if not self._rows:
            return
        # not after the row keys alone: a worker that fails at what another has answered would write over its part
        names = (f"{row['row_key']} {row['worker']} {row['created_at']}" for row in self._rows)
        write_shard(f"{self._url}/part-{sha256(' '.join(names).encode()).hexdigest()[:24]}.parquet", CALLS, self._rows)
        self._known |= _answers(pa.Table.from_pylist(self._rows, schema=CALLS))
        self._pending, self._rows = {}, []

    def _row(self, completion: Completion, engine: Engine, attempt: int) -> dict[str, Any]:
        request = completion.request
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
            "attempt": attempt,
            "prompt_tokens": completion.prompt_tokens,
            "cached_tokens": completion.cached_tokens,
            "completion_tokens": completion.completion_tokens,
            "engine_seconds": completion.engine_seconds,
            "text": completion.text,
            "logprobs": list(completion.logprobs),
            "alternative_ids": [list(at.token_ids) for at in completion.alternatives],
            "alternative_logprobs": [list(at.logprobs) for at in completion.alternatives],
            "error": completion.error,
            "determinism": engine.determinism,
            "engine_build": engine.build,
            "created_at": datetime.now(UTC),
            "worker": self._worker,
        }


_ANSWER_COLUMNS = (
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
    "error",
)


def _read_known(url: str) -> dict[str, tuple[pa.Table, int]]:
    """Row key -> (part, row) of every answer that is ok; where parts repeat a key their answers are to the same question.

    A part that cannot be decoded costs its answers, not the run: they are only missing, and a run computes what is missing.
    """
    filesystem, path = fsspec.core.url_to_fs(url)
    known: dict[str, tuple[pa.Table, int]] = {}
    for part in sorted(filesystem.find(path, maxdepth=1)):  # no glob: a workspace's name may hold a wildcard
        if not re.search(r"/part-[^/]*\.parquet$", part):
            continue
        with filesystem.open(part) as file:
            try:
                known |= _answers(pq.read_table(file, columns=["row_key", *_ANSWER_COLUMNS], partitioning=None))
            except (pa.ArrowInvalid, OSError) as error:
                logger.warning("%s: not a whole part (%s); parts are written whole; its answers are asked again; delete it.", part, error)
    return known


def _answers(table: pa.Table) -> dict[str, tuple[pa.Table, int]]:
    answered = table.select(["row_key", *_ANSWER_COLUMNS]).filter(pc.field("outcome") == Outcome.OK.value).combine_chunks()
    return {key: (answered, index) for index, key in enumerate(answered["row_key"].to_pylist()) if key}
