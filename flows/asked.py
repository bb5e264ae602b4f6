"""The requests table: which call answered which question of a run."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from chunkers.paths import AnyPath
from chunkers.records import table_schema
from chunkers.shards import read_shard, write_shard
from engine.models import slug_of
from engine.outcomes import Asked
from flows.runs import read_shard_names

REQUESTS = table_schema(
    "requests",
    [
        ("doc_id", pa.string()),
        ("chunk_id", pa.string()),
        ("template", pa.string()),
        ("template_version", pa.int32()),
        ("sample_index", pa.int32()),
        ("attempt", pa.int32()),
        ("row_key", pa.string()),
        ("outcome", pa.string()),
        ("is_final", pa.bool_()),
        ("prompt_tokens", pa.int32()),
        ("cached_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("engine_seconds", pa.float64()),
        ("decode_seconds", pa.float64()),
    ],
)
"""In the order of `outcomes.asked_order`; one shard for each shard of chunks and model."""


def write_asked(path: AnyPath, asked: Iterable[Asked]) -> None:
    """Write one shard's questions, in their total order."""
    write_shard(str(path), REQUESTS, asked)


def read_asked(folder: AnyPath, models: Iterable[str]) -> Iterator[tuple[str, Asked]]:
    """Every question of a run to these models with the slug of its model, by model, shard and the table's order."""
    names = read_shard_names(folder)
    for slug in sorted({slug_of(model) for model in models}):
        for name in names:
            for asked in read_shard(str(folder / "requests" / f"model={slug}" / name), Asked):
                yield slug, asked
