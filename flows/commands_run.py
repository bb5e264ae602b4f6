"""The commands that compute, or say what would be computed: run, plan, retry, verify."""

import json
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import OutOption, RunArgument, app, config_from, fail, print_out, recorded_config, run_from
from flows.runs import ENGINE_LOG, Run, RunError

if TYPE_CHECKING:
    from flows.config import RunConfig
    from flows.ends import End

FlowArgument = Annotated[str, typer.Argument(metavar="FLOW", help="proofread")]
InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT…",
        help="Markdown or text files, folders, quoted patterns such as 'books/*.md', tables of documents (.parquet, .jsonl).",
    ),
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "-m", "--model", help="A [models] name of flows.toml, a built-in name, a folder, a .gguf, hf:ORG/NAME, or s3://…. Repeatable."
    ),
]
QuantizationOption = Annotated[
    str | None, typer.Option(help="int8: weights are rounded to 8 bits once; none: as they are; auto: as [models] says.")
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(help="score: the model judges candidates; edits: it proposes edits; rewrite: it corrects the text; auto: by the model."),
]
LimitOption = Annotated[int | None, typer.Option(help="Only the first N chunks (up to 330 words each): a quick look.")]
MaxTokensOption = Annotated[int | None, typer.Option(help="Token budget of a chunk (default 448, about 330 words).")]
StyleOption = Annotated[
    str | None, typer.Option(help="Style sheet of all inputs (default: NAME.style.toml beside each, else style.toml in its folder).")
]
TextColumnOption = Annotated[
    str | None, typer.Option(help="Of a .parquet or .jsonl of documents: the column with the text (default text).")
]
IdColumnOption = Annotated[str | None, typer.Option(help="The column that a row is called by (default: id or url, else its number).")]
TextFormatOption = Annotated[str | None, typer.Option(help="What the texts of tables are: text or markdown (default text).")]
ClusterOption = Annotated[
    str | None, typer.Option(help="local:N for N worker processes here, tcp://HOST:PORT for a Dask scheduler's (default: this process).")
]
FreshOption = Annotated[
    bool | None, typer.Option("--fresh", help="Ignore stored answers and compute everything anew; nothing stored is deleted.")
]


@app.command()
def run(
    flow: FlowArgument,
    inputs: InputsArgument,
    model: ModelOption = None,
    out: OutOption = None,
    protocol: ProtocolOption = None,
    quantization: QuantizationOption = None,
    limit: LimitOption = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Findings at or above are accepted and applied by `flows apply` (default 0.8).")
    ] = None,
    min_suggest: Annotated[float | None, typer.Option(help="Edits below do not become findings (default 0.1).")] = None,
    max_tokens: MaxTokensOption = None,
    style: StyleOption = None,
    text_column: TextColumnOption = None,
    id_column: IdColumnOption = None,
    text_format: TextFormatOption = None,
    fresh: FreshOption = None,
    max_error_rate: Annotated[
        float | None, typer.Option(help="Share of calls or inputs that may fail (default 0.01); more is exit code 3.")
    ] = None,
    max_cost: Annotated[str | None, typer.Option(help="Money this command may spend, by [prices] in flows.toml; then exit code 4.")] = None,
    max_engine_hours: Annotated[float | None, typer.Option(help="Hours for which it may hold engines; then exit code 4.")] = None,
    deadline: Annotated[str | None, typer.Option(help="When to stop: 90m, 1h30m, 06:00, 2026-12-01T06:00; then exit code 4.")] = None,
    cluster: ClusterOption = None,
    fail_on: Annotated[str | None, typer.Option(help="never, accepted or any: such findings are exit code 1 (default never).")] = None,
) -> None:
    """Run a flow over documents. The same command again resumes."""
    config = config_from(
        model=tuple(model or ()),
        out=out,
        protocol=protocol,
        quantization=quantization,
        limit=limit,
        min_confidence=min_confidence,
        min_suggest=min_suggest,
        max_tokens=max_tokens,
        style=style,
        text_column=text_column,
        id_column=id_column,
        text_format=text_format,
        fresh=fresh,
        max_error_rate=max_error_rate,
        max_cost=max_cost,
        max_engine_hours=max_engine_hours,
        deadline=deadline,
        cluster=cluster,
        fail_on=fail_on,
    )
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    _show(compute_run(flow, tuple(inputs), config, command), command)


