"""Whole runs whose inputs and workspace are in a store that fails, is slow, or goes away; the command installed, and real servers."""

import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from chunkers.paths import ObjectPath, path_of
from engine.models import Model
from flows.__main__ import app
from flows.runs import Run, list_runs, write_file
from flows.tables import list_calls
from tests.flows.scripted import DATA, Folder
from tests.s3 import Faults

BOOK = "using-cpp-from-swift"
JUDGED = {"score": "scores/*/shard-*.parquet", "edits": "answers/*/shard-*.parquet"}


@pytest.fixture
def folder(tmp_path: Path, prefect_url: str, model: Model, bucket: ObjectPath, faults: Faults, patient: None) -> Folder:
    """A working folder whose flows.toml leads to the bucket, where a book lies with its style sheet and what people corrected in it."""
    made = Folder(tmp_path, prefect_url)
    configure(made, faults, "edits")
    write_file(bucket / "in" / "book.md", (DATA / f"{BOOK}.md").read_bytes())
    write_file(bucket / "in" / "book.edits.json", (DATA / f"{BOOK}.edits.json").read_bytes())
    write_file(bucket / "in" / "book.style.toml", 'words = ["stive"]\n')
    return made


def configure(folder: Folder, faults: Faults, protocol: str, seconds_a_call: float = 0.002) -> None:
    folder.configure(protocol=protocol, seconds_a_call=seconds_a_call)
    with (folder.path / "flows.toml").open("a") as settings:
        settings.write(f'\n[storage]\nendpoint_url = "http://127.0.0.1:{faults.port}"\n')


def the_run(workspace: Path | ObjectPath) -> Run:
    (run,) = list_runs(workspace)
    return run


def read_tables(run: Run, protocol: str = "score") -> dict[str, bytes]:
    """The tables that rest on answers alone."""
    patterns = ("documents.parquet", "findings.parquet", "edits.parquet", "errors.parquet", "styles.parquet", "chunks/shard-*.parquet")
    paths = [path for pattern in (*patterns, "candidates/shard-*.parquet", JUDGED[protocol]) for path in run.list_files(pattern)]
    assert len(paths) == 8
    return {str(path).removeprefix(str(run.folder)): path.read_bytes() for path in paths}


