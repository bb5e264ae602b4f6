"""One run of a schedule: what is new goes through `flows run`'s own steps in a process that Prefect starts, and ends as a Prefect state."""

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import typer
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, TerminationSignal
from prefect.states import Completed, Crashed, Failed

from chunkers.records import DocumentError
from chunkers.shards import ShardError, read_shard
from engine.budget import Spending
from engine.models import ModelError
from engine.protocol import EngineError
from flows.config import ConfigError, RunConfig, load_config
from flows.covered import Coverage, NewInputs
from flows.ends import End, ExitCode
from flows.engines import Limits, host_model, limit_engines
from flows.errors import ErrorRow
from flows.execute import InterruptedRun, NothingToDoError, check_models, execute_run, fingerprint, plan_run
from flows.printable import printable
from flows.published import publish_run
from flows.runs import ENGINE_LOG, Run, RunError

Settings = dict[str, Any]
"""Flags of `flows serve` that are settings, by their names in flows.toml."""


@flow(name="proofread-new", persist_result=False)
def proofread_new(name: str, inputs: list[str], folder: str, settings: Settings) -> State[Any]:
    """Proofread what no finished run of this schedule covers yet.

    `inputs` are patterns, expanded now, in `folder`, whose flows.toml is read now too. Completed for exit codes 0 and 1, Failed for 2, 3
    and 4, Crashed for 5; a stop by a signal is Cancelled or Crashed by Prefect's own rules.
    """
    # Ctrl-C reaches every process of a terminal's group: this one is to hear of it once, from the runner; a second signal ends it at once
    os.setpgid(0, 0)
    try:
        os.chdir(folder)
        return _tell(_cover_new(name, inputs, load_config(**settings), settings))
    except (ConfigError, DocumentError, ModelError, NothingToDoError, OSError, RunError) as error:
        return _tell(Failed(message=str(error)))
    except Exception as error:
        _say(f"The run broke off: {type(error).__name__}: {error}. Its page in Prefect has the rest.")
        raise


def _cover_new(name: str, inputs: list[str], config: RunConfig, settings: Settings) -> State[Any]:
    limit_engines(Limits(spending=Spending(config.budget(datetime.now(UTC)))))
    hosted = tuple(host_model(model, config) for model in config.model)
    # without style sheets: a document's own is part of what it is known by, so that a changed one makes its documents new, and no others
    settings_key = fingerprint("proofread", (), hosted, config, [])
    new = Coverage.of(name, config, settings_key).find_new(inputs)
    if not new.rows:
        is_one = new.num_known == 1
        return Completed(
            message=f"Nothing new: {_number(new.num_known, 'document')} {'is' if is_one else 'are'} covered. No engine was loaded."
        )
    with _engine_slot(config):
        coverage = Coverage.of(name, config, settings_key)
        new = coverage.find_new(inputs)  # once more: while it waited, files may have come or changed
        if new.rows:
            return _proofread(name, inputs, new, coverage, config, settings)
    return Completed(message="Nothing new any more: the files are gone, or covered meanwhile.")


def _proofread(name: str, inputs: list[str], new: NewInputs, coverage: Coverage, config: RunConfig, settings: Settings) -> State[Any]:
    command = command_of(new.paths, settings)
    plan = plan_run("proofread", new.paths, config)
    check_models(plan, config)
    try:
        run, end = execute_run(plan, config, command)
    except InterruptedRun as error:
        # what is finished is kept, and covered by nothing: the next run goes on from there
        raise TerminationSignal(error.signum) from error
    except (DocumentError, EngineError, OSError, ShardError) as error:
        words = f"The engine's own words are in {plan.run.log_dir / ENGINE_LOG}."
        return Crashed(message=f"{error}\n{words} Finished calls are kept; the next run goes on from there.")
    errors = read_shard(str(run.folder / "errors.parquet"), ErrorRow)
    num_covered = coverage.cover(new, run, end.code, errors)
    publish_run(run, name, inputs)
    return _state_of(end, run, num_covered, len(new.rows))


def _state_of(end: End, run: Run, num_covered: int, num_new: int) -> State[Any]:
    counts = run.read_manifest()["counts"]
    documents = _number(counts["documents"], "new or changed document")
    found = f"{documents}, {_number(counts['words'], 'word')}: {_number(counts['findings'], 'finding')} in {run.folder}."
    reason = f"{end.reason} " if end.reason else ""
    if end.code in (ExitCode.DONE, ExitCode.FINDINGS):
        return Completed(message=f"{reason}{found}")
    left = f" {num_new - num_covered:,} of {num_new:,} are taken up again next time."
    return Failed(message=f"{reason}{found}{left}")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _tell(state: State[Any]) -> State[Any]:
    """Say in the terminal of `flows serve` how a run ended."""
    _say(state.message or "")
    return state


def _say(line: str) -> None:
    typer.echo(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {printable(line)}")


@contextmanager
def _engine_slot(config: RunConfig) -> Iterator[None]:
    """Hold the engines of this machine or cluster; waits while another schedule's run has them, unless only servers are asked."""
    if all(config.find_model(model).engine == "endpoint" for model in config.model):
        yield
        return
    name = slot_name(config.cluster)
    with get_client(sync_client=True) as client:
        try:
            slot = client.read_global_concurrency_limit_by_name(name)  # a person may have set another limit: it stands
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        else:
            if slot.active_slots >= slot.limit:
                _say(f"Another run has the engines ({name}); this one waits for them.")
    with concurrency(name, strict=True):
        yield


def slot_name(cluster: str | None) -> str:
    """Prefect's global concurrency limit for the engines of this machine, or of a cluster, which other machines' schedules may ask too."""
    where = socket.gethostname() if cluster is None or cluster.startswith("local:") else cluster
    return f"galley-engines-{re.sub(r'[^A-Za-z0-9.]+', '-', where)}"


def command_of(paths: Sequence[str], settings: Settings) -> list[str]:
    """The command by which a person makes the same run."""
    words = ["flows", "run", "proofread", *paths]
    for key, value in settings.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [f"--{key.replace('_', '-')}", str(each)]
    return words
