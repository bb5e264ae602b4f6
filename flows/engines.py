"""The engines of this process: each model is loaded once, in a thread of its own, and lives until the process ends or closes it."""

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chunkers.paths import AnyPath, path_of
from chunkers.tokens import Tokenizer
from engine.budget import Budget, Spending
from engine.calls import CallStore, row_key
from engine.copying import CopyForm, find_copy_form
from engine.device import Device, find_device
from engine.feed import FAILURES, STOPPED, Feed, Progress
from engine.fit import check_fit, find_machine
from engine.generate import GenerateJob
from engine.ledger import Prices
from engine.models import Model, ModelError, resolve_model
from engine.options import check_drafts, deciding_options
from engine.pins import find_pin
from engine.prefixes import CPU_BLOCK_SIZE, GPU_BLOCK_SIZE
from engine.process import EngineSpec, ProcessEngine
from engine.prompts import ChatRenderer, EndpointRenderer, Rendered, Renderer
from engine.protocol import DEFAULT_MAX_MODEL_LEN, Engine, EngineError, EngineRefusedError
from engine.quantize import quantize_model
from engine.records import Messages, Outcome, Sampling
from engine.score import ReadAhead, ScoreJob
from engine.sources import source_of
from flows.config import ConfigError, ModelConfig, RunConfig
from flows.endpoints import open_endpoint, resolve_endpoint
from flows.identity import canonical_json

if TYPE_CHECKING:
    from prefect.futures import PrefectConcurrentFuture

WAIT_S = 1.0
"""Between two looks whether tasks have ended without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for all engines of one command."""

    spending: Spending = field(default_factory=lambda: Spending(Budget()))
    retried: frozenset[Outcome] = FAILURES
    """Stored failures that are asked again."""
    retries_killers: bool = False
    """Whether what killed the engine twice is among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """What a model's engines did so far, those of one process or of several together; goes from process to process."""

    name: str
    progress: Progress
    load_seconds: float
    held_seconds: float
    """For which its engines were there: loading, computing and waiting."""
    num_chunks: int
    """Given to its feeds."""
    num_read: int
    """Of them, those that have had a first answer."""
    num_further: int
    """Questions beyond the first about each chunk."""
    engine_build: str | None

    def __add__(self, other: "ModelState") -> "ModelState":
        return ModelState(
            name=self.name,
            progress=self.progress + other.progress,
            load_seconds=self.load_seconds + other.load_seconds,
            held_seconds=self.held_seconds + other.held_seconds,
            num_chunks=self.num_chunks + other.num_chunks,
            num_read=self.num_read + other.num_read,
            num_further=self.num_further + other.num_further,
            engine_build=self.engine_build or other.engine_build,
        )


