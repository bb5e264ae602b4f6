"""A file of lines that is written while it can be read, and appears under its own name when it is whole.

Lines stream into `NAME.partial`, in the order in which they come; the order that is wanted is made at the end. Nothing but their places is
held in memory.
"""

import fcntl
import os
import shutil
import stat
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import numpy as np
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from chunkers.paths import StorageError
from engine.remote import network_errors

STDOUT = "-"
STDIN = "-"
PARTIAL, ORDERED = ".partial", ".ordered"
"""What is added to the name of a file that is not whole, and to that where its lines are put in order."""


class LineFileError(Exception):
    """A file that cannot be read or written: what was met, the rule, what to do."""


def is_url(target: str) -> bool:
    return "://" in target


def find_place(target: str) -> str | None:
    """The same for whatever names the same file; None for stdin and stdout, which are none."""
    if target == STDOUT:
        return None
    inner = target.rpartition("::")[2] if is_url(target) else target  # of a chain of file systems the one that is written
    if not is_url(inner):
        return os.path.realpath(inner)
    try:
        filesystem, path = fsspec.core.url_to_fs(inner)
    except (ImportError, ValueError):
        return target  # whoever opens it says what is wrong with it
    return os.path.realpath(path) if isinstance(filesystem, LocalFileSystem) else str(filesystem.unstrip_protocol(path))


def find_written(target: str) -> list[str]:
    """The places that a LineFile of that name writes, its own first; none for stdout."""
    place = find_place(target)
    return [] if place is None else [place, *(str(find_place(f"{place}{end}")) for end in (PARTIAL, f"{PARTIAL}{ORDERED}"))]


class LineFile:
    """Opened for writing at once, so that what stands in its way is met before anything is computed."""

    def __init__(self, target: str, spool_dir: Path, *, is_ordered: bool) -> None:
        """`target` is a path, an fsspec URL or `-`; the last two are collected in `spool_dir`, unless lines can go to stdout as they come,
        or the URL is one of a file here.

        Raises LineFileError where it cannot be written, or another process is writing it.
        """
        self.target, self._is_ordered = target, is_ordered
        self._is_direct = target == STDOUT and not is_ordered
        self.num_lines = 0
        self._numbers, self._offsets, self._end = array("q"), array("q"), 0
        self._path = _final_path(target)
        self.partial_path = (
            self._path.with_name(f"{self._path.name}{PARTIAL}") if self._path is not None else spool_dir / f"{_spool_name(target)}{PARTIAL}"
        )
        if self._path is None and target != STDOUT:
            self._try_store()
        self._file: BinaryIO = sys.stdout.buffer if self._is_direct else self._open()

    def _open(self) -> BinaryIO:
        try:
            if self._path is None:
                self.partial_path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = self.partial_path.open("ab")
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.close()
                    raise LineFileError(
                        f"{self.partial_path} is being written by another process; one command at a time writes {self.target}; "
                        "wait for it, or name another file."
                    ) from None
                # whoever held it may have renamed it meanwhile: what is locked now is their finished file
                if _is_same_file(file, self.partial_path):
                    file.truncate(0)
                    return file
                file.close()
        except OSError as error:
            raise LineFileError(f"{self.target} cannot be written ({error.strerror}); its folder must be there; name another.") from error

    def write(self, number: int, line: bytes) -> None:
        """Add a line with its end; `number` is its place among all lines where order matters. Raises OSError."""
        self._file.write(line)
        self._file.flush()
        self.num_lines += 1
        if self._is_ordered:
            self._numbers.append(number)
            self._offsets.append(self._end)
            self._end += len(line)

    def finish(self) -> None:
        """Make it whole under its own name; what was there before is replaced. Raises OSError."""
        if self._is_direct:
            return
        whole = self.partial_path
        if self._is_ordered:
            whole = self._ordered_path
            with whole.open("wb") as ordered:
                for line in self._ordered_lines():
                    ordered.write(line)
                ordered.flush()
                os.fsync(ordered.fileno())
        else:
            os.fsync(self._file.fileno())
        self._publish(whole)
        if self._is_ordered:
            self.partial_path.unlink()
        # the lock is held until now: whoever opens the partial file meanwhile is told so, or opens a new one
        self._file.close()

    def close(self) -> None:
        """Leave what there is as it is, but for what was for stdout: nobody would find it."""
        if self._is_direct:
            return
        if self.target == STDOUT:
            self.partial_path.unlink(missing_ok=True)
            self._ordered_path.unlink(missing_ok=True)
        self._file.close()

    @property
    def _ordered_path(self) -> Path:
        return self.partial_path.with_name(f"{self.partial_path.name}{ORDERED}")

    def _try_store(self) -> None:
        """Write an empty `NAME.partial` beside it and remove it: a bucket may be missing, or not be ours to write."""
        try:
            filesystem, path = fsspec.core.url_to_fs(f"{self.target}{PARTIAL}")
            filesystem.pipe_file(path, b"")
        except network_errors() as error:
            raise LineFileError(
                f"{self.target} cannot be written ({_reason(error)}); its bucket or folder must be there and be yours to write; "
                "check the name, the credentials and the network, or name another."
            ) from error
        with suppress(*network_errors()):  # one may write there and not remove
            filesystem.rm_file(path)

    def _ordered_lines(self) -> Iterator[bytes]:
        order = np.argsort(np.frombuffer(self._numbers, dtype=np.int64), kind="stable").tolist()
        with self.partial_path.open("rb") as file:
            for index in order:
                file.seek(self._offsets[index])
                yield file.readline()

    def _publish(self, whole: Path) -> None:
        if self._path is not None:
            whole.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            return
        if self.target == STDOUT:
            with whole.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            try:
                filesystem, path = fsspec.core.url_to_fs(self.target)
                filesystem.put_file(str(whole), path)
            except network_errors() as error:
                raise OSError(f"{self.target} could not be written ({_reason(error)}); its lines are in {whole}.") from error
        whole.unlink()


