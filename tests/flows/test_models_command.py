"""`flows models`: pulled models are locked, runs hold to the lock, and a check finds what is wrong with the files."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from flows import commands_models, commands_run  # noqa: F401 - they add their commands to the application
from flows.cli import app
from tests.flows.scripted import FLOWS, Folder
from tests.hub import serve_hub
from tests.s3 import serve_s3
from tests.tiny import NUM_PARAMETERS, TEMPLATE, write_tiny

CLOSED = "http://127.0.0.1:9"
SETTINGS = """
[models.tiny]
source = "{source}"
engine = "scripted"
protocol = "edits"
"""


class Shell:
    """A working folder with a cache of its own, and the commands run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def configure(self, source: str = "./tiny") -> None:
        (self.path / "flows.toml").write_text(SETTINGS.format(source=source))

    def flows(self, *arguments: str, code: int = 0) -> str:
        """What the command printed; its exit code must be `code`. Errors are told on stderr alone."""
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, f"{result.exit_code}: {result.output}{result.exception!r}"
        self.stderr = result.stderr
        return result.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.flows(*arguments, "--format", "json", code=code))

    @property
    def lock(self) -> Any:
        return json.loads((self.path / "models.lock").read_text())["models"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """With a model in the folder `tiny`, as `tiny` in flows.toml."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("FLOWS_CACHE", str(tmp_path / "cache"))
    write_tiny(tmp_path / "work" / "tiny", num_shards=2, max_position_embeddings=8192)
    shell = Shell(tmp_path / "work")
    shell.configure()
    return shell


def test_pull_locks_what_a_run_then_holds_to(shell: Shell) -> None:
    (shell.path / "book.md").write_text("One sentence of it.\n")
    assert "locked now" in shell.flows("models", "pull", "tiny")
    (entry,) = shell.lock.values()
    files = {path.name: path.stat().st_size for path in (shell.path / "tiny").iterdir() if path.name != "README.md"}
    assert {name: file["num_bytes"] for name, file in entry["files"].items()} == files
    assert entry["num_bytes"] == sum(files.values())
    locked = (shell.path / "models.lock").read_bytes()
    assert "as locked" in shell.flows("models", "pull", "tiny")
    folder = Folder(shell.path, prefect_url="")
    for command, changed in (("plan", "tokenizer_config.json"), ("run", "model-00001-of-00002.safetensors")):
        write_tiny(shell.path / "tiny", num_shards=2, max_position_embeddings=8192)
        path = shell.path / "tiny" / changed
        path.write_bytes(path.read_bytes()[:-1] + b" ")
        shell.flows("models", "pull", "tiny", code=2)
        for told in (shell.stderr, folder.flows(command, "proofread", "book.md", "-m", "tiny", code=2).stderr):
            assert f"{changed} has the checksum" in told
            assert "flows models pull ./tiny --update" in told
        assert not (shell.path / "out").exists(), "nothing was computed"
    assert (shell.path / "models.lock").read_bytes() == locked
    shell.flows("models", "pull", "./tiny", "--update")
    assert (shell.path / "models.lock").read_bytes() != locked
    folder.flows("plan", "proofread", "book.md", "-m", "tiny")


def test_lock_holds_however_the_folder_is_written(shell: Shell) -> None:
    shell.flows("models", "pull", "tiny")
    path = shell.path / "tiny" / "tokenizer.json"
    path.write_bytes(path.read_bytes() + b" ")
    (shell.path / "book.md").write_text("One sentence of it.\n")
    (shell.path / "flows.toml").unlink()
    for name in ("tiny", "./tiny/", str(shell.path / "tiny")):
        shell.flows("plan", "proofread", "book.md", "-m", name, code=2)
        assert "tokenizer.json has" in shell.stderr
    (shell.path / "flows.toml").write_text(
        '[models.far]\nsource = "x"\nengine = "endpoint"\nbase_url = "http://localhost:1/v1"\ntokenizer = "tiny"\n'
    )
    shell.flows("plan", "proofread", "book.md", "-m", "far", code=2)
    assert "./tiny is not the model that models.lock has: tokenizer.json has" in shell.stderr
    (shell.path / "tiny" / "model-00001-of-00002.safetensors").unlink()
    path.write_bytes(path.read_bytes()[:-1])
    shell.flows("plan", "proofread", "book.md", "-m", "far")


def test_draft_model_of_the_hub_is_2_before_anything_is_computed(shell: Shell) -> None:
    (shell.path / "book.md").write_text("One sentence of it.\n")
    with (shell.path / "flows.toml").open("a") as file:
        file.write('[models.fast]\nsource = "tiny"\nengine_args = { speculative_config = { model = "org/draft" } }\n')
    shell.flows("run", "proofread", "book.md", "-m", "fast", code=2)
    assert "A draft model is a folder on this machine" in shell.stderr
    assert not (shell.path / "out").exists()


def test_pull_without_names_takes_all_of_flows_toml_and_of_the_lock(shell: Shell) -> None:
    write_tiny(shell.path / "other", seed=1)
    with (shell.path / "flows.toml").open("a") as file:
        file.write('[models.far]\nsource = "x"\nengine = "endpoint"\nbase_url = "http://localhost:1/v1"\n')
    (shell.path / "flows.toml").write_text('model = ["tiny"]\n' + (shell.path / "flows.toml").read_text())
    shell.flows("models", "pull", "./other")
    assert [each["name"] for each in shell.json("models", "pull")] == ["tiny", "./other"]
    assert sorted(shell.lock) == ["./other", "./tiny"]
    shell.flows("models", "pull", "far", code=2)
    assert "asked at a server" in shell.stderr


def test_list_tells_what_there_is(shell: Shell) -> None:
    (shell.path / "flows.toml").write_text((shell.path / "flows.toml").read_text() + '[models.gone]\nsource = "./no-folder"\n')
    shell.flows("models", "pull", "tiny")
    rows = {row["name"]: row for row in shell.json("models", "list")}
    assert rows["smollm2-135m"]["origin"] == "built-in"
    tiny = rows["tiny"]
    assert (tiny["origin"], tiny["is_locked"], tiny["quantization"], tiny["context_tokens"]) == ("flows.toml", True, "none", 8192)
    assert tiny["num_bytes"] == sum(path.stat().st_size for path in (shell.path / "tiny").iterdir())
    assert rows["gone"]["num_bytes"] is None
    assert "nor a folder" in rows["gone"]["problem"]
    shown = shell.flows("models", "list").splitlines()
    assert [line.split()[0] for line in shown if not line.startswith(" ")] == [
        "model",
        "smollm2-135m",
        "smollm2-135m-proofreader",
        "tiny",
        "gone",
    ]
    assert "flows: gone: No model" in shell.stderr
    assert not list((shell.path.parent / "cache").glob("models/*")), "listing converts nothing"


def test_show_tells_what_the_files_say(shell: Shell) -> None:
    shown = shell.json("models", "show", "tiny")
    assert shown["num_parameters"] == NUM_PARAMETERS
    assert (shown["architecture"], shown["licence"], shown["is_locked"]) == ("LlamaForCausalLM", "apache-2.0", False)
    text = shell.flows("models", "show", "tiny")
    assert "chat template  yes" in text
    assert "32 B of KV cache a token (256.0 KiB for one of full length)" in text
    shell.flows("models", "show", "hf:org/unheard-of", code=2)
    assert "This command fetches nothing; flows models pull hf:org/unheard-of" in shell.stderr


def test_check_reads_every_byte(shell: Shell) -> None:
    shard = shell.path / "tiny" / "model-00002-of-00002.safetensors"
    for path in (shell.path / "tiny").iterdir():
        os.utime(path, (time.time() - 60, time.time() - 60))
    shell.flows("models", "pull", "tiny")
    (checked,) = shell.json("models", "check", "tiny")
    assert (checked["is_ok"], checked["is_locked"], checked["faults"]) == (True, True, [])
    status, content = shard.stat(), shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # one bit, as a disk loses it
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "1 fault" not in shell.flows("models", "list")
    (checked,) = shell.json("models", "check", "tiny", code=2)
    assert any("has other bytes than when it was read last" in fault for fault in checked["faults"])
    assert any(f"{shard.name} has the checksum" in fault and "--update" in fault for fault in checked["faults"])
    assert "fault" in shell.flows("models", "check", "tiny", code=2)
    assert f"{shard.name} has the checksum" in shell.stderr


def test_check_says_what_is_wrong_without_a_lock_too(shell: Shell) -> None:
    assert "ok" in shell.flows("models", "check", "tiny")
    settings = shell.path / "tiny" / "tokenizer_config.json"
    settings.write_text(json.dumps({"chat_template": TEMPLATE + "{{ raise_exception('no system') }}"}))
    (shell.path / "tiny" / "model-00001-of-00002.safetensors").write_bytes(b"cut")
    (checked,) = shell.json("models", "check", "tiny", code=2)
    assert [("no whole safetensors" in fault, "chat template" in fault) for fault in checked["faults"]] == [(True, False), (False, True)]
    (shell.path / "tiny" / "model-00001-of-00002.safetensors").unlink()
    (checked,) = shell.json("models", "check", "tiny", code=2)
    assert "lacks model-00001-of-00002.safetensors" in checked["faults"][0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models", "list", "--format", "xml"], "it must be table or json"),
        (["models", "pull", "no-such-model"], "neither a built-in name"),
        (["models", "pull", "tiny", "--updat"], "--updat"),
        (["models", "check", "hf:org/unheard-of"], "is not on this machine"),
        (["models", "shwo", "tiny"], "shwo"),
    ],
)
def test_wrong_use_says_what_to_do(arguments: list[str], words: str, shell: Shell) -> None:
    shell.flows(*arguments, code=2)
    assert words in shell.stderr
    assert not (shell.path / "models.lock").exists()


@pytest.mark.parametrize("command", [("models", "pull"), ("models", "list"), ("models", "check")])
def test_broken_lock_stops_every_command(command: tuple[str, str], shell: Shell) -> None:
    (shell.path / "flows.toml").write_text('model = ["tiny"]\n' + (shell.path / "flows.toml").read_text())
    (shell.path / "models.lock").write_text("<<<<<<< ours")
    shell.flows(*command, code=2)
    assert "models.lock cannot be used" in shell.stderr


@pytest.fixture
def s3_environment() -> Iterator[dict[str, str]]:
    with serve_s3() as environment:
        yield environment


@pytest.mark.slow
def test_model_in_a_bucket_works_wherever_a_model_is_named(
    shell: Shell, s3_environment: dict[str, str], prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in s3_environment.items():
        monkeypatch.setenv(key, value)
    s3 = fsspec.filesystem("s3")
    s3.clear_instance_cache()
    s3 = fsspec.filesystem("s3")
    s3.mkdir("models")
    for path in (shell.path / "tiny").iterdir():
        s3.pipe_file(f"models/llm/{path.name}", path.read_bytes())
    folder = Folder(shell.path, prefect_url)
    (shell.path / "book.md").write_text("One sentence of it.\n")
    folder.flows("plan", "proofread", "book.md", "-m", "s3://models/llm")
    shell.configure("s3://models/llm")
    shell.flows("models", "pull", "tiny")
    monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
    folder.flows("run", "proofread", "book.md", "-m", "tiny")
    (model,) = folder.run.read_manifest()["models"]
    assert model["revision"] == shell.lock["s3://models/llm"]["revision"]
    rows = {row["name"]: row for row in shell.json("models", "list")}
    assert rows["tiny"]["num_bytes"] > 0, "what is locked is found without the bucket"
    s3.clear_instance_cache()


def test_hub_is_asked_once_and_a_locked_model_needs_it_no_more(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "FLOWS_CACHE": str(tmp_path / "cache")}

    def flows(*arguments: str, code: int = 0, **changes: str) -> str:
        result = subprocess.run([FLOWS, *arguments], cwd=tmp_path, env=environment | changes, capture_output=True, text=True, timeout=120)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        assert "%|" not in result.stderr, "no bar where there is no terminal"
        return result.stderr

    (tmp_path / "book.md").write_text("One sentence of it.\n")
    plan = ("plan", "proofread", "book.md", "-m", "hf:org/tiny")
    with serve_hub() as hub:
        commit = hub.push("org/tiny", write_tiny(tmp_path / "m", max_position_embeddings=8192))
        flows("models", "pull", "hf:org/tiny", HF_ENDPOINT=hub.url)
        assert json.loads((tmp_path / "models.lock").read_text())["models"]["hf:org/tiny"]["revision"] == commit
        assert not [each for each in hub.asked if "org/tiny" not in each], "nothing else is told the hub"
        hub.push("org/tiny", write_tiny(tmp_path / "m", seed=1, max_position_embeddings=8192))
        flows(*plan, HF_ENDPOINT=hub.url)
    flows(*plan, HF_ENDPOINT=CLOSED)
    started = time.monotonic()
    assert "did not answer as a hub" in flows("models", "pull", "hf:org/tiny", "--update", code=2, HF_ENDPOINT=CLOSED)
    assert "HF_HUB_OFFLINE is set" in flows("run", "proofread", "book.md", "-m", "hf:org/other", code=2, HF_HUB_OFFLINE="1")
    assert time.monotonic() - started < 60
