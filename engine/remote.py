"""Models in buckets and other file systems that fsspec knows: a folder or a GGUF file, fetched once into the cache.

What is fetched is named by a digest of the listing (names, sizes, ETags), so that a changed remote is another folder here.
"""

import json
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
from fsspec.callbacks import Callback  # type: ignore[import-untyped]

import chunkers.storage  # noqa: F401 - leads fsspec to a store
from chunkers.records import hash_id
from engine.cache import write_once
from engine.folders import ModelError, choose_files, read_json, refuse_single_file, require_files
from engine.sources import Fetched, Report

logger = logging.getLogger(__name__)

ORIGIN = ".source.json"
"""In a fetched folder: the address it was fetched from, and its listing."""
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "modified", "updated", "created")
"""What file systems call a file's version, the surest first."""
_REVISION = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: str
    """In its file system."""
    num_bytes: int
    tag: str
    """Another one where the content is another."""


def fetch_remote(url: str, cache_dir: Path, *, revision: str | None = None, report: Report | None = None) -> Fetched:
    """The model's files in the cache, fetched where they are not there; nothing is asked of the remote for a revision that is.

    Raises ModelError when the address cannot be read, holds no model, or holds another revision than the one asked for.
    """
    refuse_single_file(url)
    if revision is not None and (found := find_remote(url, cache_dir, revision)):
        return found
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        files = _list_files(filesystem, path, url)
        current = _digest(url, files)
        if revision is not None and current != revision:
            raise ModelError(
                f"{url} has changed since it was locked: its listing is {current}, models.lock has {revision}, and that one is not in "
                f"the cache. A locked model stays as it was. Bring the locked files back, or take the new: flows models pull {url} --update"
            )
        folder = _home(url, cache_dir) / current
        write_once(folder, lambda temporary: _download(filesystem, url, path, files, temporary, report))
    except ModelError:
        raise
    except network_errors() as error:
        if getattr(error, "errno", None) == ENOSPC:
            raise
        raise _explain(url, error) from error
    return _fetched(url, folder)


def find_remote(url: str, cache_dir: Path, revision: str | None = None) -> Fetched | None:
    """From the cache alone: of that revision, else what was fetched last; None where it is not there."""
    home = _home(url, cache_dir)
    if revision is not None:
        folders = [home / revision] if _REVISION.fullmatch(revision) else []
    else:
        folders = sorted(home.glob("[0-9a-f]*"), key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
    return next((_fetched(url, folder) for folder in folders if (folder / ORIGIN).is_file()), None)


def list_fetched(cache_dir: Path) -> list[tuple[str, Fetched]]:
    """Every address with what was fetched from it, sorted."""
    origins = [(read_json(path), path.parent) for path in sorted(cache_dir.glob(f"remote/*/*/{ORIGIN}"))]
    return sorted(((str(origin["url"]), _fetched(str(origin["url"]), folder)) for origin, folder in origins), key=str)


def _fetched(url: str, folder: Path) -> Fetched:
    return Fetched(path=folder / _base_name(url) if url.endswith(".gguf") else folder, revision=folder.name)


def _home(url: str, cache_dir: Path) -> Path:
    return cache_dir / "remote" / f"{_base_name(url)[:60]}-{hash_id(url)[:8]}"


def _base_name(url: str) -> str:
    """The last part of the address, made safe for a file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", url.rstrip("/").rpartition("/")[2]).strip(".-") or "model"


def _list_files(filesystem: Any, path: str, url: str) -> dict[str, _File]:
    """By their names in the cache; the weights last."""
    filesystem.invalidate_cache()
    if url.endswith(".gguf"):
        info = filesystem.info(path)
        if info["type"] != "file":
            raise ModelError(
                f"{url} is no file. A GGUF model is one file, and every other a folder without .gguf at its end; check the name."
            )
        return {_base_name(url): _file(info)}
    entries = {info["name"].rpartition("/")[2]: info for info in filesystem.ls(path, detail=True) if info["type"] == "file"}
    require_files(entries.keys(), url)
    return {name: _file(entries[name]) for name in choose_files(entries.keys())}


def _file(info: dict[str, Any]) -> _File:
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
    return _File(path=info["name"], num_bytes=int(info.get("size") or 0), tag=tag)


def _digest(url: str, files: dict[str, _File]) -> str:
    return hash_id(url, *(part for name in sorted(files) for part in (name, files[name].num_bytes, files[name].tag)))[:32]


def _download(filesystem: Any, url: str, path: str, files: dict[str, _File], folder: Path, report: Report | None) -> None:
    total = sum(file.num_bytes for file in files.values())
    logger.warning("%s: %d files, %.1f MB, are fetched once", url, len(files), total / 1e6)
    targets = [str(folder / name) for name in files]
    filesystem.get([file.path for file in files.values()], targets, callback=_Counter(total, report))
    short = [name for name, file in files.items() if (folder / name).stat().st_size != file.num_bytes]
    if short or _list_files(filesystem, path, url) != files:
        raise ModelError(
            f"{url} changed while it was fetched ({', '.join(short) or 'its listing'}). A model is fetched whole; run it again."
        )
    # nothing of when: the same files make the same folder
    origin = {"url": url, "files": {name: {"num_bytes": file.num_bytes, "tag": file.tag} for name, file in files.items()}}
    (folder / ORIGIN).write_text(json.dumps(origin, indent=2, sort_keys=True), "utf-8")


class _Counter(Callback):  # type: ignore[misc]
    """Adds up the bytes of all files."""

    def __init__(self, total: int, report: Report | None) -> None:
        super().__init__()
        self._total, self._report, self._done = total, report, 0

    def branched(self, path_1: str, path_2: str, **kwargs: Any) -> Callback:
        return Callback(hooks={"sum": _Share(self)})

    def add(self, num_bytes: int) -> None:
        self._done += num_bytes
        if self._report is not None:
            self._report(self._done, self._total)


class _Share:
    """One file's bytes so far, told to the sum as they grow."""

    def __init__(self, counter: _Counter) -> None:
        self._counter, self._last = counter, 0

    def __call__(self, size: int | None, value: int, **_: Any) -> None:
        self._counter.add(value - self._last)
        self._last = value


def network_errors() -> tuple[type[Exception], ...]:
    """What file systems raise; the clients of S3 and of the web have errors of their own, known once they are imported."""
    kinds: tuple[type[Exception], ...] = (OSError, ValueError, ImportError)
    with suppress(ImportError):
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        kinds += (BotoCoreError, ClientError)
    with suppress(ImportError):
        from aiohttp import ClientError as WebError

        kinds += (WebError,)
    return kinds


def _explain(url: str, error: Exception) -> ModelError:
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        what = "no such bucket" if "bucket" in str(error) and "exist" in str(error) else "nothing is there"
        return ModelError(
            f"{url}: {what}. The address names a folder with a model's files, or a .gguf file; check it, and list the bucket."
        )
    if "Credentials" in kind or isinstance(error, PermissionError):
        return ModelError(
            f"{url} may not be read ({kind}). Buckets need credentials that allow listing and reading, from the environment or a profile "
            "of this machine; for S3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
    if isinstance(error, ImportError) or "Protocol not known" in str(error):
        return ModelError(
            f"{url}: {error}. The protocol needs an fsspec package that is not installed; add it, or give s3://, hf: or a path."
        )
    return ModelError(
        f"{url} could not be fetched ({kind}: {error}). The address must be reachable, or a model that `flows models pull` has locked must "
        "be in the cache. Check the network and AWS_ENDPOINT_URL, or copy the folder here and give its path."
    )
