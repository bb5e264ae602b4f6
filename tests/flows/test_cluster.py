"""Many worker processes, as a user gets them: the same command with --cluster, a real Dask scheduler, workers that die and join."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest

from chunkers.paths import AnyPath, ObjectPath
from flows.runs import Run, list_runs, write_file
from flows.tables import list_calls
from tests.flows.scripted import DATA, Folder
from tests.s3 import Faults

DASK = str(Path(sys.executable).with_name("dask"))
NOT_OF_ANSWERS = ("ledger.parquet", "yields.parquet")
"""Tables of a run that hold seconds."""


def write_library(folder: AnyPath, num_documents: int) -> None:
    """Documents of some hundred words each."""
    paragraphs = (DATA / "the-time-machine.md").read_text("utf-8").split("\n\n")[10:]
    for index in range(num_documents):
        write_file(folder / f"part-{index}.md", "\n\n".join(paragraphs[index * 6 : index * 6 + 6]))


def configure(folder: Folder, seconds_a_call: float, storage: str = "") -> None:
    """The scripted engine, small chunks, and a shard for each document."""
    folder.configure(seconds_a_call=seconds_a_call)
    settings = (folder.path / "flows.toml").read_text("utf-8")
    (folder.path / "flows.toml").write_text(f"max_shard_tokens = 1\nmax_tokens = 64\n{settings}\n{storage}", "utf-8")


def the_run(workspace: AnyPath) -> Run:
    (run,) = list_runs(workspace)
    return run


def read_tables(run: Run) -> dict[str, bytes]:
    """The tables that rest on answers alone, byte for byte."""
    patterns = ("*.parquet", *(f"{name}/shard-*.parquet" for name in ("chunks", "candidates", "edits", "findings")), "answers/*/*.parquet")
    paths = [path for pattern in patterns for path in run.list_files(pattern) if path.name not in NOT_OF_ANSWERS]
    return {str(path).removeprefix(str(run.folder)): path.read_bytes() for path in paths}


def read_calls(workspace: AnyPath) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path.read_bytes()) for path in list_calls(workspace)])


def test_two_processes_make_the_tables_of_one(tmp_path: Path, prefect_url: str) -> None:
    folder = Folder(tmp_path, prefect_url)
    configure(folder, seconds_a_call=0.05)
    (tmp_path / "in").mkdir()
    write_library(tmp_path / "in", 4)
    command = ("run", "proofread", "in/*.md", "-m", "fake")
    folder.flows(*command, "-o", "alone")
    folder.flows(*command, "-o", "together", "--cluster", "local:2")
    alone, together = read_calls(tmp_path / "alone"), read_calls(tmp_path / "together")
    assert alone["worker"].n_unique() == 1
    assert together["worker"].n_unique() == 2
    assert sorted(together["row_key"]) == sorted(alone["row_key"])
    run = the_run(tmp_path / "together")
    assert run.name == the_run(tmp_path / "alone").name
    assert read_tables(run) == read_tables(the_run(tmp_path / "alone"))
    assert run.read_manifest()["executions"][0]["models"]["fake"]["num_calls"] == len(alone)


def test_what_is_no_cluster_is_said_before_anything_is_computed(tmp_path: Path, prefect_url: str) -> None:
    folder = Folder(tmp_path, prefect_url)
    configure(folder, seconds_a_call=0.05)
    folder.copy("using-cpp-from-swift.md")
    told = folder.proofread("--cluster", "8 machines", code=2).stderr
    assert "is no cluster; give local:N for N processes of this machine, or tcp://HOST:PORT of a Dask scheduler" in told
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = folder.proofread("--cluster", f"tcp://127.0.0.1:{free.getsockname()[1]}", code=5).stderr
    assert "no Dask scheduler answers there" in told
    assert "`dask scheduler`" in told
    assert not list(tmp_path.glob("out/calls/*/*.parquet"))


class Cluster:
    """A scheduler and workers, each a process of its own on this machine."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._num_logs = 0

    def start_scheduler(self) -> "subprocess.Popen[bytes]":
        return self._start("scheduler", "--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard")

    def start_worker(self) -> "subprocess.Popen[bytes]":
        return self._start("worker", self.address, "--nthreads", "2", "--no-nanny", "--no-dashboard")

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        self._num_logs += 1
        log = self._stack.enter_context((self._folder / f"dask-{self._num_logs}.log").open("wb"))
        process = subprocess.Popen([DASK, *arguments], cwd=self._folder, stdout=log, stderr=subprocess.STDOUT)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path_factory.mktemp("cluster"))


