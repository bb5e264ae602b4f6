"""What is known of a part without its answers: which keys its rows have, how they ended, when and by whom."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.parts import PartError, PartFolder, read_replaced
from engine.records import Outcome

OUTCOMES = tuple(Outcome)
"""Outcome code -> outcome; the code of ok is 0."""
_OUTCOMES = pa.array([outcome.value for outcome in OUTCOMES])
_KEY_CHARS = 64
_PREFIX_CHARS = 16
KEY_COLUMNS = ["row_key", "outcome", "created_at", "worker"]
_BATCH_ROWS = 65536
_NIBBLES = np.full(256, 255, dtype=np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartKeys:
    """The rows of one part, in their order."""

    name: str
    replaces: frozenset[str]
    """Names of the parts that were merged into it; empty for a part that a store wrote."""
    row_groups: NDArray[np.int64]
    """First row of each row group."""
    prefixes: NDArray[np.uint64]
    """The first 16 of the 64 hex digits of each row key."""
    outcomes: NDArray[np.int8]
    """Positions in OUTCOMES."""
    created_at: NDArray[np.int64]
    """Microseconds since 1970."""
    workers: tuple[str, ...]
    worker_codes: NDArray[np.int32]
    """Positions in `workers`."""

    @property
    def num_rows(self) -> int:
        return len(self.prefixes)


def read_keys(folder: PartFolder, name: str) -> PartKeys:
    """Raises PartGoneError where it is gone, and PartError where it is not whole or is of another schema version."""
    with folder.open(name) as parquet:
        metadata = parquet.metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        replaces = read_replaced(parquet)
        batches = list(parquet.iter_batches(_BATCH_ROWS, columns=KEY_COLUMNS, use_threads=False))
    row_groups = np.cumsum([0, *sizes[:-1]])
    try:
        return make_keys(name, batches, row_groups, replaces)
    except ValueError as error:
        raise PartError(name, f"{folder.path}/{name}: {error}; its answers are asked again; delete it.") from error


def make_keys(name: str, batches: list[pa.RecordBatch], row_groups: NDArray[np.int64], replaces: frozenset[str] = frozenset()) -> PartKeys:
    """From batches with the key columns; raises ValueError for a row key or an outcome that is none."""
    codes: dict[str, int] = {}
    columns: list[tuple[NDArray[Any], ...]] = []
    for batch in batches:
        outcomes = pc.index_in(batch["outcome"], _OUTCOMES)
        if outcomes.null_count:
            raise ValueError(f"an outcome that is none of {_OUTCOMES.to_pylist()}; outcomes are a closed set")
        workers = batch["worker"].dictionary_encode()
        local = np.array([codes.setdefault(str(worker), len(codes)) for worker in workers.dictionary.to_pylist()], dtype=np.int32)
        columns.append(
            (
                key_prefixes(batch["row_key"]),
                outcomes.to_numpy().astype(np.int8),
                batch["created_at"].cast(pa.int64()).to_numpy(),
                local[workers.indices.to_numpy()],
            )
        )
    kinds = (np.uint64, np.int8, np.int64, np.int32)
    joined = [np.concatenate([np.empty(0, dtype=kind), *parts]) for kind, parts in zip(kinds, _transpose(columns), strict=True)]
    prefixes, outcome_codes, created_at, worker_codes = joined
    return PartKeys(
        name=name,
        replaces=replaces,
        row_groups=row_groups,
        prefixes=prefixes,
        outcomes=outcome_codes,
        created_at=created_at,
        workers=tuple(codes),
        worker_codes=worker_codes,
    )


def _transpose(columns: list[tuple[NDArray[Any], ...]]) -> list[tuple[NDArray[Any], ...]]:
    return list(zip(*columns, strict=True)) if columns else [(), (), (), ()]


def key_prefixes(row_keys: Any) -> NDArray[np.uint64]:
    """The first 64 bits of each key of an Arrow string array, in order; raises ValueError for one that is not 64 lower-case hex digits."""
    if not len(row_keys):
        return np.empty(0, dtype=np.uint64)
    _, offset_buffer, data_buffer = row_keys.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[row_keys.offset : row_keys.offset + len(row_keys) + 1]
    if row_keys.null_count or (np.diff(offsets) != _KEY_CHARS).any():
        raise ValueError("a row key that is not 64 hex digits; row keys are made by engine.calls.row_key")
    chars = np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(-1, _KEY_CHARS)[:, :_PREFIX_CHARS]
    nibbles = _NIBBLES[chars]
    if nibbles.max() > 15:
        raise ValueError("a row key that is not 64 hex digits; row keys are made by engine.calls.row_key")
    prefixes: NDArray[np.uint64] = (nibbles[:, ::2] << 4 | nibbles[:, 1::2]).view(">u8").ravel().astype(np.uint64)
    return prefixes
