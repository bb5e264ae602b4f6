"""Parts are merged while runs go on, by whoever comes first; whatever is killed meanwhile, each row is there and counts once."""

import errno
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

from engine.calls import CallStore
from engine.index import CallIndex
from engine.locks import lock_folder
from engine.merge import PartMerger
from engine.parts import PartFolder
from engine.records import CALLS, Outcome
from engine.writer import BatchWriter
from tests.engine.test_calls import MODEL, ROOT, answer, append, ask, damage_column, fail, find_parts, read_rows, wait_until


def open_store(workspace: Path | str, **settings: Any) -> CallStore:
    return CallStore(str(workspace), MODEL, **{"worker": "w", "flush_s": 3600.0, "merge_parts": 2, **settings})


def fill(workspace: Path | str, count: int, **settings: Any) -> None:
    """One part a row, not merged unless the settings say so."""
    with open_store(workspace, **{"merge_parts": 10**6, **settings}) as store:
        for number in range(count):
            append(store, answer(ask(number), text=f"answer {number}"))
            store.flush()


def merge(workspace: Path | str, num_parts: int = 2) -> None:
    """Merges what is due, to the end."""
    folder = PartFolder(f"{workspace}/calls/model={MODEL.slug}")
    for _ in PartMerger(folder, CallIndex(folder), num_parts=num_parts).merge():
        pass


def find_texts(store: CallStore, count: int) -> list[str | None]:
    return [found.text if (found := store.find(ask(number))) else None for number in range(count)]


def expected_texts(count: int) -> list[str]:
    return [f"answer {number}" for number in range(count)]


def read_counted(workspace: Path) -> list[dict[str, Any]]:
    """Rows of the parts that no other part replaces."""
    tables = {part.name: pq.read_table(part, partitioning=None) for part in find_parts(workspace)}
    replaced = {name for table in tables.values() for name in json.loads((table.schema.metadata or {}).get(b"replaces", b"[]"))}
    return [row for name, table in tables.items() if name not in replaced for row in table.to_pylist()]


@pytest.mark.parametrize(("merge_parts", "max_left", "fold_rows"), [(2, 6, 65536), (4, 9, 65536), (10, 18, 65536), (2, 6, 7)])
def test_number_of_parts_stays_bounded_and_every_row_is_there_once(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, merge_parts: int, max_left: int, fold_rows: int
) -> None:
    # 40 rows in parts of one: at most merge_parts - 1 of each size stay; 40 has 6, 3 and 2 digits to these bases
    monkeypatch.setattr("engine.index.FOLD_ROWS", fold_rows)
    with open_store(workspace, flush_rows=1, merge_parts=merge_parts) as store:
        for number in range(40):
            append(store, answer(ask(number), text=f"answer {number}"))
            store.flush()
            assert store.known_outcomes([ask(0).row_key, ask(number).row_key, ask(number + 1).row_key]) == [Outcome.OK, Outcome.OK, None]
        wait_until(lambda: len(find_parts(workspace)) <= max_left)
        assert find_texts(store, 40) == expected_texts(40)
    assert Counter(row["chunk_id"] for row in read_rows(workspace)) == Counter(f"c{number}" for number in range(40))
    assert find_texts(open_store(workspace), 40) == expected_texts(40)


def test_merging_changes_no_row(workspace: Path) -> None:
    with open_store(workspace, flush_rows=10**6, merge_parts=10**6) as store:
        for number in range(2500):  # more than two row groups
            append(store, answer(ask(number, score_from=2, num_alternatives=2)) if number % 3 else fail(ask(number)))
            if number % 700 == 699:
                store.flush()
    before = read_rows(workspace)
    assert len(find_parts(workspace)) == 4
    merge(workspace, 3)
    after = read_rows(workspace)
    assert len(find_parts(workspace)) < 4
    key = lambda row: row["created_at"]  # noqa: E731
    assert sorted(after, key=key) == sorted(before, key=key)
    largest = max(find_parts(workspace), key=lambda part: part.stat().st_size)
    metadata = pq.read_metadata(largest)
    assert max(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)) <= 1024
    assert pq.read_schema(largest).metadata.items() >= CALLS.metadata.items()


