"""The command that answers files of requests: batch."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import app, config_from, fail


@app.command()
def batch(
    source: Annotated[
        str, typer.Option("-i", "--input-file", help="Requests in OpenAI's batch format: a path, - for stdin, or a URL such as s3://….")
    ],
    output: Annotated[str, typer.Option("-o", "--output-file", help="Answers: a path, - for stdout, or a URL such as s3://….")],
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Answers every row, whatever its body.model says. As of `flows run`.")
    ] = None,
    errors: Annotated[
        str | None,
        typer.Option("--errors-file", help="Rows without an answer (default NAME.errors.jsonl; the output's own name: all in one file)."),
    ] = None,
    ordered: Annotated[bool, typer.Option("--ordered", help="Lines in the order of the input, not of completion.")] = False,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Lines that cannot be answered go to the errors file, and the others are answered.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N lines: a quick look.")] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="Tokens of a prompt with its answer (default 2560).")] = None,
    retry_killers: Annotated[bool, typer.Option("--retry-killers", help="Ask again what killed the engine twice.")] = False,
    workspace: Annotated[
        str | None, typer.Option("--workspace", help="Folder whose calls/ keeps the answers (default: out, or `out` in flows.toml).")
    ] = None,
    fresh: Annotated[bool | None, typer.Option("--fresh", help="Ignore stored answers and compute everything anew.")] = None,
    max_error_rate: Annotated[float | None, typer.Option(help="Share of rows that may fail (default 0.01); more is exit code 3.")] = None,
    max_cost: Annotated[str | None, typer.Option(help="Money this command may spend, by [prices] in flows.toml; then exit code 4.")] = None,
    max_engine_hours: Annotated[float | None, typer.Option(help="Hours for which it may hold the engine; then exit code 4.")] = None,
    deadline: Annotated[str | None, typer.Option(help="When to stop: 90m, 1h30m, 06:00, 2026-12-01T06:00; then exit code 4.")] = None,
) -> None:
    """Answer a file of OpenAI batch requests, as `vllm run-batch` does. The same command again resumes.

    The whole file is checked before anything is computed. Lines stream into NAME.partial; NAME appears when it is whole. A chat row without
    max_tokens may be answered as long as --max-model-len allows, a completion with 16 tokens; a limit beyond that is lowered to what fits.
    """
    from datetime import UTC, datetime

    from engine.batch_file import BatchFileError
    from engine.budget import Spending
    from engine.models import ModelError
    from flows.batch import InvalidLinesError, StoppedBatchError, find_spool_dir, run_batch
    from flows.batch_output import BatchCommand
    from flows.config import ConfigError
    from flows.ends import ExitCode
    from flows.engines import Limits, limit_engines
    from flows.execute import InterruptedRun
    from flows.line_file import LineFileError
    from flows.printable import printable

    config = config_from(
        model=(model,) if model else (),
        out=workspace,
        fresh=fresh,
        max_error_rate=max_error_rate,
        max_cost=max_cost,
        max_engine_hours=max_engine_hours,
        deadline=deadline,
    )
    command = BatchCommand(
        input=source,
        output=output,
        errors=errors,
        is_ordered=ordered,
        limit=limit,
        skips_invalid=skip_invalid,
        max_model_len=max_model_len,
    )
    again = shlex.join([Path(sys.argv[0]).name, *(word for word in sys.argv[1:] if word != "--fresh")])
    resume = f"Finished calls are kept; the same command resumes: {again}"
    limit_engines(Limits(spending=Spending(config.budget(datetime.now(UTC))), retries_killers=retry_killers))
    try:
        result = run_batch(command, config, lambda line: typer.echo(printable(line), err=True))
    except (BatchFileError, ConfigError, InvalidLinesError, LineFileError, ModelError, OSError) as error:
        fail(str(error))
    except StoppedBatchError as error:
        fail(f"{error}\nThe engine's own words are in {find_spool_dir(config) / 'engine.log'}. {resume}", ExitCode.ENGINE)
    except InterruptedRun as error:
        fail(f"Stopped by signal {error.signum}. {resume}", 128 + error.signum)
    for line in result.lines:
        typer.echo(printable(line), err=True)
    if result.end.reason:
        fail(f"{result.end.reason} {resume}", result.end.code)
