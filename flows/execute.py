"""One `flows run`: from checked settings to a finished run folder, engine and Prefect's server started side by side."""

import logging
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from chunkers.paths import path_of
from chunkers.readers import Unread, read_documents
from chunkers.records import DocumentError
from engine.protocol import Steps
from flows.collation import find_calibration
from flows.config import LIMITS, ConfigError, RunConfig
from flows.corpus import MAX_TOLD, expand_inputs
from flows.costs import write_ledger
from flows.endpoints import find_key
from flows.ends import End, find_end
from flows.engines import HostedModel, ModelState, host_model
from flows.identity import fingerprint_run
from flows.judge import MAX_ANSWER_TOKENS, PROMPT_TOKENS
from flows.phases import Phase, reset_phases, timed
from flows.printable import printable
from flows.progress import ProgressLine, measure_models
from flows.quiet import stderr_to_file
from flows.runs import ENGINE_LOG, PARTIAL, RUN_LOG, SUCCESS, Run, RunError, name_run
from flows.server import prepare_prefect, start_server
from flows.signals import on_signals
from flows.styles import StyleSheet, find_sheet, identify_styles

if TYPE_CHECKING:
    from flows.workers import Workers

FLOW_VERSION = 3
"""Part of a run's name: raise it when the same inputs and settings give other tables."""


STYLE_TOKENS = 450
"""Room for what a prompt says of a style sheet, at most."""


class InterruptedRun(KeyboardInterrupt):
    """The run was told to stop by a signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


@contextmanager
def stop_on_signals(abort: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM end the run: jobs that wait for an engine are let go first, for nothing else would wake their threads."""

    def stop(signum: int) -> None:
        abort()
        raise InterruptedRun(signum)

    with on_signals(stop):
        yield


