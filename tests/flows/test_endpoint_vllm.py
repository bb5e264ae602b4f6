"""The embedded model behind a real `vllm serve` on this machine, asked through the command line and as an engine."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from chunkers.tokens import Tokenizer
from engine.endpoint import EndpointEngine
from engine.models import Model
from engine.protocol import EngineRefusedError
from engine.records import Outcome, Request, Sampling
from tests.engine.test_contract import SCHEMA
from tests.flows.scripted import Folder

KEY = "sk-of-the-local-server"
MAX_MODEL_LEN = 2560
pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture(scope="module")
def url(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server; a minute to start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "small", "--enforce-eager", "--block-size", "32"]
    arguments += [
        "--max-model-len",
        str(MAX_MODEL_LEN),
        "--structured-outputs-config",
        '{"disable_any_whitespace": true, "backend": "xgrammar"}',
    ]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_API_KEY": KEY, "HF_HUB_OFFLINE": "1"}
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with log.open("wb") as file:
        # what `vllm serve` runs; the command itself looks for a package of the name vllm, which vllm-cpu is not
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model.folder), *arguments]
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent)
    deadline = time.monotonic() + 400
    try:
        while not is_up(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, log.read_text("utf-8", "replace")[-3000:]
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=60)


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


def served(model: Model, name: str = "small") -> Model:
    return Model(name="remote", folder=model.folder, revision=name, weights_sha256="unknown", quantization="unknown")


def ask(text: str, **sampling: object) -> Request:
    return Request(
        row_key=text[:40],
        doc_id="d",
        chunk_id="c",
        template="t",
        template_version=1,
        token_ids=(1,),
        messages=(("user", text),),
        sampling=Sampling(**{"max_tokens": 64, **sampling}),  # type: ignore[arg-type]
    )


def test_real_server_answers_counts_and_refuses_as_the_engine_understands(url: str, model: Model) -> None:
    with EndpointEngine(served(model), base_url=url, api_key=KEY) as engine:
        asked = [
            ask("Nothing to correct.", json_schema=SCHEMA),
            ask("Tell a long story.", max_tokens=5),
            ask("It rained. " * 2000),
            ask("A number.", json_schema='{"not": {"type": "string"}}'),
        ]
        good, cut, long, odd = (
            {completion.request.row_key: completion for completion in engine.run(asked)}[request.row_key] for request in asked
        )
    assert (good.outcome, good.text, good.finish_reason) == (Outcome.OK, '{"edits":[]}', "stop")
    assert good.prompt_tokens > 5
    assert good.completion_tokens >= 3
    assert (cut.outcome, cut.completion_tokens) == (Outcome.TRUNCATED, 5)
    assert long.outcome is Outcome.INPUT_TOO_LONG
    assert str(MAX_MODEL_LEN) in (long.error or "")
    assert odd.outcome in (Outcome.OK, Outcome.INVALID_SCHEMA, Outcome.TRUNCATED), "asked without where it is not taken"


def test_real_server_refuses_a_key_and_a_name(url: str, model: Model) -> None:
    with pytest.raises(EngineRefusedError, match="401"):
        EndpointEngine(served(model), base_url=url, api_key="sk-another")
    with (
        EndpointEngine(served(model, "large"), base_url=url, api_key=KEY) as engine,
        pytest.raises(EngineRefusedError, match="lists small"),
    ):
        list(engine.run([ask("Hello")]))


def test_document_is_proofread_at_a_real_server_and_nothing_is_computed_twice(
    url: str, model: Model, tmp_path: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMOTE_KEY", KEY)
    folder = Folder(tmp_path, prefect_url)
    folder.copy("using-cpp-from-swift.md")
    # a model of this size seldom finds words to correct; with «]}» made likely it says that there are none
    *_, closing = Tokenizer(model.tokenizer_path).encode_with_offsets('{"edits":[]}').ids
    table = f'[models.remote]\nengine = "endpoint"\nsource = "small"\nbase_url = "{url}"\napi_key_env = "REMOTE_KEY"\n'
    prices = '[models.remote.prices]\ninput_per_million = "1"\noutput_per_million = "2"\n'
    (tmp_path / "flows.toml").write_text(f"{table}extra_body = {{ logit_bias = {{ {closing} = 100 }} }}\n{prices}")
    command = ("run", "proofread", "book.md", "-m", "remote", "--limit", "3", "--max-tokens", "200")
    folder.flows(*command)
    calls, tables = folder.calls(), folder.tables()
    assert calls["text"].to_list() == ['{"edits":[]}'] * 3
    assert set(calls["engine_build"]) == {f"endpoint {url.removeprefix('http://').removesuffix('/v1')}"}
    assert calls["prompt_tokens"].min() > 300, "as the server counts them, with its chat template"
    paid = calls.select((pl.col("prompt_tokens") + 2 * pl.col("completion_tokens")).sum()).item()
    assert float(calls["cost"].sum()) == pytest.approx(paid / 1e6)
    assert "3 calls from the store" in folder.flows(*command).stdout
    assert folder.calls().height == 3
    assert folder.tables() == tables
    assert "2 of 2 answers identical" in folder.flows("verify", "last", "--sample", "2").stdout
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
