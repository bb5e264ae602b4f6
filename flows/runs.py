"""The run folder, here or in a store: its name, its manifest, its lock, its logs, its progress, its marker; and finding runs again."""

import fcntl
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

from chunkers.paths import AnyPath, ObjectPath, StorageError, path_of
from flows.lease import LeaseError, find_holder, hold_lease
from flows.log_copies import LogCopies, find_log_dir

SUCCESS, PARTIAL = "_SUCCESS", "_PARTIAL"
LOCK, PROGRESS = "lock", "progress.json"
RUN_LOG, ENGINE_LOG = "run.log", "engine.log"
SHARDS = "chunks/shards.json"
Item = TypeVar("Item")
Told = TypeVar("Told")
MAX_ASKED = 16
"""Requests to a store at once."""
MAX_LOOK_S = 0.5
"""Who looks whether a run is going on holds its lock for a moment; a run that starts then waits so long."""


class RunError(Exception):
    """A run that cannot be found or read: what was met, the rule, what to do."""


def write_file(path: AnyPath, content: str | bytes) -> None:
    """Write a whole file or none: unique temporary name beside it, synced, renamed; an object by one upload. Newlines stay as they are."""
    if isinstance(path, ObjectPath):
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _lock(file: TextIO, kind: int) -> bool:
    """Lock the file where nobody holds it against that; a process that dies lets go."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder, finished or not."""

    folder: AnyPath

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def workspace(self) -> AnyPath:
        return self.folder.parent.parent

    @property
    def manifest_path(self) -> AnyPath:
        return self.folder / "manifest.json"

    @property
    def log_dir(self) -> Path:
        """Where its logs grow: its own folder, or for one in a store a folder of this machine, from which they are uploaded."""
        return find_log_dir(self.folder) if isinstance(self.folder, ObjectPath) else self.folder

    @property
    def log_path(self) -> AnyPath:
        """What a person is told while it runs, with the time; where it can be read from anywhere."""
        return self.folder / RUN_LOG

    @property
    def progress_every_s(self) -> float:
        """How often `progress.json` is written: each time is a request where it is in a store."""
        return 10.0 if isinstance(self.folder, ObjectPath) else 1.0

    @property
    def state(self) -> str:
        """`done`, `partial` (ended with something missing), `running`, or `unfinished` (killed, stopped or failed)."""
        if (self.folder / SUCCESS).exists():
            return "done"
        if (self.folder / PARTIAL).exists():
            return "partial"
        return "running" if self.find_holder() else "unfinished"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from working in the folder; a process that dies lets go.

        Raises RunError where another one works in it.
        """
        if isinstance(self.folder, ObjectPath):
            with self._hold_lease(self.folder):
                yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a+", encoding="utf-8") as file:
            deadline = time.monotonic() + MAX_LOOK_S
            while not _lock(file, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise self._refuse(self.find_holder())
                time.sleep(0.02)
            file.truncate(0)
            file.write(f"{os.getpid()} {socket.gethostname()}\n")
            file.flush()
            yield

    @contextmanager
    def _hold_lease(self, folder: ObjectPath) -> Iterator[None]:
        copies = LogCopies(folder, (RUN_LOG, ENGINE_LOG))
        try:
            is_new = not self.manifest_path.exists()
            with hold_lease(folder / LOCK, copies.upload):
                copies.fetch(is_new=is_new)
                yield
            copies.remove()
        except LeaseError as error:
            raise self._refuse(error.holder) from error

    def _refuse(self, holder: str | None) -> RunError:
        return RunError(
            f"{self.name} is running already (process {holder}); a run's folder has one process at a time. "
            f"`flows status` shows how far it is, `flows cancel {self.name}` stops it."
        )

    def find_holder(self) -> str | None:
        """`PID HOST` of the process that works in the folder now; None where there is none."""
        if isinstance(self.folder, ObjectPath):
            holder = find_holder(self.folder / LOCK)
            return None if holder is None else str(holder)
        try:
            with (self.folder / LOCK).open("r", encoding="utf-8") as file:
                if not _lock(file, fcntl.LOCK_SH):
                    return file.read().strip() or "?"
        except OSError:
            pass
        return None

    def log(self, line: str) -> None:
        """Add a line to the run's log, with the time."""
        with (self.log_dir / RUN_LOG).open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {line}\n")

    def write_progress(self, progress: dict[str, Any]) -> None:
        """What other processes may read of a run that goes on."""
        write_file(self.folder / PROGRESS, json.dumps(progress, ensure_ascii=False) + "\n")

    def read_progress(self) -> dict[str, Any] | None:
        """What the last process wrote; None where there is nothing."""
        try:
            progress: dict[str, Any] = json.loads((self.folder / PROGRESS).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return progress

    def read_manifest(self) -> dict[str, Any]:
        """Raises RunError when the folder holds no readable manifest, StorageError where its store cannot be asked."""
        try:
            manifest: dict[str, Any] = json.loads(self.manifest_path.read_text("utf-8"))
        except StorageError:
            raise
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder} has no readable manifest.json ({error}). Name a folder that `flows run` made.") from error
        return manifest

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        write_file(self.manifest_path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

    def start(self) -> None:
        """Take old markers and the unfinished files of a killed process away, before anything in the folder changes; makes a new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if isinstance(self.folder, Path):  # in a store there are none
            for unfinished in self.folder.rglob(".*.tmp"):
                unfinished.unlink(missing_ok=True)
        for marker in (SUCCESS, PARTIAL):
            (self.folder / marker).unlink(missing_ok=True)

    def finish(self, marker: str) -> None:
        """Set the marker; the last thing written."""
        write_file(self.folder / marker, b"")

    def shards(self) -> list[AnyPath]:
        """The shard files of its chunks, in order."""
        return [self.folder / "chunks" / name for name in self.shard_names()]

    def list_files(self, pattern: str) -> list[AnyPath]:
        """Files of the folder that fit, sorted, such as `scores/*/shard-*.parquet`, in which the star is a model's folder."""
        return self.list_tables([pattern])[pattern]

    def list_tables(self, patterns: Iterable[str]) -> dict[str, list[AnyPath]]:
        """The same of several patterns.

        Of a finished run in a store the names are known, and a listing, which may be late, is not asked.
        """
        folder = self.folder
        if isinstance(folder, Path):
            return {pattern: sorted(folder.glob(pattern)) for pattern in patterns}
        wanted = list(patterns)
        if any("/" in pattern for pattern in wanted) and self.state not in ("done", "partial"):
            found = ask_each(wanted, self._list_now)
        else:
            found = ask_each(self._name_files(wanted), _keep_existing)
        return dict(zip(wanted, found, strict=True))

    def _list_now(self, pattern: str) -> list[AnyPath]:
        if "/" in pattern:
            return sorted(self.folder.glob(pattern))
        return _keep_existing([self.folder / pattern])

    def _name_files(self, patterns: Sequence[str]) -> list[list[AnyPath]]:
        """What each of them stands for in a finished run, whether it is there or not."""
        from engine.models import slug_of  # here: finding a run needs nothing of it

        names = self.shard_names() if any("/" in pattern for pattern in patterns) else []
        asked = self.read_manifest()["models"] if any(pattern.count("/") > 1 for pattern in patterns) else []
        models = sorted({f"model={slug_of(model['name'])}" for model in asked})
        named = []
        for pattern in patterns:
            table, *rest = pattern.split("/")
            folders = [self.folder / table / model for model in models] if len(rest) > 1 else [self.folder / table]
            named.append([folder / name for folder in folders for name in names] if rest else folders)
        return named

    def shard_names(self) -> list[str]:
        """The names of its shards, the same in every table, as the run has noted them; of runs of earlier versions, as they are listed."""
        return read_shard_names(self.folder)


def _keep_existing(paths: Sequence[AnyPath]) -> list[AnyPath]:
    """Those whose folder has its first file: a table has all of its shards or none."""
    first = {path.parent: path for path in reversed(paths)}
    there = {folder for folder, path in first.items() if path.exists()}
    return [path for path in paths if path.parent in there]


def ask_each(items: Sequence[Item], ask: Callable[[Item], Told]) -> list[Told]:
    """What `ask` makes of each, in their order, several at a time: of what is in a store each answer takes its way there and back."""
    with ThreadPoolExecutor(MAX_ASKED, thread_name_prefix="ask") as threads:
        return list(threads.map(ask, items))


def write_shard_names(folder: AnyPath, names: Iterable[str]) -> None:
    """Note the shards of a run: a list of its own, for a store's listing may be late."""
    write_file(folder / SHARDS, json.dumps(list(names)) + "\n")


def read_shard_names(folder: AnyPath) -> list[str]:
    """Sorted; empty for a run that has not come so far."""
    try:
        names: list[str] = json.loads((folder / SHARDS).read_text("utf-8"))
    except FileNotFoundError:
        return sorted(path.name for path in (folder / "chunks").glob("shard-*.parquet"))
    return names


def name_run(flow: str, input_name: str, fingerprint: str) -> str:
    """`<flow>-<name>-<8 hex>`; the name keeps letters, digits, dots and dashes, so that a document's name is never a path."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", input_name).strip(".-")[:40] or "documents"
    return f"{flow}-{name}-{fingerprint[:8]}"


def list_runs(workspace: AnyPath) -> list[Run]:
    """All runs of a workspace, the latest first."""
    if isinstance(workspace, ObjectPath):
        folders = list((workspace / "runs").iterdir())
        found = [(Run(folder), time) for folder, time in zip(folders, ask_each(folders, _find_time), strict=True) if time is not None]
    else:
        found = [(Run(path.parent), path.stat().st_mtime_ns) for path in (workspace / "runs").glob("*/manifest.json")]
    return [run for run, _ in sorted(found, key=lambda each: (-each[1], each[0].name))]


def _find_time(folder: ObjectPath) -> float | None:
    """When its manifest was written; None where it has none."""
    try:
        return (folder / "manifest.json").modified_at().timestamp()
    except FileNotFoundError:
        return None


def find_run(name: str, workspace: AnyPath) -> Run:
    """The run that `name` stands for: a folder, a run's name or the beginning of one, or `last`.

    Raises RunError when none or several fit.
    """
    if (path_of(name) / "manifest.json").is_file():
        return Run(path_of(name).resolve())
    # by its name first: in a store a listing may be late
    if isinstance(workspace, ObjectPath) and (named := Run(workspace / "runs" / name)).manifest_path.is_file():
        return named
    runs = list_runs(workspace)
    fitting = (
        runs[:1] if name == "last" else [run for run in runs if run.name == name] or [run for run in runs if run.name.startswith(name)]
    )
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RunError(f"{name!r} fits {len(fitting)} runs: {', '.join(run.name for run in fitting[:5])}. Give more of the name.")
    raise RunError(f"No run {name!r} in {workspace / 'runs'}. `flows status` lists the runs; `last` is the latest; or give a run's folder.")
