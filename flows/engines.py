"""The engines of this process: each model is loaded once, in a thread of its own, and lives until the process ends or closes it."""

import json
import os
import socket
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from chunkers.tokens import Tokenizer
from engine.calls import CallStore
from engine.feed import Feed, Progress
from engine.models import Model, resolve_model
from engine.protocol import Engine
from engine.score import ScoreJob
from flows.config import ModelConfig, RunConfig


@dataclass
class HostedModel:
    """A model with its tokeniser now and its engine as soon as somebody feeds it."""

    name: str
    config: ModelConfig
    workspace: Path
    model: Model
    load_seconds: float = 0.0
    """From the start of loading to the engine being ready; 0 until then."""
    engine_build: str | None = None
    num_chunks: int = 0
    """Chunks given to its feed so far."""
    score_jobs: list[ScoreJob] = field(default_factory=list)
    """Given to its feed so far; only their counts are read."""
    progress: Progress = field(default_factory=Progress)
    """Of its feed; stays when the feed is closed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _feed: Feed | None = None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.model.tokenizer_path)

    @property
    def engine_kind(self) -> str:
        """What of the engine decides an answer: its kind, and every setting of it that a user chose."""
        return f"vllm {json.dumps(self.config.engine_args, sort_keys=True)}"

    @property
    def feed(self) -> Feed:
        """The model's feed; its engine loads at the first question that is not in the store."""
        return self.start(is_eager=False)

    def start(self, *, is_eager: bool) -> Feed:
        """The model's feed, started where it is not yet; an eager one begins to load its engine at once."""
        with self._lock:
            if self._feed is None:
                self._feed = Feed(self._open_store, self._load_engine, is_eager=is_eager).__enter__()
                self.progress = self._feed.progress
            return self._feed

    def _open_store(self) -> CallStore:
        return CallStore(str(self.workspace), self.model, worker=f"{socket.gethostname()}:{os.getpid()}")

    def _load_engine(self) -> AbstractContextManager[Engine]:
        started = time.monotonic()
        from engine.vllm import VllmEngine  # takes 12 s to import; nothing but a load needs it

        engine = VllmEngine(self.model, **self.config.engine_args)
        self.load_seconds = time.monotonic() - started
        self.engine_build = engine.build
        return engine

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


_hosted: dict[tuple[str, str, str], HostedModel] = {}
_hosted_lock = threading.Lock()


def host_model(name: str, config: RunConfig) -> HostedModel:
    """The one HostedModel of this process for a model, its settings and a workspace. Raises ModelError as `resolve_model`."""
    model_config = config.find_model(name)
    key = (name, model_config.model_dump_json(), config.out)
    with _hosted_lock:
        if key not in _hosted:
            model = replace(resolve_model(model_config.source), name=name)
            _hosted[key] = HostedModel(name=name, config=model_config, workspace=Path(config.out), model=model)
        return _hosted[key]


def abort_engines() -> None:
    """Stop every feed of this process without waiting; safe in a signal handler."""
    for hosted in list(_hosted.values()):
        hosted.abort()


def close_engines() -> None:
    """Close every engine of this process."""
    with _hosted_lock:
        for hosted in _hosted.values():
            hosted.close()
        _hosted.clear()