class _Printable(logging.Formatter):
    """Without control characters: a document's name may hold some, and the message with it."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def warnings_to(terminal: TextIO, log_path: Path) -> Iterator[None]:
    """Warnings of galley's own modules reach the person and the run's log; those of libraries stay in the engine's log."""
    told = logging.StreamHandler(terminal)
    told.setFormatter(_Printable("%(message)s"))
    log = logging.FileHandler(log_path, encoding="utf-8", errors="backslashreplace", delay=True)
    log.setFormatter(_Printable("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
    handlers: list[logging.Handler] = [told, log]
    loggers = [logging.getLogger(name) for name in ("chunkers", "engine", "postprocess", "flows")]
    for logger in loggers:
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            for handler in handlers:
                logger.removeHandler(handler)
        log.close()


class NothingToDoError(Exception):
    """No input could be read; nothing was computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Inputs and models, checked, before anything heavy is loaded."""

    inputs: tuple[str, ...]
    hosted: tuple[HostedModel, ...]
    run: Run
    has_prose: bool
    sheets: tuple[StyleSheet, ...]
    """Of each input, in their order."""


def plan_run(flow: str, patterns: tuple[str, ...], config: RunConfig) -> Plan:
    """Find the inputs and the models' weights and name the run.

    Raises ConfigError, DocumentError, ModelError, or NothingToDoError when not one input can be read.
    """
    find_calibration(config)
    inputs = tuple(expand_inputs(patterns))
    has_prose, num_read, problems = False, 0, list[str]()
    for path in inputs:
        try:
            for found in read_documents(path, config.table_columns()):
                if isinstance(found, Unread):
                    problems = [*problems, found.message][:MAX_TOLD]
                    continue
                num_read += 1
                has_prose = bool(found.num_words)
                if has_prose:
                    break  # one is enough to know that the engine is needed; the flow reads them all
        except DocumentError as error:
            problems = [*problems, str(error)][:MAX_TOLD]
        if has_prose:
            break
    if not num_read:
        raise NothingToDoError("\n".join(problems))
    hosted = tuple(host_model(name, config) for name in config.model)
    sheets = tuple(find_sheet(path, config.style) for path in inputs)
    styles = identify_styles(sheets)
    for model in hosted:
        check_lengths(model, config, STYLE_TOKENS if styles else 0)
    stem = PurePosixPath(inputs[0]).stem if len(inputs) == 1 else f"{len(inputs)}-documents"
    run = Run(path_of(config.out).absolute() / "runs" / name_run(flow, stem, fingerprint(flow, inputs, hosted, config, styles)))
    return Plan(inputs=inputs, hosted=hosted, run=run, has_prose=has_prose, sheets=sheets)


def check_lengths(hosted: HostedModel, config: RunConfig, style_tokens: int = 0) -> None:
    """Raises ConfigError where a chunk with its context, and a prompt's words on style, does not fit into the model's window."""
    window = hosted.max_model_len
    extra = 0 if hosted.config.protocol == "score" else MAX_ANSWER_TOKENS + PROMPT_TOKENS + style_tokens
    needed = config.max_tokens + 2 * config.max_context_tokens + extra
    if hosted.copy_form and not extra:
        return  # what is too long to copy is read in pieces
    if needed > window:
        raise ConfigError(
            f"max_tokens={config.max_tokens} + 2 x max_context_tokens={config.max_context_tokens}"
            f"{f' + {extra} for prompt and answer' if extra else ''} exceeds max_model_len={window} of {hosted.name}; "
            f"lower max_tokens to {config.max_tokens - (needed - window)} or less, or raise max_model_len"
            f"{'' if hosted.config.engine == 'endpoint' else ' in its engine_args'}."
        )


def check_fits(plan: Plan, config: RunConfig) -> None:
    """Raises FitError where one of the models would not load on this machine; of a run that is done, none has to."""
    if config.check_fit and (config.fresh or plan.run.state != "done"):
        for model in plan.hosted:
            model.check_fit()


def check_models(plan: Plan, config: RunConfig) -> None:
    """Raises ConfigError where the key of a server is not there, FitError as `check_fits`; of a run that is done, nobody is asked."""
    if config.fresh or plan.run.state != "done":
        for hosted in plan.hosted:
            if hosted.config.engine == "endpoint":
                find_key(hosted.name, hosted.config)
    check_fits(plan, config)


def fingerprint(flow: str, inputs: tuple[str, ...], hosted: tuple[HostedModel, ...], config: RunConfig, styles: list[str]) -> str:
    """64 hex digits over what decides the tables of a run; without inputs, over what it asks of them."""
    settings = config.model_dump(
        mode="json", exclude={"out", "storage", "models", "model", "quantization", "calibration", "style", "cluster", *LIMITS}
    )
    if config.calibration is not None:
        settings["calibration"] = sha256(path_of(config.calibration).read_bytes()).hexdigest()
    if styles:
        settings["styles"] = styles
    models = [f"{model.name} {model.model.weights_sha256} {model.model.quantization} {model.config.identity()}" for model in hosted]
    return fingerprint_run(flow, FLOW_VERSION, settings, models, inputs)


def execute_run(plan: Plan, config: RunConfig, command: list[str]) -> tuple[Run, End]:
    """Run the flow. The folder is whole, with its marker, when this returns; raises whatever ended the run early, finished parts kept.

    Raises RunError where another process works in the folder.
    """
    with plan.run.hold():
        plan.run.log(f"started: {shlex.join(command)}")
        try:
            run, end = _execute(plan, config, command)
        except BaseException as error:
            with suppress(OSError):  # the disk may be what ended it
                plan.run.log(f"ended early: {error}")
            raise
        run.log(f"ended with exit code {end.code.value}{f': {end.reason}' if end.reason else ''}")
        return run, end


def _execute(plan: Plan, config: RunConfig, command: list[str]) -> tuple[Run, End]:
    run = plan.run
    executions = _read_executions(run)
    is_new = not run.manifest_path.exists()  # of a run begun before, everything may be in the store
    run.start()
    reset_phases()
    started, created = time.monotonic(), datetime.now(UTC)
    manifest = _manifest(plan, config, command, created) | {"executions": executions}
    run.write_manifest(manifest | {"state": "running"})
    prepare_prefect()
    team = _find_workers(plan, config)
    with (
        stop_on_signals(team.abort),
        stderr_to_file(run.log_dir / ENGINE_LOG) as terminal,
        warnings_to(terminal, run.log_dir / RUN_LOG),
        ProgressLine(Console(file=terminal), team, run, created),
    ):
        server = start_server()
        try:
            if plan.has_prose:
                team.start(server, is_eager=is_new)
            with timed(Phase.START):
                url = server.result()
            counts = _run_flow(team, plan, config, url)
        except BaseException:
            team.abort()
            raise
        finally:
            states = team.measure()
            times = measure_time(states, time.monotonic() - started, team.phases())
            team.close()
    measured = measure_models(states)
    executions.append({"started_at": created.isoformat(), "wall_s": times["wall_s"], "models": measured})
    end = find_end(counts, config, [state.progress for state in states])
    write_ledger(run, [(model.name, model.prices) for model in plan.hosted], executions)
    manifest |= {"counts": counts, "time": times, "finished_at": datetime.now(UTC).isoformat(), "state": "done"}
    manifest |= {
        "models": [_model_record(model, state.engine_build) for model, state in zip(plan.hosted, states, strict=True)],
        "exit_code": end.code,
        "end": end.reason,
    }
    run.write_manifest(manifest)
    run.finish(PARTIAL if counts["errors"] else SUCCESS)
    return run, end


def _find_workers(plan: Plan, config: RunConfig) -> "Workers":
    if config.cluster is None:
        from flows.workers import ProcessWorkers

        return ProcessWorkers(plan.hosted)
    from flows.cluster import ClusterWorkers

    return ClusterWorkers(config, plan.hosted, plan.run)


def _run_flow(team: "Workers", plan: Plan, config: RunConfig, prefect_url: str) -> dict[str, Any]:
    """The counts of the flow's report; begun again where the workers were lost meanwhile and came back."""
    with timed(Phase.START):
        # imported here: Prefect takes 2 s, which the engine's process and the server use
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from flows.proofread import proofread
        from flows.workers import set_workers

    set_workers(team)

    def run_it() -> dict[str, Any]:
        with temporary_settings({PREFECT_API_URL: prefect_url}):
            return proofread.with_options(task_runner=team.task_runner())(plan.inputs, plan.run.folder, config)

    while True:
        try:
            # in a thread of its own: in the main thread Prefect would answer SIGTERM itself, by waiting for every task to end
            with ThreadPoolExecutor(1, thread_name_prefix="flow") as thread:
                # in our context: under a schedule's flow run it is a run within that one
                return thread.submit(copy_context().run, run_it).result()
        except Exception as error:
            if not team.recover(error):
                raise


def _read_executions(run: Run) -> list[dict[str, Any]]:
    """What earlier commands took for this run; of one that did not end, as far as it was heard of."""
    try:
        manifest = run.read_manifest()
    except RunError:
        return []
    executions: list[dict[str, Any]] = manifest.get("executions", [])
    last = run.read_progress()
    if last is not None and all(last["started_at"] != execution["started_at"] for execution in executions):
        executions.append({key: last[key] for key in ("started_at", "wall_s", "models")})
    return executions


def _manifest(plan: Plan, config: RunConfig, command: list[str], created: datetime) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "flow": "proofread",
        "flow_version": FLOW_VERSION,
        "run": plan.run.name,
        "command": command,
        "cwd": str(Path.cwd()),
        "inputs": list(plan.inputs),
        "config": config.model_dump(mode="json"),
        "styles": sorted({sheet.path for sheet in plan.sheets if sheet.path}),
        "models": [_model_record(model, None) for model in plan.hosted],
        "versions": {name: version(name) for name in ("galley", "prefect", "pyarrow", "polars", "harper-py", "tokenizers")},
        "created_at": created.isoformat(),
    }


def _model_record(hosted: HostedModel, engine_build: str | None) -> dict[str, Any]:
    model = hosted.model
    return {
        "name": hosted.name,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256,
        "quantization": model.quantization,
        "protocol": hosted.config.protocol,
        "engine": engine_build,
    }


def measure_time(states: Sequence[ModelState], wall_s: float, phases: Mapping[Phase, float]) -> dict[str, Any]:
    """What the models' engines did in so many seconds of a command; the manifest's `time`."""
    load_s = sum(state.load_seconds for state in states)
    progress = [state.progress for state in states]
    busy_s = sum(part.busy_seconds for part in progress)
    prompt_tokens, cached_tokens = sum(part.prompt_tokens for part in progress), sum(part.cached_tokens for part in progress)
    reusable_tokens = sum(part.reusable_tokens for part in progress)
    steps = sum((part.steps for part in progress), Steps())
    return {
        "wall_s": round(wall_s, 2),
        "load_s": round(load_s, 2),
        "busy_s": round(busy_s, 2),
        "other_s": round(max(0.0, wall_s - load_s - busy_s), 2),
        "num_calls": sum(part.num_answered for part in progress),
        "num_stored": sum(part.num_stored for part in progress),
        "prompt_tokens": prompt_tokens,
        "computed_tokens": sum(part.computed_tokens for part in progress),
        "cached_tokens": cached_tokens,
        "reusable_tokens": reusable_tokens,
        "reuse_of_possible": round(cached_tokens / reusable_tokens, 4) if reusable_tokens else None,
        "num_steps": steps.num,
        "feed_stall": round(steps.num_stalled / steps.num, 4) if steps.num else None,
        "cached_share": round(cached_tokens / prompt_tokens, 4) if prompt_tokens else 0.0,
        "phases": {phase.value: round(seconds, 2) for phase, seconds in phases.items()},
    }
