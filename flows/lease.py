"""Who works in a run's folder in a store: an object that its holder writes anew while it lives, and that is void once it has grown old.

What it guarantees where the store honours `If-None-Match` (S3, MinIO, moto): of two that come to a free folder one gets it. Elsewhere, and
where an abandoned one is taken over, both may write it; a moment later the first reads the other's and ends. A holder that was frozen for
longer than `LEASE_S` learns at its next beat that another has taken over. Two that work in one folder all the same write the same tables:
what that costs is answers computed twice.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from chunkers.paths import ObjectPath, StorageError

logger = logging.getLogger(__name__)

LEASE_S = 90.0
"""An older one was left by a process that was killed, or a machine that is gone."""
REFRESH_S = 20.0
BEAT_S = 5.0
SETTLE_S = 2.0
"""After an abandoned one was taken over: whoever found it abandoned at the same moment has written by then."""


class LeaseError(Exception):
    """Another process holds the lease; `holder` is `PID HOST`."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process, told from every other."""

    pid: int
    host: str
    machine: str
    """A boot of a kernel and a space of process ids: within it a process id says whether a process lives."""
    started: str
    """When, as the kernel counts: process ids come again."""
    token: str

    def is_gone(self) -> bool:
        """Whether it has ended, as far as that can be told from here."""
        return self.machine == _find_machine() and _find_start(self.pid) != self.started

    def __str__(self) -> str:
        return f"{self.pid} {self.host}"


def find_holder(path: ObjectPath) -> Holder | None:
    """The process that holds the lease now; None where there is none, or what there is is void."""
    try:
        if path.age_s() > LEASE_S:
            return None
        holder = Holder(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return None if holder.is_gone() else holder


@contextmanager
def hold_lease(path: ObjectPath, beat: Callable[[], None]) -> Iterator[None]:
    """Hold it until the block ends; `beat` is called every few seconds from a thread, and what it raises waits for the next beat.

    Raises LeaseError where another process holds it, now or at the block's end.
    """
    mine = Holder(pid=os.getpid(), host=socket.gethostname(), machine=_find_machine(), started=_find_start(os.getpid()), token=uuid4().hex)
    _take(path, mine)
    keeper = _Keeper(path, mine, beat)
    try:
        yield
    except StorageError:
        keeper.stop()  # it would be waited for once more; the lease grows old by itself
        raise
    except BaseException:
        with suppress(OSError, LeaseError):  # what ended it is what is told
            keeper.end()
        raise
    keeper.end()


def _take(path: ObjectPath, mine: Holder) -> None:
    if holder := find_holder(path):
        raise LeaseError(str(holder))
    is_takeover = path.is_file()
    if is_takeover:
        path.unlink(missing_ok=True)
    if not _create(path, mine) and not _is_mine(path, mine):
        raise LeaseError(str(find_holder(path) or "another process"))
    if is_takeover:
        time.sleep(SETTLE_S)
    if not _is_mine(path, mine):
        raise LeaseError(str(find_holder(path) or "another process"))


def _create(path: ObjectPath, mine: Holder) -> bool:
    """False where another was faster; after an answer that got lost on its way, also where it was this one."""
    try:
        path.create(_render(mine))
    except FileExistsError:
        return False
    return True


def _render(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _is_mine(path: ObjectPath, mine: Holder) -> bool:
    try:
        return path.read_bytes() == _render(mine)
    except FileNotFoundError:
        return False


class _Keeper:
    """Writes the lease anew in a thread, and lets go at the end."""

    def __init__(self, path: ObjectPath, mine: Holder, beat: Callable[[], None]) -> None:
        self._path, self._mine, self._beat = path, mine, beat
        self._stop, self._is_lost, self._written_at = threading.Event(), False, time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def end(self) -> None:
        self.stop()
        self._thread.join()
        self._beat()
        if self._is_lost or not _is_mine(self._path, self._mine):
            raise LeaseError(str(find_holder(self._path) or "another process"))
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                self._beat()
                if time.monotonic() - self._written_at >= REFRESH_S and not self._is_lost:
                    self._refresh()
            except OSError as error:
                # the run itself meets the same store, and ends with it
                logger.debug("the lease could not be kept: %s", error)

    def _refresh(self) -> None:
        if not _is_mine(self._path, self._mine):
            self._is_lost = True
            logger.warning("%s: another process works in this run's folder now; this one ends with an error.", self._path.parent)
            return
        self._path.write_bytes(_render(self._mine))
        self._written_at = time.monotonic()


def _find_machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"


def _find_start(pid: int) -> str:
    """Empty where there is no such process, or one that has ended and waits for its parent."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")
    except OSError:
        return ""
    state, *rest = fields.split()
    return "" if state in "ZX" else rest[18]
