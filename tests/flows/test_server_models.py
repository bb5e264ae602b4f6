"""A model at a server through the command line: planned, asked, resumed, retried, shown, verified, paid for; its key is nowhere."""

import json
import signal
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from engine.prompts import load_prompt
from engine.records import Sampling
from flows import commands_run  # noqa: F401 - it adds its commands to the application
from flows.cli import app
from flows.config import ConfigError, load_config
from flows.endpoints import find_key
from flows.engines import host_model
from tests.chat_server import Answer, Asked, ChatServer, refuse, say
from tests.flows.scripted import Folder

KEY = "sk-9Xw3-nobody-may-see-this"
SETTINGS = """
[models.{name}]
engine = "endpoint"
source = "m"
base_url = "{url}"
api_key_env = "REMOTE_KEY"
max_retries = 1
{more}
"""
PRICES = """
[models.{name}.prices]
input_per_million = "3"
cached_per_million = "1"
output_per_million = "15"
"""


@pytest.fixture
def folder(tmp_path: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("REMOTE_KEY", KEY)
    made = Folder(tmp_path, prefect_url)
    made.copy("using-cpp-from-swift.md")
    return made


def configure(folder: Folder, url: str, *names: str, more: str = "", prices: str = PRICES) -> None:
    text = "".join(SETTINGS.format(name=name, url=url, more=more) + prices.format(name=name) for name in names)
    (folder.path / "flows.toml").write_text(text)


def proofread(asked: Asked) -> Answer:
    """Finds one misspelling, says so whoever asks, and repeats the key that it was given."""
    passage = asked.prompt.partition("Passage:\n")[2]
    edits = [{"quote": "huristics", "replacement": "heuristics", "category": "spell", "why": asked.headers["authorization"]}]
    usage = {"prompt_tokens": 1000, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 400}}
    return say(json.dumps({"edits": edits if "huristics" in passage else []}), usage=usage)


def assert_hidden(folder: Folder, *told: str) -> None:
    for path in folder.path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
            if path.suffix == ".parquet":
                assert KEY not in str(pl.read_parquet(path, hive_partitioning=False).rows()), path
    assert KEY not in "".join(told)


def found_by(folder: Folder) -> list[str]:
    """Models that found the misspelling."""
    findings = pl.read_parquet(folder.run.folder / "findings.parquet").filter(pl.col("replacement") == "heuristics")
    return sorted(name.removesuffix("/edits") for name in findings["proposers"].explode().to_list() if name.endswith("/edits"))