def test_exact_copies_become_one_row_and_no_other_row_is_dropped(workspace: Path) -> None:
    fill(workspace, 1)
    (part,) = find_parts(workspace)
    (row,) = pq.read_table(part, partitioning=None).to_pylist()
    later = row["created_at"] + timedelta(microseconds=1)
    rows = [row, {**row, "attempt": 2}, {**row, "worker": "v"}, {**row, "created_at": later}, {**row, "row_key": ask(1).row_key}]
    for number, copies in enumerate(([row] * 5, rows, rows[::-1])):
        pq.write_table(pa.Table.from_pylist(copies, schema=CALLS), part.with_name(f"part-{number:024x}.parquet"))
    part.unlink()
    merge(workspace, 3)
    left = read_rows(workspace)
    identity = lambda each: (each["row_key"], each["attempt"], each["worker"], each["created_at"])  # noqa: E731
    assert Counter(map(identity, left)) == Counter(map(identity, rows))


def test_part_that_was_replaced_but_not_deleted_is_ignored_and_deleted_by_the_next(workspace: Path) -> None:
    fill(workspace, 2)
    before = {part: part.read_bytes() for part in find_parts(workspace)}
    merge(workspace)
    assert not [part for part in before if part.exists()]
    # what is left over says something else, and later, so that it would win if it counted
    for part, whole in before.items():
        part.write_bytes(whole)
        (row,) = pq.read_table(part, partitioning=None).to_pylist()
        changed = {**row, "text": "left over", "created_at": datetime(2099, 1, 1, tzinfo=UTC)}
        pq.write_table(pa.Table.from_pylist([changed], schema=CALLS), part)
    store = open_store(workspace)
    assert find_texts(store, 2) == expected_texts(2)
    (counted,) = PartFolder(f"{workspace}/calls/model={MODEL.slug}").list_counted()
    assert counted in {part.name for part in find_parts(workspace)} - {part.name for part in before}
    assert store.known_outcomes([ask(0).row_key]) == [Outcome.OK]
    merge(workspace)
    assert not [part for part in before if part.exists()]
    assert find_texts(open_store(workspace), 2) == expected_texts(2)


