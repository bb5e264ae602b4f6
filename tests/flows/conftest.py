"""One Prefect server for the tests of this folder, for a run without one starts its own, which takes ten seconds; and one S3 server."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import pytest

from chunkers.paths import ObjectPath
from chunkers.storage import Storage, use_storage, used_storage
from engine.cache import default_cache_dir
from tests.s3 import Faults, serve_s3

BIN = Path(sys.executable).parent
REAL_CACHE = default_cache_dir()


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server with a database of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {"PREFECT_HOME": str(tmp_path_factory.mktemp("server")), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    # of a schedule of seconds a hundred runs would be kept ready, and half a minute would pass between one that waits and the one before
    home |= {"PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "4", "PREFECT_DEPLOYMENT_CONCURRENCY_SLOT_WAIT_SECONDS": "5"}
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=os.environ | home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + 180
    try:
        while True:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline
                assert server.poll() is None
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=60)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 protocol server, as the environment variables that lead to it."""
    with serve_s3() as environment:
        yield environment


@pytest.fixture
def faults(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Faults]:
    """The way to it: [storage] leads there, and the environment has the keys alone. Tries are few, so that failures are quick."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, s3_server[name])
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    made, before = Faults(s3_server["AWS_ENDPOINT_URL"]), used_storage()
    use_storage(Storage(endpoint_url=f"http://127.0.0.1:{made.port}"))
    yield made
    made.stop()
    fsspec.filesystem("s3").clear_instance_cache()
    use_storage(before)


@pytest.fixture
def patient(faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For whole runs: as many tries as a user has, and the user's own models in the cache; the logs that a run keeps are not for there."""
    cache = tmp_path / "cache" / "galley"
    cache.mkdir(parents=True)
    for name in ("models", "checksums"):
        (cache / name).symlink_to(REAL_CACHE / name)
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")


@pytest.fixture
def bucket(faults: Faults) -> ObjectPath:
    """An empty bucket of this test's own."""
    made = ObjectPath(f"s3://{uuid4().hex}")
    fsspec.filesystem("s3").mkdir(made.name)
    return made
