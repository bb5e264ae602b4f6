"""`flows eval` and `flows calibrate` as installed commands: one JSON object, readable tables, messages, and runs that are not repeated."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.flows.scripted import DATA, Folder

FLOWS = str(Path(sys.executable).with_name("flows"))
TEXT = "He recieved it. The the end occured, she said.\n"
FIXES = [
    {"start": TEXT.index(old), "end": TEXT.index(old) + len(old), "original": old, "corrected": new, "type": "SPELL", "evident": is_evident}
    for old, new, is_evident in (("recieved", "received", True), ("occured", "occurred", False))
]


def flows(*arguments: str, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [FLOWS, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        encoding="utf-8",
    )
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / f"{name}.md").write_text(TEXT + name)
        (tmp_path / f"{name}.edits.json").write_text(json.dumps(FIXES))
    (tmp_path / "docs-manifest.json").write_text(
        json.dumps([{"name": "one", "source": "standardebooks/a"}, {"name": "two", "source": "b/c"}])
    )
    return tmp_path


def test_baselines_alone_are_measured_without_a_run(folder: Path) -> None:
    result = flows("eval", "proofread", "one.md", "two.md", "--baselines-only", "--baseline", "harper", "--json", cwd=folder)
    found = json.loads(result.stdout)
    assert (found["documents"], found["books"], found["corrections"], found["corrections_evident"]) == (2, 2, 4, 2)
    assert "precision" not in found, "nothing of ours was measured"
    harper = found["baselines"]["harper"]
    assert harper["recall"] == 1.0
    assert harper["findings"] == 6, "the doubled word too, which nobody corrected"
    assert harper["precision"] == pytest.approx(4 / 6, abs=1e-4)
    assert harper["false_alarms_per_10k_words"] == pytest.approx(2 / found["words"] * 10_000, abs=0.01)
    assert harper["curve"] == [
        {
            "confidence": 1.0,
            "precision": harper["precision"],
            "recall": 1.0,
            "false_alarms_per_10k_words": harper["false_alarms_per_10k_words"],
        }
    ]
    assert sorted(harper["groups"]) == ["documentation", "novels"]
    assert not (folder / "out").exists()


WRONG = [
    (["eval", "proofread"], "Give documents"),
    (["eval", "proofread", "one.md", "--baselines-only"], "no baseline is given"),
    (["eval", "proofread", "--run", "last", "-m", "big"], "leave --run or the setting out"),
    (["eval", "proofread", "one.md", "--baseline", "no-such-model/edits"], "neither a built-in name"),
    (["eval", "proofread", "one.md", "--min-confidence", "1.5"], "from 0 to 1"),
    (["eval", "proofread", "bare.md"], "bare.md has no corrections beside it"),
    (["calibrate", "last"], "No run 'last'"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_use_says_what_to_do_before_anything_is_computed(arguments: list[str], words: str, folder: Path) -> None:
    (folder / "bare.md").write_text(TEXT)
    result = flows(*arguments, cwd=folder, code=2)
    assert words in result.stderr
    assert result.stdout == ""
    assert not (folder / "out").exists()


def test_settings_that_cannot_be_measured_with_are_refused(folder: Path) -> None:
    assert "limit is set" in flows("eval", "proofread", "one.md", cwd=folder, code=2, FLOWS_LIMIT="3").stderr
    result = flows("run", "proofread", "one.md", cwd=folder, code=2, FLOWS_CALIBRATION="none.json")
    assert "calibration=none.json cannot be used" in result.stderr
    assert not (folder / "out").exists(), "nothing was loaded"


def test_baseline_that_is_not_installed_names_the_extra(folder: Path) -> None:
    code = "import sys; sys.modules['codespell_lib'] = None; from flows.__main__ import main; main()"
    arguments = ["eval", "proofread", "one.md", "--baselines-only", "--baseline", "codespell"]
    result = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "codespell_lib, which is not installed; it comes with the extra `eval`" in result.stderr


def test_help_says_that_no_book_may_be_on_both_sides(tmp_path: Path) -> None:
    told = " ".join(flows("eval", "--help", cwd=tmp_path).stdout.split())
    assert "no book may be in the documents that you develop or calibrate with and in those that you test with" in told


@pytest.mark.slow
def test_run_is_measured_calibrated_and_not_repeated(tmp_path: Path, prefect_url: str) -> None:
    made = Folder(tmp_path, prefect_url)
    made.configure(protocol="score")
    for name in ("love-among-the-chickens-18", "using-cpp-from-swift"):
        for suffix in (".md", ".edits.json"):
            (tmp_path / f"{name}{suffix}").write_bytes((DATA / f"{name}{suffix}").read_bytes())
    arguments = ("eval", "proofread", "*.md", "-m", "fake", "--json")
    told = made.flows(*arguments, "--baseline", "harper", "--baseline", "fake/edits")
    found = json.loads(told.stdout)
    assert {"precision", "recall", "f05", "false_alarms_per_10k_words", "curve", "baselines"} <= found.keys()
    assert found["corrections"] == 11
    assert found["models"] == ["fake (score)"]
    assert "comes with galley" in found["calibration"]
    assert set(found["baselines"]) == {"harper", "fake/edits"}
    assert found["baselines"]["fake/edits"]["findings"] == 0, "it answers with no edits, and no rule's are counted as its own"
    assert found["curve"][-1]["recall"] > 0.3
    findings = pl.read_parquet(tmp_path / "out" / "runs" / found["run"] / "findings.parquet").filter(pl.col("status") != "conflict")
    assert found["suggested"]["findings"] == findings.height > 0
    num_calls = made.calls().height
    again = json.loads(made.flows(*arguments).stdout)
    assert again == {**found, "baselines": {}}
    assert made.calls().height == num_calls, "a rerun computes nothing"
    manifest = json.loads((tmp_path / "out" / "runs" / found["run"] / "manifest.json").read_text())
    assert manifest["time"]["load_s"] == 0

    crossed = json.loads(made.flows("eval", "proofread", "--run", found["run"], "--cross-validate", "--json").stdout)
    assert crossed["calibration"] == "each book by a calibration fitted on the other books"
    assert crossed["curve"] != found["curve"]
    tables = made.flows("eval", "proofread", "--run", found["run"], "--min-confidence", "0.1").stdout
    assert "2 documents of 2 books" in tables
    assert "at confidence 0.1 and above" in tables

    printed = made.flows("calibrate", found["run"])
    assert "by cross-validation over books" in printed.stderr
    written = made.flows("calibrate", found["run"], "-o", "own.json")
    assert (tmp_path / "own.json").read_text("utf-8") == printed.stdout
    assert "11 corrections by people" in written.stdout
    (tmp_path / "flows.toml").write_text('calibration = "own.json"\n' + (tmp_path / "flows.toml").read_text())
    own = json.loads(made.flows(*arguments).stdout)
    assert own["calibration"] == "the calibration own.json"
    assert own["run"] != found["run"], "what confidences come from is part of a run's name"
    assert own["curve"] != found["curve"]
