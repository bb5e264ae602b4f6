"""Keeps what libraries write to stderr out of a person's sight, in a file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def stderr_to_file(path: Path) -> Iterator[TextIO]:
    """Yields the real stderr; whatever else writes to file descriptor 2, C++ included, writes to `path` (appended) until the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    saved = os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 2)
    os.close(log)
    try:
        with os.fdopen(os.dup(saved), "w", encoding="utf-8", errors="backslashreplace") as terminal:
            yield terminal
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
