"""How runs end: killed, interrupted, on a server, with two models, with the edits protocol, with a novel. Real engines, real signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import polars as pl
import pytest

from flows.runs import Run, list_runs
from tests.flows.scripted import Folder

pytestmark = [pytest.mark.slow, pytest.mark.engine]

BIN = Path(sys.executable).parent
DATA = Path(__file__).parents[2] / "data"
RUN = [str(BIN / "flows"), "run", "proofread"]


def finish(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
        encoding="utf-8",
    )


def the_run(folder: Path) -> Run:
    (run,) = list_runs(folder / "out")
    return run


def start_and_wait_for_calls(folder: Path) -> subprocess.Popen[str]:
    shutil.copy(DATA / "love-among-the-chickens-18.md", folder / "chapter.md")
    process = subprocess.Popen([*RUN, "chapter.md"], cwd=folder, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    deadline = time.monotonic() + 240
    while not list(folder.glob("out/calls/*/part-*.parquet")):
        assert process.poll() is None, "the run ended before it had calls on disk"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def check_resumes(folder: Path) -> None:
    again = finish("chapter.md", cwd=folder)
    assert again.returncode == 0, again.stderr
    manifest = the_run(folder).read_manifest()
    assert 0 < manifest["time"]["num_stored"] < manifest["time"]["num_calls"], "what was finished is not computed again"
    calls = pl.read_parquet(folder / "out" / "calls" / "*" / "part-*.parquet", hive_partitioning=False)
    assert calls["row_key"].n_unique() == calls.height
    assert the_run(folder).state == "done"


def test_signal_ends_the_run_and_says_how_to_resume(tmp_path: Path) -> None:
    process = start_and_wait_for_calls(tmp_path)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "The same command resumes: flows run proofread chapter.md" in stderr
    assert "Traceback" not in stderr
    assert the_run(tmp_path).state == "unfinished"
    shown = subprocess.run([str(BIN / "flows"), "show", "last"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 2
    assert "resumes" in shown.stderr
    check_resumes(tmp_path)


def test_run_appears_on_a_server(tmp_path: Path, prefect_url: str) -> None:
    (tmp_path / "blank.md").write_text("\n")
    before = {flow_run["id"] for flow_run in ask(f"{prefect_url}/flow_runs/filter")}
    assert finish("blank.md", cwd=tmp_path, PREFECT_API_URL=prefect_url).returncode == 0
    (flow_run,) = [flow_run for flow_run in ask(f"{prefect_url}/flow_runs/filter") if flow_run["id"] not in before]
    assert flow_run["state_type"] == "COMPLETED"
    tasks = [task["name"] for task in ask(f"{prefect_url}/task_runs/filter") if task["flow_run_id"] == flow_run["id"]]
    assert {name.rpartition("-")[0] for name in tasks} >= {"read", "report"}


def ask(url: str) -> list[dict[str, str]]:
    request = urllib.request.Request(url, data=b"{}", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        rows: list[dict[str, str]] = json.load(answer)
    return rows


def test_two_models_judge_one_after_the_other(tmp_path: Path) -> None:
    from engine.models import EMBEDDED, resolve_model

    shutil.copy(DATA / "using-cpp-from-swift.md", tmp_path / "chapter.md")
    folder = resolve_model(EMBEDDED).folder
    (tmp_path / "flows.toml").write_text(f'[models.second]\nsource = "{folder}"\nprotocol = "score"\n')
    result = finish("chapter.md", "-m", EMBEDDED, "-m", "second", "--limit", "3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = the_run(tmp_path)
    assert {path.parent.name for path in run.folder.glob("scores/*/shard-*.parquet")} == {f"model={EMBEDDED}", "model=second"}
    calls = pl.read_parquet(tmp_path / "out" / "calls" / "*" / "part-*.parquet", hive_partitioning=False)
    assert set(calls["model"]) == {EMBEDDED, "second"}
    assert calls["row_key"].n_unique() == calls.height, "the folder's weights are other weights: another key"
    proposers = pl.read_parquet(run.folder / "findings.parquet")["proposers"].explode()
    assert {f"{EMBEDDED}/score", "second/score"} <= set(proposers)


@pytest.mark.parametrize(("protocol", "template"), [("edits", "proofread"), ("rewrite", "rewrite")])
def test_text_protocols_keep_what_cannot_be_used(protocol: str, template: str, tmp_path: Path) -> None:
    # a sentence: of what it cannot do the small model makes long answers, and each is asked again with the error shown
    (tmp_path / "chapter.md").write_text("The compiler does not have sufficent information to import that function.\n")
    command = ("chapter.md", "--protocol", protocol, "--max-error-rate", "1")
    result = finish(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = the_run(tmp_path)
    calls = pl.read_parquet(tmp_path / "out" / "calls" / "*" / "part-*.parquet", hive_partitioning=False)
    assert set(calls["template"]) == {template}
    assert calls["decode_seconds"].sum() > 0
    requests = pl.read_parquet(run.folder / "requests" / "*" / "shard-*.parquet", hive_partitioning=False)
    assert set(requests["row_key"]) == set(calls["row_key"])
    edits = pl.read_parquet(run.folder / "edits.parquet").filter(pl.col("row_key").is_not_null())
    failed = pl.read_parquet(run.folder / "errors.parquet")
    assert failed.height == requests.filter(pl.col("is_final") & (pl.col("outcome") != "ok")).height
    assert requests["is_final"].any(), "the embedded model may not follow this protocol; that it was asked must not vanish"
    assert set(edits.filter(pl.col("start").is_null())["status"]) <= {"rejected"}
    if not failed.height:
        assert finish(*command, cwd=tmp_path).returncode == 0


def test_novel_goes_through_and_comes_back(tmp_path: Path, prefect_url: str) -> None:
    """120,000 words through every step; the scripted engine answers, for a model would take minutes on a slow machine."""
    folder = Folder(tmp_path, prefect_url)
    folder.configure(protocol="score")
    chapter = (DATA / "love-among-the-chickens-18.md").read_text("utf-8")
    novel = "\n\n".join(chapter.replace("## XVIII", f"## Chapter {number}") for number in range(40)).encode()
    (tmp_path / "book.md").write_bytes(novel)
    assert "chunks read" in folder.proofread().stderr, "progress is shown"
    counts = folder.run.read_manifest()["counts"]
    assert counts["words"] > 115_000
    assert counts["chapters"] == 40
    ids = pl.read_parquet(folder.run.folder / "findings.parquet")["finding_id"].to_list()
    assert ids
    (tmp_path / "none.json").write_text(json.dumps({"run": folder.run.name, "decisions": dict.fromkeys(ids, "reject")}))
    folder.flows("apply", "last", "--decisions", "none.json", "-o", "same.md")
    assert (tmp_path / "same.md").read_bytes() == novel
