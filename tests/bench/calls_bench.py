"""How a store of very many calls opens and answers. Prints seconds, growth of memory, and both against Arrow reading the keys alone.

python tests/bench/calls_bench.py folder [calls]

The folder is filled if it is empty, which takes a minute and 0.7 GB for a million calls. Most calls score 13 tokens, one in ten generates;
each prompt has 300 tokens, 250 of them shared. Two stores: parts as merges leave them, and none of them merged yet.
"""

import resource
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.calls import CallStore
from engine.models import Model
from engine.records import CALLS, Outcome, Request, Sampling

MODEL = Model(name="m/1", folder=Path("/nowhere"), revision="r1", weights_sha256="ab" * 32, quantization="none")
PART_ROWS = 256
NUM_FINDS = 20_000
NUM_ROUNDS = 3
SAMPLING = '{"json_schema":null,"max_tokens":1,"num_alternatives":0,"score_from":287,"seed":null,"stop_token_ids":[],"temperature":0.0}'


def main(folder: str, num_calls: int) -> None:
    for name, sizes in (("merged", _merged_sizes(num_calls)), ("not merged", [PART_ROWS] * (num_calls // PART_ROWS))):
        workspace = Path(folder) / name.replace(" ", "-")
        parts = workspace / "calls" / f"model={MODEL.slug}"
        if not parts.exists():
            _fill(parts, sizes)
        _report(name, workspace, parts, sum(sizes))


def _report(name: str, workspace: Path, folder: Path, num_calls: int) -> None:
    keys = _keys(num_calls)
    asked = [*keys[: num_calls // 2], *(key[::-1] for key in keys[num_calls // 2 :])]

    def read_keys() -> None:
        for path in sorted(folder.iterdir()):
            if path.suffix == ".parquet":
                pq.ParquetFile(path).read(columns=["row_key"])

    def open_store() -> CallStore:
        return CallStore(str(workspace), MODEL, worker="bench")

    before = _resident_bytes()
    with _Peak() as peak:
        store = open_store()
    open_growth = peak.num_bytes - before
    with _Peak() as peak:
        outcomes = store.known_outcomes(asked)
    look_up_growth = peak.num_bytes - before
    if sum(outcome is not None for outcome in outcomes) != num_calls // 2:
        raise SystemExit("the store does not know what it holds")
    read_s, open_s, look_up_s = _time_in_turns(read_keys, open_store, lambda: store.known_outcomes(asked))
    in_order_s = _time_finds(store, keys[:NUM_FINDS])
    at_random_s = _time_finds(store, Random(1).sample(keys, NUM_FINDS // 10))
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    lines = [
        f"{name}: {num_calls} calls, {len(list(folder.glob('*.parquet')))} parts, {megabytes:.0f} MB",
        f"Arrow reads row_key   {read_s:8.2f} s",
        f"open                  {open_s:8.2f} s, {open_s / read_s:.2f} of that, {open_growth / 1e6:.0f} MB at most",
        f"look-up of all        {look_up_s:8.2f} s, {look_up_s / read_s:.2f} of that, {look_up_growth / 1e6:.0f} MB at most",
        f"find, in order        {NUM_FINDS / in_order_s:8.0f} a second",
        f"find, at random       {NUM_FINDS / 10 / at_random_s:8.0f} a second",
        "",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


class _Peak:
    """Resident memory at its highest while the block ran, looked at every 5 ms."""

    def __enter__(self) -> "_Peak":
        self.num_bytes, self._ends = _resident_bytes(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ends.wait(0.005):
            self.num_bytes = max(self.num_bytes, _resident_bytes())

    def __exit__(self, *ended: object) -> None:
        self.num_bytes = max(self.num_bytes, _resident_bytes())
        self._ends.set()
        self._thread.join()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _time_in_turns(*runs: Callable[[], object]) -> list[float]:
    """Best seconds of each over the rounds."""
    best = [float("inf")] * len(runs)
    for _ in range(NUM_ROUNDS):
        for index, run in enumerate(runs):
            started = perf_counter()
            run()
            best[index] = min(best[index], perf_counter() - started)
    return best


def _time_finds(store: CallStore, keys: list[str]) -> float:
    started = perf_counter()
    for key in keys:
        found = store.find(_request(key))
        if found is None or found.outcome is not Outcome.OK:
            raise SystemExit("the store does not find what it holds")
    return perf_counter() - started


def _request(key: str) -> Request:
    return Request(row_key=key, doc_id="d", chunk_id="c", template="t", template_version=1, token_ids=(), sampling=Sampling(score_from=1))


def _merged_sizes(num_calls: int) -> list[int]:
    """As many small parts as can be there between two merges, the rest in the largest."""
    small = [PART_ROWS] * 31 + [32 * PART_ROWS] * 31
    num_large = max(0, num_calls - sum(small)) // (32 * 32 * PART_ROWS)
    large = [32 * 32 * PART_ROWS] * num_large
    return [*small, *large, num_calls - sum(small) - sum(large)] if num_calls > sum(small) else [PART_ROWS] * (num_calls // PART_ROWS)


def _keys(num_calls: int) -> list[str]:
    digits = np.random.default_rng(7).bytes(32 * num_calls).hex()
    return [digits[at : at + 64] for at in range(0, len(digits), 64)]


def _fill(folder: Path, sizes: list[int]) -> None:
    folder.mkdir(parents=True)
    keys, first = _keys(sum(sizes)), 0
    for number, size in enumerate(sizes):
        with pq.ParquetWriter(folder / f"part-{number:024x}.parquet", CALLS, compression="zstd") as writer:
            for batch in _batches(keys, first, size):
                writer.write_batch(batch)
        first += size


def _batches(keys: list[str], first: int, size: int) -> Iterator[pa.RecordBatch]:
    for start in range(first, first + size, 1024):
        yield _batch(keys[start : min(start + 1024, first + size)], start)


def _batch(keys: list[str], first: int) -> pa.RecordBatch:
    rng, count = np.random.default_rng(first), len(keys)
    is_generated = rng.random(count) < 0.1
    shared = np.broadcast_to(np.arange(250, dtype=np.int32), (count, 250))
    prompts = np.concatenate([shared, rng.integers(0, 49_152, (count, 50), dtype=np.int32)], axis=1)
    num_scores = np.where(is_generated, 0, 13)
    texts = [f'{{"edits":[{{"quote":"{first + row}"}}]}}' if is_generated[row] else None for row in range(count)]
    columns: dict[str, Any] = {
        "row_key": keys,
        "chunk_id": [key[:32] for key in keys],
        "cost": [None] * count,
        "prompt_ids": _lists(np.full(count, 300), prompts.ravel()),
        "text": texts,
        "logprobs": _lists(num_scores, -rng.exponential(3, int(num_scores.sum())).astype(np.float32)),
        "alternative_ids": [[]] * count,
        "alternative_logprobs": [[]] * count,
        "engine_seconds": rng.random(count),
        "decode_seconds": rng.random(count),
        "error": [None] * count,
        "created_at": np.arange(first, first + count) + 1_700_000_000_000_000,
    }
    same: dict[str, Any] = {
        "outcome": "ok",
        "finish_reason": "stop",
        "sampling": SAMPLING,
        "worker": "host:1",
        "attempt": 1,
        "prompt_tokens": 300,
    }
    same |= {"doc_id": "d" * 64, "determinism": "none", "engine_build": "vllm 0.32.0"}
    arrays = []
    for field in CALLS:
        default = 0 if pa.types.is_integer(field.type) else "x"
        values = columns[field.name] if field.name in columns else [same.get(field.name, default)] * count
        arrays.append(values if isinstance(values, pa.Array) else pa.array(values, type=field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=CALLS)


def _lists(lengths: NDArray[Any], values: NDArray[Any]) -> Any:
    offsets = pa.array(np.append(0, np.cumsum(lengths)), type=pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 1_000_000)