def _show(computed: "tuple[Run, End]", command: Sequence[str]) -> None:
    """Show what was found, and end with the exit code that the run came to."""
    from flows.ends import ExitCode
    from flows.summary import render_run

    finished, end = computed
    print_out(render_run(finished))
    if end.reason:
        resume = "" if end.code is ExitCode.FINDINGS else f" The same command resumes: {_resume(command)}"
        fail(f"{end.reason}{resume}", end.code)


def compute_run(
    flow: str,
    inputs: tuple[str, ...],
    config: "RunConfig",
    command: Sequence[str],
    *,
    retried: Collection[str] | None = None,
    expected: Run | None = None,
) -> "tuple[Run, End]":
    """The finished run and how it ended; a run that could not be begun or finished ends the command with a message.

    `retried` are the outcomes that a retry asks again, what kills the engine among them; None for a run. `expected` is the run retried.
    """
    from datetime import UTC, datetime

    from chunkers.paths import StorageError
    from chunkers.records import DocumentError
    from chunkers.shards import ShardError
    from engine.budget import Spending
    from engine.feed import FAILURES
    from engine.models import ModelError
    from engine.protocol import EngineError
    from engine.records import Outcome
    from flows.config import ConfigError
    from flows.ends import ExitCode
    from flows.engines import Limits, limit_engines
    from flows.execute import InterruptedRun, NothingToDoError, check_models, execute_run, plan_run

    check_flow(flow)
    resume = f"The same command resumes: {_resume(command)}"
    asked_again = FAILURES if retried is None else frozenset(Outcome(name) for name in retried)
    spending = Spending(config.budget(datetime.now(UTC)))
    try:
        limit_engines(Limits(spending=spending, retried=asked_again, retries_killers=retried is not None))
        plan = plan_run(flow, inputs, config)
        if expected is not None and plan.run.name != expected.name:
            fail(f"The inputs or a model of {expected.name} have changed since; a retry asks the same again. Run its command: {resume}")
        check_models(plan, config)
        plan.run.folder.mkdir(parents=True, exist_ok=True)
    except (ConfigError, DocumentError, ModelError, NothingToDoError, OSError) as error:
        fail(str(error))
    try:
        return execute_run(plan, config, list(command))
    except (ModelError, RunError) as error:
        fail(str(error))
    except StorageError as error:
        fail(f"{error} {resume}", ExitCode.ENGINE)
    except (DocumentError, EngineError, OSError, ShardError) as error:
        fail(f"{error}\nThe engine's own words are in {plan.run.log_dir / ENGINE_LOG}. {resume}", ExitCode.ENGINE)
    except InterruptedRun as error:
        fail(f"Stopped by signal {error.signum}; finished calls are kept. {resume}", 128 + error.signum)


def _resume(command: Sequence[str]) -> str:
    """The command that goes on where this one ended: without --fresh, which would compute all of it once more, and without a deadline."""
    words = [word for word in command if word != "--fresh" and not word.startswith("--deadline=")]
    if "--deadline" in words:
        at = words.index("--deadline")
        del words[at : at + 2]
    return shlex.join(words)


def check_flow(flow: str) -> None:
    """Ends with a message where there is no such flow."""
    if flow != "proofread":
        fail(f"No flow {flow!r}; there is: proofread. For example: flows run proofread book.md")


