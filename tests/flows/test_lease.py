"""One process at a time in a run's folder in a store, and the logs that are kept here and uploaded."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from chunkers.paths import ObjectPath
from flows import lease
from flows.lease import LeaseError, find_holder, hold_lease
from flows.runs import Run, RunError, write_file
from tests.s3 import Faults


def other_holder(**changes: object) -> bytes:
    """The lease of a process of another machine."""
    held = {"pid": 4711, "host": "elsewhere", "machine": "another", "started": "1", "token": "t"}
    return json.dumps(held | changes).encode()


def test_a_folder_in_a_store_has_one_process(bucket: ObjectPath) -> None:
    run = Run(bucket / "w" / "runs" / "proofread-a-1")
    with run.hold():
        run.log("started")
        assert run.find_holder() == f"{os.getpid()} {socket.gethostname()}"
        assert run.state == "running"
        with pytest.raises(RunError, match=rf"running already \(process {os.getpid()}"), run.hold():
            pass
    assert run.find_holder() is None
    assert run.log_path.read_text("utf-8").endswith("  started\n")
    write_file(run.folder / "lock", other_holder())
    with pytest.raises(RunError, match=r"process 4711 elsewhere"), run.hold():
        pass


def test_the_lease_of_a_process_that_ended_is_taken_over(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SETTLE_S", 0.0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_file(bucket / "lock", other_holder(pid=ended.pid, machine=lease._find_machine(), started="1"))
    assert find_holder(bucket / "lock") is None
    with hold_lease(bucket / "lock", lambda: None):
        assert str(find_holder(bucket / "lock")) == f"{os.getpid()} {socket.gethostname()}"


def test_a_lease_that_has_grown_old_is_taken_over(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SETTLE_S", 0.0)
    write_file(bucket / "lock", other_holder())
    with pytest.raises(LeaseError, match="4711 elsewhere"), hold_lease(bucket / "lock", lambda: None):
        pass
    monkeypatch.setattr(lease, "LEASE_S", -1.0)  # older than that it is at once
    with hold_lease(bucket / "lock", lambda: None):
        pass
    assert not (bucket / "lock").exists()


def test_a_holder_learns_that_another_has_taken_over(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "REFRESH_S", 0.1)
    with pytest.raises(LeaseError, match="4711 elsewhere"), hold_lease(bucket / "lock", lambda: None):
        write_file(bucket / "lock", other_holder())
    assert (bucket / "lock").read_bytes() == other_holder(), "what is another's stays"


def num_put(faults: Faults, name: str) -> int:
    return sum(seen.startswith("PUT ") and seen.endswith(f"/{name}") for seen in faults.seen)


def test_a_lease_is_kept_and_logs_are_uploaded_while_a_run_goes_on(
    bucket: ObjectPath, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "REFRESH_S", 0.1)
    run = Run(bucket / "w" / "runs" / "proofread-a-1")
    with run.hold():
        run.log("first")
        deadline = time.monotonic() + 30
        while not (num_put(faults, "run.log") and num_put(faults, "lock") > 2):
            assert time.monotonic() < deadline
    run.write_manifest({})
    assert not run.log_dir.exists()
    run.log_dir.mkdir()
    (run.log_dir / "run.log").write_text(run.log_path.read_text("utf-8") + "said, and not uploaded before a kill\n", "utf-8")
    with run.hold():
        pass
    assert run.log_path.read_text("utf-8").endswith("first\nsaid, and not uploaded before a kill\n")
    write_file(run.log_path, "of another machine\n")
    with run.hold():
        run.log("second")
    assert run.log_path.read_text("utf-8").startswith("of another machine\n")
