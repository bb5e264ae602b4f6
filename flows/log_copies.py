"""The logs of a run whose folder is in a store, where nothing can be added to an object: kept on this machine, uploaded while they grow."""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from chunkers.paths import ObjectPath
from engine.cache import default_cache_dir


def find_log_dir(folder: ObjectPath) -> Path:
    """Where this machine keeps the logs of the run in that folder; the same after a kill, so that nothing that was said is lost."""
    return default_cache_dir() / "runs" / f"{folder.name}-{sha256(str(folder).encode()).hexdigest()[:8]}"


class LogCopies:
    """Files of the same names here and in the store."""

    def __init__(self, folder: ObjectPath, names: tuple[str, ...]) -> None:
        self._folder, self._log_dir, self._names = folder, find_log_dir(folder), names
        self._uploaded: dict[str, int] = {}

    def fetch(self, *, is_new: bool) -> None:
        """Take over what the store has, unless what lies here goes on from it: another machine may have worked on the run since."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        for name in self._names:
            path = self._log_dir / name
            try:
                there = (self._folder / name).read_bytes()
            except FileNotFoundError:
                there = b""
            here = path.read_bytes() if path.exists() else None
            if is_new or here is None or not here.startswith(there):
                path.write_bytes(there)
            self._uploaded[name] = len(there)

    def remove(self) -> None:
        """Nothing stays here of a run that has ended well."""
        for name in self._names:
            (self._log_dir / name).unlink(missing_ok=True)
        with suppress(OSError):  # something of another command is in it
            self._log_dir.rmdir()

    def upload(self) -> None:
        """Put each that has grown. Raises OSError."""
        for name, num_bytes in list(self._uploaded.items()):  # one that is not fetched yet would be written over
            data = (self._log_dir / name).read_bytes()
            if len(data) != num_bytes:
                (self._folder / name).write_bytes(data)
                self._uploaded[name] = len(data)
