"""One `flows run`: from checked settings to a finished run folder, engine and Prefect's server started side by side."""

import hashlib
import json
import logging
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any, TextIO

import fsspec  # type: ignore[import-untyped]
from rich.console import Console

from chunkers.readers import read_document
from chunkers.records import DocumentError, hash_id
from engine.protocol import DEFAULT_MAX_MODEL_LEN
from flows.config import ConfigError, RunConfig
from flows.corpus import expand_inputs
from flows.engines import HostedModel, abort_engines, close_engines, host_model
from flows.judge import MAX_ANSWER_TOKENS, PROMPT_TOKENS
from flows.progress import ProgressLine
from flows.quiet import stderr_to_file
from flows.runs import PARTIAL, SUCCESS, Run, name_run
from flows.server import prepare_prefect, start_server

FLOW_VERSION = 1
"""Part of a run's name: raise it when the same inputs and settings give other tables."""


class InterruptedRun(KeyboardInterrupt):
    """The run was told to stop by a signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the run: jobs that wait for an engine are let go first, for nothing else would wake their threads.

    A second signal ends the process at once, also while an engine loads.
    """

    def stop(signum: int, _frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        abort_engines()
        raise InterruptedRun(signum)

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _warnings_to(terminal: TextIO) -> Iterator[None]:
    """Warnings of galley's own modules reach the person; those of libraries stay in the log."""
    handler = logging.StreamHandler(terminal)
    loggers = [logging.getLogger(name) for name in ("chunkers", "engine", "postprocess", "flows")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class NothingToDoError(Exception):
    """No input could be read; nothing was computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Inputs and models, checked, before anything heavy is loaded."""

    inputs: tuple[str, ...]
    hosted: tuple[HostedModel, ...]
    run: Run
    has_prose: bool


def plan_run(flow: str, patterns: tuple[str, ...], config: RunConfig) -> Plan:
    """Find the inputs and the models' weights and name the run.

    Raises DocumentError, ModelError, or NothingToDoError when not one input can be read.
    """
    inputs = tuple(expand_inputs(patterns))
    has_prose, num_read, problems = False, 0, []
    for path in inputs:
        try:
            document = read_document(path)
        except DocumentError as error:
            problems.append(str(error))
            continue
        num_read += 1
        if document.num_words:
            has_prose = True
            break  # one is enough to know that the engine is needed; the flow reads them all
    if not num_read:
        raise NothingToDoError("\n".join(problems))
    hosted = tuple(host_model(name, config) for name in config.model)
    for model in hosted:
        check_lengths(model, config)
    name = name_run(
        flow, PurePosixPath(inputs[0]).stem if len(inputs) == 1 else f"{len(inputs)}-documents", _fingerprint(flow, inputs, hosted, config)
    )
    return Plan(inputs=inputs, hosted=hosted, run=Run(Path(config.out).absolute() / "runs" / name), has_prose=has_prose)


def check_lengths(hosted: HostedModel, config: RunConfig) -> None:
    """Raises ConfigError where a chunk with its context does not fit into the model's window."""
    window = int(hosted.config.engine_args.get("max_model_len", DEFAULT_MAX_MODEL_LEN))
    extra = 0 if hosted.config.protocol == "score" else MAX_ANSWER_TOKENS + PROMPT_TOKENS
    needed = config.max_tokens + 2 * config.max_context_tokens + extra
    if needed > window:
        raise ConfigError(
            f"max_tokens={config.max_tokens} + 2 x max_context_tokens={config.max_context_tokens}"
            f"{f' + {extra} for prompt and answer' if extra else ''} exceeds max_model_len={window} of {hosted.name}; "
            f"lower max_tokens to {config.max_tokens - (needed - window)} or less, or raise max_model_len in its engine_args."
        )


def _fingerprint(flow: str, inputs: tuple[str, ...], hosted: tuple[HostedModel, ...], config: RunConfig) -> str:
    settings = config.model_dump(mode="json", exclude={"out", "models", "model"})
    models = [f"{model.name} {model.model.weights_sha256} {model.config.model_dump_json()}" for model in hosted]
    return hash_id(flow, FLOW_VERSION, json.dumps(settings, sort_keys=True), *models, *(f"{path} {_digest(path)}" for path in inputs))


def _digest(path: str) -> str:
    try:
        with Path(path).open("rb") if "://" not in path else fsspec.open(path).open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, ImportError):
        return "unreadable"


def execute_run(plan: Plan, config: RunConfig, command: list[str]) -> Run:
    """Run the flow. The folder is whole, with its marker, when this returns; raises whatever ended the run early, finished parts kept."""
    run = plan.run
    is_new = not run.manifest_path.exists()  # of a run begun before, everything may be in the store
    run.start()
    started, created = time.monotonic(), datetime.now(UTC)
    manifest = _manifest(plan, config, command, created)
    run.write_manifest(manifest | {"state": "running"})
    prepare_prefect()
    with (
        _stop_on_signals(),
        stderr_to_file(run.folder / "engine.log") as terminal,
        _warnings_to(terminal),
        ProgressLine(Console(file=terminal), plan.hosted),
    ):
        server = start_server()
        if plan.has_prose:
            plan.hosted[0].start(is_eager=is_new)
        try:
            # imported here: Prefect takes 2 s, which the engine's thread and the server use
            from flows.proofread import proofread

            server.join()
            # in a thread of its own: in the main thread Prefect would answer SIGTERM itself, by waiting for every task to end
            with ThreadPoolExecutor(1, thread_name_prefix="flow") as thread:
                counts = thread.submit(proofread, plan.inputs, run.folder, config).result()
        except BaseException:
            abort_engines()
            raise
        finally:
            times = _times(plan.hosted, time.monotonic() - started)
            close_engines()
    manifest |= {"counts": counts, "time": times, "finished_at": datetime.now(UTC).isoformat(), "state": "done"}
    manifest["models"] = [_model_record(model) for model in plan.hosted]
    run.write_manifest(manifest)
    run.finish(PARTIAL if counts["errors"] else SUCCESS)
    return run


def _manifest(plan: Plan, config: RunConfig, command: list[str], created: datetime) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "flow": "proofread",
        "flow_version": FLOW_VERSION,
        "run": plan.run.name,
        "command": command,
        "inputs": list(plan.inputs),
        "config": config.model_dump(mode="json"),
        "models": [_model_record(model) for model in plan.hosted],
        "versions": {name: version(name) for name in ("galley", "prefect", "pyarrow", "polars", "harper-py", "tokenizers")},
        "created_at": created.isoformat(),
    }


def _model_record(hosted: HostedModel) -> dict[str, Any]:
    model = hosted.model
    return {
        "name": hosted.name,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256,
        "quantization": model.quantization,
        "protocol": hosted.config.protocol,
        "engine": hosted.engine_build,
    }


def _times(hosted: tuple[HostedModel, ...], wall_s: float) -> dict[str, float | int]:
    load_s = sum(model.load_seconds for model in hosted)
    progress = [model.progress for model in hosted]
    busy_s = sum(part.busy_seconds for part in progress)
    prompt_tokens, cached_tokens = sum(part.prompt_tokens for part in progress), sum(part.cached_tokens for part in progress)
    return {
        "wall_s": round(wall_s, 2),
        "load_s": round(load_s, 2),
        "busy_s": round(busy_s, 2),
        "other_s": round(max(0.0, wall_s - load_s - busy_s), 2),
        "num_calls": sum(part.num_answered for part in progress),
        "num_stored": sum(part.num_stored for part in progress),
        "prompt_tokens": prompt_tokens,
        "computed_tokens": prompt_tokens - cached_tokens + sum(part.completion_tokens for part in progress),
        "cached_share": round(cached_tokens / prompt_tokens, 4) if prompt_tokens else 0.0,
    }
