"""The folder of this machine where models lie that were converted, rounded or fetched: what is in it appears whole or not at all."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """`$FLOWS_CACHE`, else `galley` under the user's cache folder."""
    if chosen := os.environ.get("FLOWS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "galley"


def write_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder of the cache, unless it is there; it appears whole or not at all, whoever is killed.

    Several processes may ask at once: one writes, the others wait for it. What a killed one has left is removed.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder.parent, os.O_RDONLY)  # the parent itself: a process that dies lets go, and no file stays
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.parent.iterdir():
            if left.name.startswith(f".{folder.name}-"):
                shutil.rmtree(left, ignore_errors=True)
        if folder.is_dir():
            return
        logger.warning("%s is made once", folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            write(temporary)
            _sync_files(temporary)
            temporary.chmod(0o755)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        os.close(lock)


def _sync_files(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
