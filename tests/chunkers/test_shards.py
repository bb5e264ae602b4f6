"""Rows come back as they were written, or nothing is there."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkers.records import CANDIDATES, CHUNKS, BlockKind, Candidate, Category, Chunk, table_schema
from chunkers.shards import ShardError, read_shard, write_shard


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    name: str
    colour: Colour | None
    sizes: tuple[int, ...]
    colours: tuple[Colour, ...]
    weight: float | None
    is_new: bool


THINGS = table_schema(
    "things",
    [
        ("name", pa.large_string()),
        ("colour", pa.string()),
        ("sizes", pa.list_(pa.int32())),
        ("colours", pa.list_(pa.string())),
        ("weight", pa.float64()),
        ("is_new", pa.bool_()),
    ],
    nullable=frozenset({"colour", "weight"}),
)
THING = Thing(name="é", colour=Colour.RED, sizes=(1, 2), colours=(Colour.BLUE,), weight=None, is_new=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROWS = st.lists(
    st.builds(
        Thing,
        name=TEXT,
        colour=st.none() | st.sampled_from(Colour),
        sizes=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3).map(tuple),
        colours=st.lists(st.sampled_from(Colour), max_size=2).map(tuple),
        weight=st.none() | st.floats(allow_nan=False),
        is_new=st.booleans(),
    ),
    max_size=7,
)


@given(rows=ROWS, batch_rows=st.integers(1, 4))
def test_rows_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Thing], batch_rows: int) -> None:
    url = str(tmp_path_factory.getbasetemp() / "things" / "part-0.parquet")
    shard = write_shard(url, THINGS, iter(rows), batch_rows=batch_rows)
    assert (shard.url, shard.num_rows, shard.num_bytes) == (url, len(rows), Path(url).stat().st_size)
    back = list(read_shard(url, Thing))
    assert back == rows
    assert all(type(row.colour) in (Colour, type(None)) and isinstance(row.sizes, tuple) for row in back)
    assert pq.read_schema(url).metadata == THINGS.metadata
    assert [field.nullable for field in pq.read_schema(url)] == [field.nullable for field in THINGS]


def test_chunks_and_candidates_come_back(tmp_path: Path) -> None:
    chunk = Chunk(
        chunk_id="c",
        doc_id="d",
        chunk_index=0,
        start=0,
        end=2,
        text="ab",
        context_before="",
        context_after="",
        block_kind=BlockKind.LIST,
        num_tokens=1,
    )
    candidate = Candidate(doc_id="d", start=0, end=2, original="ab", replacement="ba", category=Category.SPELL, detector="x", message="")
    write_shard(str(tmp_path / "chunks.parquet"), CHUNKS, [chunk])
    write_shard(str(tmp_path / "candidates.parquet"), CANDIDATES, [candidate])
    assert list(read_shard(str(tmp_path / "chunks.parquet"), Chunk)) == [chunk]
    assert list(read_shard(str(tmp_path / "candidates.parquet"), Candidate)) == [candidate]
    assert pq.read_table(tmp_path / "candidates.parquet")["candidate_id"].to_pylist() == [candidate.candidate_id]


def test_remote_shards(tmp_path: Path) -> None:
    url = "memory://shards/a/part-0.parquet"
    write_shard(url, THINGS, [THING])
    assert list(read_shard(url, Thing)) == [THING]
    assert fsspec.filesystem("memory").find("/shards") == ["/shards/a/part-0.parquet"]
    write_shard(f"file://{tmp_path}/b.parquet", THINGS, [THING])
    assert list(read_shard(str(tmp_path / "b.parquet"), Thing)) == [THING]


def failing_rows() -> Iterator[Thing]:
    yield from [THING] * 5
    raise RuntimeError("the source broke")


@pytest.mark.parametrize("place", ["local", "remote"])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, place: str) -> None:
    url = str(tmp_path / "part.parquet") if place == "local" else "memory://failed/part.parquet"
    with pytest.raises(RuntimeError, match="the source broke"):
        write_shard(url, THINGS, failing_rows(), batch_rows=2)
    with pytest.raises(ShardError, match="no such shard"):
        list(read_shard(url, Thing))
    write_shard(url, THINGS, [THING])
    with pytest.raises(RuntimeError, match="the source broke"):
        write_shard(url, THINGS, failing_rows(), batch_rows=2)
    assert list(read_shard(url, Thing)) == [THING]
    assert [path.name for path in tmp_path.iterdir()] == (["part.parquet"] if place == "local" else [])


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (replace(THING, name=None), "column name: null in row 1"),
        (replace(THING, sizes=(2**40,)), "column sizes"),
        (replace(THING, name="\ud800"), "column name"),
        ({"name": "a", "extra": 1}, "missing .*colour.*unknown .*extra"),
        (BlockKind.LIST, "row 1"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, row: object, met: str) -> None:
    with pytest.raises(ShardError, match=met):
        write_shard(str(tmp_path / "a.parquet"), THINGS, [THING, row])
    assert list(tmp_path.iterdir()) == []


def test_mappings_are_rows(tmp_path: Path) -> None:
    row = {"name": "a", "colour": "red", "sizes": [1], "colours": [], "weight": 0.5, "is_new": False}
    write_shard(str(tmp_path / "a.parquet"), THINGS, [row])
    assert list(read_shard(str(tmp_path / "a.parquet"), Thing)) == [
        Thing(name="a", colour=Colour.RED, sizes=(1,), colours=(), weight=0.5, is_new=False)
    ]


def test_columns_that_differ_are_named(tmp_path: Path) -> None:
    fields = [
        pa.field("extra", pa.int8()),
        *(field for field in THINGS if field.name not in ("sizes", "is_new")),
        pa.field("is_new", pa.string()),
    ]
    pq.write_table(pa.schema(fields).empty_table(), tmp_path / "a.parquet")
    with pytest.raises(ShardError, match=r"missing \['sizes'\], unknown \['extra'\], mistyped \['is_new is string, not bool'\]"):
        list(read_shard(str(tmp_path / "a.parquet"), Thing))


def test_values_outside_a_closed_set_are_named(tmp_path: Path) -> None:
    write_shard(str(tmp_path / "a.parquet"), THINGS, [{**{name: getattr(THING, name) for name in Thing.__slots__}, "colour": "green"}])
    with pytest.raises(ShardError, match="column colour: 'green'"):
        list(read_shard(str(tmp_path / "a.parquet"), Thing))


@pytest.mark.parametrize("share", [0, 40, 95])
def test_a_cut_file_is_refused(tmp_path: Path, share: int) -> None:
    path = tmp_path / "a.parquet"
    write_shard(str(path), THINGS, [THING] * 50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * share // 100])
    with pytest.raises(ShardError, match="not a whole Parquet file"):
        list(read_shard(str(path), Thing))
