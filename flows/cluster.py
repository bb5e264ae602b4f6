"""The workers of a Dask cluster. Each is a process that holds one engine a model for the length of a run; shards move as paths.

Dask owns where a shard is worked on, what idle workers take from busy ones, and what becomes of a dead worker's shards. Ours is what
Dask does not know: engines, what they did and may spend, and how to end.
"""

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
from dask.distributed import Client, Nanny, Scheduler, SpecCluster, WorkerPlugin
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect_dask import DaskTaskRunner  # type: ignore[attr-defined]

from chunkers.paths import AnyPath
from engine.budget import Budget, Spending
from engine.device import list_gpus
from engine.protocol import EngineError
from engine.records import Outcome
from flows.config import RunConfig
from flows.engines import (
    HostedModel,
    Limits,
    ModelState,
    abort_engines,
    close_engines,
    current_limits,
    host_model,
    limit_engines,
    list_hosted,
)
from flows.phases import Phase, measure_phases, reset_phases
from flows.runs import Run
from flows.server import is_loopback
from flows.workers import MAX_SHARDS_AT_ONCE

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""Between two looks at what the workers did, for each hundred of them; a limit of money or engine-hours is passed by as much."""
MAX_CONNECT_S = 15.0
MAX_AWAY_S = 600.0
"""How long a scheduler that went away is waited for."""
MAX_DEATHS = 10
"""Of workers, at the same shard, before it counts as what kills them."""
GPU = "GPU"
"""The Dask resource of a worker that owns a GPU: `dask worker --resources GPU=1`."""
_LOCAL = re.compile(r"local:(\d+)")


class ClusterError(EngineError):
    """There is no cluster, or it is gone: what was met, the rule, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker's process did in this run so far."""

    process: tuple[str, int]
    """Host and process id: a worker that was started again is another."""
    states: tuple[ModelState, ...]
    cost: Decimal
    phases: dict[Phase, float]


class RunOnWorker(WorkerPlugin):
    """Makes a worker ready for one run; Dask gives it to workers that join later too."""

    name = "galley-run"

    def __init__(self, config: RunConfig, budget: Budget, retried: frozenset[Outcome], *, retries_killers: bool, is_eager: bool) -> None:
        self._config, self._budget, self._retried = config, budget, retried
        self._retries_killers, self._is_eager = retries_killers, is_eager
        self._cwd = Path.cwd()

    def setup(self, worker: Any) -> None:
        """Called in the worker's event loop, which must not wait for an engine."""
        close_engines()
        reset_phases()
        self._config.storage.use()
        with suppress(OSError):
            os.chdir(self._cwd)  # what is named from there is named so here; where there is no such folder, only URLs and names are known
        # money and hours are added up over all workers where the run was started
        spending = Spending(Budget(deadline=self._budget.deadline))
        limit_engines(Limits(spending=spending, retried=self._retried, retries_killers=self._retries_killers))
        if self._is_eager:
            threading.Thread(target=self._load, name="load-engine", daemon=True).start()

    def _load(self) -> None:
        try:
            host_model(self._config.model[0], self._config).start(is_eager=True)
        except Exception:
            logger.exception("the engine could not be started ahead; the first shard says why")

    def teardown(self, worker: Any) -> None:
        """The worker leaves: nothing that waits for an engine may keep its process."""
        abort_engines()
        close_engines()


def _report() -> Report:
    return Report(
        process=(socket.gethostname(), os.getpid()),
        states=tuple(hosted.state for hosted in list_hosted()),
        cost=current_limits().spending.cost,
        phases=measure_phases(),
    )


def _sees(manifest: AnyPath) -> bool:
    return manifest.exists()


def _end_budget(reason: str) -> None:
    current_limits().spending.end(reason)


def _let_go(model: str) -> Report:
    for hosted in list_hosted():
        if hosted.name == model:
            hosted.close()
    return _report()


