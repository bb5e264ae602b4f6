"""Nothing is computed twice: the same command, another model, an edited paragraph, a call looked at, verified and asked again."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.flows.scripted import Folder

OTHER = """
[models.other]
source = "smollm2-135m"
engine = "scripted"
protocol = "edits"
engine_args = { batch = 5 }
"""


@pytest.fixture
def folder(tmp_path: Path, prefect_url: str) -> Folder:
    made = Folder(tmp_path, prefect_url)
    made.copy("love-among-the-chickens-18.md")
    made.configure()
    return made


def plan_of(folder: Folder, *arguments: str) -> dict[str, Any]:
    """The plan of the first model."""
    told = folder.flows("plan", "proofread", "book.md", "-m", "fake", "--format", "json", *arguments)
    plan: dict[str, Any] = json.loads(told.stdout)
    return plan["models"][0] | {"words": plan["words"], "run": plan["run"]}


@pytest.mark.slow
def test_plan_tells_what_a_run_then_computes_and_writes_nothing(folder: Folder) -> None:
    before = plan_of(folder)
    assert (before["calls_stored"], before["calls_failed"], before["calls_new"]) == (0, 0, before["chunks_new"])
    assert not (folder.path / "out").exists()
    folder.proofread()
    assert folder.run.name == before["run"]
    assert folder.calls().height == before["calls_new"]
    assert folder.calls()["prompt_tokens"].sum() == before["new_prompt_tokens"]
    after = plan_of(folder)
    assert (after["calls_new"], after["calls_stored"], after["new_prompt_tokens"]) == (0, before["calls_new"], 0)
    assert "no engine is needed" in folder.flows("plan", "proofread", "book.md", "-m", "fake").stdout


@pytest.mark.slow
def test_plan_of_the_score_protocol_knows_the_judging_calls_of_what_was_read(folder: Folder) -> None:
    folder.configure(protocol="score")
    before = plan_of(folder)
    assert before["calls_expected"] > 10 * before["chunks_new"] > 0
    folder.proofread()
    after = plan_of(folder)
    assert (after["calls_new"], after["calls_expected"]) == (0, 0)
    assert after["calls_stored"] == folder.calls().height > 10 * before["chunks_new"]


@pytest.mark.slow
def test_edited_paragraph_costs_the_chunks_that_hold_or_border_it(folder: Folder) -> None:
    book = folder.path / "book.md"
    text = "\n\n".join(book.read_text("utf-8").replace("the", f"the {word}", 5) for word in ("first", "second", "third", "fourth"))
    book.write_text(text, "utf-8")
    folder.proofread()
    num_chunks = plan_of(folder)["chunks_stored"]
    middle = text.index("\n\n", len(text) // 2) + 2
    book.write_text(text[:middle] + "A paragraph more, which nobody has read.\n\n" + text[middle:], "utf-8")
    plan = plan_of(folder)
    assert 1 <= plan["chunks_new"] <= 3 < num_chunks
    num_before = folder.calls().height
    folder.flows("run", "proofread", "book.md", "-m", "fake")
    assert folder.calls().height == num_before + plan["calls_new"]


@pytest.mark.slow
def test_identical_chunks_are_one_call(folder: Folder) -> None:
    section = "# Part\n\n" + "Each of these pages holds the very same words as all of the others do. " * 12
    (folder.path / "book.md").write_text("\n\n".join([section] * 12))
    folder.proofread("--max-tokens", "200")
    requests = folder.requests()
    assert len({row_key for *_, row_key, _, _ in requests}) == folder.calls().height < len(requests) / 2


@pytest.mark.slow
def test_another_model_adds_its_own_calls_and_repeats_none(folder: Folder) -> None:
    folder.proofread()
    calls = folder.calls()
    with (folder.path / "flows.toml").open("a") as settings:
        settings.write(OTHER)
    folder.proofread("-m", "other")
    both = folder.calls()
    assert both.filter(pl.col("model") == "fake").equals(calls)
    assert both.filter(pl.col("model") == "other").height == calls.height


@pytest.mark.slow
def test_fresh_computes_anew_and_leaves_what_is_stored(folder: Folder) -> None:
    folder.proofread()
    num_calls = folder.calls().height
    tables = folder.tables()
    assert plan_of(folder, "--fresh")["calls_new"] == num_calls
    folder.proofread("--fresh")
    calls = folder.calls()
    assert calls.height == 2 * num_calls
    assert calls["row_key"].n_unique() == num_calls
    assert folder.tables() == tables
    assert folder.run.read_manifest()["time"]["num_stored"] == 0


@pytest.mark.slow
def test_failed_calls_are_listed_shown_and_asked_again_by_outcome(folder: Folder) -> None:
    folder.copy("using-cpp-from-swift.md")
    folder.configure(reject_word="huristics")
    folder.proofread("--max-error-rate", "1")
    rows = [json.loads(line) for line in folder.flows("errors", "last", "--format", "json").stdout.splitlines()]
    assert [(row["outcome"], row["document"], row["model"]) for row in rows] == [("engine_error", "book.md", "fake")]
    shown = folder.flows("show", "last", "--call", rows[0]["call"]).stdout
    assert "Swift will try to use [`huristics`" in re.sub(r"\s+", " ", shown) or "huristics" in shown, "the prompt can be read"
    assert "attempt 3: engine_error" in shown
    assert "told to refuse" in shown
    num_calls = folder.calls().height
    assert plan_of(folder)["calls_failed"] == 1
    with (folder.path / "flows.toml").open("r+") as settings:
        changed = "limit = 1\n" + settings.read()
        settings.seek(0)
        settings.write(changed)
    elsewhere = Folder(folder.path / "elsewhere", folder.prefect_url)
    elsewhere.path.mkdir()
    elsewhere.flows("retry", str(folder.run.folder), "--only", "truncated")
    assert folder.calls().height == num_calls, "a failure of another kind stands"
    assert folder.run.state == "partial"
    folder.flows("retry", "last", "--only", "truncated,engine_error")
    assert folder.calls().height == num_calls + 3
    assert "is no outcome" in folder.flows("retry", "last", "--only", "rejected", code=2).stderr
    assert "names no call" in folder.flows("show", "last", "--call", "xyz", code=2).stderr
    assert "No call" in folder.flows("show", "last", "--call", "0" * 64, code=2).stderr


@pytest.mark.slow
def test_verify_asks_a_sample_again_and_leaves_the_store_alone(folder: Folder) -> None:
    folder.configure(protocol="score")
    folder.proofread("--limit", "2")
    num_calls = folder.calls().height
    told = folder.flows("verify", "last", "--sample", "20").stdout
    assert f"20 of 20 answers identical (100.0%), of {num_calls:,} calls" in told
    assert "batch_invariant, scripted 1" in told
    assert folder.calls().height == num_calls


@pytest.mark.slow
def test_verify_sees_an_answer_that_changed(folder: Folder) -> None:
    folder.configure(protocol="score")
    folder.proofread("--limit", "1")
    (part, *_) = sorted((folder.path / "out").glob("calls/*/part-*.parquet"))
    calls = pl.read_parquet(part, hive_partitioning=False)
    changed = calls.with_columns(pl.col("logprobs").list.eval(pl.element() - 0.25))
    changed.to_arrow().replace_schema_metadata()
    import pyarrow.parquet as pq

    schema = pq.read_schema(part)
    pq.write_table(changed.to_arrow().cast(schema), part)
    told = folder.flows("verify", "last", "--sample", "5").stdout
    assert "0 of 5 answers identical (0.0%)" in told
    assert "0.250000 nats" in told


@pytest.mark.slow
def test_log_and_ledger_are_there_afterwards(folder: Folder) -> None:
    folder.configure(protocol="score", seconds_a_call=0.002)
    folder.proofread()
    ledger = pl.read_parquet(folder.run.folder / "ledger.parquet")
    assert ledger["kind"].to_list() == ["load", "prefill", "cached", "decode", "idle"]
    assert ledger["num_calls"].drop_nulls().unique().to_list() == [folder.calls().height]
    assert ledger.filter(pl.col("kind") == "prefill")["tokens"].item() == folder.calls()["prompt_tokens"].sum()
    held_s = ledger["engine_seconds"].sum()
    assert float(ledger["cost"].sum()) == pytest.approx(held_s / 3600, rel=1e-3)
    report = (folder.run.folder / "report.md").read_text()
    assert "\n- per accepted finding: " in report


@pytest.mark.slow
def test_plan_and_reading_commands_import_neither_prefect_nor_an_engine(folder: Folder) -> None:
    folder.proofread("--limit", "1")
    for arguments in (["plan", "proofread", "book.md", "-m", "fake"], ["status"], ["show", "last"], ["errors", "last"], ["logs", "last"]):
        code = f"""
import sys
from flows.__main__ import main
sys.argv = ["flows", *{arguments}]
try:
    main()
except SystemExit as end:
    print(end.code, [name for name in ("prefect", "vllm", "torch") if name in sys.modules])
"""
        told = subprocess.run([sys.executable, "-c", code], cwd=folder.path, capture_output=True, text=True, timeout=60, check=True)
        assert told.stdout.splitlines()[-1] == "0 []", arguments