def await_true(is_met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not is_met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_put(faults: Faults, part: str) -> Callable[[], bool]:
    return lambda: any(seen.startswith("PUT ") and part in seen for seen in list(faults.seen))


@pytest.mark.slow
def test_a_run_in_a_store_that_fails_for_a_while_ends_as_one_here(
    folder: Folder, bucket: ObjectPath, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("run", "proofread", f"{bucket}/in/*.md", "-m", "fake")
    configure(folder, faults, "edits", seconds_a_call=0.5)
    there = folder.start(*command, "-o", f"{bucket}/w")
    for moment in ("/chunks/", "/calls/"):  # nothing is asked yet; something is answered, and the rest is on its way
        await_true(has_put(faults, moment))
        faults.num_failed, faults.failing = 0, "/"
        await_true(lambda: faults.num_failed > 3)
        faults.failing, faults.delay_s = "", 0.3
    await_true(has_put(faults, "/findings/"))
    faults.delay_s = 0.0
    stdout, stderr = there.communicate(timeout=240)
    assert there.returncode == 0, stderr
    assert "corrections that people made here" in stdout
    run = the_run(bucket / "w")
    assert run.state == "done"
    puts = [seen.removeprefix(f"PUT /{bucket.name}/w/runs/{run.name}/") for seen in faults.seen if seen.startswith("PUT ")]
    written = [name for name in puts if name not in ("lock", "run.log", "engine.log")]
    assert written[-1] == "_SUCCESS", "the marker is the last"
    assert not run.log_dir.exists()
    folder.flows(*command, "-o", "out")
    assert read_tables(the_run(folder.path / "out"), "edits") == read_tables(run, "edits")
    assert run.read_manifest()["time"]["num_calls"] == read_calls(bucket / "w").height == folder.calls().height == 12, "each once"
    # in this process, which has imported what a command needs; each of them is run for itself by the slow tests
    monkeypatch.chdir(folder.path)
    workspace = ("-o", f"{bucket}/w")
    assert ask("show", "last", *workspace).splitlines()[0] == stdout.splitlines()[0]
    assert " done " in ask("status", *workspace)
    query = "select count(*) as n, count(distinct calls.model) as models from calls join requests using (row_key)"
    assert ask("sql", run.name, query, *workspace, "--format", "csv") == "n,models\n12,1\n"
    assert "ended with exit code 0" in ask("logs", str(run.folder), *workspace)
    assert ask("errors", "last", *workspace).splitlines()[0].split() == ["outcome", "document", "model", "call", "message"]
    fixed = f"{bucket}/fixed.md"
    assert ask("apply", "last", "--workspace", f"{bucket}/w", "-o", fixed, "--min-confidence", "0.1").startswith(f"{fixed}: 6 of 6")
    assert path_of(fixed).read_bytes() != (bucket / "in" / "book.md").read_bytes()
    refused = CliRunner().invoke(app, ["apply", "last", "--workspace", f"{bucket}/w", "-o", f"{bucket}/in/book.md"])
    assert (refused.exit_code, "a source is never overwritten" in refused.stderr) == (2, True)


def ask(*arguments: str) -> str:
    """What a command says."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def read_calls(workspace: ObjectPath) -> pl.DataFrame:
    """Every row of the call table."""
    return pl.concat([pl.read_parquet(path.read_bytes()) for path in list_calls(workspace) if isinstance(path, ObjectPath)])


@pytest.mark.slow
def test_a_run_in_a_store_is_killed_and_taken_up(folder: Folder, bucket: ObjectPath, faults: Faults) -> None:
    command = ("run", "proofread", f"{bucket}/in/book.md", "-m", "fake")
    configure(folder, faults, "score")
    for moment in ("/chunks/", "/calls/", "/findings/", "report.html"):
        faults.seen.clear()
        killed = folder.start(*command, "-o", f"{bucket}/w")
        await_true(has_put(faults, moment))
        killed.kill()
        killed.communicate()
        assert the_run(bucket / "w").state == "unfinished"
    folder.flows(*command, "-o", f"{bucket}/w")
    run, calls = the_run(bucket / "w"), read_calls(bucket / "w")
    assert calls["row_key"].is_unique().all(), "what was stored is never computed again"
    assert run.log_path.read_text("utf-8").count("  started: ") == 5, "what a killed process said is not lost"
    folder.flows(*command, "-o", "out")
    assert read_tables(the_run(folder.path / "out")) == read_tables(run)


@pytest.mark.slow
def test_a_store_that_goes_away_ends_the_run_and_the_same_command_resumes(
    folder: Folder, bucket: ObjectPath, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("run", "proofread", f"{bucket}/in/book.md", "-m", "fake", "-o", f"{bucket}/w")
    configure(folder, faults, "score")
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
    folder: Folder, bucket: ObjectPath, faults: Faults, tmp_path_factory: pytest.TempPathFactory
) -> None:
    configure(folder, faults, "score")
    folder.flows("run", "proofread", f"{bucket}/in/*.md", "-m", "fake", "-o", f"{bucket}/w")
    elsewhere = Folder(tmp_path_factory.mktemp("elsewhere"), folder.prefect_url)
    (elsewhere.path / "flows.toml").write_bytes((folder.path / "flows.toml").read_bytes())
    workspace = ("-o", f"{bucket}/w")
    assert "precision" in elsewhere.flows("eval", "proofread", "--run", "last", *workspace).stdout
    assert "(100.0%)" in elsewhere.flows("verify", "last", "--sample", "20", *workspace).stdout
    assert "from the store" in elsewhere.flows("retry", "last", *workspace).stdout
    assert "no engine is needed" in elsewhere.flows("plan", "proofread", f"{bucket}/in/*.md", "-m", "fake", *workspace).stdout
    assert " done " in elsewhere.flows("status", *workspace).stdout
    assert "ended with exit code 0" in elsewhere.flows("logs", "last", *workspace).stdout
    assert "none." in elsewhere.flows("errors", "last", *workspace).stderr
    asked = elsewhere.flows("sql", "last", "select distinct model from calls join requests using (row_key, model)", *workspace)
    assert asked.stdout.split() == ["model", "fake"]
    assert "applied" in elsewhere.flows("apply", "last", "--workspace", f"{bucket}/w", "-o", "fixed.md").stdout
    (found,) = elsewhere.flows("sql", "last", "select row_key from calls limit 1", *workspace, "--format", "csv").stdout.split()[1:]
    assert "prompt" in elsewhere.flows("show", "last", "--call", found[:20], *workspace).stdout


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
