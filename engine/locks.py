"""Who may merge the parts of a folder: one process at a time. It saves work; no row depends on it."""

import fcntl
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from fsspec.asyn import AsyncFileSystem  # type: ignore[import-untyped]
from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

from engine.parts import PartFolder

LOCK_NAME = ".merge.lock"
MAX_AGE = timedelta(minutes=30)
"""A lock object that is older was left by a killed process. A merge that takes longer costs a second merge, no row."""


@contextmanager
def lock_folder(folder: PartFolder) -> Iterator[bool]:
    """True where the lock is held until the block ends; False, without waiting, where another has it or it cannot be had."""
    with _lock_file(Path(folder.path)) if folder.is_local else _lock_object(folder.filesystem, f"{folder.path}/{LOCK_NAME}") as is_held:
        yield is_held


@contextmanager
def _lock_file(folder: Path) -> Iterator[bool]:
    # the kernel lets go when the process dies; the file stays, so that nobody locks one that is deleted already
    with (folder / LOCK_NAME).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held, or a network file system without locks
            yield False
            return
        yield True


@contextmanager
def _lock_object(filesystem: Any, path: str) -> Iterator[bool]:
    token = uuid4().hex.encode()
    if not (_creates_exclusively(filesystem) and _take(filesystem, path, token)):
        yield False
        return
    try:
        yield True
    finally:
        try:
            if filesystem.cat_file(path) == token:  # another's, if ours was held for too long
                filesystem.rm_file(path)
        except FileNotFoundError:
            pass


def _take(filesystem: Any, path: str, token: bytes) -> bool:
    if not _create(filesystem, path, token):
        filesystem.invalidate_cache()
        try:
            is_stale = datetime.now(UTC) - filesystem.modified(path) > MAX_AGE
            if is_stale:
                filesystem.rm_file(path)
        except FileNotFoundError:
            return False  # its holder has ended; the next one to look takes it
        if not is_stale or not _create(filesystem, path, token):
            return False
    # some servers take the condition and ignore it: there, creating it twice works
    return not _create(filesystem, path, token)


def _create(filesystem: Any, path: str, token: bytes) -> bool:
    try:
        filesystem.pipe_file(path, token, mode="create")
    except OSError:  # FileExistsError, and S3's «precondition failed», which s3fs makes EINVAL
        return False
    return True


def _creates_exclusively(filesystem: Any) -> bool:
    """Whether its `pipe_file` is its own and knows `mode`: fsspec's own looks first and writes then."""
    kind = type(filesystem)
    own, inherited = (
        (kind._pipe_file, AsyncFileSystem._pipe_file) if filesystem.async_impl else (kind.pipe_file, AbstractFileSystem.pipe_file)
    )
    return own is not inherited and "mode" in inspect.signature(own).parameters
