"""A schedule that is served: a Prefect deployment, and the process that starts its runs until it is told to stop.

Each run is a process of its own; what happens in it is in scheduled.py. Prefect's server is the one of PREFECT_API_URL, or one that is
started here and ends with this process; its database is the user's own, so that the history stays.
"""

import asyncio
import fcntl
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal

from chunkers.records import hash_id
from engine.cache import default_cache_dir
from flows.server import ask_server, prepare_prefect
from flows.signals import on_signals

if TYPE_CHECKING:
    from prefect.runner import Runner
    from prefect.schedules import Schedule

Tell = Callable[[str], None]

LOGGING = {
    # a run's log is for its page in Prefect's UI; in the terminal our own lines say how it goes, also where Prefect's server is lost,
    # of which Prefect itself prints hundreds of lines
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
MAX_START_S = 180.0
MAX_STOP_S = 20.0
MAX_END_S = 40.0
"""How long a server that does not answer is asked to pause the schedule."""
MAX_SCHEDULE_S = 90
"""Prefect's scheduler looks for new deployments every 5 s, and at all of them every minute."""
POLL_S = 0.2
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What Prefect takes as the key of an artifact."""


class ServeError(Exception):
    """A schedule that cannot be served: what was met, the rule, what to do."""


class ServerLostError(Exception):
    """Prefect's server is gone while a schedule is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A schedule: what is proofread, how, and when."""

    name: str
    """Of the deployment, its table in the workspace, its artifacts and assets."""
    inputs: tuple[str, ...]
    """Patterns, expanded at each run."""
    settings: dict[str, Any]
    """Flags, by their names in flows.toml."""
    schedule: "Schedule"


def name_schedule(inputs: Sequence[str], out: str) -> str:
    """A name that is the same for the same patterns, working folder, workspace and machine."""
    stem = re.sub(r"[^a-z0-9]+", "-", str(PurePosixPath(inputs[0]).with_suffix("")).lower()).strip("-")[:40].strip("-")
    return f"{stem or 'documents'}-{hash_id(socket.gethostname(), str(Path.cwd()), out, *inputs)[:8]}"


def make_schedule(cron: str | None, interval_s: float | None, timezone: str | None) -> "Schedule":
    """By a cron line in a time zone, by default this machine's, or every so many seconds. Raises ServeError where it cannot be used."""
    prepare()
    from prefect.schedules import Cron, Interval

    if (cron is None) == (interval_s is None):
        raise ServeError('A schedule is a cron line or an interval; give one of --cron "0 2 * * *" and --interval 6h.')
    if interval_s is not None:
        if interval_s < 1:
            raise ServeError(f"--interval {interval_s:g}s is too short; it is a second at least; give a longer one, such as 15m.")
        return Interval(timedelta(seconds=interval_s))
    zone = timezone or tzlocal.get_localzone_name()
    try:
        ZoneInfo(zone)
        return Cron(cron or "", timezone=zone)
    except (ZoneInfoNotFoundError, ValueError, KeyError) as error:
        raise ServeError(
            f"--cron {cron!r} in the time zone {zone!r} cannot be used ({error}); a cron line is minute, hour, day, month, weekday, and a "
            'zone is a name such as Europe/Vienna; for example --cron "0 2 * * *" --timezone Europe/Vienna.'
        ) from error


def prepare() -> None:
    """Prefect's settings where a user has not set them; before prefect is imported."""
    for key, value in LOGGING.items():
        os.environ.setdefault(key, value)
    prepare_prefect()


def serve(served: Served, tell: Tell) -> None:
    """Register the deployment and start its runs, until SIGINT or SIGTERM: then the run that goes on is stopped, resumable, and the
    schedule paused until it is served again. A second signal ends this process at once.

    Raises ServeError before anything is registered, and ServerLostError.
    """
    stopped = threading.Event()
    with on_signals(lambda _: stopped.set()), _hold_name(served.name), _find_server(tell, stopped) as url:
        if stopped.is_set():
            return
        # in a thread of its own: in the main thread Prefect's runner would answer SIGTERM itself, by sys.exit within its own event loop
        with ThreadPoolExecutor(1, thread_name_prefix="runner") as thread:
            ended = thread.submit(asyncio.run, _run_until(stopped, served, url, tell))
            deadline = None
            while not ended.done():
                time.sleep(POLL_S)
                if stopped.is_set():
                    deadline = deadline or time.monotonic() + MAX_END_S
                    if time.monotonic() > deadline and not _answers(url):
                        tell(f"Prefect's server at {url} does not answer: the schedule could not be paused. What was finished is kept.")
                        for child in multiprocessing.active_children():
                            child.terminate()
                        signal.raise_signal(signal.SIGTERM)
        _raise_lost(ended, url)


def _raise_lost(ended: "Future[None]", url: str) -> None:
    try:
        ended.result()
    except ExceptionGroup as error:
        raise ServerLostError(
            f"Prefect's server at {url} is lost: {_first(error)}. It says when a run is due; what was finished is kept. "
            "Start it, then the same command."
        ) from error


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run_until(stopped: threading.Event, served: Served, url: str, tell: Tell) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    # for the processes of the runs, whose threads know no other settings; for this one, which has read its own already
    os.environ["PREFECT_API_URL"] = url
    with temporary_settings({PREFECT_API_URL: url}):
        from prefect.runner import Runner

        runner = Runner(name=served.name)
        async with asyncio.TaskGroup() as group:
            working = group.create_task(_work(runner, served, url, tell))
            while not working.done() and not (stopped.is_set() and runner.started):
                await asyncio.sleep(POLL_S)
            if not working.done():
                tell("Stopping. A run that goes on is stopped first; what it has not covered is new when the schedule is served again.")
                await runner.astop()


async def _work(runner: "Runner", served: Served, url: str, tell: Tell) -> None:
    deployment_id = await _register(runner, served)
    tell(f"{served.name} is served. Its runs are at {url.removesuffix('/api')}; Ctrl-C ends it and pauses its schedule.")
    async with asyncio.TaskGroup() as group:
        telling = group.create_task(_tell_due(deployment_id, tell))
        await runner.start()
        telling.cancel()


async def _tell_due(deployment_id: UUID, tell: Tell) -> None:
    """Say when the first run is due; a server whose scheduler does not work takes a deployment and never runs it."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        for _ in range(MAX_SCHEDULE_S):
            if due := await client.get_scheduled_flow_runs_for_deployments([deployment_id], limit=1):
                moment = due[0].next_scheduled_start_time or due[0].expected_start_time
                tell(f"The next run is due at {moment.astimezone():%Y-%m-%d %H:%M:%S}." if moment else "A run is due.")
                return
            await asyncio.sleep(1)
    tell(f"Prefect's server has scheduled no run in {MAX_SCHEDULE_S} s. It has to have a scheduler that works; see its log.")


async def _register(runner: "Runner", served: Served) -> UUID:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.types.entrypoint import EntrypointType

    from flows.scheduled import proofread_new

    return await runner.aadd_flow(
        proofread_new,
        name=served.name,
        schedule=served.schedule,
        paused=False,
        # one at a time: two would find the same documents new; the second waits, and then finds what is left
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        parameters={
            "name": served.name,
            "inputs": list(served.inputs),
            "folder": str(Path.cwd()),
            "settings": served.settings,
        },
        description=f"What is new in {', '.join(served.inputs)}, proofread in {Path.cwd()} on {socket.gethostname()} by galley.",
        tags=["galley"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


@contextmanager
def _hold_name(name: str) -> Iterator[None]:
    """Keep a second process of this machine from serving the same schedule: the first to end would pause it for both."""
    path = default_cache_dir() / "served" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ServeError(
                f"{name} is served already (process {file.read().strip()}); a schedule has one process. End that one, or give --name."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _find_server(tell: Tell, stopped: threading.Event) -> Iterator[str]:
    """The address of Prefect's API: the one that is set, or a server of our own while this lasts. Waits no longer once `stopped`."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if url := settings.api.url:
        if not _answers(url):
            raise ServeError(
                f"Prefect's server at {url} (PREFECT_API_URL) does not answer. A schedule lives there. Start it (prefect server start), "
                "mend the address, or unset it: then flows serve starts a server of its own."
            )
        yield url
        return
    host, port = "127.0.0.1", settings.server.api.port
    url = f"http://{host}:{port}/api"
    if _is_taken(host, port):
        advice = (
            f"a Prefect server; if it is yours, use it: export PREFECT_API_URL={url}"
            if _answers(url)
            else "another program; end it, or choose a port: export PREFECT_SERVER_API_PORT=4201"
        )
        raise ServeError(f"PREFECT_API_URL is not set, and port {port}, where flows serve would start Prefect's server, has {advice}.")
    tell(f"PREFECT_API_URL is not set: starting Prefect's server at http://{host}:{port}; it ends with this command, its database stays.")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
    # in a session of its own, for Ctrl-C: the schedule is to be paused at it before it ends
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + MAX_START_S
        while not _answers(url) and not stopped.is_set():
            if server.poll() is not None or time.monotonic() > deadline:
                raise ServeError(f"Prefect's server did not start. See what it says: prefect server start --host {host} --port {port}")
            time.sleep(POLL_S)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(MAX_STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _answers(url: str) -> bool:
    try:
        ask_server(url, "health")
    except (OSError, ValueError):
        return False
    return True


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