def test_parts_that_went_since_the_store_was_opened_are_looked_for_again(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(workspace, 8)
    reader = open_store(workspace)
    before = set(find_parts(workspace))
    merge(workspace)
    assert not before & set(find_parts(workspace))
    assert find_texts(reader, 8) == expected_texts(8)
    assert caplog.messages == []


def test_name_without_a_part_is_no_endless_search(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(workspace, 2)
    (first, second) = find_parts(workspace)
    first.with_name("part-00.parquet").symlink_to("nowhere")
    assert PartFolder(str(first.parent)).list_counted() == [first.name, second.name]
    store = open_store(workspace)
    second.unlink()
    second.symlink_to("nowhere")
    assert sorted(text for text in find_texts(store, 2) if text) in (["answer 0"], ["answer 1"])
    assert [path for path in ("part-00.parquet", second.name) if path in "".join(caplog.messages)] == ["part-00.parquet", second.name]


def test_what_killed_processes_have_left_is_deleted_and_what_is_being_written_is_not(workspace: Path) -> None:
    fill(workspace, 2)
    (folder,) = workspace.glob("calls/*")
    left = [folder / name for name in (".merge-0123.tmp", ".part-01.parquet.0123.tmp", ".part-02.parquet.0123.tmp", "mine.tmp")]
    for path in left:
        path.touch()
    os.utime(left[1], (0, 0))
    merge(workspace)
    assert [path.exists() for path in left] == [False, False, True, True]


def test_broken_part_is_not_merged_and_stays(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(workspace, 9)
    broken, *others = find_parts(workspace)
    (lost,) = (row["chunk_id"] for row in pq.read_table(broken, partitioning=None).to_pylist())
    damaged = damage_column(broken, "text")
    merge(workspace)
    assert broken.read_bytes() == damaged
    assert not [part for part in others if part.exists()]
    texts = find_texts(open_store(workspace), 9)
    assert texts == [None if f"c{number}" == lost else text for number, text in enumerate(expected_texts(9))]
    assert "asked again" in caplog.messages[0]


def test_merge_that_fails_is_a_warning(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(workspace, 4)
    (folder,) = workspace.glob("calls/*")
    (folder / ".merge.lock").mkdir()
    merge(workspace)
    assert find_texts(open_store(workspace), 4) == expected_texts(4)
    (message,) = caplog.messages
    assert "not merged" in message


class TornFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Its next listing is overtaken: what was there is deleted before it is seen, and what came is behind what was seen."""

    protocol = ("torn",)
    overtaken_by: ClassVar[list[Callable[[], None]]] = []

    def ls(self, path: str, detail: bool = True, **settings: Any) -> list[Any]:
        if self.overtaken_by:
            self.overtaken_by.pop()()
            return []
        names: list[Any] = super().ls(path, detail, **settings)
        return names


fsspec.register_implementation("torn", TornFileSystem, clobber=True)


def test_parts_that_are_merged_while_they_are_listed_are_not_missed() -> None:
    fill("torn://out", 4)
    TornFileSystem.overtaken_by.append(lambda: merge("torn://out"))
    store = open_store("torn://out")
    assert find_texts(store, 4) == expected_texts(4)


class PlainFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """One that cannot create exclusively: it looks first and writes then."""

    protocol = ("plain",)
    pipe_file = AbstractFileSystem.pipe_file


fsspec.register_implementation("plain", PlainFileSystem, clobber=True)


@pytest.mark.parametrize("url", ["{}", "memory://{}"])
def test_one_merges_at_a_time(tmp_path: Path, url: str) -> None:
    folder = PartFolder(url.format(tmp_path) + f"/calls/model={MODEL.slug}")
    fill(url.format(tmp_path), 4)
    with lock_folder(folder) as is_held, lock_folder(folder) as is_held_twice:
        merge(url.format(tmp_path))
        assert (is_held, is_held_twice) == (True, False)
        assert len(folder.list_names()) == 4
    merge(url.format(tmp_path))
    assert len(folder.list_names()) == 1
    assert find_texts(open_store(url.format(tmp_path)), 4) == expected_texts(4)


def test_lock_of_a_killed_process_goes_with_it(tmp_path: Path) -> None:
    code = (
        "import sys; from engine.locks import *; lock = lock_folder(PartFolder(sys.argv[1])); print(lock.__enter__(), flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with lock_folder(PartFolder(str(tmp_path))) as is_held:
            assert not is_held
        holder.kill()
        holder.communicate()
    with lock_folder(PartFolder(str(tmp_path))) as is_held:
        assert is_held


def test_lock_object_counts_for_half_an_hour() -> None:
    folder = PartFolder("memory://half-an-hour/calls")
    abandoned = lock_folder(folder)
    assert abandoned.__enter__()
    (path,) = folder.filesystem.find(folder.path)
    for age, is_held_now in ((timedelta(minutes=29), False), (timedelta(minutes=31), True)):
        folder.filesystem.store[path].modified = datetime.now(UTC) - age
        with lock_folder(folder) as is_held:
            assert is_held is is_held_now
    # the first one, if it still lives, lets go of its own lock only
    with lock_folder(folder) as is_held:
        assert is_held
        abandoned.__exit__(None, None, None)
        assert folder.filesystem.exists(path)


def test_nothing_is_merged_where_nothing_can_be_created_exclusively() -> None:
    fill("plain://out", 4)
    merge("plain://out")
    assert len(PartFolder(f"plain://out/calls/model={MODEL.slug}").list_names()) == 4
    assert find_texts(open_store("plain://out"), 4) == expected_texts(4)


def test_tidying_that_has_taken_the_room_gives_way() -> None:
    room, written, is_taken = [1], list[int](), threading.Event()

    def write(rows: list[int]) -> None:
        if not room:
            raise OSError(errno.ENOSPC, "No space left")
        written.extend(rows)

    def tidy() -> Iterator[None]:
        room.clear()
        try:
            while True:
                is_taken.set()
                yield
        finally:
            room.append(1)

    writer = BatchWriter(write, tidy, flush_rows=1, flush_s=3600.0)
    writer.put(1)
    assert is_taken.wait(20)
    writer.put(2)
    writer.flush()
    assert written == [1, 2]
    writer.close()


def test_threads_that_append_and_flush_at_once_lose_nothing(workspace: Path) -> None:
    with open_store(workspace, flush_rows=7, merge_parts=4) as store, ThreadPoolExecutor(4) as pool:

        def write(first: int) -> list[bool]:
            found = []
            for number in range(first, first + 50):
                append(store, answer(ask(number)))
                found.append(store.find(ask(number)) == answer(ask(number)))
                if number % 11 == 0:
                    store.flush()
            return found

        assert all(all(found) for found in pool.map(write, range(0, 200, 50)))
    assert Counter(row["chunk_id"] for row in read_rows(workspace)) == Counter(f"c{number}" for number in range(200))


def write_until_killed(workspace: str, first: int, pipe: int) -> None:
    """Rows from `first` on, with merges all the time; writes into the pipe up to which one they are flushed."""
    store = open_store(workspace, flush_rows=3)
    for number in range(first, first + 10_000):
        append(store, answer(ask(number), text=f"answer {number}"))
        if random.random() < 0.5:
            store.flush()
            os.write(pipe, f"{number + 1}\n".encode())


def kill_writers(workspace: str, num_kills: int) -> None:
    """Kills one writer after the other, at any moment, and prints the rows that were flushed: first and end of each.

    Forked, not started: a process that has imported all this already is there in a millisecond.
    """
    for kill in range(num_kills):
        first, end = kill * 10_000, kill * 10_000
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            random.seed(kill)
            write_until_killed(workspace, first, writing)
        os.close(writing)
        select.select([reading], [], [], 20)
        time.sleep(random.random() * 0.06)  # the moment of the kill
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading) as lines:
            flushed = lines.read().split()
        end = int(flushed[-1]) if flushed else end
        print(first, end, flush=True)  # noqa: T201 - what the test reads


def run_in_process(call: str, *arguments: object) -> "subprocess.Popen[str]":
    code = f"import sys; from tests.engine.test_parts import *; {call}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_while_merging_no_flushed_row_is_lost_and_none_counts_twice(workspace: Path) -> None:
    with run_in_process("kill_writers(sys.argv[1], 50)", workspace) as killer:
        printed, _ = killer.communicate(timeout=60)
    assert killer.returncode == 0
    flushed = [number for line in printed.splitlines() for number in range(*map(int, line.split()))]
    assert len(printed.splitlines()) == 50
    assert len(flushed) > 50
    store = open_store(workspace)
    assert [number for number in flushed if (found := store.find(ask(number))) is None or found.text != f"answer {number}"] == []
    merge(workspace)
    counts = Counter(row["row_key"] for row in read_counted(workspace))
    assert set(counts.values()) == {1}
    assert {ask(number).row_key for number in flushed} <= counts.keys()
    (folder,) = workspace.glob("calls/*")
    assert [path.name for path in folder.iterdir() if ".merge-" in path.name] == [], "what a killed merge left is gone"


def write_rows(workspace: str, first: int, count: int) -> None:
    with open_store(workspace, flush_rows=2, worker=f"from {first}") as store:
        for number in range(first, first + count):
            append(store, answer(ask(number), text=f"answer {number}"))
            if number % 3 == 0:
                store.flush()
                print(number + 1, flush=True)  # noqa: T201 - what the test reads


def test_two_that_write_and_merge_and_one_that_reads(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(workspace, 40)
    num_rounds, flushed = 0, {1000: 1000, 2000: 2000}
    writers = [run_in_process("write_rows(sys.argv[1], int(sys.argv[2]), 150)", workspace, first) for first in flushed]
    early = open_store(workspace)
    while any(writer.poll() is None for writer in writers):
        for writer, first in zip(writers, flushed, strict=True):
            while writer.stdout and select.select([writer.stdout], [], [], 0)[0] and (line := writer.stdout.readline()):
                flushed[first] = int(line)
        reader = open_store(workspace)
        asked = [*range(40), *range(1000, flushed[1000]), *range(2000, flushed[2000])]
        assert [
            number for number, outcome in zip(asked, reader.known_outcomes([ask(n).row_key for n in asked]), strict=True) if not outcome
        ] == []
        some = [*range(num_rounds % 7, 40, 7), *asked[-6:]]
        assert [number for number in some if (found := reader.find(ask(number))) is None or found.text != f"answer {number}"] == []
        assert early.find(ask(num_rounds % 40)) is not None
        num_rounds += 1
    for writer in writers:
        writer.communicate(timeout=20)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert num_rounds > 5
    assert caplog.messages == []
    merge(workspace)
    counts = Counter(row["chunk_id"] for row in read_counted(workspace))
    assert counts == Counter(f"c{number}" for first, end in ((0, 40), (1000, 1150), (2000, 2150)) for number in range(first, end))
    assert len(find_parts(workspace)) <= 12


def make_older(path: Path) -> None:
    """The part as version 2 of the call table had it."""
    table = pq.read_table(path, partitioning=None).drop_columns(["messages", "engine_settings"])
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"schema_version": b"2"}), path)


def test_parts_of_the_version_before_are_found_and_merged_with_new_ones(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(workspace, 3)
    for part in find_parts(workspace)[:2]:
        make_older(part)
    with open_store(workspace, merge_parts=10**6) as store:
        assert find_texts(store, 3) == expected_texts(3)
    merge(workspace, num_parts=3)
    (merged,) = find_parts(workspace)
    assert pq.read_schema(merged).equals(CALLS)
    assert pq.read_schema(merged).metadata[b"schema_version"] == b"3"
    rows = read_rows(workspace)
    assert [row["messages"] for row in rows] == [None] * 3
    assert sorted(row["engine_settings"] or "" for row in rows) == ["", "", "{}"]
    with open_store(workspace, merge_parts=10**6) as store:
        assert find_texts(store, 3) == expected_texts(3)
    assert caplog.messages == []
