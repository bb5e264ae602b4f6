"""`flows doctor`: whether this machine, its services and its stores are as runs need them. Looks, and leaves nothing behind."""

import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]

from chunkers.paths import ObjectPath, is_url, path_of
from chunkers.records import DocumentError
from engine.cache import default_cache_dir
from engine.fit import GIB
from flows.checkup import Check, fail, fail_by, ok, warn
from flows.config import RunConfig
from flows.corpus import NothingFitsError, expand_inputs
from flows.hardware import check_hardware
from flows.server import ask_server, find_prefect_url

FEW_BYTES, SCARCE_BYTES = GIB // 2, 5 * GIB
"""Free on a disk: with less than the first a run soon ends, with less than the second no model may be added."""
TRIES = "2"
"""Of a request to a store: a doctor does not wait as long as a run."""


def examine(config: RunConfig, inputs: Iterable[str], *, is_engine: bool) -> Iterator[Check]:
    """Look at one thing after the other; each line as soon as it is known."""
    yield ok("galley", f"{importlib.metadata.version('galley')}, Python {platform.python_version()}")
    yield from check_hardware()
    yield from _check_disks(config)
    yield from check_prefect()
    yield from _check_storage(config, inputs)
    if config.cluster is not None:
        from flows.cluster_doctor import check_cluster

        yield from check_cluster(config.cluster, config.out)
    if is_engine:
        yield from _check_engines(config)


def _check_disks(config: RunConfig) -> Iterator[Check]:
    """That of the workspace, where it is here, and that of what is kept: they may be written and have room."""
    folders = [("cache", default_cache_dir())]
    if not is_url(config.out):
        folders.insert(0, ("workspace", Path(config.out).absolute()))
    for name, folder in folders:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                free = shutil.disk_usage(there).free
        except OSError as error:
            yield fail(
                "disk",
                f"{folder} ({name}) cannot be written: {error.strerror or error}",
                "mend its rights, or name another: " + ("FLOWS_CACHE" if name == "cache" else "out in flows.toml, or -o"),
            )
            continue
        met = f"{free / GIB:.1f} GiB free for {folder} ({name})"
        if free < FEW_BYTES:
            yield fail("disk", met, "make room: a run that finds none ends with exit code 5")
        elif free < SCARCE_BYTES:
            yield warn("disk", met, "a converted model, or the tables of a long run, may not find room; make some")
        else:
            yield ok("disk", met)


def check_prefect() -> Iterator[Check]:
    """The server that is set, or what is done without one."""
    url = find_prefect_url()
    installed = importlib.metadata.version("prefect")
    if url is None:
        yield ok("prefect", f"{installed}; PREFECT_API_URL is not set: each run starts a server of its own, which ends with it")
        return
    try:
        there = str(ask_server(url, "admin/version"))
    except (OSError, ValueError) as error:
        yield fail(
            "prefect",
            f"{url} (PREFECT_API_URL) does not answer: {error}",
            "start it (prefect server start), mend the address, or unset it: then each run starts its own",
        )
        return
    if there.split(".")[:2] != installed.split(".")[:2]:
        yield warn("prefect", f"{url} has version {there}, and this machine {installed}", "take the same minor version for both")
    else:
        yield ok("prefect", f"{there} at {url}")


def _check_storage(config: RunConfig, inputs: Iterable[str]) -> Iterator[Check]:
    """A workspace in a store is written, read and tidied up; inputs are listed, and the first of each pattern is opened."""
    os.environ.setdefault("AWS_MAX_ATTEMPTS", TRIES)
    config.storage.use()
    workspace = path_of(config.out)
    if isinstance(workspace, ObjectPath):
        yield _check_workspace(workspace)
    for pattern in inputs:
        yield _check_input(pattern)


def _check_workspace(workspace: ObjectPath) -> Check:
    probe = workspace / f"doctor-{uuid4().hex}"
    try:
        probe.write_bytes(b"galley")
        try:
            is_whole = probe.read_bytes() == b"galley"
            is_guarded = _refuses_second(probe)
        finally:
            probe.unlink()
    except (OSError, ImportError, ValueError) as error:
        return fail_by("storage", error)
    if not is_whole:
        return fail(
            "storage", f"{workspace} does not give back what was just written", "ask those who run the store; runs need that it does"
        )
    if not is_guarded:
        return warn(
            "storage",
            f"{workspace} can be written and read, but does not honour If-None-Match",
            "start a run once at a time: two at once in one folder may both begin",
        )
    return ok("storage", f"{workspace} can be written and read")


def _refuses_second(probe: ObjectPath) -> bool:
    try:
        probe.create(b"second")
    except FileExistsError:
        return True
    return False


def _check_input(pattern: str) -> Check:
    try:
        found = expand_inputs([pattern])
        with fsspec.open(found[0], "rb") as file:
            file.read(1)
    except NothingFitsError as error:
        return warn("input", str(error).rpartition("; ")[0], "check the pattern, or put a file there; a schedule waits for one")
    except (DocumentError, OSError, ImportError, ValueError) as error:
        return fail("input", f"{pattern}: {error}", "check its name, and that you may read it")
    return ok("input", f"{pattern}: {len(found):,} {'file' if len(found) == 1 else 'files'}, and the first can be read")


def _check_engines(config: RunConfig) -> Iterator[Check]:
    """Load each model's engine and ask it for a word; a server's is asked for one."""
    from engine.models import ModelError
    from engine.protocol import EngineError
    from engine.records import Outcome, Request, Sampling
    from flows.config import ConfigError
    from flows.endpoints import find_key
    from flows.engines import host_model

    for name in config.model:
        started = time.monotonic()
        try:
            hosted = host_model(name, config)
            if hosted.config.engine == "endpoint":
                find_key(name, hosted.config)
            hosted.check_fit()
            request = Request(
                row_key=uuid4().hex,
                doc_id="",
                chunk_id="",
                template="doctor",
                template_version=1,
                token_ids=tuple(hosted.tokenizer.encode_prompt("The sky is")),
                messages=(("user", "Say one word."),) if hosted.config.engine == "endpoint" else None,
                sampling=Sampling(max_tokens=1),
            )
            with hosted.open_engine() as engine:
                loaded = time.monotonic()
                (completion,) = engine.run([request])
        except (ConfigError, EngineError, ModelError, OSError) as error:
            yield fail("engine", f"{name}: {error}", "mend that; flows models check says whether its files are whole")
            continue
        if completion.outcome not in (Outcome.OK, Outcome.TRUNCATED):
            yield fail("engine", f"{name} loads, and answers {completion.outcome.value}: {completion.error}", "see `flows models show`")
        else:
            yield ok(
                "engine", f"{name}: loaded in {loaded - started:.0f} s, answered in {time.monotonic() - loaded:.1f} s ({engine.build})"
            )