@dataclass
class HostedModel:
    """A model with its tokeniser now and its engine as soon as somebody feeds it."""

    name: str
    config: ModelConfig
    workspace: AnyPath
    model: Model
    prices: Prices
    is_fresh: bool
    limits: Limits
    load_seconds: float = 0.0
    """From the start of loading to the engine being ready, of all its engines so far."""
    engine_build: str | None = None
    num_chunks: int = 0
    """Chunks given to its feed so far."""
    _jobs: list[ScoreJob | GenerateJob] = field(default_factory=list)
    """In its feed; only their counts are read."""
    _shard_errors: list[BaseException | None] = field(default_factory=list)
    """One for each shard that needs its engine no longer: what ended it, None where all is answered."""
    _shards_changed: threading.Condition = field(default_factory=threading.Condition)
    _num_read_before: int = 0
    """Of jobs that have ended; the jobs themselves would hold the whole corpus."""
    _num_further_before: int = 0
    read_ahead: ReadAhead = field(default_factory=ReadAhead)
    """Of its scoring jobs."""
    refusal: ModelError | None = None
    """Why its engine must not load; raised where a call is not in the store. None for one that may."""
    progress: Progress = field(default_factory=Progress)
    """Of its feed; stays when the feed is closed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _feed: Feed | None = None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.model.tokenizer_path)

    @cached_property
    def copy_form(self) -> CopyForm | None:
        """How it is asked, where it has learned to copy a passage with its errors mended."""
        return find_copy_form(self.model.folder)

    @property
    def state(self) -> ModelState:
        """What it did so far."""
        return ModelState(
            name=self.name,
            progress=self.progress,
            load_seconds=self.load_seconds,
            held_seconds=self.limits.spending.held_seconds(self.name),
            num_chunks=self.num_chunks,
            num_read=self.num_read,
            num_further=self.num_further,
            engine_build=self.engine_build,
        )

    @property
    def num_read(self) -> int:
        """Chunks that have had a first answer so far."""
        return self._num_read_before + sum(job.num_read for job in list(self._jobs))

    @property
    def num_further(self) -> int:
        """Questions so far beyond the first about each chunk."""
        return self._num_further_before + sum(job.num_further for job in list(self._jobs))

    def submit(self, job: ScoreJob | GenerateJob, num_chunks: int) -> "Future[None]":
        """Give its feed a job about so many chunks; tell `end_job` when its future has ended."""
        with self._lock:
            self._jobs.append(job)
            self.num_chunks += num_chunks
        return self.feed.submit(job)

    @contextmanager
    def shard(self) -> Iterator[None]:
        """Around a shard's questions: when it ends, the shard needs the engine no longer.

        What other workers have answered by then is known: of a shard that comes from one that died, all that it had stored.
        """
        error: BaseException | None = None
        if self._feed is not None:
            self._feed.refresh()
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            with self._shards_changed:
                self._shard_errors.append(error)
                self._shards_changed.notify_all()

    def await_shards(self, tasks: "Sequence[PrefectConcurrentFuture[Any]]") -> None:
        """Wait until each task's shard needs the engine no longer. Raises what ended one of them."""
        with self._shards_changed:
            while len(self._shard_errors) < len(tasks) and not any(self._shard_errors):
                self._shards_changed.wait(WAIT_S)
                if all(task.wrapped_future.done() for task in tasks):
                    break  # also where Prefect ended one before it came to its shard
            for error in filter(None, self._shard_errors):
                raise error

    def end_job(self, job: ScoreJob | GenerateJob) -> None:
        """Keep a job's counts and let go of it."""
        with self._lock:
            self._jobs.remove(job)
            self._num_read_before += job.num_read
            self._num_further_before += job.num_further

    @cached_property
    def engine_kind(self) -> str:
        """What of the engine decides an answer: its kind, and every setting of it that a user chose and that can change one."""
        is_here = self.config.engine != "endpoint"
        return f"{self.config.engine} {canonical_json(deciding_options(self._settings) if is_here else self._settings)}"

    @property
    def _settings(self) -> dict[str, Any]:
        """What a user chose for the engine."""
        return self.config.extra_body if self.config.engine == "endpoint" else self.config.engine_args

    @property
    def max_model_len(self) -> int:
        """Tokens of a prompt with its answer."""
        return int(self.config.max_model_len or self.config.engine_args.get("max_model_len", DEFAULT_MAX_MODEL_LEN))

    @property
    def block_size(self) -> int:
        """Tokens of a block of its engine's prefix cache, as far as that is known before it loads."""
        default = CPU_BLOCK_SIZE if find_device() is Device.CPU else GPU_BLOCK_SIZE
        return int(self.config.engine_args.get("block_size", default))

    def renderer(self) -> Renderer:
        """Puts prompts into the form that its engine takes. Raises ModelError where the model has no chat template."""
        return EndpointRenderer(self.tokenizer) if self.config.engine == "endpoint" else ChatRenderer(self.model, self.tokenizer)

    def row_key(self, token_ids: Sequence[int], sampling: Sampling, sample_index: int = 0, *, messages: Messages | None = None) -> str:
        """The row key of a question to this model; see `calls.row_key`."""
        return row_key(self.model, self.engine_kind, token_ids, sampling, sample_index, messages=messages)

    def key_of(self, rendered: Rendered, sampling: Sampling) -> str:
        """The row key of a rendered prompt."""
        return self.row_key(rendered.token_ids, sampling, messages=rendered.messages)

    @property
    def feed(self) -> Feed:
        """The model's feed; its engine loads at the first question that is not in the store."""
        return self.start(is_eager=False)

    def start(self, *, is_eager: bool) -> Feed:
        """The model's feed, started where it is not yet; an eager one begins to load its engine at once. A server need not load."""
        with self._lock:
            if self._feed is None:
                if _is_stopped.is_set():
                    raise EngineError(STOPPED)
                self._feed = Feed(
                    self._open_store,
                    self._load_engine,
                    is_eager=is_eager and self.config.engine != "endpoint",
                    spending=self.limits.spending,
                    prices=self.prices,
                    retried=self.limits.retried,
                    retries_killers=self.limits.retries_killers,
                    block_size=None if self.config.engine == "endpoint" else self.block_size,
                ).__enter__()
                self.progress = self._feed.progress
            return self._feed

    def _open_store(self) -> CallStore:
        worker = f"{socket.gethostname()}:{os.getpid()}"
        return CallStore(
            str(self.workspace),
            self.model,
            worker=worker,
            price=self.prices.cost_of,
            is_fresh=self.is_fresh,
            engine_settings=canonical_json(self._settings),
        )

    def _load_engine(self) -> AbstractContextManager[Engine]:
        if self.refusal:
            raise self.refusal
        started = time.monotonic()
        self.limits.spending.hold(self.name, self.prices.per_engine_hour)
        engine = self.open_engine()
        self.load_seconds += time.monotonic() - started
        self.engine_build = engine.build
        return engine

    def open_engine(self) -> Engine:
        """An engine of the model, in a process of its own or at its server. Raises EngineError where there is none to be had."""
        if self.config.engine == "endpoint":
            try:
                return open_endpoint(self.name, self.config, self.model)
            except ConfigError as error:
                raise EngineRefusedError(str(error)) from error
        return ProcessEngine(EngineSpec(kind=self.config.engine, model=self.model, engine_args=self.config.engine_args))

    def check_fit(self) -> None:
        """Raise FitError where its engine would not load on this machine; says nothing of engines elsewhere."""
        if self.config.engine == "vllm":
            check_fit(self.model, self.config.engine_args, self.max_model_len, find_machine())

    def abort(self) -> None:
        """Stop its feed without waiting."""
        if self._feed is not None:
            self._feed.abort()

    def close(self) -> None:
        """End the engine once it has answered everything; a later `feed` loads it again."""
        with self._lock:
            if self._feed is not None:
                self._feed.__exit__(None, None, None)
                self._feed = None
                self.limits.spending.release(self.name)


