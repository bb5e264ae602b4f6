"""The call store: what decides an answer names it, and what was answered is found again, whoever wrote it and however it ended."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chunkers.shards import ShardError
from engine.calls import CallStore, row_key
from engine.models import Model
from engine.records import CALLS, Alternatives, Completion, Messages, Outcome, Request, Sampling
from engine.scripted import ScriptedEngine

MODEL = Model(name="m/1", folder=Path("/nowhere"), revision="r1", weights_sha256="ab" * 32, quantization="none")
ROOT = Path(__file__).parents[2]


def ask(number: int = 0, **sampling: Any) -> Request:
    token_ids = (1, 2, 3, number)
    asked = Sampling(**{"max_tokens": 20, **sampling})
    return Request(
        row_key=row_key(MODEL, "scripted", token_ids, asked),
        doc_id="d",
        chunk_id=f"c{number}",
        template="t",
        template_version=1,
        token_ids=token_ids,
        sampling=asked,
    )


def answer(request: Request, **changes: Any) -> Completion:
    (completion,) = ScriptedEngine().run([request])
    return replace(completion, **changes)


def fail(request: Request, error: str = "Too late.") -> Completion:
    return answer(request, outcome=Outcome.TIMEOUT, text=None, finish_reason=None, error=error)


def append(store: CallStore, *completions: Completion) -> None:
    for completion in completions:
        store.append(completion, determinism="batch_invariant", engine_build="scripted 1")


def find_parts(workspace: Path) -> list[Path]:
    return sorted(workspace.glob("calls/*/part-*.parquet"))


def read_rows(workspace: Path) -> list[dict[str, Any]]:
    return [row for part in find_parts(workspace) for row in pq.read_table(part, partitioning=None).to_pylist()]


def damage_column(part: Path, name: str) -> bytes:
    """Overwrites one column with zeros; the part's bytes afterwards."""
    row_group = pq.read_metadata(part).row_group(0)
    (column,) = (each for each in map(row_group.column, range(row_group.num_columns)) if each.path_in_schema == name)
    start, end = column.dictionary_page_offset or 0, (column.dictionary_page_offset or 0) + column.total_compressed_size
    damaged = part.read_bytes()[:start] + bytes(end - start) + part.read_bytes()[end:]
    part.write_bytes(damaged)
    return damaged


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


@pytest.fixture
def open_store(workspace: Path) -> Iterator[Callable[..., CallStore]]:
    with ExitStack() as stack:

        def open_one(**settings: Any) -> CallStore:
            return stack.enter_context(CallStore(str(workspace), MODEL, **{"worker": "w", "flush_s": 3600.0, **settings}))

        yield open_one


FIRST_KEYED = Sampling(max_tokens=9, temperature=0.5, seed=3, json_schema="{}", stop_token_ids=(4,), score_from=2, num_alternatives=1)
"""Every field that keys had from the first."""
KEYED = replace(
    FIRST_KEYED,
    top_p=0.5,
    top_k=5,
    min_p=0.1,
    stop=("END",),
    presence_penalty=1.0,
    frequency_penalty=-1.0,
    repetition_penalty=1.5,
)


@pytest.mark.parametrize("name", [field.name for field in fields(Sampling)])
def test_row_key_follows_every_sampling_field(name: str) -> None:
    changed = replace(KEYED, **{name: getattr(Sampling(), name)})
    assert changed != KEYED
    assert row_key(MODEL, "vllm", [1, 2], changed) != row_key(MODEL, "vllm", [1, 2], KEYED)


def test_row_keys_of_before_there_were_more_fields_stand() -> None:
    key = row_key(MODEL, "vllm", [1, 2], FIRST_KEYED)
    decided_by = (
        '{"engine":"vllm","quantization":"none","revision":"r1","sample_index":0,"sampling":{"json_schema":"{}","max_tokens":9,'
        f'"num_alternatives":1,"score_from":2,"seed":3,"stop_token_ids":[4],"temperature":0.5}},"weights":"{MODEL.weights_sha256}"}}'
    )
    assert key == sha256(decided_by.encode() + b"\x00\x01\x00\x00\x00\x02\x00\x00\x00").hexdigest()


