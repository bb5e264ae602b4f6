"""How the installed command ends, by exit code: done, findings, failed rows, budget, engine, signals; and that the next command goes on."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import polars as pl
import pytest

from tests.flows.scripted import Folder, await_calls


@pytest.fixture
def folder(tmp_path: Path, prefect_url: str) -> Folder:
    made = Folder(tmp_path, prefect_url)
    made.copy("using-cpp-from-swift.md")
    made.configure()
    return made


@pytest.mark.slow
def test_done_is_0_and_findings_are_1_where_they_are_asked_to_be(folder: Folder) -> None:
    folder.proofread()
    assert folder.run.state == "done"
    ended = folder.proofread("--fail-on", "any", code=1)
    assert "findings at or above --fail-on any" in ended.stderr
    assert "resumes" not in ended.stderr, "nothing is missing"
    assert folder.run.read_manifest()["exit_code"] == 1
    folder.proofread("--fail-on", "accepted", code=0)


@pytest.mark.slow
def test_failed_rows_are_3_above_the_rate_and_0_below(folder: Folder) -> None:
    folder.configure(reject_word="huristics")
    ended = folder.proofread("--max-error-rate", "0.05", code=3)
    assert "1 of 12 calls failed, which is more than --max-error-rate 0.05" in ended.stderr
    assert folder.run.state == "partial"
    assert "report.html" in ended.stdout, "the report is written all the same"
    folder.proofread("--max-error-rate", "0.5")
    attempts = folder.calls().filter(pl.col("outcome") == "engine_error")["attempt"].to_list()
    assert sorted(attempts) == [1, 1, 2, 2, 3, 3], "a failure is asked again on the next run, three times each"


@pytest.mark.slow
def test_unreadable_inputs_count_as_failed_rows(folder: Folder) -> None:
    (folder.path / "zeros.txt").write_bytes(bytes(10))
    ended = folder.flows("run", "proofread", "book.md", "zeros.txt", "-m", "fake", code=3)
    assert "1 of 2 inputs failed" in ended.stderr
    folder.flows("run", "proofread", "book.md", "zeros.txt", "-m", "fake", "--max-error-rate", "0.5")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-cost", "0"], "--max-cost 0"),
        (["--max-engine-hours", "0"], "--max-engine-hours 0"),
        (["--deadline", "0s"], "--deadline 20"),
    ],
)
@pytest.mark.slow
def test_spent_budget_is_4_and_the_command_without_it_goes_on(folder: Folder, arguments: list[str], words: str) -> None:
    ended = folder.proofread(*arguments, code=4)
    assert f"Stopped at {words}" in ended.stderr
    assert "12 calls were not asked" in ended.stderr
    assert "resumes: flows run proofread book.md" in ended.stderr
    assert folder.run.state == "partial"
    errors = pl.read_parquet(folder.run.folder / "errors.parquet")
    assert errors["outcome"].to_list() == ["skipped_budget"] * 12
    folder.proofread()
    assert folder.run.state == "done"
    assert folder.calls().height == 12, "what is skipped is no call"


@pytest.mark.slow
def test_budget_in_the_middle_keeps_what_was_computed(folder: Folder) -> None:
    folder.configure(protocol="score", price="input_per_million", batch=4)
    ended = folder.proofread("--max-cost", "0.03", code=4)
    first = folder.calls()
    assert 0.03 <= float(first["cost"].sum()) < 0.04, "what is in flight is finished, nothing more is asked"
    assert first["prompt_tokens"].sum() == pytest.approx(float(first["cost"].sum()) * 1e6)
    assert "calls were not asked" in ended.stderr
    assert "findings" in ended.stdout
    folder.proofread("--max-cost", "0.03", code=4)
    calls = folder.calls()
    assert calls.height > first.height, "each command spends anew"
    assert calls["row_key"].n_unique() == calls.height, "and computes nothing twice"


def test_max_cost_without_a_price_is_a_usage_error(folder: Folder) -> None:
    settings = (folder.path / "flows.toml").read_text().partition("[prices]")[0]
    (folder.path / "flows.toml").write_text(settings)
    ended = folder.proofread("--max-cost", "5", code=2)
    assert "no price is" in ended.stderr
    assert not (folder.path / "out").exists()


@pytest.mark.parametrize("text", ["yesterday", "25:00", "2020-01-01T00:00", ""])
def test_wrong_deadline_is_a_usage_error(folder: Folder, text: str) -> None:
    assert "deadline" in folder.proofread("--deadline", text, code=2).stderr


@pytest.mark.slow
def test_engine_that_cannot_start_is_5_with_its_words(folder: Folder) -> None:
    folder.configure(no_such_option=1)
    ended = folder.proofread(code=5)
    assert "no_such_option" in ended.stderr
    assert "engine.log" in ended.stderr
    assert "The same command resumes" in ended.stderr
    folder.configure()
    folder.proofread()


@pytest.mark.slow
def test_first_of_two_models_that_cannot_start_ends_the_run_before_the_second(folder: Folder) -> None:
    folder.configure(no_such_option=1)
    with (folder.path / "flows.toml").open("a") as settings:
        settings.write('\n[models.other]\nsource = "smollm2-135m"\nengine = "scripted"\nprotocol = "edits"\n')
    ended = folder.flows("run", "proofread", "book.md", "-m", "fake", "-m", "other", code=5)
    assert "no_such_option" in ended.stderr
    assert not list((folder.path / "out" / "calls").rglob("*.parquet")), "the second model was asked"
    folder.configure()
    with (folder.path / "flows.toml").open("a") as settings:
        settings.write('\n[models.other]\nsource = "smollm2-135m"\nengine = "scripted"\nprotocol = "edits"\n')
    folder.flows("run", "proofread", "book.md", "-m", "fake", "-m", "other")
    assert sorted(folder.calls()["model"].unique()) == ["fake", "other"]


@pytest.mark.parametrize("signum", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_signal_is_128_and_more_and_the_next_run_computes_only_the_rest(folder: Folder, signum: signal.Signals) -> None:
    folder.configure(protocol="score", seconds_a_call=0.02)
    process = folder.start("run", "proofread", "book.md", "-m", "fake")
    await_calls(folder, process)
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert "The same command resumes: flows run proofread book.md -m fake" in stderr
    assert folder.run.state == "unfinished"
    num_first = folder.calls().height
    folder.proofread()
    manifest = folder.run.read_manifest()
    assert manifest["time"]["num_stored"] >= num_first
    calls = folder.calls()
    assert calls["row_key"].n_unique() == calls.height
    assert len(manifest["executions"]) == 2, "the time that the stopped command took is in the ledger too"


@pytest.mark.slow
def test_killed_engine_process_is_started_again_and_the_run_goes_on(folder: Folder) -> None:
    folder.configure(protocol="score", seconds_a_call=0.01)
    process = folder.start("run", "proofread", "book.md", "-m", "fake")
    await_calls(folder, process)
    children = subprocess.run(["pgrep", "-f", "engine.child", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "killed by signal 9" in stderr
    assert "started again" in stderr
    assert folder.run.state == "done"
    assert folder.calls()["row_key"].is_unique().all()


def test_row_that_kills_the_engine_is_set_aside_and_the_rest_finishes(folder: Folder) -> None:
    folder.configure(kill_word="huristics")
    ended = folder.proofread("--max-error-rate", "0.2")
    assert "1 input or call did not come through" in ended.stdout
    told = folder.flows("errors", "last", "--format", "json")
    (row,) = [json.loads(line) for line in told.stdout.splitlines()]
    assert row["outcome"] == "engine_error"
    assert "killed the engine twice" in row["message"]
    assert row["document"] == "book.md"
    assert sum(is_ok for *_, outcome, _ in folder.requests() if (is_ok := outcome == "ok")) == 11


@pytest.mark.slow
def test_same_run_is_not_worked_on_twice_at_once(folder: Folder) -> None:
    folder.configure(protocol="score", seconds_a_call=0.05)
    process = folder.start("run", "proofread", "book.md", "-m", "fake")
    await_calls(folder, process)
    refused = folder.proofread(code=2)
    assert "is running already" in refused.stderr
    assert str(process.pid) in refused.stderr
    status = folder.flows("status").stdout
    assert "running" in status
    assert "fake:" in status, "how far it is"
    followed = folder.start("logs", "-f", "last")
    told = folder.flows("cancel", "last").stdout
    assert "Stopped" in told
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    followed.communicate(timeout=30)
    assert followed.returncode == 0
    assert "not running" in folder.flows("cancel", "last", code=2).stderr
    assert folder.run.state == "unfinished"


@pytest.mark.slow
def test_two_runs_share_a_workspace_at_once(folder: Folder) -> None:
    folder.copy("love-among-the-chickens-18.md", "other.md")
    folder.configure(protocol="score", seconds_a_call=0.005)
    both = [folder.start("run", "proofread", name, "-m", "fake") for name in ("book.md", "other.md")]
    for process in both:
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr
    num_calls = folder.calls().height
    for name in ("book.md", "other.md"):
        folder.flows("run", "proofread", name, "-m", "fake")
    assert folder.calls().height == num_calls, "nothing of either is missing"


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root")
@pytest.mark.slow
def test_full_disk_is_5_loses_nothing_and_goes_on_when_there_is_room(folder: Folder) -> None:
    out = folder.path / "out"
    out.mkdir()
    folder.configure(protocol="score", seconds_a_call=0.01, batch=4)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(out)], check=True)
    try:
        filler = out / "filler"
        process = folder.start("run", "proofread", "book.md", "-m", "fake")
        await_calls(folder, process)
        filled = subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, check=False)
        assert filled.returncode != 0, "the disk is full"
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 5, stderr
        assert "No space left" in stderr
        assert "The same command resumes" in stderr
        assert not list(out.rglob("*.tmp")), "no half-written file is left"
        num_first = folder.calls().height
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=60m", str(out)], check=True)
        folder.proofread()
        assert folder.run.read_manifest()["time"]["num_stored"] >= num_first > 0
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


@pytest.mark.slow
def test_run_of_another_machine_is_not_cancelled(folder: Folder) -> None:
    folder.configure(protocol="score", seconds_a_call=0.05)
    process = folder.start("run", "proofread", "book.md", "-m", "fake")
    await_calls(folder, process)
    (folder.run.folder / "lock").write_text("1 elsewhere\n")
    assert socket.gethostname() != "elsewhere"
    assert "runs on elsewhere" in folder.flows("cancel", "last", code=2).stderr
    process.terminate()
    process.communicate(timeout=60)
