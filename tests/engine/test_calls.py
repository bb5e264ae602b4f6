"""The call store: what decides an answer names it, and what was answered is found again, whoever wrote it and however it ended."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.calls import CallStore, row_key
from engine.models import Model
from engine.records import Alternatives, Completion, Outcome, Request, Sampling
from engine.scripted import ScriptedEngine

MODEL = Model(name="m/1", folder=Path("/nowhere"), revision="r1", weights_sha256="ab" * 32, quantization="none")
ENGINE = ScriptedEngine()
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


def fail(request: Request) -> Completion:
    return answer(request, outcome=Outcome.TIMEOUT, text=None, finish_reason=None, error="Too late.")


def read_rows(workspace: Path) -> list[dict[str, Any]]:
    parts = sorted(workspace.glob("calls/*/part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part, partitioning=None).to_pylist()]


@pytest.fixture
def open_store(workspace: Path) -> Callable[..., CallStore]:
    def open_one(**settings: Any) -> CallStore:
        return CallStore(str(workspace), MODEL, worker="w", **{"flush_s": 3600.0, **settings})

    return open_one


KEYED = Sampling(max_tokens=9, temperature=0.5, seed=3, json_schema="{}", stop_token_ids=(4,), score_from=2, num_alternatives=1)


@pytest.mark.parametrize("name", [field.name for field in fields(Sampling)])
def test_row_key_follows_every_sampling_field(name: str) -> None:
    changed = replace(KEYED, **{name: getattr(Sampling(), name)})
    assert changed != KEYED
    assert row_key(MODEL, "vllm", [1, 2], changed) != row_key(MODEL, "vllm", [1, 2], KEYED)


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


def test_row_key_follows_nothing_else() -> None:
    elsewhere = replace(MODEL, name="another name", folder=Path("/elsewhere"))
    assert row_key(elsewhere, "vllm", (1, 2), replace(KEYED)) == row_key(MODEL, "vllm", [1, 2], KEYED)


def test_answer_is_found_before_and_after_it_is_on_disk_and_by_a_later_store(open_store: Callable[..., CallStore]) -> None:
    generating, scoring = ask(1, max_tokens=20), ask(2, score_from=1, num_alternatives=2)
    store = open_store()
    assert store.find(generating) is None
    given = [answer(generating, cached_tokens=3, engine_seconds=0.25), answer(scoring, logprobs=(-1.5, -0.25, -8.0))]
    for completion in given:
        store.append(completion, ENGINE)
    before = [store.find(generating), store.find(scoring)]
    store.flush()
    later = open_store()
    assert before == given
    assert [store.find(generating), store.find(scoring)] == given
    assert [later.find(generating), later.find(scoring)] == given
    assert later.find(ask(3)) is None


def test_answer_is_handed_out_for_the_request_that_asks(open_store: Callable[..., CallStore]) -> None:
    store = open_store()
    store.append(answer(ask(1)), ENGINE)
    other = replace(ask(1), chunk_id="elsewhere", template="another")
    pending = store.find(other)
    store.flush()
    written = store.find(other)
    assert pending is not None
    assert pending.request == other
    assert written == pending


def test_failed_calls_are_rows_and_never_answers(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store()
    store.append(fail(ask(1)), ENGINE)
    assert store.find(ask(1)) is None
    store.flush()
    assert store.find(ask(1)) is None
    assert open_store().find(ask(1)) is None
    (row,) = read_rows(workspace)
    assert (row["outcome"], row["error"], row["attempt"]) == ("timeout", "Too late.", 1)


@pytest.mark.parametrize("is_flushed_between", [True, False])
def test_both_attempts_at_one_call_are_kept(open_store: Callable[..., CallStore], workspace: Path, is_flushed_between: bool) -> None:
    store = open_store()
    store.append(fail(ask(1)), ENGINE)
    if is_flushed_between:
        store.flush()
    store.append(answer(ask(1)), ENGINE, attempt=2)
    store.flush()
    assert sorted((row["attempt"], row["outcome"]) for row in read_rows(workspace)) == [(1, "timeout"), (2, "ok")]
    assert open_store().find(ask(1)) == answer(ask(1))


def test_failure_of_another_worker_takes_no_answer_away(open_store: Callable[..., CallStore]) -> None:
    first, second = open_store(), open_store()
    first.append(answer(ask(1)), ENGINE)
    second.append(fail(ask(1)), ENGINE)
    first.flush()
    second.flush()
    assert open_store().find(ask(1)) == answer(ask(1))


def test_scores_of_an_engine_come_back_to_the_last_bit(open_store: Callable[..., CallStore]) -> None:
    rng = np.random.default_rng(5)
    scores = (-rng.exponential(3, 500)).astype(np.float32).tolist()
    scores += np.array([-0.0, np.nextafter(np.float32(0), np.float32(-1)), -103.97208], dtype=np.float32).tolist()
    request = ask(1, score_from=1, num_alternatives=2)
    alternatives = tuple(Alternatives(token_ids=(7, 8), logprobs=(score, score)) for score in scores)
    store = open_store()
    store.append(answer(request, logprobs=tuple(scores), alternatives=alternatives), ENGINE)
    store.flush()
    found = open_store().find(request)
    assert found is not None
    assert np.array_equal(np.array(found.logprobs).view(np.uint64), np.array(scores).view(np.uint64))
    assert found.alternatives == alternatives


def test_rows_are_written_when_so_many_wait(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store(flush_rows=3)
    for number in range(7):
        store.append(answer(ask(number)), ENGINE)
    assert sorted(row["chunk_id"] for row in read_rows(workspace)) == [f"c{number}" for number in range(6)]


def test_rows_are_written_when_they_have_waited_long(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store(flush_s=0.0)
    store.append(answer(ask(1)), ENGINE)
    assert len(read_rows(workspace)) == 1


def test_workspace_may_have_any_name(tmp_path: Path) -> None:
    url = str(tmp_path / "draft [2] *?")
    store = CallStore(url, MODEL, worker="w")
    store.append(answer(ask(1)), ENGINE)
    store.flush()
    assert CallStore(url, MODEL, worker="w").find(ask(1)) == answer(ask(1))


WRITER = """
import sys
from tests.engine.test_calls import ENGINE, MODEL, answer, ask
from engine.calls import CallStore
workspace, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = CallStore(workspace, MODEL, worker=f"from {first}", flush_rows=5, flush_s=3600.0)
for number in range(first, first + count):
    store.append(answer(ask(number)), ENGINE)
    print(number, flush=True)
