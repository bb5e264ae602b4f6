"""A schedule that is served: real deployments on a real Prefect server, fired by its scheduler, with the scripted engine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from chunkers.paths import ObjectPath
from flows.__main__ import app
from flows.runs import Run, list_runs, write_file
from flows.scheduled import command_of, slot_name
from flows.server import SETTINGS
from flows.serving import LOGGING, ServeError, make_schedule, name_schedule
from tests.flows.prefect_api import Api, await_some
from tests.flows.scripted import FLOWS, Folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def name() -> str:
    """Of a deployment of the test's own."""
    return f"t-{uuid4().hex[:8]}"


@pytest.fixture
def folder(tmp_path: Path, prefect_url: str) -> Folder:
    made = Folder(tmp_path, prefect_url)
    made.configure()
    (tmp_path / "in").mkdir()
    return made


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command sets where a user has not; taken back after the test, in whose process it runs."""
    for key, value in (SETTINGS | LOGGING).items():
        monkeypatch.setenv(key, value)


@dataclass(frozen=True)
class Served:
    """A `flows serve` that goes on."""

    process: "subprocess.Popen[bytes]"
    told: Path

    def await_line(self, words: str, *, times: int = 1) -> None:
        """Wait until it has said that so many times."""

        def find() -> bool:
            told = self.told.read_text("utf-8")
            assert self.process.poll() is None, told
            return told.count(words) >= times

        await_some(find)


@contextmanager
def serving(folder: Folder, *arguments: str) -> Iterator[Served]:
    told = folder.path / "told.txt"
    environment = os.environ | {"PREFECT_API_URL": folder.prefect_url}
    with told.open("wb") as file:
        process = subprocess.Popen(
            [FLOWS, "serve", "proofread", "in/*.md", "-m", "fake", *arguments], cwd=folder.path, env=environment, stdout=file, stderr=file
        )
    try:
        yield Served(process, told)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def write(folder: Folder, name: str, words: str) -> None:
    write_file(folder.path / "in" / name, f"# {name}\n\n{words}\n")


def run_of(folder: Folder, path: str) -> Run:
    """The only run that has read the file."""
    (found,) = [run for run in list_runs(folder.path / "out") if path in run.read_manifest()["inputs"]]
    return found


@pytest.mark.slow
def test_each_run_takes_what_is_new_waits_for_the_engines_and_leaves_its_report(folder: Folder, name: str) -> None:
    api = Api(folder.prefect_url)
    write(folder, "first.md", "This is an other text.")
    with serving(folder, "--interval", "20s", "--name", name) as served:
        served.await_line("1 new or changed document, ")
        assert run_of(folder, "in/first.md").state == "done"
        with api.hold(slot_name(None)):
            write(folder, "second.md", "And this is an other text, which came in the night.")
            served.await_line("Another run has the engines")
            assert len(list_runs(folder.path / "out")) == 1, "it waits"
        served.await_line("1 new or changed document, ", times=2)
        served.await_line("Nothing new: 2 documents are covered")
        process = served.process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, served.told.read_text("utf-8")
    run = run_of(folder, "in/second.md")
    assert run.read_manifest()["inputs"] == ["in/second.md"], "and nothing else"
    assert api.get(f"deployments/name/proofread-new/{name}")["paused"]
    # what it left at Prefect
    assert f"- run: {run.name}" in api.artifact(f"{name}-report")["data"]
    (found,) = json.loads(api.artifact(f"{name}-findings")["data"])
    assert (found["document"], found["original"], found["replacement"]) == ("in/second.md", "an other", "another")
    assert (run.folder / "report.html").absolute().as_uri() in api.artifact(f"{name}-page")["data"]
    assets = await_some(lambda: found if len(found := api.assets(f"galley://{name}/")) == 6 else None)
    assert assets[f"galley://{name}/findings"]["rows"] == 1
    assert assets[f"galley://{name}/findings"]["run"] == run.name
    # the flow is a run within the schedule's, both times
    scheduled = api.runs_of(name, "COMPLETED")
    inner = api.post("flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [each["id"] for each in scheduled]}})
    assert [each["state_type"] for each in inner] == ["COMPLETED", "COMPLETED"]


@dataclass(frozen=True)
class Case:
    """A run of a schedule."""

    settings: dict[str, Any]
    inputs: str = "in/*.md"
    name: str = "t"


def end_all(folder: Folder, cases: list[Case], **environment: str) -> list[tuple[str, str]]:
    """The type and message of the state that each run ends with, as Prefect has it; one after the other in one process."""
    given = [{"name": case.name, "inputs": [case.inputs], "folder": str(folder.path), "settings": case.settings} for case in cases]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.flows.scheduled_runs", json.dumps(given)],
        cwd=ROOT,
        env=os.environ | SETTINGS | {"PREFECT_API_URL": folder.prefect_url} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    states = [Api(folder.prefect_url).get(f"flow_runs/{each}")["state"] for each in json.loads(ended.stdout.splitlines()[-1])]
    return [(state["type"], state["message"]) for state in states]


@pytest.mark.slow
def test_runs_end_by_the_rules_of_the_exit_codes_and_failed_documents_are_new_again(folder: Folder) -> None:
    with (folder.path / "flows.toml").open("a") as settings:
        for model, arguments in (("picky", 'reject_word = "huristics"'), ("broken", "no_such_option = 1")):
            table = f'source = "smollm2-135m"\nengine = "scripted"\nprotocol = "edits"\nengine_args = {{ {arguments} }}\n'
            settings.write(f"\n[models.{model}]\n{table}")
    write(folder, "good.md", "This is an other text.")
    write(folder, "bad.md", "This text is about huristics.")
    (folder.path / "zeros.txt").write_bytes(bytes(10))
    (folder.path / "broken.toml").write_text("words = 3\n")
    fake, picky = {"model": ["fake"]}, {"model": ["picky"]}
    states = end_all(
        folder,
        [
            Case(fake | {"out": "a", "fail_on": "any"}),
            Case(fake | {"out": "b", "style": "broken.toml"}),
            Case(fake | {"out": "c"}, inputs="zeros.txt"),
            Case(picky | {"out": "d"}),
            Case(picky | {"out": "d"}),
            Case(fake | {"out": "e", "max_engine_hours": 0.0}),
            Case(fake | {"out": "e"}),
            Case({"model": ["broken"], "out": "f"}),
        ],
    )
    for (kind, message), (wanted, words) in zip(
        states,
        [
            ("COMPLETED", "findings at or above --fail-on any"),
            ("FAILED", "broken.toml"),
            ("FAILED", "zeros.txt"),
            ("FAILED", "1 of 2 calls failed, which is more than --max-error-rate 0.01"),
            ("FAILED", "1 of 1 calls failed"),
            ("FAILED", "Stopped at --max-engine-hours 0"),
            ("COMPLETED", "2 new or changed documents"),
            ("CRASHED", "no_such_option"),
        ],
        strict=True,
    ):
        assert (kind, words in message) == (wanted, True), message
    assert "1 of 2 are taken up again next time" in states[3][1]
    assert "2 of 2 are taken up again next time" in states[5][1]


@pytest.mark.slow
def test_a_schedule_in_a_store_knows_what_it_covered_and_follows_style_sheets(
    folder: Folder, bucket: ObjectPath, s3_server: dict[str, str], name: str
) -> None:
    for each in ("one", "two"):
        write_file(bucket / "in" / each / "book.md", f"# {each}\n\nThis is an other text.\n")
    case = Case({"model": ["fake"], "out": f"{bucket}/w"}, f"{bucket}/in/*/*.md", name)
    first, second = end_all(folder, [case, case], **s3_server)
    assert (first[0], "2 new or changed documents" in first[1]) == ("COMPLETED", True), first
    assert (second[0], "Nothing new: 2 documents are covered" in second[1]) == ("COMPLETED", True), second
    write_file(bucket / "in" / "one" / "style.toml", 'words = ["Zorvex"]\n')
    (third,) = end_all(folder, [case], **s3_server)
    assert "1 new or changed document," in third[1], "of the other, the sheet is as it was"
    last = list_runs(bucket / "w")[0]
    assert last.read_manifest()["inputs"] == [f"{bucket}/in/one/book.md"]
    api = Api(folder.prefect_url)
    assert f"{last.folder}/report.html" in api.artifact(f"{name}-page")["data"]
    key = f"galley://{name}/findings"
    assert await_some(lambda: api.assets(key).get(key))["path"] == f"{last.folder}/findings.parquet"


def test_schedules_that_cannot_be_used_say_why(settings: None) -> None:
    for given, words in (
        ((None, None, None), "give one of"),
        (("0 2 * * *", 60.0, None), "give one of"),
        ((None, 0.5, None), "a second at least"),
        (("at night", None, None), "minute, hour, day"),
        (("0 2 * * *", None, "Europe/Atlantis"), "Europe/Atlantis"),
    ):
        with pytest.raises(ServeError, match=words):
            make_schedule(*given)
    schedule = make_schedule("0 2 * * *", None, "Europe/Vienna")
    assert (schedule.cron, schedule.timezone) == ("0 2 * * *", "Europe/Vienna")
    every = make_schedule(None, 90.0, None).interval
    assert every is not None
    assert every.total_seconds() == 90


def test_a_name_is_of_patterns_folder_and_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = name_schedule(["s3://in/Books/*.md"], "out")
    assert named == name_schedule(["s3://in/Books/*.md"], "out")
    assert named.startswith("s3-in-books-")
    others = {name_schedule(["s3://in/Books/*.txt"], "out"), name_schedule(["s3://in/Books/*.md"], "other")}
    monkeypatch.chdir(tmp_path.parent)
    others.add(name_schedule(["s3://in/Books/*.md"], "out"))
    assert len(others - {named}) == 3


def test_nothing_is_served_where_it_cannot_be(folder: Folder, name: str, monkeypatch: pytest.MonkeyPatch, settings: None) -> None:
    monkeypatch.chdir(folder.path)
    for arguments, words in (
        (["--cron", "0 2 * * *", "--name", "Nightly Books"], "small letters, digits"),
        (["--interval", "soon"], "is no duration"),
        (["--cron", "0 2 * * *", "--deadline", "2999-01-01T06:00"], "is one day"),
        (["--cron", "0 2 * * *", "--min-confidence", "7"], "min_confidence"),
    ):
        refused = CliRunner().invoke(app, ["serve", "proofread", "in/*.md", *arguments])
        assert (refused.exit_code, words in refused.stderr) == (2, True), refused.output


@pytest.mark.slow
def test_one_command_serves_a_schedule_at_a_time_and_a_lost_server_is_named(folder: Folder, name: str) -> None:
    nowhere = Folder(folder.path, "http://127.0.0.1:9/api")
    told = nowhere.flows("serve", "proofread", "in/*.md", "--cron", "0 2 * * *", "--name", name, code=2).stderr
    assert "http://127.0.0.1:9/api (PREFECT_API_URL) does not answer" in told
    with serving(folder, "--cron", "0 2 1 1 *", "--name", name) as served:
        served.await_line("The next run is due at")
        told = folder.flows("serve", "proofread", "in/*.md", "--cron", "0 2 * * *", "--name", name, code=2).stderr
        assert f"{name} is served already (process {served.process.pid})" in told


def test_a_run_is_recorded_with_the_command_that_makes_it_again() -> None:
    words = command_of(["in/a.md"], {"model": ["a", "b"], "max_error_rate": 0.5})
    assert words == ["flows", "run", "proofread", "in/a.md", "--model", "a", "--model", "b", "--max-error-rate", "0.5"]