_hosted: dict[tuple[str, str, str], HostedModel] = {}
_hosted_lock = threading.Lock()
_limits = Limits()
_is_stopped = threading.Event()
"""No engine is started any more, from an abort until all are closed."""


def limit_engines(limits: Limits) -> None:
    """Set what holds for the engines that are hosted from now on."""
    global _limits
    _limits = limits


def host_model(name: str, config: RunConfig) -> HostedModel:
    """The one HostedModel of this process for a model, its settings and a workspace. Raises ModelError as `resolve_model`."""
    model_config = config.find_model(name)
    key = (name, model_config.model_dump_json(), config.out)
    with _hosted_lock:
        if key not in _hosted:
            is_here = model_config.engine != "endpoint"
            model = replace(_find_weights(model_config), name=name) if is_here else resolve_endpoint(name, model_config)
            _hosted[key] = HostedModel(
                name=name,
                config=model_config,
                workspace=path_of(config.out),
                model=model,
                prices=config.find_prices(name).prices(),
                is_fresh=config.fresh,
                limits=_limits,
            )
        return _hosted[key]


def _find_weights(config: ModelConfig) -> Model:
    """The model's weights in the form that its engine computes with. Raises ModelError as `resolve_model` and `quantize_model`."""
    check_drafts(config.engine_args)
    model = resolve_model(config.source, pin=find_pin(source_of(config.source)))
    return quantize_model(model) if config.quantization == "int8" else model


def current_limits() -> Limits:
    """What holds for the engines of this process."""
    return _limits


def list_hosted() -> list[HostedModel]:
    """The models of this process."""
    return list(_hosted.values())


def abort_engines() -> None:
    """Stop every feed of this process without waiting, and let no other begin; safe in a signal handler."""
    _is_stopped.set()
    for hosted in list(_hosted.values()):
        hosted.abort()


def check_going() -> None:
    """Raise EngineError once engines are aborted: for work that needs none, and would go on for long."""
    if _is_stopped.is_set():
        raise EngineError(STOPPED)


def close_engines() -> None:
    """Close every engine of this process."""
    with _hosted_lock:
        for hosted in _hosted.values():
            hosted.close()
        _hosted.clear()
    _is_stopped.clear()