def test_sampling_comes_back_from_json() -> None:
    assert Sampling.restore(json.loads(json.dumps(KEYED.settings()))) == KEYED


def test_row_key_follows_what_decides_the_answer() -> None:
    keys = [
        row_key(MODEL, "vllm", [1, 2], KEYED),
        row_key(MODEL, "vllm", [2, 1], KEYED),
        row_key(MODEL, "vllm", [1, 2, 0], KEYED),
        row_key(MODEL, "vllm", [258], KEYED),
        row_key(MODEL, "vllm", [], KEYED),
        row_key(MODEL, "scripted", [1, 2], KEYED),
        row_key(MODEL, "vllm", [1, 2], KEYED, 1),
        row_key(replace(MODEL, revision="r2"), "vllm", [1, 2], KEYED),
        row_key(replace(MODEL, weights_sha256="cd" * 32), "vllm", [1, 2], KEYED),
        row_key(replace(MODEL, quantization="gguf:Q4_1"), "vllm", [1, 2], KEYED),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {64}


def test_row_key_of_messages_follows_them_and_not_their_estimated_tokens() -> None:
    talk = (("system", "Be brief."), ("user", "Hello"))

    def key(messages: Messages | None, token_ids: tuple[int, ...] = (1, 2)) -> str:
        return row_key(MODEL, "endpoint {}", token_ids, KEYED, messages=messages)

    assert key(talk, (1, 2, 3)) == key(talk)
    others = [
        None,
        (),
        talk[1:],
        (talk[1], talk[0]),
        (*talk, ("assistant", "Hi")),
        (("system", "Be brief.Hello"),),
        (("user", "Hello"),) * 2,
    ]
    assert len({key(talk), *map(key, others)}) == 1 + len(others)


def test_messages_are_kept_and_take_the_place_of_token_ids(open_store: Callable[..., CallStore], workspace: Path) -> None:
    talk = (("system", "Be brief."), ("user", "«Hallo» \n\U0001f642"))
    request = replace(ask(1), messages=talk)
    with open_store() as store:
        append(store, answer(request), answer(ask(2)))
    rows = {row["chunk_id"]: row for row in read_rows(workspace)}
    assert [tuple(message) for message in json.loads(rows["c1"]["messages"])] == list(talk)
    assert list(rows["c1"]["prompt_ids"]) == []
    assert rows["c2"]["messages"] is None
    assert list(rows["c2"]["prompt_ids"]) == [1, 2, 3, 2]
    assert open_store().find(request) == answer(request)


def test_row_key_follows_nothing_else() -> None:
    elsewhere = replace(MODEL, name="another name", folder=Path("/elsewhere"))
    assert row_key(elsewhere, "vllm", (1, 2), replace(KEYED)) == row_key(MODEL, "vllm", [1, 2], KEYED)


def test_answer_is_found_before_and_after_it_is_on_disk_and_by_a_later_store(open_store: Callable[..., CallStore]) -> None:
    generating, scoring = ask(1, max_tokens=20), ask(2, score_from=1, num_alternatives=2)
    store = open_store()
    assert store.find(generating) is None
    given = [
        answer(generating, cached_tokens=3, engine_seconds=0.25, decode_seconds=0.125),
        answer(scoring, logprobs=(-1.5, -0.25, -8.0)),
    ]
    append(store, *given)
    before = [store.find(generating), store.find(scoring)]
    store.flush()
    later = open_store()
    assert before == given
    assert [store.find(generating), store.find(scoring)] == given
    assert [later.find(generating), later.find(scoring)] == given
    assert later.find(ask(3)) is None


def test_answer_is_handed_out_for_the_request_that_asks(open_store: Callable[..., CallStore]) -> None:
    store = open_store()
    append(store, answer(ask(1)))
    other = replace(ask(1), chunk_id="elsewhere", template="another")
    pending = store.find(other)
    store.flush()
    written = store.find(other)
    assert pending is not None
    assert pending.request == other
    assert written == pending


@pytest.mark.parametrize("is_flushed", [True, False])
def test_keys_that_begin_alike_are_told_apart(open_store: Callable[..., CallStore], is_flushed: bool) -> None:
    one, other, third = (replace(ask(1), row_key=ask(1).row_key[:48] + end * 16) for end in "abc")
    store = open_store()
    append(store, answer(one, text="one"), answer(other, text="other"))
    if is_flushed:
        store.flush()
    assert [found and found.text for found in map(store.find, (one, other, third))] == ["one", "other", None]


def test_row_holds_the_whole_request_and_its_cost(open_store: Callable[..., CallStore], workspace: Path) -> None:
    request = replace(ask(1, temperature=0.5, stop_token_ids=(4,)), attempt=2)
    with open_store(price=lambda completion: Decimal(completion.prompt_tokens) / 3) as store:
        append(store, answer(request))
    (row,) = read_rows(workspace)
    assert Sampling.restore(json.loads(row["sampling"])) == request.sampling
    assert row["sampling"] == json.dumps(request.sampling.settings(), sort_keys=True, separators=(",", ":"))
    assert (row["prompt_ids"], row["attempt"], row["cost"]) == ([1, 2, 3, 1], 2, Decimal("1.3333333333"))
    assert (row["determinism"], row["engine_build"], row["worker"]) == ("batch_invariant", "scripted 1", "w")


def test_without_prices_a_call_has_no_cost(open_store: Callable[..., CallStore], workspace: Path) -> None:
    with open_store() as store:
        append(store, answer(ask(1)))
    assert [row["cost"] for row in read_rows(workspace)] == [None]


@pytest.mark.parametrize("is_flushed_between", [True, False])
def test_failure_is_found_until_there_is_an_answer(open_store: Callable[..., CallStore], is_flushed_between: bool) -> None:
    store = open_store()
    steps = [fail(ask(1), "first"), fail(ask(1), "second"), answer(ask(1), text="good"), fail(ask(1), "third")]
    found = []
    for completion in steps:
        append(store, completion)
        if is_flushed_between:
            store.flush()
        found.append(store.find(ask(1)))
    assert found == [steps[0], steps[1], steps[2], steps[2]]
    store.flush()
    assert store.find(ask(1)) == open_store().find(ask(1)) == steps[2]


@pytest.mark.parametrize("is_flushed_between", [True, False])
def test_both_attempts_at_one_call_are_kept(open_store: Callable[..., CallStore], workspace: Path, is_flushed_between: bool) -> None:
    store = open_store()
    append(store, fail(ask(1)))
    if is_flushed_between:
        store.flush()
    append(store, answer(replace(ask(1), attempt=2)))
    store.flush()
    assert sorted((row["attempt"], row["outcome"]) for row in read_rows(workspace)) == [(1, "timeout"), (2, "ok")]
    assert open_store().find(ask(1)) == answer(ask(1))


def test_failure_of_another_worker_takes_no_answer_away(open_store: Callable[..., CallStore]) -> None:
    first, second = open_store(), open_store()
    append(first, answer(ask(1)))
    append(second, fail(ask(1)))
    first.flush()
    third = open_store()
    append(third, fail(ask(1)))
    assert third.find(ask(1)) == answer(ask(1))
    second.flush()
    assert open_store().find(ask(1)) == answer(ask(1))


def test_which_answer_wins_does_not_depend_on_the_parts(open_store: Callable[..., CallStore], workspace: Path) -> None:
    # by outcome, then time, then worker
    with open_store() as store:
        append(store, answer(ask(1)))
    (part,) = find_parts(workspace)
    (row,) = pq.read_table(part, partitioning=None).to_pylist()
    part.unlink()
    ends = [("ok", 1, "a"), ("ok", 2, "a"), ("ok", 2, "b"), ("timeout", 3, "a"), ("refused", 3, "b"), ("truncated", 2, "c")]
    rows = [
        {**row, "outcome": outcome, "created_at": datetime(2026, 1, day, tzinfo=UTC), "worker": worker, "text": f"{outcome} {day} {worker}"}
        for outcome, day, worker in ends
    ]

    def find_among(order: tuple[int, ...], rows_in_part: int) -> str | None:
        for first in range(0, len(order), rows_in_part):
            table = pa.Table.from_pylist([rows[at] for at in order[first : first + rows_in_part]], schema=CALLS)
            pq.write_table(table, part.with_name(f"part-{first:024x}.parquet"))
        found = open_store().find(ask(1))
        assert open_store().known_outcomes([ask(1).row_key]) == [found and found.outcome]
        return found.text if found else None

    orders = list(permutations(range(6)))[::31]
    assert {find_among(order, 1) for order in orders} == {"ok 2 b"}
    for path in find_parts(workspace):
        path.unlink()
    assert {find_among(order, 6) for order in orders} == {"ok 2 b"}
    rows = rows[3:]
    assert {find_among(order, 3) for order in permutations(range(3))} == {"refused 3 b"}


def test_order_of_rows_is_clear_where_the_clock_stands_still(
    open_store: Callable[..., CallStore], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_999)
    store = open_store()
    failures = [fail(ask(1), str(number)) for number in range(20)]
    append(store, *failures)
    assert store.find(ask(1)) == failures[-1]
    store.flush()
    assert open_store().find(ask(1)) == failures[-1]
    rows = sorted(read_rows(workspace), key=lambda row: row["created_at"])
    assert [row["error"] for row in rows] == [str(number) for number in range(20)]
    assert len({row["created_at"] for row in rows}) == 20


def test_known_outcomes_are_those_that_find_gives(open_store: Callable[..., CallStore]) -> None:
    requests = [ask(number) for number in range(40)]
    with open_store() as earlier:
        append(earlier, *(answer(request) if at % 3 else fail(request) for at, request in enumerate(requests[:20])))
    store = open_store()
    append(store, *(fail(request) if at % 2 else answer(request) for at, request in enumerate(requests[10:25])))
    store.flush()
    append(store, *(fail(request) if at % 5 else answer(request) for at, request in enumerate(requests[15:30])))
    found = [store.find(request) for request in requests]
    assert store.known_outcomes([request.row_key for request in requests]) == [each and each.outcome for each in found]
    assert {each and each.outcome for each in found} == {None, Outcome.OK, Outcome.TIMEOUT}
    assert store.known_outcomes([]) == []


def test_scores_of_an_engine_come_back_to_the_last_bit(open_store: Callable[..., CallStore]) -> None:
    rng = np.random.default_rng(5)
    scores = (-rng.exponential(3, 500)).astype(np.float32).tolist()
    scores += np.array([-0.0, np.nextafter(np.float32(0), np.float32(-1)), -103.97208], dtype=np.float32).tolist()
    request = ask(1, score_from=1, num_alternatives=2)
    alternatives = tuple(Alternatives(token_ids=(7, 8), logprobs=(score, score)) for score in scores)
    store = open_store()
    append(store, answer(request, logprobs=tuple(scores), alternatives=alternatives))
    store.flush()
    found = open_store().find(request)
    assert found is not None
    assert np.array_equal(np.array(found.logprobs).view(np.uint64), np.array(scores).view(np.uint64))
    assert found.alternatives == alternatives


def test_a_fresh_store_finds_what_it_appends_and_nothing_else(open_store: Callable[..., CallStore], workspace: Path) -> None:
    with open_store(merge_parts=2) as earlier:
        append(earlier, answer(ask(1), text="old"), answer(ask(2), text="old"))
    store = open_store(is_fresh=True, merge_parts=2)
    assert store.find(ask(1)) is None
    append(store, answer(ask(2), text="new"), fail(ask(3)))
    store.flush()
    # its rows and the old ones are in one part now
    wait_until(lambda: len(find_parts(workspace)) == 1)
    assert store.find(ask(1)) is None
    assert store.find(ask(2)) == answer(ask(2), text="new")
    assert store.known_outcomes([ask(number).row_key for number in (1, 2, 3)]) == [None, Outcome.OK, Outcome.TIMEOUT]
    assert open_store().find(ask(1)) == answer(ask(1), text="old")


def test_rows_are_written_when_so_many_wait(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store(flush_rows=3)
    append(store, answer(ask(0)), answer(ask(1)))
    assert read_rows(workspace) == []
    append(store, answer(ask(2)))
    wait_until(lambda: len(read_rows(workspace)) == 3)


def test_rows_are_written_when_they_have_waited_though_no_other_comes(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store(flush_s=0.05)
    for number in range(3):
        append(store, answer(ask(number)))
        wait_until(lambda: len(read_rows(workspace)) == number + 1)  # noqa: B023 - called in this round of the loop


def test_what_is_no_call_is_refused(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store()
    with pytest.raises(ValueError, match="never made"):
        append(store, answer(ask(1), outcome=Outcome.SKIPPED_BUDGET))
    with pytest.raises(ValueError, match="64 hex digits"):
        append(store, answer(replace(ask(1), row_key="k")))
    store.close()
    store.close()
    assert read_rows(workspace) == []
    with pytest.raises(ValueError, match="closed"):
        append(store, answer(ask(1)))


def test_row_that_does_not_fit_costs_no_other(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store()
    append(store, *(answer(ask(number), text="\ud800" if number == 2 else "good") for number in range(5)))
    with pytest.raises(ShardError, match="column text"):
        store.flush()
    assert sorted(row["chunk_id"] for row in read_rows(workspace)) == ["c0", "c1", "c3", "c4"]
    store.flush()
    append(store, answer(ask(6)))
    store.flush()
    assert len(read_rows(workspace)) == 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("is_noticed_at", ["append", "flush", "close"])
def test_full_disk_is_raised_and_costs_no_row(small_disk: Path, is_noticed_at: str) -> None:
    store = CallStore(str(small_disk), MODEL, worker="w", flush_rows=2, flush_s=3600.0)
    append(store, answer(ask(0)))
    store.flush()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:  # noqa: PT012 - filling it is one act
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError, match="No space") as raised:  # noqa: PT012 - which of them raises is the writer's choice
        append(store, answer(ask(1)))
        if is_noticed_at == "append":
            deadline = time.monotonic() + 20
            for number in range(2, 10_000):
                append(store, answer(ask(number)))
                assert time.monotonic() < deadline
        elif is_noticed_at == "flush":
            store.flush()
        else:
            store.close()
    assert raised.value.errno == errno.ENOSPC
    (folder,) = small_disk.glob("calls/*")
    assert [path.suffix for path in folder.iterdir()] == [".parquet"], "no half file"
    ballast.unlink()
    assert store.find(ask(1)) == answer(ask(1))
    if is_noticed_at == "close":
        return
    store.close()
    numbers = [int(row["chunk_id"][1:]) for row in read_rows(small_disk)]
    assert sorted(numbers) == list(range(len(numbers)))
    assert len(numbers) >= 2
    assert CallStore(str(small_disk), MODEL, worker="w").find(ask(1)) == answer(ask(1))


@pytest.mark.parametrize("url", ["{}/draft [2] *?", "file://{}/out", "memory://{}/calls-of-a-test [*]"])
def test_workspace_may_be_anywhere_and_have_any_name(tmp_path: Path, url: str) -> None:
    url = url.format(tmp_path)
    with CallStore(url, MODEL, worker="w", flush_rows=1, merge_parts=2) as store:
        for number in range(9):
            append(store, answer(ask(number)))
            store.flush()
        assert [store.find(ask(number)) for number in range(9)] == [answer(ask(number)) for number in range(9)]
    later = CallStore(url, MODEL, worker="w")
    assert [later.find(ask(number)) for number in range(9)] == [answer(ask(number)) for number in range(9)]


WRITER = """
import sys
from tests.engine.test_calls import MODEL, answer, append, ask
from engine.calls import CallStore
workspace, first, count, is_closed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "closed"
store = CallStore(workspace, MODEL, worker=f"from {first}", flush_rows=5, flush_s=3600.0)
for number in range(first, first + count):
    append(store, answer(ask(number)))
    if is_closed and number % 5 == 4:
        store.flush()
        print(number, flush=True)
if is_closed:
    store.close()
"""


def start_writer(workspace: Path, first: int, count: int, end: str = "closed") -> "subprocess.Popen[str]":
    code = [sys.executable, "-c", WRITER, str(workspace), str(first), str(count), end]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(code, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_writer_leaves_whole_parts(open_store: Callable[..., CallStore], workspace: Path) -> None:
    with start_writer(workspace, 0, 100_000) as writer:
        assert writer.stdout is not None
        flushed = [int(writer.stdout.readline()) for _ in range(7)]
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=30)
    assert flushed[-1] == 34
    written = [row["chunk_id"] for row in read_rows(workspace)]
    assert len(written) >= 35
    assert sorted(written) == sorted(f"c{number}" for number in range(len(written))), "a part is whole and those before it are there"
    store = open_store()
    assert all(store.find(ask(number)) == answer(ask(number)) for number in range(len(written)))


def test_end_of_the_interpreter_writes_what_waits(workspace: Path) -> None:
    with start_writer(workspace, 0, 12, "left open") as writer:
        _, errors = writer.communicate(timeout=30)
    assert (writer.returncode, errors) == (0, "")
    assert sorted(row["chunk_id"] for row in read_rows(workspace)) == sorted(f"c{number}" for number in range(12))


def test_temporary_file_is_not_read(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store()
    append(store, answer(ask(1)))
    store.flush()
    (part,) = find_parts(workspace)
    part.rename(part.with_name(f".{part.name}.0123.tmp"))
    assert open_store().find(ask(1)) is None


def test_two_processes_at_once_lose_nothing(open_store: Callable[..., CallStore], workspace: Path) -> None:
    # half of what the second asks the first has asked too
    with start_writer(workspace, 0, 60) as one, start_writer(workspace, 30, 60) as other:
        one.communicate(timeout=60)
        other.communicate(timeout=60)
    assert (one.returncode, other.returncode) == (0, 0)
    store = open_store()
    assert all(store.find(ask(number)) == answer(ask(number)) for number in range(90))
    assert len(read_rows(workspace)) == 120


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: whole[:40] + bytes(400) + whole[440:]]
)
def test_broken_part_is_named_and_its_answers_are_asked_again(
    open_store: Callable[..., CallStore], workspace: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    store = open_store()
    append(store, answer(ask(1)))
    store.flush()
    (broken,) = find_parts(workspace)
    append(store, answer(ask(2)))
    store.flush()
    broken.write_bytes(damage(broken.read_bytes()))
    with caplog.at_level(logging.WARNING, logger="engine.calls"):
        later = open_store()
    assert later.find(ask(1)) is None
    assert later.find(ask(2)) == answer(ask(2))
    (message,) = caplog.messages
    assert broken.name in message
    assert "asked again" in message


def test_answer_that_cannot_be_read_is_asked_again(
    open_store: Callable[..., CallStore], workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # the keys are whole, so that it is noticed when the answer is asked for
    with open_store() as store:
        append(store, answer(ask(1), text="long " * 100))
    (part,) = find_parts(workspace)
    damage_column(part, "text")
    later = open_store()
    assert caplog.messages == []
    assert [later.find(ask(1)), later.find(ask(1))] == [None, None]
    (message,) = caplog.messages
    assert part.name in message


def test_part_of_another_version_is_named_and_its_answers_are_asked_again(
    open_store: Callable[..., CallStore], workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store()
    append(store, answer(ask(1)))
    store.flush()
    (older,) = find_parts(workspace)
    append(store, answer(ask(2)))
    store.flush()
    pq.write_table(pq.read_table(older, partitioning=None).drop_columns(["decode_seconds", "cost"]), older)
    later = open_store()
    assert later.find(ask(1)) is None
    assert later.find(ask(2)) == answer(ask(2))
    (message,) = caplog.messages
    assert all(word in message for word in (older.name, "'cost', 'decode_seconds'", "asked again"))