@pytest.mark.slow
def test_remote_model_works_whole_and_its_key_is_nowhere(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(proofread, key=KEY) as server:
        configure(folder, server.url, "remote")
        plan = json.loads(folder.flows("plan", "proofread", "book.md", "-m", "remote", "--format", "json").stdout)["models"][0]
        assert not server.asked
        assert not (folder.path / "out").exists()
        ran = folder.flows("run", "proofread", "book.md", "-m", "remote", "--min-confidence", "0.5")
        num_calls = len(server.asked)
        assert (plan["calls_new"], plan["calls_stored"]) == (num_calls, 0)
        assert Decimal(plan["cost"]) == Decimal(plan["new_prompt_tokens"]) * 3 / 1_000_000
        assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
        key = folder.calls()["row_key"][0]
        shown = folder.flows("show", "last", "--call", key).stdout
        verified = folder.flows("verify", "last", "--sample", "3").stdout
        assert len(server.asked) == num_calls + 3
    # the server is gone, and nothing needs it or its key any more; one that is elsewhere would need a key
    configure(folder, "https://elsewhere.invalid/v1", "remote")
    monkeypatch.delenv("REMOTE_KEY")
    tables = folder.tables()
    again = folder.flows("run", "proofread", "book.md", "-m", "remote", "--min-confidence", "0.5")
    status = folder.flows("status").stdout
    assert f"{num_calls} calls from the store" in again.stdout
    assert folder.tables() == tables
    assert "done" in status
    assert "system: You are a proofreader" in shown
    assert "user: What comes before" in shown
    assert "3 of 3 answers identical (100.0%)" in verified
    assert "none, endpoint 127.0.0.1" in verified
    calls = folder.calls()
    assert calls.height == num_calls
    assert set(calls["determinism"]) == {"none"}
    assert set(calls["model_revision"]) == {"m"}
    cost = num_calls * (600 * Decimal(3) + 400 * Decimal(1) + 20 * Decimal(15)) / 1_000_000
    assert calls["cost"].sum() == cost
    ledger = pl.read_parquet(folder.run.folder / "ledger.parquet")
    assert ledger["cost"].sum() == cost
    assert dict(ledger.select("kind", "tokens").drop_nulls().rows()) == {
        "prefill": 600 * num_calls,
        "cached": 400 * num_calls,
        "decode": 20 * num_calls,
    }
    assert f"- cost: {cost:.4f} USD" in (folder.run.folder / "report.md").read_text()
    assert found_by(folder) == ["remote"]
    edits = pl.read_parquet(folder.run.folder / "edits.parquet").filter(pl.col("proposer") == "remote/edits")
    assert edits["message"].to_list() == ["Bearer ***"], "the key, as the server gave it back"
    assert_hidden(folder, ran.stdout, ran.stderr, shown, verified, again.stdout, again.stderr, status)


def test_server_that_moves_is_the_same_model_and_another_name_is_not() -> None:
    def decided_by(**changes: Any) -> tuple[str, str, str]:
        table = {"engine": "endpoint", "source": "m", "base_url": "http://one:1/v1"} | changes
        hosted = host_model("remote", load_config(model=("remote",), models={"remote": table}))
        rendered = hosted.renderer().ask(load_prompt("proofread", 1), {"text": "He go home.", "context_before": ""})
        return hosted.config.identity(), hosted.key_of(rendered, Sampling()), str(rendered.messages)

    first = decided_by()
    assert decided_by(base_url="https://two/v1", timeout_s=3, max_in_flight=7, max_retries=0, api_key_env="OTHER_KEY") == first
    for change in ({"source": "n"}, {"extra_body": {"seed": 1}}):
        identity, key, messages = decided_by(**change)
        assert identity != first[0]
        assert key != first[1]
        assert messages == first[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_url": None}, "no usable base_url"),
        ({"base_url": "localhost:8000"}, "no usable base_url"),
        ({"base_url": f"https://user:{KEY}@host/v1"}, "secrets come from the environment alone"),
        ({"api_key_env": KEY}, "api_key_env"),
        ({"engine_args": {"max_num_seqs": 4}}, "extra_body"),
        ({"protocol": "score"}, "no endpoint gives"),
        ({"extra_body": {"stream": True}}, "extra_body holds stream"),
        ({"quantization": "int8"}, "its server's"),
        ({"engine": "vllm"}, "is for a server"),
        ({"max_in_flight": 0}, "max_in_flight"),
    ],
)
def test_settings_that_no_server_can_have_are_refused(change: dict[str, object], words: str) -> None:
    table = {"engine": "endpoint", "source": "m", "base_url": "http://host/v1"} | change
    with pytest.raises(ConfigError, match=words) as told:
        load_config(model=("remote",), models={"remote": {key: value for key, value in table.items() if value is not None}})
    assert KEY not in str(told.value)


def test_score_protocol_of_the_run_is_refused_for_a_server() -> None:
    table = {"engine": "endpoint", "source": "smollm2-135m", "base_url": "http://host/v1"}
    assert load_config(model=("remote",), models={"remote": table}).find_model("remote").protocol == "edits"
    with pytest.raises(ConfigError, match="ask it with protocol=edits"):
        load_config(model=("remote",), models={"remote": table}, protocol="score")


