"""The run folder: its name, its manifest, its lock, its progress, its marker; and finding runs again."""

import fcntl
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

SUCCESS, PARTIAL = "_SUCCESS", "_PARTIAL"
LOCK, PROGRESS = "lock", "progress.json"
MAX_LOOK_S = 0.5
"""Who looks whether a run is going on holds its lock for a moment; a run that starts then waits so long."""


class RunError(Exception):
    """A run that cannot be found or read: what was met, the rule, what to do."""


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file or none: unique temporary name beside it, synced, renamed. Newlines stay as they are."""
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

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def workspace(self) -> Path:
        return self.folder.parent.parent

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def log_path(self) -> Path:
        """What a person is told while it runs, with the time."""
        return self.folder / "run.log"

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
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a+", encoding="utf-8") as file:
            deadline = time.monotonic() + MAX_LOOK_S
            while not _lock(file, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise RunError(
                        f"{self.name} is running already (process {self.find_holder()}); a run's folder has one process at a time. "
                        f"`flows status` shows how far it is, `flows cancel {self.name}` stops it."
                    )
                time.sleep(0.02)
            file.truncate(0)
            file.write(f"{os.getpid()} {socket.gethostname()}\n")
            file.flush()
            yield

    def find_holder(self) -> str | None:
        """`PID HOST` of the process that works in the folder now; None where there is none."""
        try:
            with (self.folder / LOCK).open("r", encoding="utf-8") as file:
                if not _lock(file, fcntl.LOCK_SH):
                    return file.read().strip() or "?"
        except OSError:
            pass
        return None

    def log(self, line: str) -> None:
        """Add a line to the run's log, with the time."""
        with self.log_path.open("a", encoding="utf-8", errors="backslashreplace") as log:
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
        """Raises RunError when the folder holds no readable manifest."""
        try:
            manifest: dict[str, Any] = json.loads(self.manifest_path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder} has no readable manifest.json ({error}). Name a folder that `flows run` made.") from error
        return manifest

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        write_file(self.manifest_path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

    def start(self) -> None:
        """Take old markers and the unfinished files of a killed process away, before anything in the folder changes; makes a new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for unfinished in self.folder.rglob(".*.tmp"):
            unfinished.unlink(missing_ok=True)
        for marker in (SUCCESS, PARTIAL):
            (self.folder / marker).unlink(missing_ok=True)

    def finish(self, marker: str) -> None:
        """Set the marker; the last thing written."""
        write_file(self.folder / marker, b"")

    def shards(self, table: str) -> list[Path]:
        """Shard files of a table that is kept in several, in order."""
        return sorted((self.folder / table).rglob("shard-*.parquet"))


def name_run(flow: str, input_name: str, fingerprint: str) -> str:
    """`<flow>-<name>-<8 hex>`; the name keeps letters, digits, dots and dashes, so that a document's name is never a path."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", input_name).strip(".-")[:40] or "documents"
    return f"{flow}-{name}-{fingerprint[:8]}"


def list_runs(workspace: Path) -> list[Run]:
    """All runs of a workspace, the latest first."""
    runs = [Run(path.parent) for path in (workspace / "runs").glob("*/manifest.json")]
    return sorted(runs, key=lambda run: (-run.manifest_path.stat().st_mtime_ns, run.name))


def find_run(name: str, workspace: Path) -> Run:
    """The run that `name` stands for: a folder, a run's name or the beginning of one, or `last`.

    Raises RunError when none or several fit.
    """
    if (Path(name) / "manifest.json").is_file():
        return Run(Path(name).resolve())
    runs = list_runs(workspace)
    fitting = (
        runs[:1] if name == "last" else [run for run in runs if run.name == name] or [run for run in runs if run.name.startswith(name)]
    )
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RunError(f"{name!r} fits {len(fitting)} runs: {', '.join(run.name for run in fitting[:5])}. Give more of the name.")
    raise RunError(f"No run {name!r} in {workspace / 'runs'}. `flows status` lists the runs; `last` is the latest; or give a run's folder.")