def await_true(is_met: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 240
    while not is_met():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_workers_die_and_join_the_scheduler_restarts_the_store_fails_and_the_tables_are_those_of_one_process(
    tmp_path: Path, prefect_url: str, bucket: ObjectPath, faults: Faults, patient: None, cluster: Cluster
) -> None:
    folder = Folder(tmp_path, prefect_url)
    storage = f'[storage]\nendpoint_url = "http://127.0.0.1:{faults.port}"'
    write_library(bucket / "in", 12)
    command = ("run", "proofread", f"{bucket}/in/*.md", "-m", "fake")
    configure(folder, 0.02, storage)
    folder.flows(*command, "-o", f"{bucket}/alone")

    configure(folder, 1.0, storage)
    faults.seen.clear()
    stored = lambda: sum(seen.startswith("PUT ") and "/together/calls/" in seen for seen in list(faults.seen))  # noqa: E731
    scheduler, first = cluster.start_scheduler(), cluster.start_worker()
    cluster.start_worker()
    process = folder.start(*command, "-o", f"{bucket}/together", "--cluster", cluster.address)
    await_true(lambda: stored() > 2, process)
    first.kill()
    cluster.start_worker()
    faults.failing, faults.delay_s = "/calls/", 0.2
    await_true(lambda: faults.num_failed > 2, process)
    faults.failing, faults.delay_s = "", 0.0
    before = stored()
    await_true(lambda: stored() > before, process)
    scheduler.kill()
    cluster.start_scheduler()
    cluster.start_worker()  # those of before end with their scheduler; what keeps services up starts them again
    cluster.start_worker()
    _, stderr = process.communicate(timeout=400)
    assert process.returncode == 0, stderr
    alone, together = read_calls(bucket / "alone"), read_calls(bucket / "together")
    assert read_tables(the_run(bucket / "together")) == read_tables(the_run(bucket / "alone"))
    assert together["row_key"].is_unique().all(), "what was stored is never computed again"
    assert len(together) == len(alone)
    assert together["worker"].n_unique() >= 3


@pytest.mark.slow
@pytest.mark.engine
def test_two_real_engines_answer_what_one_process_then_finds_in_the_store(tmp_path: Path, prefect_url: str) -> None:
    folder = Folder(tmp_path, prefect_url)
    (tmp_path / "flows.toml").write_text("max_shard_tokens = 1\n")
    paragraphs = (DATA / "using-cpp-from-swift.md").read_text("utf-8").split("\n\n")
    (tmp_path / "in").mkdir()
    for index in range(4):
        (tmp_path / "in" / f"part-{index}.md").write_text("\n\n".join(paragraphs[10 + 3 * index : 13 + 3 * index]))
    command = ("run", "proofread", "in/*.md")
    folder.flows(*command, "-o", "together", "--cluster", "local:2")
    calls = read_calls(tmp_path / "together")
    assert calls["worker"].n_unique() == 2
    assert set(calls["outcome"]) == {"ok"}
    assert calls["row_key"].is_unique().all()
    shutil.copytree(tmp_path / "together" / "calls", tmp_path / "alone" / "calls")
    folder.flows(*command, "-o", "alone")
    alone = the_run(tmp_path / "alone")
    assert alone.read_manifest()["time"]["num_stored"] == len(calls), "the same questions, and nothing is computed"
    assert read_tables(alone) == read_tables(the_run(tmp_path / "together"))
