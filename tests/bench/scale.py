"""How the same flow scales over workers of a Dask cluster. Prints a line for each number of workers, last one JSON object.

python tests/bench/scale.py [--workers 1,2,4,8] [--shards-a-worker 625] [--tokens-a-second 4000]

The engine is scripted: it sleeps for each token of a prompt, so that many engines fit on few cores and the least time in which N of them
can answer is known: tokens / (N * tokens a second). That is the reference, measured in the same run; `efficiency` is its ratio to the time
between the first answer and the last. All else is as in a real run: a Dask scheduler, one process for each worker, Prefect's server, a
shard for each document, detectors, the call store. `orchestration_share` is the processor time of all processes but the engines', start-up
left out, divided by what an engine would work on these shards were each 30 seconds long.
"""

import argparse
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import duckdb
import psutil

BIN = Path(sys.executable).parent
WORDS = (Path(__file__).parents[2] / "data" / "the-time-machine.md").read_text("utf-8").split()
PARAGRAPHS, PARAGRAPH_WORDS = 8, 45
"""Of a document, which is a shard of so many rows."""
REAL_SHARD_S = 30.0
SETTINGS = """
model = ["fake"]
max_shard_tokens = 1
max_tokens = 64
max_context_tokens = 0

[models.fake]
source = "smollm2-135m"
engine = "scripted"
protocol = "edits"
engine_args = {{ seconds_a_token = {seconds} }}
"""


def main(num_workers: Iterable[int], shards_a_worker: int, tokens_a_second: float) -> None:
    measured = []
    for number in num_workers:
        with TemporaryDirectory(prefix="scale-") as folder:
            measured.append(_measure(Path(folder), number, shards_a_worker * number, tokens_a_second))
        print(json.dumps(measured[-1]), flush=True)  # noqa: T201
    last = measured[-1]
    print(json.dumps({key: last[key] for key in ("workers", "shards", "efficiency", "orchestration_share", "scheduler_mb")}))  # noqa: T201


def _measure(folder: Path, num_workers: int, num_shards: int, tokens_a_second: float) -> dict[str, Any]:
    (folder / "flows.toml").write_text(SETTINGS.format(seconds=1 / tokens_a_second))
    (folder / "in").mkdir()
    random = Random(0)
    for index in range(num_shards):
        paragraphs = (" ".join(random.choices(WORDS, k=PARAGRAPH_WORDS)) for _ in range(PARAGRAPHS))
        (folder / "in" / f"{index:06}.md").write_text("\n\n".join(paragraphs))
    with _cluster(folder, num_workers) as (address, scheduler):
        command = [str(BIN / "flows"), "run", "proofread", "in/*.md", "--cluster", address]
        with (folder / "run.out").open("w") as out:
            process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
            watch = _Watch(folder, scheduler)
            code = process.wait()
            watch.stop()
        if code != 0:
            raise SystemExit((folder / "run.out").read_text())
    calls = str(folder / "out/calls/*/*.parquet")
    tokens, seconds, rows = duckdb.sql(
        f"select sum(prompt_tokens), epoch(max(created_at) - min(created_at)), count(*) from '{calls}'"
    ).fetchall()[0]
    return {
        "workers": num_workers,
        "shards": num_shards,
        "rows": rows,
        "seconds": round(seconds, 1),
        "ideal_seconds": round(int(tokens) / tokens_a_second / num_workers, 1),
        "efficiency": round(int(tokens) / tokens_a_second / num_workers / seconds, 3),
        "cpu_ms_a_shard": round(1000 * watch.cpu_seconds / num_shards, 1),
        "orchestration_share": round(watch.cpu_seconds / num_shards / REAL_SHARD_S, 4),
        "scheduler_mb": [round(bytes_ / 1e6) for bytes_ in watch.quarters()],
    }


@contextmanager
def _cluster(folder: Path, num_workers: int) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    with ExitStack() as stack:
        logs = count()

        def start(*arguments: str) -> "subprocess.Popen[bytes]":
            log = stack.enter_context((folder / f"dask-{next(logs)}.log").open("wb"))
            process = subprocess.Popen([str(BIN / "dask"), *arguments, "--no-dashboard"], cwd=folder, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", str(port))
        for _ in range(num_workers):
            start("worker", address, "--nthreads", "4", "--no-nanny")
        from dask.distributed import Client

        with Client(address, timeout=60) as client:
            client.wait_for_workers(num_workers, timeout=300)
        yield address, psutil.Process(scheduler.pid)


class _Watch:
    """Of this process and all its children, from the first calls on disk to the end: processor time, and the scheduler's memory."""

    def __init__(self, folder: Path, scheduler: psutil.Process) -> None:
        self._folder, self._scheduler, self._is_ended = folder, scheduler, Event()
        self._memory: list[int] = []
        self._first: dict[int, float] | None = None
        self._last: dict[int, float] = {}
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_ended.set()
        self._thread.join()

    @property
    def cpu_seconds(self) -> float:
        first = self._first or {}
        return sum(seconds - first.get(pid, 0.0) for pid, seconds in self._last.items())

    def quarters(self) -> list[int]:
        """The scheduler's resident bytes at the beginning, after each quarter, at the end."""
        return [self._memory[round(part * (len(self._memory) - 1) / 4)] for part in range(5)] if self._memory else []

    def _look(self) -> None:
        while not self._is_ended.wait(0.5):
            if self._first is None and not any(self._folder.glob("out/calls/*/part-*.parquet")):
                continue
            self._memory.append(self._scheduler.memory_info().rss)
            for process in psutil.Process().children(recursive=True):
                try:
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self._last[process.pid] = times.user + times.system
            if self._first is None:
                self._first = dict(self._last)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4,8")
    parser.add_argument("--shards-a-worker", type=int, default=625)
    parser.add_argument("--tokens-a-second", type=float, default=4000.0)
    given = parser.parse_args()
    main([int(number) for number in given.workers.split(",")], given.shards_a_worker, given.tokens_a_second)