def test_key_of_somebody_else_is_not_sent_to_a_server_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def found(url: str, **more: str) -> str | None:
        table = {"engine": "endpoint", "source": "m", "base_url": url, **more}
        return find_key("remote", load_config(model=("remote",), models={"remote": table}).find_model("remote"))

    assert found("http://localhost:8000/v1") is None
    assert found("http://127.0.0.1:8000/v1", api_key_env="OPENAI_API_KEY") == KEY
    assert found("https://elsewhere/v1") == KEY
    assert found("http://localhost.elsewhere/v1") == KEY, "the name begins like this machine's"
    with pytest.raises(ConfigError, match="OTHER_KEY is not set"):
        found("https://elsewhere/v1", api_key_env="OTHER_KEY")


@pytest.mark.parametrize("key", [f"{KEY}\nsecond", f"{KEY} second", f"{KEY}\u00e9", f"{KEY}\x7f"])
def test_key_that_no_header_can_hold_is_2_and_not_quoted(folder: Folder, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    configure(folder, "http://127.0.0.1:9/v1", "remote")
    monkeypatch.chdir(folder.path)
    monkeypatch.setenv("REMOTE_KEY", key)
    refused = CliRunner().invoke(app, ["run", "proofread", "book.md", "-m", "remote"])
    assert refused.exit_code == 2, refused.exception
    assert "REMOTE_KEY holds a space, a line break or a character beyond ASCII" in refused.stderr
    assert not (folder.path / "out").exists()
    assert_hidden(folder, refused.output)


def test_missing_key_is_2_before_anything_is_computed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(folder, "https://elsewhere.invalid/v1", "remote")
    monkeypatch.delenv("REMOTE_KEY")
    refused = folder.flows("run", "proofread", "book.md", "-m", "remote", "-o", "new", code=2)
    assert "REMOTE_KEY is not set" in refused.stderr
    assert not (folder.path / "new").exists()


@pytest.mark.slow
def test_nobody_there_is_5_and_the_command_resumes(folder: Folder) -> None:
    with ChatServer(proofread, key=KEY) as server:
        configure(folder, server.url, "remote")
    gone = folder.flows("run", "proofread", "book.md", "-m", "remote", code=5)
    assert "must run before it is asked" in gone.stderr
    assert "The same command resumes" in gone.stderr
    with ChatServer(proofread, key=KEY) as server:
        configure(folder, server.url, "remote")
        folder.flows("run", "proofread", "book.md", "-m", "remote")
    assert folder.run.state == "done", "the run is the same one, although the server has moved"
    told = folder.flows("run", "proofread", "book.md", "-m", "remote", "--min-confidence", "0.6")
    assert "calls from the store" in told.stdout, "another run, which needs the server no more"


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_server_that_hangs(folder: Folder) -> None:
    num_good = 3

    def answer(asked: Asked) -> Answer:
        with lock:
            is_good = len(answered) < num_good
            answered.append(asked.prompt)
        return proofread(asked) if is_good else Answer(is_hung=True)

    lock, answered = threading.Lock(), list[str]()
    with ChatServer(answer, key=KEY) as server:
        configure(folder, server.url, "remote", more="max_in_flight = 2")
        process = folder.start("run", "proofread", "book.md", "-m", "remote")
        deadline = time.monotonic() + 120
        while len(answered) < num_good + 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - started < 30
    assert process.returncode == 130, told
    assert folder.calls().height == num_good, "what was answered is kept"


@pytest.mark.slow
def test_wrong_key_and_unknown_model_end_the_run_at_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(proofread, key="another") as server:
        configure(folder, server.url, "remote")
        ended = folder.flows("run", "proofread", "book.md", "-m", "remote", code=5)
        assert not server.asked
    assert "Incorrect API key provided: ***" in ended.stderr
    assert_hidden(folder, ended.stdout, ended.stderr)
    with ChatServer(lambda asked: refuse(404, "The model `m` does not exist."), models=("a", "b")) as server:
        configure(folder, server.url, "remote")
        ended = folder.flows("run", "proofread", "book.md", "-m", "remote", code=5)
    assert "it lists a, b" in ended.stderr


@pytest.mark.slow
def test_failed_calls_of_a_server_are_rows_and_asked_again(folder: Folder) -> None:
    is_broken = True

    def answer(asked: Asked) -> Answer:
        return refuse(500, "out of order") if is_broken and "huristics" in asked.prompt else proofread(asked)

    with ChatServer(answer, key=KEY) as server:
        configure(folder, server.url, "remote")
        folder.flows("run", "proofread", "book.md", "-m", "remote", code=3)
        rows = [json.loads(line) for line in folder.flows("errors", "last", "--format", "json").stdout.splitlines()]
        assert [row["outcome"] for row in rows] == ["engine_error"]
        assert "HTTP 500: out of order (asked 2 times)" in rows[0]["message"]
        num_before = len(server.asked)
        folder.flows("retry", "last", code=3)
        assert len(server.asked) == num_before + 2, "the endpoint's own tries, not multiplied by attempts of the feed"
        is_broken = False
        folder.flows("retry", "last")
        assert len(server.asked) == num_before + 3
    assert folder.run.state == "done"
    assert found_by(folder) == ["remote"]


@pytest.mark.slow
def test_answers_that_cannot_be_used_are_corrected_and_long_ones_split(folder: Folder) -> None:
    def answer(asked: Asked) -> Answer:
        if len(asked.body["messages"]) == 4:
            *_, said, told = asked.body["messages"]
            assert said == {"role": "assistant", "content": "Not JSON."}
            assert "could not be used" in told["content"]
            return proofread(Asked(asked.body | {"messages": asked.body["messages"][:2]}, asked.headers, 1))
        if "huristics" in asked.prompt:
            return say("Not JSON.") if len(asked.prompt) < 2000 else refuse(400, "maximum context length is 600 tokens")
        return proofread(asked)

    with ChatServer(answer, key=KEY) as server:
        configure(folder, server.url, "remote")
        folder.flows("run", "proofread", "book.md", "-m", "remote", "--max-tokens", "700")
        conversations = {len(asked.body["messages"]) for asked in server.asked}
    assert conversations == {2, 4}
    assert found_by(folder) == ["remote"]
    assert {outcome for *_, outcome, _ in folder.requests()} == {"ok", "input_too_long", "invalid_schema"}


@pytest.mark.slow
def test_models_of_two_servers_and_of_this_machine_in_one_run(folder: Folder) -> None:
    folder.configure()
    local = (folder.path / "flows.toml").read_text().partition("[prices]")[0]
    with ChatServer(proofread, key=KEY) as one, ChatServer(proofread, key=KEY) as other:
        configure(folder, one.url, "one", prices="")
        first = (folder.path / "flows.toml").read_text()
        configure(folder, other.url, "other", prices="")
        (folder.path / "flows.toml").write_text(first + (folder.path / "flows.toml").read_text() + local)
        folder.flows("run", "proofread", "book.md", "-m", "one", "-m", "fake", "-m", "other")
        assert len(one.asked) == len(other.asked) > 1
    assert set(folder.calls()["model"]) == {"one", "fake", "other"}
    assert found_by(folder) == ["one", "other"]


@pytest.mark.slow
def test_money_is_a_limit_at_a_server_too(folder: Folder) -> None:
    def answer(asked: Asked) -> Answer:
        time.sleep(0.05)
        return proofread(asked)

    with ChatServer(answer, key=KEY) as server:
        configure(folder, server.url, "remote", more="max_in_flight = 1")
        stopped = folder.flows("run", "proofread", "book.md", "-m", "remote", "--max-cost", "0.004", code=4)
        assert "calls were not asked" in stopped.stderr
        assert 2 <= len(server.asked) <= 3, "each costs 0.0025"
