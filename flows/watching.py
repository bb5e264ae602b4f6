"""A run seen from another process: its log as it grows, and its stop."""

import os
import signal
import socket
import time
from collections.abc import Iterator

from chunkers.paths import AnyPath, ObjectPath
from flows.runs import Run, RunError

POLL_S = 0.3
REMOTE_POLL_S = 5.0
"""Of a log in a store, which is uploaded as often."""
MAX_STOP_S = 120.0
"""A run that was told to stop ends within seconds; past this it is left to its user."""


def read_log(run: Run, *, is_followed: bool) -> Iterator[str]:
    """The lines of a run's log; where it is followed, those to come too, until no process works on the run. Raises RunError without one."""
    if not run.log_path.is_file() and not run.find_holder():
        raise RunError(f"{run.name} has no log; one is written from the first quarter of a minute on.")
    position = 0
    while True:
        is_running = run.find_holder() is not None
        if run.log_path.is_file():
            whole, end, _ = _read_from(run.log_path, position).rpartition(b"\n")
            position += len(whole + end)
            yield from (whole + end).decode("utf-8", errors="replace").split("\n")[:-1]
        if not is_followed or not is_running:
            return
        time.sleep(REMOTE_POLL_S if isinstance(run.folder, ObjectPath) else POLL_S)


def _read_from(path: AnyPath, position: int) -> bytes:
    if isinstance(path, ObjectPath):
        return path.read_bytes()[position:]
    with path.open("rb") as file:
        file.seek(position)
        return file.read()


def cancel_run(run: Run) -> str:
    """Stop the process that works on a run as Ctrl-C would, and wait for its end; returns its id. Raises RunError where there is none."""
    holder = run.find_holder()
    if holder is None:
        raise RunError(f"{run.name} is not running ({run.state}); there is nothing to stop.")
    pid, _, host = holder.partition(" ")
    if host != socket.gethostname() or not pid.isdigit():
        raise RunError(f"{run.name} runs on {host or 'another machine'} as process {pid}; a run is stopped where it runs; do so there.")
    os.kill(int(pid), signal.SIGTERM)
    deadline = time.monotonic() + MAX_STOP_S
    while run.find_holder() == holder:
        if time.monotonic() > deadline:
            raise RunError(f"{run.name}: process {pid} was told to stop and still runs; look at it, or end it with kill -9 {pid}.")
        time.sleep(POLL_S)
    return pid