@app.command()
def plan(
    flow: FlowArgument,
    inputs: InputsArgument,
    model: ModelOption = None,
    out: OutOption = None,
    protocol: ProtocolOption = None,
    quantization: QuantizationOption = None,
    limit: LimitOption = None,
    max_tokens: MaxTokensOption = None,
    style: StyleOption = None,
    text_column: TextColumnOption = None,
    id_column: IdColumnOption = None,
    text_format: TextFormatOption = None,
    fresh: FreshOption = None,
    near_duplicates: Annotated[
        float | None,
        typer.Option(min=0.5, max=1, help="Count chunks at least so similar to an earlier one: the share of word triples that both have."),
    ] = None,
    output_format: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """What `flows run` with these arguments would compute, and what is stored; nothing is loaded or written."""
    from chunkers.records import DocumentError
    from engine.models import ModelError
    from flows.config import ConfigError
    from flows.execute import NothingToDoError, plan_run
    from flows.plan_view import describe_plan, render_plan
    from flows.planning import plan_calls, without_spending

    check_flow(flow)
    if output_format not in ("table", "json"):
        fail(f"--format {output_format}: it must be table or json.")
    config = config_from(
        model=tuple(model or ()),
        out=out,
        protocol=protocol,
        quantization=quantization,
        limit=limit,
        max_tokens=max_tokens,
        style=style,
        text_column=text_column,
        id_column=id_column,
        text_format=text_format,
        fresh=fresh,
    )
    without_spending()
    try:
        found = plan_calls(plan_run(flow, tuple(inputs), config), config, near_duplicates)
    except (ConfigError, DocumentError, ModelError, NothingToDoError, OSError) as error:
        fail(str(error))
    if output_format == "json":
        typer.echo(json.dumps(describe_plan(found), indent=2))
    else:
        print_out(render_plan(found, config.prices.currency))


@app.command()
def retry(
    run_name: RunArgument,
    only: Annotated[
        str | None, typer.Option(help="Outcomes, with commas: truncated,engine_error; other failures stand as they are (default: all).")
    ] = None,
    out: OutOption = None,
) -> None:
    """Ask the failed calls of a run again, with the settings that it was made with."""
    from engine.records import Outcome

    known = {outcome.value for outcome in Outcome} - {Outcome.OK.value}
    outcomes = None if only is None else frozenset(word.strip() for word in only.split(",") if word.strip())
    if outcomes is not None and (unknown := sorted(outcomes - known) or not outcomes):
        fail(f"--only {only}: {unknown if outcomes else 'nothing'} is no outcome of a failed call; there are: {', '.join(sorted(known))}.")
    found = run_from(run_name, out)
    config, manifest = recorded_config(found), found.read_manifest()
    command = manifest["command"]
    computed = compute_run(manifest["flow"], tuple(manifest["inputs"]), config, command, retried=outcomes or known, expected=found)
    _show(computed, command)


@app.command()
def verify(
    run_name: RunArgument,
    sample: Annotated[int, typer.Option(min=1, help="Calls of each model that are asked again.")] = 200,
    out: OutOption = None,
) -> None:
    """Ask a sample of a run's calls again and say how many answers are the same. Stored answers stay."""
    from engine.models import ModelError
    from engine.protocol import EngineError
    from flows.quiet import stderr_to_file
    from flows.verify import verify_run

    found = run_from(run_name, out)
    config = recorded_config(found)
    try:
        with stderr_to_file(found.log_dir / ENGINE_LOG):
            verified = list(verify_run(found, config, sample))
    except (ModelError, RunError) as error:
        fail(str(error))
    except EngineError as error:
        fail(f"{error}\nThe engine's own words are in {found.log_dir / ENGINE_LOG}.", 5)
    for each in verified:
        share = each.num_identical / each.num_sampled
        typer.echo(
            f"{each.model}: {each.num_identical:,} of {each.num_sampled:,} answers identical ({share:.1%}), of {each.num_calls:,} calls"
        )
        typer.echo(f"  largest difference of a log-probability: {each.max_difference:.6f} nats")
        for label, count in each.labels:
            typer.echo(f"  {count:,} were made with determinism {label}; asked again on {each.engine_build}")