class ClusterWorkers:
    """The workers of the cluster that a run's settings name."""

    def __init__(self, config: RunConfig, hosted: Sequence[HostedModel], run: Run) -> None:
        self._config, self._names, self._limits = config, [model.name for model in hosted], current_limits()
        self._manifest = run.manifest_path
        self._empty = {model.name: model.state for model in hosted}
        self._reports: dict[tuple[str, int], Report] = {}
        self._reports_lock = threading.Lock()
        self._is_ended = threading.Event()
        self._watch = threading.Thread(target=self._keep_watch, name="cluster", daemon=True)
        self._connection = ExitStack()
        self._client: Client | None = None

    def task_runner(self) -> "TaskRunner[Any]":
        """As the protocol says."""
        return DaskTaskRunner(address=self._connected.scheduler.address)  # type: ignore[union-attr]

    @property
    def _connected(self) -> Client:
        if self._client is None:
            raise ClusterError(f"--cluster {self._config.cluster}: not connected.")
        return self._client

    def place(self, index: int, *, at_engine: bool = False) -> AbstractContextManager[Any]:
        """As the protocol says; where workers own GPUs, the tasks that need an engine go to them alone."""
        resources = {"resources": {GPU: 1 / MAX_SHARDS_AT_ONCE}} if at_engine and self._has_gpus else {}
        return dask.annotate(priority=-index, **resources)  # type: ignore[attr-defined]

    @cached_property
    def _has_gpus(self) -> bool:
        workers = self._connected.scheduler_info(n_workers=-1)["workers"].values()
        return any(GPU in worker["resources"] for worker in workers)

    def start(self, server: "Future[str]", *, is_eager: bool) -> None:
        """Connect, and make every worker ready for this run, those too that join later."""
        self._connect(server.result(), is_eager=is_eager)
        self._watch.start()

    def _connect(self, prefect_url: str | None, *, is_eager: bool) -> None:
        address = str(self._config.cluster)
        self._client = client = self._connection.enter_context(connect(address, prefect_url))
        limits = self._limits
        client.register_plugin(
            RunOnWorker(self._config, limits.spending.budget, limits.retried, retries_killers=limits.retries_killers, is_eager=is_eager)
        )
        for name in ("chunkers", "engine", "postprocess", "flows"):
            client.forward_logging(name, logging.WARNING)  # type: ignore[no-untyped-call]
        try:
            client.wait_for_workers(1, timeout=MAX_CONNECT_S)
        except TimeoutError as error:
            raise ClusterError(
                f"--cluster {address}: the scheduler has no worker. They work on the shards; start some with `dask worker {address}`."
            ) from error
        self._check_reach(client, prefect_url)

    def _check_reach(self, client: Client, prefect_url: str | None) -> None:
        """Raise ClusterError where a worker cannot see the run, or not ask Prefect's server."""
        if blind := sorted(worker for worker, sees in client.run(_sees, self._manifest).items() if not sees):
            raise ClusterError(
                f"--cluster {self._config.cluster}: {len(blind)} workers, {blind[0]} the first, do not see {self._manifest}. Workers take "
                "shards from the workspace and write there; put it where all can reach it: -o s3://BUCKET/PREFIX, or a shared disk."
            )
        hosts = {str(urlsplit(address).hostname) for address in client.scheduler_info(n_workers=-1)["workers"]}
        away = sorted(host for host in hosts if not _is_here(host))
        if away and prefect_url is not None and is_loopback(prefect_url):
            raise ClusterError(
                f"--cluster {self._config.cluster}: the worker on {away[0]} cannot ask Prefect's server at {prefect_url}, which answers "
                "this machine alone. Start one that all can reach, `prefect server start --host 0.0.0.0`, and set PREFECT_API_URL to it."
            )

    def recover(self, error: BaseException) -> bool:
        """As the protocol says: a scheduler that is started again knows nothing; what was answered is in the call store."""
        if isinstance(error, KilledWorker):
            raise ClusterError(
                f"--cluster {self._config.cluster}: {error.allowed_failures + 1} workers died one after another while they worked on "
                "the same shard. Their logs, and the machines' (out of memory?), say why; what is answered is kept."
            ) from error
        if _LOCAL.fullmatch(str(self._config.cluster)):
            return False
        if not isinstance(error, FutureCancelledError | CommClosedError) and self._connected.status == "running":
            return False
        logger.warning("%s is gone; it is waited for.", self._config.cluster)
        with suppress(OSError, TimeoutError):
            self._connection.close()
        deadline = time.monotonic() + MAX_AWAY_S
        while True:
            try:
                self._connect(None, is_eager=False)
            except ClusterError:
                if time.monotonic() > deadline:
                    raise
            else:
                return True

    def finish(self, model: str, shards: Sequence[PrefectFuture[Any]]) -> None:
        """As the protocol says."""
        for shard in shards:
            shard.result()
        self._take(self._connected.run(_let_go, model, on_error="ignore"))

    def look(self) -> list[ModelState]:
        """As the protocol says; of a worker that died, what was last heard of it."""
        with self._reports_lock:
            reports = list(self._reports.values())
        states = {name: [self._empty[name]] for name in self._names}
        for report in reports:
            for state in report.states:
                states[state.name].append(state)
        return [reduce(add, states[name]) for name in self._names]

    def look_apart(self) -> list[tuple[str, ModelState]]:
        """As the protocol says; in the order in which they were first heard of."""
        with self._reports_lock:
            reports = list(self._reports.values())
        return [(":".join(map(str, report.process)), state) for report in reports for state in report.states if state.num_chunks]

    def measure(self) -> list[ModelState]:
        """As the protocol says; the last look may be older than the last answer."""
        with suppress(OSError, TimeoutError):
            if self._client is not None:
                self._take(self._client.run(_report, on_error="ignore"))
        return self.look()

    def phases(self) -> dict[Phase, float]:
        """The seconds of all workers together."""
        own = measure_phases()
        with self._reports_lock:
            return {phase: own[phase] + sum(report.phases[phase] for report in self._reports.values()) for phase in Phase}

    def abort(self) -> None:
        """As the protocol says."""
        self._is_ended.set()
        if self._client is not None:
            with suppress(OSError, TimeoutError):
                self._client.run(abort_engines, on_error="ignore", wait=False)

    def close(self) -> None:
        """As the protocol says."""
        self._is_ended.set()
        with suppress(OSError, TimeoutError):
            if self._client is not None:
                self._client.run(close_engines, on_error="ignore")
        self._connection.close()

    def _take(self, reports: dict[str, Report]) -> None:
        with self._reports_lock:
            self._reports |= {report.process: report for report in reports.values()}

    def _keep_watch(self) -> None:
        """Hear what the workers did, and end the budget where it is spent by all of them together."""
        num_workers = 1
        while not self._is_ended.wait(LOOK_S * max(1, num_workers / 100)):
            try:
                reports = self._connected.run(_report, on_error="ignore")
                if num_workers and not reports:
                    logger.warning("No worker is left at %s; the run goes on as soon as one joins.", self._config.cluster)
                num_workers = len(reports)
                self._take(reports)
                if reason := self._find_end():
                    self._connected.run(_end_budget, reason, on_error="ignore")
            except (OSError, TimeoutError, ClusterError) as error:
                logger.debug("the workers could not be asked: %s", error)

    def _find_end(self) -> str | None:
        with self._reports_lock:
            reports = list(self._reports.values())
        return self._limits.spending.budget.find_end(
            lambda: sum((report.cost for report in reports), Decimal(0)),
            lambda: sum(state.held_seconds for report in reports for state in report.states),
        )


