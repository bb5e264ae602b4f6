"""Where files lie: a path of this machine, or an object in a store, with as much of pathlib's interface as both need.

Not universal-pathlib's: its paths keep a listing once they have one, and lead to a store by options that they carry and the URLs made from
them do not. Nothing here is decided by a listing that was made before.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from errno import EHOSTUNREACH
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from chunkers.storage import Storage

# fsspec and the settings of stores are imported where an object is asked for: a command that only says how it is used needs neither


class StorageError(OSError):
    """A store that stays away or may not be used: what was met, the rule, what to do. Says nothing of what lies there."""

    def __init__(self, message: str) -> None:
        super().__init__(EHOSTUNREACH, message)  # an errno that no reader takes for a broken file

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.strerror,)


class ObjectPath:
    """An fsspec URL. Its file system is looked up each time, so that it can be sent to another process, where it brings its settings along.

    Objects have no folders: what a folder is asked here is asked of the names that begin so.
    """

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"ObjectPath({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __lt__(self, other: "ObjectPath") -> bool:
        return self._url < other._url

    def __reduce__(self) -> tuple[Any, ...]:
        from chunkers.storage import used_storage

        return _restore, (self._url, used_storage())

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(f"{self._url}/{name}")

    @property
    def name(self) -> str:
        return self._url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> "ObjectPath":
        return ObjectPath(self._url.rpartition("/")[0])

    def with_name(self, name: str) -> "ObjectPath":
        return self.parent / name

    def with_suffix(self, suffix: str) -> "ObjectPath":
        return self.with_name(PurePosixPath(self.name).with_suffix(suffix).name)

    def absolute(self) -> "ObjectPath":
        return self

    def resolve(self) -> "ObjectPath":
        return self

    def is_file(self) -> bool:
        """Asked of the object itself, by its name."""
        filesystem, path = self._find()
        if hasattr(filesystem, "is_object"):
            return bool(filesystem.is_object(path))
        try:
            return bool(filesystem.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def exists(self) -> bool:
        """The same: nobody asks for a folder."""
        return self.is_file()

    def is_dir(self) -> bool:
        """Whether something lies under it."""
        filesystem, path = self._find()
        if hasattr(filesystem, "has_objects"):
            return bool(filesystem.has_objects(path))
        return bool(filesystem.isdir(path))

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing has to be made."""

    def read_bytes(self) -> bytes:
        filesystem, path = self._find()
        data: bytes = filesystem.cat_file(path)
        return data

    def read_text(self, encoding: str) -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        """One upload: the object appears whole or not at all, and the one that was there stays until then."""
        filesystem, path = self._find()
        filesystem.pipe_file(path, data)

    def create(self, data: bytes) -> None:
        """The same, where there is none yet. Raises FileExistsError where there is; some stores write over it all the same."""
        filesystem, path = self._find()
        try:
            filesystem.pipe_file(path, data, mode="create")
        except FileExistsError:
            raise
        except OSError as error:
            # servers name a refused condition each in its way
            if not isinstance(error, FileNotFoundError | PermissionError | StorageError):
                raise FileExistsError(f"{self} is there already ({error})") from error
            raise

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the object."""
        filesystem, path = self._find()
        try:
            filesystem.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def iterdir(self) -> Iterator["ObjectPath"]:
        """What begins with it and a slash, up to the next one, as it is listed now."""
        filesystem, path = self._find()
        filesystem.invalidate_cache()
        try:
            names = filesystem.ls(path, detail=False)
        except FileNotFoundError:
            return
        for name in sorted(names):
            if (own := name.rstrip("/").rpartition("/")[2]) != self.name or name.rstrip("/") != path.rstrip("/"):
                yield self / own

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Objects as they are listed now."""
        filesystem, path = self._find()
        filesystem.invalidate_cache()
        found = filesystem.glob(f"{path}/{pattern}", detail=True)
        for name in sorted(name for name, info in found.items() if info["type"] == "file"):
            yield ObjectPath(str(filesystem.unstrip_protocol(name)))

    def modified_at(self) -> datetime:
        """Raises FileNotFoundError without an object."""
        filesystem, path = self._find()
        return as_utc(filesystem.modified(path))

    def age_s(self) -> float:
        """Seconds since it was written, by the store's own clock where it tells. Raises FileNotFoundError without an object."""
        filesystem, path = self._find()
        if hasattr(filesystem, "age_s"):
            return float(filesystem.age_s(path))
        return (datetime.now(UTC) - self.modified_at()).total_seconds()

    def open_snapshot(self) -> Any:
        """The fsspec file system that it lies in, for one question: what is told of an object may be told again."""
        filesystem, _ = self._find()
        return filesystem.snapshot() if hasattr(filesystem, "snapshot") else filesystem

    def _find(self) -> tuple[Any, str]:
        import fsspec  # type: ignore[import-untyped]

        import chunkers.storage  # noqa: F401 - leads fsspec to the store

        filesystem, path = fsspec.core.url_to_fs(self._url)
        return filesystem, str(path)


AnyPath: TypeAlias = Path | ObjectPath
"""A file or folder, here or in a store; `str()` of it is what shards are named by."""


def as_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_url(text: str) -> bool:
    return "://" in text


def is_web(text: str) -> bool:
    """Whether it is a page: nothing lies beside one, and nothing can be listed or written there."""
    return text.startswith(("http://", "https://"))


def path_of(text: str) -> AnyPath:
    """A URL's object, else a path of this machine, `file://` among them."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return ObjectPath(text) if is_url(text) else Path(text)


def _restore(url: str, storage: "Storage") -> ObjectPath:
    from chunkers.storage import use_storage

    use_storage(storage)
    return ObjectPath(url)
