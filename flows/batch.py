"""One `flows batch` from start to end: a file of OpenAI requests in, a file of answers out, by one model of this machine.

Answers come from the call store where it has them; the same command again resumes.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TextIO

from rich.console import Console

from chunkers.paths import ObjectPath, path_of
from chunkers.shards import ShardError
from engine.batch import BatchJob, RowRenderer, read_defaults
from engine.batch_file import BatchFile, BatchFileError
from engine.fit import FitError
from engine.models import EMBEDDED
from engine.prompts import ChatRenderer
from engine.protocol import EngineError
from flows.batch_output import BatchCommand, BatchOutput, check_targets, end_bad_line
from flows.batch_progress import BatchProgress
from flows.batch_report import describe_bad, find_end, note_defaults, summarise
from flows.config import ConfigError, ModelConfig, RunConfig
from flows.ends import End
from flows.engines import HostedModel, abort_engines, close_engines, host_model
from flows.execute import stop_on_signals, warnings_to
from flows.line_file import LineFileError, fetch_lines
from flows.log_copies import find_log_dir
from flows.quiet import stderr_to_file


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """A batch whose files are whole."""

    lines: Sequence[str]
    """What a person is told of it."""
    end: End


class InvalidLinesError(Exception):
    """A file with lines that cannot be answered; nothing was computed. One line for each, the first of them."""


class StoppedBatchError(Exception):
    """A batch that ended early after computing began; every answer is in the call store."""


def host_batch_model(config: RunConfig, max_model_len: int | None) -> HostedModel:
    """The model that answers. Raises ConfigError where it cannot answer batch files, and ModelError as `host_model`."""
    if len(config.model) != 1:
        raise ConfigError(f"model={list(config.model)}; one model answers a batch file; name it with --model.")
    (name,) = config.model if "model" in config.model_fields_set else (EMBEDDED,)
    given = config.models.get(name) or ModelConfig(source=name)
    if given.engine == "endpoint":
        raise ConfigError(f"{name} is an endpoint; a batch file is answered on this machine; name a model that runs here.")
    if max_model_len is not None:
        given = given.model_copy(update={"engine_args": given.engine_args | {"max_model_len": max_model_len}})
        config = config.model_copy(update={"models": config.models | {name: given}})
    return host_model(name, config)


def run_batch(command: BatchCommand, config: RunConfig, say: Callable[[str], None]) -> BatchResult:
    """Check the whole file, then answer it. The files are whole, under their names, when this returns.

    Raises ConfigError, ModelError, LineFileError, BatchFileError, InvalidLinesError and OSError before anything is computed. What ends it
    early after that is a StoppedBatchError, and leaves what there is under `NAME.partial`, and every answer in the call store.
    """
    with stop_on_signals(abort_engines):
        return _run_batch(command, config, say)


def _run_batch(command: BatchCommand, config: RunConfig, say: Callable[[str], None]) -> BatchResult:
    started = time.monotonic()
    check_targets(command)
    hosted = host_batch_model(config, command.max_model_len)
    is_new = _is_new(hosted, config)
    hosted.refusal = _find_unfit(hosted) if config.check_fit else None
    if hosted.refusal and is_new:
        raise hosted.refusal
    spool_dir = _make_spool_dir(config)
    with _readable(command.input, spool_dir) as path:
        renderer = _make_renderer(hosted)
        file = _read_file(command.input, path, renderer, command.limit)
        if file.num_bad and not command.skips_invalid:
            raise InvalidLinesError(describe_bad(command.input, file))
        for note in note_defaults(file, hosted, renderer):
            say(note)
        with BatchOutput(command, spool_dir, hosted, file) as output, _engine_log(spool_dir) as terminal:
            for bad in file.bad_lines():
                output.end(end_bad_line(bad))
            job = BatchJob(file, renderer, hosted.row_key, output.end, block_size=hosted.block_size)
            try:
                with BatchProgress(Console(file=terminal), hosted, output.counts):
                    _answer(hosted, job, is_eager=is_new)
                output.finish()
            except BatchFileError as error:
                raise StoppedBatchError(f"{command.input}: {error}.") from error
            except (EngineError, OSError, ShardError) as error:
                raise StoppedBatchError(str(error)) from error
            finally:
                job.close()
    return BatchResult(
        lines=summarise(output.counts, output.describe(), hosted, time.monotonic() - started),
        end=find_end(output.counts, config, hosted),
    )


def _find_unfit(hosted: HostedModel) -> FitError | None:
    """What keeps its engine from loading here; whether that matters is for the store to say."""
    try:
        hosted.check_fit()
    except FitError as error:
        return error
    return None


def find_spool_dir(config: RunConfig) -> Path:
    """Where lines and logs are collected: in the workspace, or for one in a store in a folder of this machine."""
    workspace = path_of(config.out).absolute()
    return (find_log_dir(workspace) if isinstance(workspace, ObjectPath) else workspace) / "batch"


def _make_spool_dir(config: RunConfig) -> Path:
    spool_dir = find_spool_dir(config)
    try:
        spool_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LineFileError(
            f"{spool_dir} cannot be made ({error.strerror}); a workspace is written to; name another: --workspace."
        ) from error
    return spool_dir


@contextmanager
def _readable(source: str, spool_dir: Path) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(dir=spool_dir, prefix="input-", suffix=".jsonl") as spool:
        yield fetch_lines(source, spool) or Path(spool.name)  # type: ignore[arg-type]


@contextmanager
def _engine_log(spool_dir: Path) -> Iterator[TextIO]:
    with stderr_to_file(spool_dir / "engine.log") as terminal, warnings_to(terminal, spool_dir / "batch.log"):
        yield terminal


def _make_renderer(hosted: HostedModel) -> RowRenderer:
    return RowRenderer(
        tokenizer=hosted.tokenizer,
        load_chat=cache(lambda: ChatRenderer(hosted.model, hosted.tokenizer)),
        max_model_len=hosted.max_model_len,
        defaults=read_defaults(hosted.model.folder),
    )


def _read_file(name: str, path: Path, renderer: RowRenderer, limit: int | None) -> BatchFile:
    try:
        return BatchFile(path, check=renderer.check, draw_of=renderer.draw_of, limit=limit)
    except BatchFileError as error:
        raise BatchFileError(f"{name}: {error}.") from error
    except OSError as error:
        raise LineFileError(f"{name} cannot be read ({error.strerror}); check the disk, or name another file.") from error


def _is_new(hosted: HostedModel, config: RunConfig) -> bool:
    """Whether the store has nothing that could help, so that the engine may load while the file is read."""
    return config.fresh or not (path_of(config.out) / "calls" / f"model={hosted.model.slug}").is_dir()


def _answer(hosted: HostedModel, job: BatchJob, *, is_eager: bool) -> None:
    try:
        hosted.start(is_eager=is_eager).submit(job).result()
    except BaseException:
        abort_engines()
        raise
    finally:
        close_engines()
