"""The run folder: its name, its manifest, its marker; and finding runs again."""

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUCCESS, PARTIAL = "_SUCCESS", "_PARTIAL"


class RunError(Exception):
    """A run that cannot be found or read: what was met, the rule, what to do."""


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file or none: unique temporary name beside it, synced, renamed. Newlines stay as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
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
    def state(self) -> str:
        """`done`, `partial` (ended with something missing), or `unfinished` (running, or killed)."""
        if (self.folder / SUCCESS).exists():
            return "done"
        return "partial" if (self.folder / PARTIAL).exists() else "unfinished"

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
        """Make the folder and take old markers away, before anything in it changes."""
        self.folder.mkdir(parents=True, exist_ok=True)
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
