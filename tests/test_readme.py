"""Every command of the README is run as it is written, in one folder, in order; its tables and claims are checked against the code."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from pydantic import BaseModel

from flows.config import RunConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return [text for found, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) if found == language]


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


@dataclass
class Ran:
    """The folder in which the README was followed, and what each command printed."""

    folder: Path
    results: dict[str, subprocess.CompletedProcess[str]]

    @property
    def run(self) -> Path:
        (run,) = (self.folder / "out" / "runs").iterdir()
        return run


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Follows the README in a folder that holds a copy of data/; one real run with the embedded model, about a minute."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "data", folder / "data")
    results = {}
    for command in commands():
        if "pytest" in command:
            continue  # this is what runs here
        # the environment that uv made runs these tests; only its way of being called is left out
        arguments = shlex.split(command.removeprefix("pip install -q uv && ").removeprefix("uv run "))
        assert arguments[0] == "flows", command
        results[command] = subprocess.run(
            [str(BIN / "flows"), *arguments[1:]],
            cwd=folder,
            env=os.environ.copy(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=900,
            check=False,
        )
    return Ran(folder, results)


def test_every_command_succeeds(ran: Ran) -> None:
    failed = {command: result.stderr for command, result in ran.results.items() if result.returncode}
    assert not failed
    assert len(ran.results) >= 7


def test_run_ends_with_a_summary_a_person_can_read(ran: Ran) -> None:
    summary = next(iter(ran.results.values())).stdout
    assert re.search(r"1 document, .*[\d,]+ words: \d+ findings?", summary)
    assert "the surest" in summary
    assert re.search(r"\d of 6 corrections that people made here are among the findings", summary)
    assert "report.html" in summary
    assert "tokens/s" in summary
    assert len(summary.splitlines()) < 40
    told = next(iter(ran.results.values())).stderr.splitlines()
    assert [line for line in told if not re.match(r"\d+:\d\d  ", line)] == [], "progress, and nothing that libraries say"


def test_run_finds_the_misspellings_that_people_corrected(ran: Ran) -> None:
    found = {(row["original"], row["replacement"]) for row in pl.read_parquet(ran.run / "findings.parquet").to_dicts()}
    corrected = json.loads((ran.folder / "data" / "using-cpp-from-swift.edits.json").read_text())
    wanted = {(edit["original"], edit["corrected"]) for edit in corrected}
    assert len(wanted & found) >= 4


def test_run_folder_is_whole(ran: Ran) -> None:
    names = {path.name for path in ran.run.iterdir()}
    assert names >= {
        "report.html",
        "report.md",
        "using-cpp-from-swift.diff",
        "using-cpp-from-swift.critic.md",
        "manifest.json",
        "_SUCCESS",
        "findings.parquet",
        "edits.parquet",
        "errors.parquet",
        "documents.parquet",
    }
    assert not [name for name in names if name.startswith(".")], "no temporary file stays"


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
def test_diff_and_apply_make_the_same_document(ran: Ran) -> None:
    source = ran.folder / "data" / "using-cpp-from-swift.md"
    patched = ran.folder / "patched.md"
    shutil.copy(source, patched)
    subprocess.run(["patch", "-s", str(patched), str(ran.run / "using-cpp-from-swift.diff")], check=True)
    assert patched.read_bytes() == (ran.folder / "fixed.md").read_bytes()
    assert patched.read_bytes() != source.read_bytes()


def test_all_rejected_gives_the_source_back(ran: Ran) -> None:
    ids = pl.read_parquet(ran.run / "findings.parquet")["finding_id"].to_list()
    decisions = ran.folder / "none.json"
    decisions.write_text(json.dumps({"run": ran.run.name, "decisions": dict.fromkeys(ids, "reject")}))
    result = subprocess.run(
        [str(BIN / "flows"), "apply", "last", "--decisions", str(decisions), "-o", "same.md"], cwd=ran.folder, check=True, timeout=60
    )
    assert result.returncode == 0
    assert (ran.folder / "same.md").read_bytes() == (ran.folder / "data" / "using-cpp-from-swift.md").read_bytes()


def test_decisions_choose_what_is_applied(ran: Ran) -> None:
    rows = pl.read_parquet(ran.run / "findings.parquet").filter(pl.col("original") == "defintion").to_dicts()
    chosen = next(row for row in rows if row["replacement"] == "definition")
    decisions = ran.folder / "one.json"
    decisions.write_text(json.dumps({"run": ran.run.name, "decisions": {chosen["finding_id"]: "accept"}}))
    subprocess.run(
        [str(BIN / "flows"), "apply", "last", "--decisions", str(decisions), "-o", "one.md"], cwd=ran.folder, check=True, timeout=60
    )
    source = (ran.folder / "data" / "using-cpp-from-swift.md").read_bytes()
    assert (ran.folder / "one.md").read_bytes() == source.replace(b"defintion", b"definition")


def test_decisions_of_another_run_are_refused(ran: Ran) -> None:
    decisions = ran.folder / "other.json"
    decisions.write_text(json.dumps({"run": "another", "decisions": {}}))
    result = subprocess.run(
        [str(BIN / "flows"), "apply", "last", "--decisions", str(decisions), "-o", "never.md"],
        cwd=ran.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert "name that run" in result.stderr
    assert not (ran.folder / "never.md").exists()


def test_every_call_is_one_row_and_adds_up(ran: Ran) -> None:
    manifest = json.loads((ran.run / "manifest.json").read_text())
    calls = pl.read_parquet(ran.folder / "out" / "calls" / "*" / "part-*.parquet", hive_partitioning=False)
    assert calls["row_key"].n_unique() == calls.height
    assert set(calls["outcome"]) == {"ok"}
    assert calls["prompt_tokens"].sum() == manifest["time"]["prompt_tokens"]
    assert calls["engine_seconds"].sum() == pytest.approx(manifest["time"]["busy_s"], rel=0.02)
    scores = pl.read_parquet(ran.run / "scores" / "*" / "shard-*.parquet", hive_partitioning=False)
    assert set(scores["row_key"].drop_nulls()) <= set(calls["row_key"])


def test_same_command_again_computes_nothing_and_gives_the_same_tables(ran: Ran) -> None:
    before = {path.name: path.read_bytes() for path in ran.run.glob("*.parquet")}
    command = next(iter(ran.results))
    arguments = shlex.split(command.partition("uv run ")[2])
    result = subprocess.run([str(BIN / "flows"), *arguments[1:]], cwd=ran.folder, capture_output=True, text=True, timeout=200, check=True)
    manifest = json.loads((ran.run / "manifest.json").read_text())
    assert manifest["time"]["load_s"] == 0, "no engine was loaded"
    assert manifest["time"]["num_stored"] == manifest["time"]["num_calls"] > 30
    assert "from the store" in result.stdout
    assert {path.name: path.read_bytes() for path in ran.run.glob("*.parquet")} == before


def test_python_blocks_run(ran: Ran) -> None:
    told = [
        subprocess.run([sys.executable, "-c", block], cwd=ran.folder, capture_output=True, text=True, timeout=60, check=True).stdout
        for block in blocks("python")
    ]
    assert "definition" in told[0] or "heuristics" in told[0]
    assert all(told)


def test_polars_and_duckdb_read_the_same_findings(ran: Ran) -> None:
    path = str(ran.run / "findings.parquet")
    polars = pl.read_parquet(path).select("finding_id", "start", "confidence").rows()
    assert duckdb.sql(f"select finding_id, start, confidence from read_parquet('{path}')").fetchall() == polars


def test_configuration_table_is_the_code_s() -> None:
    rows = ["| key | default | what it is |", "| --- | --- | --- |"]
    for name, field in RunConfig.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(exclude_none=True)
        shown = json.dumps(default if not isinstance(default, tuple) else list(default)) if default is not None else "none"
        rows.append(f"| `{name}` | `{shown}` | {(field.description or '').strip()} |")
    assert "\n".join(rows) in README


def test_toml_block_is_a_valid_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flows.toml").write_text("\n".join(sorted(blocks("toml"), key=lambda block: block.startswith("["))))
    monkeypatch.chdir(tmp_path)
    config = RunConfig()
    assert config.find_model("big").protocol == "edits"
    assert config.prices.per_engine_hour == Decimal("2.50")
    assert config.find_model("remote").engine == "endpoint"
    assert config.find_prices("remote").output_per_million == Decimal("1.60")


EVENTS = {
    "the same command again": "tests/test_readme.py::test_same_command_again_computes_nothing_and_gives_the_same_tables",
    "another model is added": "tests/flows/test_resume.py::test_another_model_adds_its_own_calls_and_repeats_none",
    "a paragraph of a document changes": "tests/flows/test_resume.py::test_edited_paragraph_costs_the_chunks_that_hold_or_border_it",
    "two chunks are the same": "tests/flows/test_resume.py::test_identical_chunks_are_one_call",
    "the style sheet changes": (
        "tests/flows/test_styles.py::test_a_proposed_sheet_that_is_copied_changes_findings_and_asks_no_model_again"
    ),
    "`--fresh`": "tests/flows/test_resume.py::test_fresh_computes_anew_and_leaves_what_is_stored",
    "the run is killed, whenever": "tests/flows/test_kill.py::test_real_run_killed_20_times_in_a_row",
    "the engine's process dies": "tests/flows/test_endings.py::test_killed_engine_process_is_started_again_and_the_run_goes_on",
    "a call kills the engine twice": "tests/flows/test_endings.py::test_row_that_kills_the_engine_is_set_aside_and_the_rest_finishes",
    "the store does not answer, or answers 500": (
        "tests/flows/test_store_runs.py::test_a_store_that_goes_away_ends_the_run_and_the_same_command_resumes"
    ),
    "the disk is full": "tests/flows/test_endings.py::test_full_disk_is_5_loses_nothing_and_goes_on_when_there_is_room",
    "Ctrl-C, SIGTERM": "tests/flows/test_endings.py::test_signal_is_128_and_more_and_the_next_run_computes_only_the_rest",
    "the same run is started twice at once": "tests/flows/test_endings.py::test_same_run_is_not_worked_on_twice_at_once",
    "a file cannot be read (binary, wrong format, missing)": "tests/flows/test_endings.py::test_unreadable_inputs_count_as_failed_rows",
    "a row of a table cannot be read": (
        "tests/chunkers/readers/test_tables.py::test_line_that_is_no_document_says_why_and_the_others_go_on"
    ),
    "a call fails": "tests/flows/test_endings.py::test_failed_rows_are_3_above_the_rate_and_0_below",
    "an answer is cut at its limit": "tests/engine/test_generate.py::test_endless_answer_about_one_sentence_costs_that_sentence_alone",
    "an input is too long": "tests/engine/test_generate.py::test_prompt_that_is_too_long_is_split",
    "an answer is no valid JSON, or none of its edits can be placed": "tests/engine/test_generate.py::test_quote_from_nowhere_is_corrected",
    "a model refuses": "tests/engine/test_generate.py::test_bad_answers_end_as_a_failure_with_the_last_one",
    "a limit is reached (`max_cost`, `max_engine_hours`, `deadline`)": (
        "tests/flows/test_endings.py::test_spent_budget_is_4_and_the_command_without_it_goes_on"
    ),
    "the model, its `engine_args`, the prompt or the sampling changes": (
        "tests/engine/test_calls.py::test_row_key_follows_what_decides_the_answer"
    ),
    "a locked model differs from `models.lock`": "tests/flows/test_models_command.py::test_pull_locks_what_a_run_then_holds_to",
    "a model does not fit into memory, or is asked for more than its length": (
        "tests/flows/test_weights.py::test_model_that_does_not_fit_is_2_before_the_first_one_computes"
    ),
    "a document is not UTF-8": "tests/chunkers/readers/test_decode.py::test_stray_bytes_in_utf_8_are_kept_and_protected",
}
"""Each line of «What happens when», and the test that holds it to it."""


def test_what_happens_when_is_held_by_a_test_line_by_line() -> None:
    table = README.partition("## What happens when")[2].partition("\n\nExit codes")[0]
    events = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert events == list(EVENTS)
    for test in EVENTS.values():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text("utf-8"), test


def test_files_named_in_the_readme_are_there() -> None:
    (tree,) = [block for block in blocks("") if block.startswith("chunkers/")]
    folder = ROOT
    for line in tree.splitlines():
        if not line.startswith(" "):
            folder = ROOT / line.split("/")[0]
            assert folder.is_dir(), line
            continue
        for name in re.findall(r"\b[\w]+\.py\b|\b\w+/", line):
            assert (folder / name).exists(), f"{folder.name}/{name}"


def test_links_lead_somewhere_and_nothing_is_left_open() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert "data/report.png" in targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
    assert not re.search(r"[A-Z]+_HERE|TODO", README)
