"""models.lock: which revision of each source was pulled, and the size and checksum of each of its files. Written by `flows models pull`.

Where there is no such file nothing is demanded; a source that it names must be what it was when it was pulled.
"""

import fcntl
import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from engine.folders import ModelError
from engine.sources import source_of

LOCK_FILE = Path("models.lock")
"""In the working folder, beside flows.toml."""
VERSION = 1

Checksum = Callable[[Path], str]
"""A file's sha256, hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """One file of a pinned source."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What a source was when it was pulled."""

    revision: str
    weights_sha256: str
    files: Mapping[str, PinnedFile]
    """By name: what decides the model's answers, or its one GGUF file."""

    @property
    def num_bytes(self) -> int:
        """Of all its files."""
        return sum(file.num_bytes for file in self.files.values())


def make_pin(revision: str, weights_sha256: str, paths: list[Path], checksum: Checksum) -> Pin:
    """What the files are now."""
    files = {path.name: PinnedFile(num_bytes=path.stat().st_size, sha256=checksum(path)) for path in paths}
    return Pin(revision=revision, weights_sha256=weights_sha256, files=files)


def find_differences(pin: Pin, now: Pin) -> list[str]:
    """What of a source is not as it was pinned, each in a few words, sorted by file."""
    found = [] if pin.revision == now.revision else [f"its revision is {now.revision}, locked is {pin.revision}"]
    for name in sorted(pin.files.keys() | now.files.keys()):
        before, after = pin.files.get(name), now.files.get(name)
        if before is None or after is None:
            found.append(f"{name} is {'gone' if after is None else 'new'}")
        elif before.num_bytes != after.num_bytes:
            found.append(f"{name} has {after.num_bytes:,} bytes, locked are {before.num_bytes:,}")
        elif before.sha256 != after.sha256:
            found.append(f"{name} has the checksum {after.sha256[:12]}…, locked is {before.sha256[:12]}…")
    if not found and pin.weights_sha256 != now.weights_sha256:
        found.append(f"its weights have the checksum {now.weights_sha256[:12]}…, locked is {pin.weights_sha256[:12]}…")
    return found


def check_pin(source: str, pin: Pin, now: Pin) -> None:
    """Raises ModelError where the source is not as it was pinned."""
    if found := find_differences(pin, now):
        raise ModelError(
            f"{source} is not the model that models.lock has: {'; '.join(found[:4])}. A locked model stays as it was pulled. "
            f"Bring its files back, or lock it as it is now: flows models pull {shlex.quote(source)} --update"
        )


def find_pin(source: str, lock_path: Path = LOCK_FILE) -> Pin | None:
    """The pin of a source in the form of `source_of`; None where there is none. Raises ModelError as `read_pins`."""
    return read_pins(lock_path).get(source)


def read_pins(lock_path: Path = LOCK_FILE) -> dict[str, Pin]:
    """By source, in the form of `source_of`, sorted; empty where there is no file. Raises ModelError for a file that is none."""
    try:
        content = json.loads(lock_path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(lock_path, str(error)) from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise _unusable(lock_path, f"it is not of version {VERSION}")
    try:
        pins = {source: _read_pin(entry) for source, entry in sorted(content["models"].items())}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(lock_path, f"an entry is not whole: {error!r}") from error
    # a lock may have been written when a source had another form; where it has both, the present one counts
    found = {source_of(source): pins[source] for source in sorted(pins, key=lambda source: source == source_of(source))}
    return {source: found[source] for source in sorted(found)}


def save_pin(source: str, pin: Pin, lock_path: Path = LOCK_FILE) -> None:
    """Put one pin into the file, in its place; the others stay, those of a process that writes at the same time among them."""
    folder = os.open(lock_path.parent, os.O_RDONLY)
    temporary = lock_path.with_name(f".{lock_path.name}.{uuid4().hex}.tmp")
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        pins = read_pins(lock_path) | {source: pin}
        content = {"version": VERSION, "models": {name: _write_pin(pins[name]) for name in sorted(pins)}}
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
        temporary.replace(lock_path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(folder)


def _write_pin(pin: Pin) -> dict[str, Any]:
    files = {name: {"num_bytes": file.num_bytes, "sha256": file.sha256} for name, file in sorted(pin.files.items())}
    return {"revision": pin.revision, "weights_sha256": pin.weights_sha256, "num_bytes": pin.num_bytes, "files": files}


def _read_pin(entry: dict[str, Any]) -> Pin:
    files = {str(name): PinnedFile(num_bytes=int(file["num_bytes"]), sha256=str(file["sha256"])) for name, file in entry["files"].items()}
    return Pin(revision=str(entry["revision"]), weights_sha256=str(entry["weights_sha256"]), files=files)


def _unusable(lock_path: Path, met: str) -> ModelError:
    return ModelError(
        f"{lock_path} cannot be used ({met}). It is written by `flows models pull` and nothing else; bring back an earlier one, or delete "
        "it and pull again."
    )