store.flush()
"""


def start_writer(workspace: Path, first: int, count: int) -> "subprocess.Popen[str]":
    code = [sys.executable, "-c", WRITER, str(workspace), str(first), str(count)]
    return subprocess.Popen(code, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)


def test_killed_writer_leaves_whole_parts(open_store: Callable[..., CallStore], workspace: Path) -> None:
    with start_writer(workspace, 0, 100_000) as writer:
        assert writer.stdout is not None
        for _ in range(33):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=30)
    written = [row["chunk_id"] for row in read_rows(workspace)]
    assert len(written) >= 30, "33 answers were given, five a part"
    assert sorted(written) == sorted(f"c{number}" for number in range(len(written))), "a part is whole and those before it are there"
    assert len(written) % 5 == 0
    store = open_store()
    assert all(store.find(ask(number)) == answer(ask(number)) for number in range(len(written)))


def test_temporary_file_is_not_read(open_store: Callable[..., CallStore], workspace: Path) -> None:
    store = open_store()
    store.append(answer(ask(1)), ENGINE)
    store.flush()
    (part,) = workspace.glob("calls/*/part-*.parquet")
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
    store.append(answer(ask(1)), ENGINE)
    store.flush()
    (broken,) = workspace.glob("calls/*/part-*.parquet")
    store.append(answer(ask(2)), ENGINE)
    store.flush()
    broken.write_bytes(damage(broken.read_bytes()))
    with caplog.at_level(logging.WARNING, logger="engine.calls"):
        later = open_store()
    assert later.find(ask(1)) is None
    assert later.find(ask(2)) == answer(ask(2))
    (message,) = caplog.messages
    assert broken.name in message
    assert "asked again" in message