def _final_path(target: str) -> Path | None:
    """None where it is no path of this machine."""
    if target == STDOUT:
        return None
    if is_url(target):
        scheme = target.partition("://")[0]
        if scheme in ("http", "https"):
            raise LineFileError(f"{target} cannot be written; an output is a path, - or a store such as s3://bucket/name; name one.")
        try:
            fsspec.core.url_to_fs(target)
        except (ImportError, ValueError) as error:
            raise LineFileError(f"{target} cannot be written ({error}); an output is a path, - or a store that fsspec knows.") from error
    place = find_place(target)
    if place is None or is_url(place):
        return None
    path = Path(place)
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return path
    except OSError as error:
        raise LineFileError(f"{target} cannot be written ({error.strerror}); name another file.") from error
    if not stat.S_ISREG(kind):
        raise LineFileError(f"{target} is no regular file, and would be replaced by one; name another file, or - for stdout.")
    return path


def _spool_name(target: str) -> str:
    """The same for the same file, so that one process at a time writes it; stdout is another one in each process."""
    return f"stdout-{uuid4().hex}" if target == STDOUT else sha256(target.encode()).hexdigest()[:16]


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _is_same_file(file: BinaryIO, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(file.fileno())
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def fetch_lines(source: str, spool: BinaryIO) -> Path | None:
    """The path of a file of this machine; anything else (`-`, a pipe, a URL) is copied into `spool`, and None returned.

    Raises LineFileError where it cannot be read.
    """
    try:
        if source == STDIN:
            shutil.copyfileobj(sys.stdin.buffer, spool)
        elif is_url(source):
            with fsspec.open(source, "rb") as file:
                shutil.copyfileobj(file, spool)
        elif Path(source).is_file():
            with Path(source).open("rb"):
                return Path(source)
        else:
            with Path(source).open("rb") as file:  # a pipe can be read once
                shutil.copyfileobj(file, spool)
    except StorageError as error:
        raise LineFileError(str(error)) from error
    except network_errors() as error:
        raise LineFileError(
            f"{source} cannot be read ({_reason(error)}); an input is a path, - for stdin, or a URL such as s3://…"
        ) from error
    spool.flush()
    return None