@contextmanager
def connect(address: str, prefect_url: str | None = None) -> Iterator[Client]:
    """A client of the cluster at `address`, or of one of N worker processes on this machine for `local:N`, which ends with it.

    Raises ClusterError where nothing answers there.
    """
    local = _LOCAL.fullmatch(address)
    if local is None:
        try:
            client = Client(address, timeout=MAX_CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"--cluster {address}: no Dask scheduler answers there within {MAX_CONNECT_S:.0f} s ({error}). Start one with "
                "`dask scheduler` and workers with `dask worker`, or take --cluster local:N for N processes on this machine."
            ) from error
        with client:
            yield client
        return
    options = {"allowed-failures": MAX_DEATHS}
    with (
        dask.config.set({f"distributed.scheduler.{name}": value for name, value in options.items()}),
        SpecCluster(workers=_local_workers(int(local[1]), prefect_url), scheduler=_SCHEDULER, silence_logs=logging.ERROR) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster, set_as_default=False) as client,  # type: ignore[no-untyped-call]
    ):
        yield client


def _is_here(host: str) -> bool:
    """Whether it is an address of this machine: only those can be listened at."""
    try:
        with socket.create_server((host, 0)):
            return True
    except OSError:
        return False


_SCHEDULER = {"cls": Scheduler, "options": {"dashboard": False, "host": "127.0.0.1", "port": 0}}


def _local_workers(number: int, prefect_url: str | None) -> dict[int, dict[str, Any]]:
    """What SpecCluster makes workers of: each has a GPU where there are some, else its share of the processor's cores."""
    gpus, cores = len(list_gpus()), sorted(os.sched_getaffinity(0))
    if gpus and number > gpus:
        raise ClusterError(
            f"--cluster local:{number}: {gpus} GPUs are visible, and a worker's engine has one to itself. Take local:{gpus}."
        )
    workers = {}
    for index in range(number):
        own = cores[index * len(cores) // number : (index + 1) * len(cores) // number] or [cores[index % len(cores)]]
        where = {"CUDA_VISIBLE_DEVICES": str(index)} if gpus else {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, own))}
        options = {
            "nthreads": MAX_SHARDS_AT_ONCE,
            "memory_limit": 0,  # an engine has its own process, whose memory was checked before it was loaded
            "resources": {GPU: 1} if gpus else {},
            "env": where | ({"PREFECT_API_URL": prefect_url} if prefect_url else {}),
        }
        workers[index] = {"cls": Nanny, "options": options}
    return workers
