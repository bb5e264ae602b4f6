"""Whole runs whose inputs and workspace are in a store that fails, is slow, or goes away; the command installed, and real servers."""

import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from chunkers.paths import ObjectPath
from engine.cache import default_cache_dir
from engine.models import Model
from flows.runs import Run, list_runs, write_file
from flows.tables import list_calls
from tests.flows.scripted import DATA, Folder
from tests.s3 import Faults

BOOK = "using-cpp-from-swift"
REAL_CACHE = default_cache_dir()


@pytest.fixture
def folder(tmp_path: Path, prefect_url: str, model: Model, bucket: ObjectPath, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A working folder whose flows.toml leads to the bucket, where a book lies with its style sheet and what people corrected in it."""
    cache = tmp_path / "cache" / "galley"
    cache.mkdir(parents=True)
    for name in ("models", "checksums"):  # the user's own: the logs that a run keeps here are not for there
        (cache / name).symlink_to(REAL_CACHE / name)
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    made = Folder(tmp_path, prefect_url)
    made.configure(protocol="score", seconds_a_call=0.002)
    with (tmp_path / "flows.toml").open("a") as settings:
        settings.write(f'\n[storage]\nendpoint_url = "http://127.0.0.1:{faults.port}"\n')
    write_file(bucket / "in" / "book.md", (DATA / f"{BOOK}.md").read_bytes())
    write_file(bucket / "in" / "book.edits.json", (DATA / f"{BOOK}.edits.json").read_bytes())
    write_file(bucket / "in" / "book.style.toml", 'words = ["stive"]\n')
    return made


def the_run(workspace: Path | ObjectPath) -> Run:
    (run,) = list_runs(workspace)
    return run


def read_tables(run: Run) -> dict[str, bytes]:
    """The tables that rest on answers alone."""
    patterns = ("documents.parquet", "findings.parquet", "edits.parquet", "errors.parquet", "styles.parquet", "chunks/shard-*.parquet")
    paths = [path for pattern in (*patterns, "candidates/shard-*.parquet", "scores/*/shard-*.parquet") for path in run.list_files(pattern)]
    assert len(paths) == 8
    return {str(path).removeprefix(str(run.folder)): path.read_bytes() for path in paths}


def await_true(is_met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_put(faults: Faults, part: str) -> Callable[[], bool]:
    return lambda: any(seen.startswith("PUT ") and part in seen for seen in list(faults.seen))


def test_a_run_in_a_store_that_fails_for_a_while_ends_as_one_here(folder: Folder, bucket: ObjectPath, faults: Faults) -> None:
    command = ("run", "proofread", f"{bucket}/in/*.md", "-m", "fake")
    faults.delay_s = 0.02
    there = folder.start(*command, "-o", f"{bucket}/w")
    await_true(has_put(faults, "/chunks/"))
    faults.failing = "/"
    await_true(lambda: faults.num_failed > 3)
    time.sleep(1.5)
    faults.failing = ""
    stdout, stderr = there.communicate(timeout=240)
    assert there.returncode == 0, stderr
    assert "of 4 corrections that people made here" in stdout
    here = folder.start(*command, "-o", "out")
    run, workspace = the_run(bucket / "w"), ("-o", f"{bucket}/w")
    assert run.state == "done"
    puts = [seen.removeprefix(f"PUT /{bucket.name}/w/runs/{run.name}/") for seen in faults.seen if seen.startswith("PUT ")]
    written = [name for name in puts if name not in ("lock", "run.log", "engine.log")]
    assert written[-1] == "_SUCCESS", "the marker is the last"
    assert not run.log_dir.exists()
    reading = [
        folder.start(*words)
        for words in (
            ("show", "last", *workspace),
            ("status", *workspace),
            ("sql", run.name, "select count(*) as n, count(distinct model) as models from calls join requests using (row_key)", *workspace),
            ("errors", str(run.folder), *workspace),
            ("logs", "last", *workspace),
            ("apply", "last", "--workspace", f"{bucket}/w", "-o", f"{bucket}/fixed.md", "--min-confidence", "0.1"),
            ("plan", "proofread", f"{bucket}/in/book.md", "-m", "fake", *workspace),
        )
    ]
    told = [process.communicate(timeout=240) for process in reading]
    assert [process.returncode for process in reading] == [0] * len(reading), told
    shown, status, sql, errors, logs, applied, plan = (out for out, _ in told)
    assert shown.splitlines()[0] == stdout.splitlines()[0]
    assert "done" in status
    assert sql.split()[-1] == "1"
    assert "ended with exit code 0" in logs
    assert "fixed.md" in applied
    assert "no engine is needed" in plan
    assert (bucket / "fixed.md").read_bytes() != (bucket / "in" / "book.md").read_bytes()
    assert here.wait(240) == 0
    assert read_tables(the_run(folder.path / "out")) == read_tables(run)


def read_calls(workspace: ObjectPath) -> pl.DataFrame:
    """Every row of the call table."""
    return pl.concat([pl.read_parquet(path.read_bytes()) for path in list_calls(workspace) if isinstance(path, ObjectPath)])


@pytest.mark.slow
def test_a_run_in_a_store_is_killed_and_taken_up(folder: Folder, bucket: ObjectPath, faults: Faults) -> None:
    command = ("run", "proofread", f"{bucket}/in/book.md", "-m", "fake")
    for moment in ("/chunks/", "/candidates/", "/calls/", "/scores/", "/findings/", "report.html"):
        faults.seen.clear()
        killed = folder.start(*command, "-o", f"{bucket}/w")
        await_true(has_put(faults, moment))
        killed.kill()
        killed.communicate()
        assert the_run(bucket / "w").state == "unfinished"
    folder.flows(*command, "-o", f"{bucket}/w")
    run, calls = the_run(bucket / "w"), read_calls(bucket / "w")
    assert calls["row_key"].is_unique().all(), "what was stored is never computed again"
    assert run.log_path.read_text("utf-8").count("  started: ") == 7, "what a killed process said is not lost"
    folder.flows(*command, "-o", "out")
    assert read_tables(the_run(folder.path / "out")) == read_tables(run)


@pytest.mark.slow
def test_a_store_that_goes_away_ends_the_run_and_the_same_command_resumes(
    folder: Folder, bucket: ObjectPath, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("run", "proofread", f"{bucket}/in/book.md", "-m", "fake", "-o", f"{bucket}/w")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    process = folder.start(*command)
    await_true(has_put(faults, "/calls/"))
    faults.stop()
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 5, stderr
    assert "Traceback" not in stderr
    assert "the store does not answer" in stderr
    assert f"The same command resumes: flows {' '.join(command)}" in stderr
    told = folder.flows("status", "-o", f"{bucket}/w", code=2).stderr
    assert "the store does not answer" in told
    faults.start(faults.port)
    assert the_run(bucket / "w").state == "unfinished"
    folder.flows(*command)
    calls = read_calls(bucket / "w")
    assert calls["row_key"].is_unique().all()
    assert the_run(bucket / "w").state == "done"


@pytest.mark.slow
def test_a_run_in_a_store_is_measured_verified_and_asked_again_from_another_folder(
    folder: Folder, bucket: ObjectPath, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder.flows("run", "proofread", f"{bucket}/in/*.md", "-m", "fake", "-o", f"{bucket}/w")
    elsewhere = Folder(tmp_path_factory.mktemp("elsewhere"), folder.prefect_url)
    (elsewhere.path / "flows.toml").write_bytes((folder.path / "flows.toml").read_bytes())
    workspace = ("-o", f"{bucket}/w")
    assert "precision" in elsewhere.flows("eval", "proofread", "--run", "last", *workspace).stdout
    assert "(100.0%)" in elsewhere.flows("verify", "last", "--sample", "20", *workspace).stdout
    assert "from the store" in elsewhere.flows("retry", "last", *workspace).stdout


def test_without_credentials_nothing_begins(folder: Folder, bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in (("HOME", str(folder.path)), ("AWS_EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(name, value)
    folder.copy(f"{BOOK}.md")
    told = folder.proofread("-o", f"{bucket}/w", code=2).stderr
    assert "cannot be reached without credentials" in told
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in told
    (folder.path / "flows.toml").write_text('[storage]\nsecret = "hush"\n')
    told = folder.flows("status", code=2).stderr
    assert "secret is a secret" in told
    assert "hush" not in told
