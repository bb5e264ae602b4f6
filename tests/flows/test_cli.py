"""The installed command on files a user may give it: messages, exit codes, no traceback. Nothing here loads an engine."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

FLOWS = str(Path(sys.executable).with_name("flows"))


def flows(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FLOWS, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        encoding="utf-8",
    )


@pytest.fixture(autouse=True)
def use_one_server(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run starts one of its own otherwise, as those of tests/test_readme.py do."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)


def test_help_is_quick_and_explains_every_command(tmp_path: Path) -> None:
    started = time.monotonic()
    result = flows("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in ("run", "show", "status", "sql", "apply"):
        assert f"  {command} " in result.stdout
        assert flows(command, "--help", cwd=tmp_path).returncode == 0
    assert time.monotonic() - started < 30, "help must not import an engine"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, flows.__main__; print([name for name in ('torch', 'vllm', 'prefect', 'polars', 'pyarrow') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"


WRONG = [
    (["run", "proofread", "missing.md"], "missing.md: no such file"),
    (["run", "proofread", "folder"], "folder: no text in it"),
    (["run", "proofread", "*.nothing"], "no file fits"),
    (["run", "proofread", "book.docx"], "which is not read yet"),
    (["run", "proofread", "zeros.txt"], "zeros.txt"),
    (["run", "translate", "good.md"], "No flow 'translate'"),
    (["run", "proofread", "good.md", "-m", "no-such-model"], "neither a built-in name"),
    (["run", "proofread", "good.md", "--min-confidence", "2"], "min_confidence"),
    (["run", "proofread", "good.md", "--protocol", "guess"], "protocol"),
    (["run", "proofread", "good.md", "-o", "https://host/out"], "is an address of the web"),
    (["run", "proofread", "good.md", "-m", "smollm2-135m", "--max-tokens", "4000"], "exceeds max_model_len"),
    (["run", "proofread", "x" * 300], "x" * 300),
    (["run", "proofread", "good.md", "-o", "good.md"], "good.md"),
    (["show", "last"], "No run 'last'"),
    (["sql", "nothing", "select 1"], "No run 'nothing'"),
    (["apply", "nothing", "-o", "x.md"], "No run 'nothing'"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments)[:40] for arguments, _ in WRONG])
def test_wrong_use_says_what_to_do(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "good.md").write_text("One sentence.\n")
    (tmp_path / "book.docx").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "zeros.txt").write_bytes(bytes(1000))
    result = flows(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out" / "runs").exists(), "nothing was computed"


def test_unknown_key_in_flows_toml_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "flows.toml").write_text("min_confidance = 0.5\n")
    result = flows("status", cwd=tmp_path)
    assert result.returncode == 2
    assert "min_confidance" in result.stderr
    assert "min_confidence" in result.stderr, "the known keys are named"


def test_unknown_setting_in_the_environment_is_an_error(tmp_path: Path) -> None:
    result = flows("status", cwd=tmp_path, FLOWS_MIN_CONFIDANCE="0.5")
    assert result.returncode == 2
    assert "FLOWS_MIN_CONFIDANCE" in result.stderr
    result = flows("status", cwd=tmp_path, FLOWS_MODEL="big")
    assert result.returncode == 2
    assert "JSON" in result.stderr


def test_settings_come_from_file_environment_and_flags_in_that_order(tmp_path: Path) -> None:
    (tmp_path / "flows.toml").write_text('out = "from-file"\n')
    for arguments, environment, place in [
        ((), {}, "from-file"),
        ((), {"FLOWS_OUT": "from-environment"}, "from-environment"),
        (("-o", "from-flag"), {"FLOWS_OUT": "from-environment"}, "from-flag"),
    ]:
        result = flows("show", "last", *arguments, cwd=tmp_path, **environment)
        assert f"No run 'last' in {place}/runs" in result.stderr


def test_status_without_runs_says_how_to_start(tmp_path: Path) -> None:
    result = flows("status", cwd=tmp_path)
    assert result.returncode == 0
    assert "flows run proofread" in result.stdout


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"---\ntitle: x\n---\n\n```\ncode only\n```\n"])
def test_document_without_prose_is_a_clean_empty_run(content: bytes, tmp_path: Path) -> None:
    source = tmp_path / "empty.md"
    source.write_bytes(content)
    result = flows("run", "proofread", "empty.md", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "0 findings" in result.stdout
    (run,) = (tmp_path / "out" / "runs").iterdir()
    assert (run / "_SUCCESS").exists()
    assert json.loads((run / "manifest.json").read_text())["time"]["load_s"] == 0, "no engine was needed"
    assert flows("apply", "last", "-o", "fixed.md", cwd=tmp_path).returncode == 0
    assert (tmp_path / "fixed.md").read_bytes() == content


def test_unreadable_input_is_an_error_row_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "blank.md").write_text("\n")
    (tmp_path / "blank.edits.json").write_text('[{"start": 5, "end": 9, "original": "text", "corrected": "test"}]')
    (tmp_path / "zeros.txt").write_bytes(bytes(10))
    result = flows("run", "proofread", "blank.md", "zeros.txt", cwd=tmp_path)
    assert result.returncode == 3, "one of two inputs is more than the default --max-error-rate"
    assert "zeros.txt" in result.stderr
    assert "corrections belong to the exact text" in result.stderr, "somebody else's file costs a warning, not the run"
    assert "1 input or call did not come through" in result.stdout
    (run,) = (tmp_path / "out" / "runs").iterdir()
    assert (run / "_PARTIAL").exists()
    assert not (run / "_SUCCESS").exists()
    rows = flows("sql", "last", "select path, outcome from errors", "--format", "json", cwd=tmp_path)
    assert json.loads(rows.stdout) == {"path": "zeros.txt", "outcome": "unreadable"}
    assert flows("sql", "last", "", cwd=tmp_path).returncode == 0
    assert flows("sql", "last", "select nothing", cwd=tmp_path).returncode == 2


def test_apply_never_lets_one_document_replace_another(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "chapter.md").write_text("\n" * (1 + (folder == "b")))
    assert flows("run", "proofread", "a/chapter.md", "b/chapter.md", cwd=tmp_path).returncode == 0
    result = flows("apply", "last", "-o", "fixed", cwd=tmp_path)
    assert result.returncode == 2
    assert "called chapter.md" in result.stderr
    assert not (tmp_path / "fixed").exists(), "all or nothing"


def test_apply_never_writes_over_a_source(tmp_path: Path) -> None:
    (tmp_path / "book.md").write_text("\n")
    assert flows("run", "proofread", "book.md", cwd=tmp_path).returncode == 0
    result = flows("apply", "last", "-o", "book.md", cwd=tmp_path)
    assert result.returncode == 2
    assert "never overwritten" in result.stderr
