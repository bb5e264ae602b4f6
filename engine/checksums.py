"""Checksums of large files, remembered: hashing gigabytes at every start is slow.

Owns the folder `checksums` of the cache. What is remembered is as good as a file's time: `read_checksum` reads the file again.
"""

import json
import os
import time
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path
from uuid import uuid4

from chunkers.records import hash_id

SETTLED_NS = 2_000_000_000
"""A file that has changed within this time may change again without its time changing: it is not remembered yet."""


def file_checksum(path: Path, cache_dir: Path) -> str:
    """Sha256 of the file's bytes, hex; read only where path, size and time are not those of an earlier reading."""
    known = remembered_checksum(path, cache_dir)
    return known if known is not None else read_checksum(path, cache_dir)


def read_checksum(path: Path, cache_dir: Path) -> str:
    """Sha256 of the file's bytes, hex, read now and remembered."""
    real = path.resolve()
    before = real.stat()
    with real.open("rb") as file:
        checksum = file_digest(file, "sha256").hexdigest()
    after = real.stat()
    is_settled = time.time_ns() - after.st_mtime_ns > SETTLED_NS
    if is_settled and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
        _remember(real, after, checksum, cache_dir)
    return checksum


def remembered_checksum(path: Path, cache_dir: Path) -> str | None:
    """The checksum of an earlier reading of the file with this size and time; None where there was none."""
    real = path.resolve()
    status = real.stat()
    try:
        entry = json.loads(_entry_path(real, cache_dir).read_text("utf-8"))
        if (entry["path"], entry["num_bytes"], entry["mtime_ns"]) == (str(real), status.st_size, status.st_mtime_ns):
            return str(entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # nothing remembered, or not whole: the file itself decides
    return None


def _remember(real: Path, status: os.stat_result, checksum: str, cache_dir: Path) -> None:
    entry = {"path": str(real), "num_bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": checksum}
    target = _entry_path(real, cache_dir)
    temporary = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    # a cache that cannot be written costs time alone
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(entry), "utf-8")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def _entry_path(real: Path, cache_dir: Path) -> Path:
    return cache_dir / "checksums" / f"{hash_id(str(real))[:32]}.json"
