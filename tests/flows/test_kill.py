"""SIGKILL at random moments, in a row: what a killed run leaves is whole, and the next one ends as if nothing had happened."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from flows.runs import Run, list_runs
from flows.tables import list_calls
from tests.flows.scripted import DATA, FLOWS, Folder

ROOT = Path(__file__).parents[2]
NUM_REAL_KILLS = 20


@pytest.mark.slow
def test_scripted_run_killed_200_times(tmp_path: Path) -> None:
    text = (DATA / "using-cpp-from-swift.md").read_text("utf-8")
    (tmp_path / "book.md").write_text(text[: text.index("\n\n", 2500)], "utf-8")
    command = [sys.executable, "-m", "tests.flows.killable", str(tmp_path), "200", "20261124"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert seen["num_killed"] == 200
    assert seen["num_ended"] >= 1
    assert seen["different"] == []


def is_batch_invariant_here() -> bool:
    """Whether vLLM's CPU build gives one answer whatever else is in the batch: it was seen to without AMX, and not with it."""
    return "amx_tile" not in Path("/proc/cpuinfo").read_text()


def flows(folder: Path, url: str, *arguments: str) -> "subprocess.Popen[bytes]":
    with (folder / "stderr").open("ab") as stderr:
        return subprocess.Popen(
            [FLOWS, *arguments], cwd=folder, env=os.environ | {"PREFECT_API_URL": url}, stdout=subprocess.DEVNULL, stderr=stderr
        )


def the_run(folder: Path) -> Run:
    (run,) = list_runs(folder / "out")
    return run


def read_tables(run: Run) -> dict[str, bytes]:
    """Tables that rest on answers alone; the ledger, the requests and the yields hold seconds, which differ from run to run."""
    seconds = ("ledger.parquet", "yields.parquet")
    files = [path for path in sorted(run.folder.rglob("*.parquet")) if path.name not in seconds and "requests" not in path.parts]
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in files}


def read_calls(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(list_calls(folder / "out"), hive_partitioning=False)


@pytest.mark.slow
@pytest.mark.engine
def test_real_run_killed_20_times_in_a_row(tmp_path: Path, prefect_url: str) -> None:
    command = ("run", "proofread", "chapter.md", "--limit", "2")
    for name in ("reference", "killed"):
        (tmp_path / name).mkdir()
        shutil.copy(DATA / "using-cpp-from-swift.md", tmp_path / name / "chapter.md")
    started = time.monotonic()
    assert flows(tmp_path / "reference", prefect_url, *command).wait(900) == 0
    whole_s, rng, folder, num_killed = time.monotonic() - started, random.Random(20261124), tmp_path / "killed", 0
    while num_killed < NUM_REAL_KILLS:
        started, process = time.monotonic(), flows(folder, prefect_url, *command)
        try:
            # any moment, the early ones more often: twenty late ones would take a quarter of an hour
            assert process.wait(whole_s * rng.random() ** 2) == 0, (folder / "stderr").read_text()
            whole_s = time.monotonic() - started  # it had little or nothing left to do: the next moments are in a run as short
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            num_killed += 1
    assert flows(folder, prefect_url, *command).wait(900) == 0, (folder / "stderr").read_text()
    run, calls = the_run(folder), read_calls(folder)
    assert run.state == "done"
    assert set(calls["outcome"]) == {"ok"}
    assert calls["row_key"].is_unique().all(), "what was stored is never computed again"
    tables = read_tables(run)
    shutil.rmtree(run.folder)
    assert flows(folder, prefect_url, *command).wait(900) == 0
    times = the_run(folder).read_manifest()["time"]
    assert times["num_stored"] == times["num_calls"] == calls.height, "nothing is computed"
    assert read_tables(the_run(folder)) == tables, "an uninterrupted run on the same answers gives the same bytes"
    if is_batch_invariant_here():
        assert set(calls["row_key"]) == set(read_calls(tmp_path / "reference")["row_key"])
        assert tables == read_tables(the_run(tmp_path / "reference")), "and so does one that computed them all itself"


@pytest.mark.slow
def test_tables_and_reports_rest_on_the_calls_alone(tmp_path: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, prefect_url)
    folder.copy("using-cpp-from-swift.md")
    folder.configure(protocol="score")
    folder.proofread("--limit", "3")
    before = read_everything(folder.run)
    assert "report.html" in before
    (parts,) = (tmp_path / "out" / "calls").iterdir()
    for num_threads in (1, 2, 8):
        shuffle_parts(parts, num_threads)
        shutil.rmtree(folder.run.folder)
        for name in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "ARROW_IO_THREADS"):
            monkeypatch.setenv(name, str(num_threads))
        folder.proofread("--limit", "3")
        assert folder.run.read_manifest()["time"]["num_stored"] == folder.calls().height
        assert read_everything(folder.run) == before


def read_everything(run: Run) -> dict[str, bytes]:
    """Every file that rests on the calls; the others say when and how long, and of the reports one section does."""
    said = {"manifest.json", "progress.json", "run.log", "engine.log", "ledger.parquet", "lock"}
    files = [path for path in sorted(run.folder.rglob("*")) if path.is_file() and path.name not in said]
    return {str(path.relative_to(run.folder)): TIMES.sub(b"", path.read_bytes()) for path in files}


TIMES = re.compile(rb'<section id="times".*?</section>|## Where the time went\n.*?(?=\n## |\Z)', re.DOTALL)


def shuffle_parts(folder: Path, seed: int) -> None:
    """The same rows in other parts, in another order, under other names."""
    paths = sorted(folder.glob("part-*.parquet"))
    table = pq.read_table(paths[0], partitioning=None) if len(paths) == 1 else pq.ParquetDataset(paths, partitioning=None).read()
    order = list(range(table.num_rows))
    random.Random(seed).shuffle(order)
    for path in paths:
        path.unlink()
    schema = table.schema
    for first in range(0, len(order), 37):
        pq.write_table(
            table.take(order[first : first + 37]).cast(schema), folder / f"part-{random.Random(first).randbytes(12).hex()}.parquet"
        )
    assert Counter(path.suffix for path in folder.iterdir())[".parquet"] == -(-len(order) // 37)
