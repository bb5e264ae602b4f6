"""The command line. Imports nothing heavy before a command needs it: `--help`, `status`, `show` and `sql` answer in under a second."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flows.runs import Run, RunError, find_run, list_runs

if TYPE_CHECKING:
    from flows.config import RunConfig

app = typer.Typer(
    help="Language models over every part of a large text, offline, on your own machine.",
    epilog="Start with: flows run proofread FILE.md · the same command again resumes and computes only what is missing.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

OUT_HELP = "Workspace folder with calls/ and runs/ (default: out, or `out` in flows.toml, or FLOWS_OUT)."
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, its name or the beginning of it, or `last`.")]
OutOption = Annotated[str | None, typer.Option("-o", "--out", help=OUT_HELP)]


def fail(message: str, code: int = 2) -> NoReturn:
    """Print a message for a person on stderr and end."""
    # a file's name may hold control characters, and the message with it
    typer.echo("flows: " + "".join(char if char.isprintable() or char == "\n" else "?" for char in message), err=True)
    raise typer.Exit(code)


def _config(**flags: Any) -> "RunConfig":
    from flows.config import ConfigError, load_config

    try:
        return load_config(**flags)
    except ConfigError as error:
        fail(str(error))


def _find(name: str, out: str | None) -> Run:
    try:
        return find_run(name, Path(_config(out=out).out))
    except RunError as error:
        fail(str(error))


@app.command()
def run(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="proofread")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT…", help="Markdown or text files, or quoted patterns such as 'books/*.md'.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--model", help="A [models] name of flows.toml, a built-in name, a folder, a .gguf, or hf:ORG/NAME. Repeatable."
        ),
    ] = None,
    out: OutOption = None,
    protocol: Annotated[
        str | None, typer.Option(help="score: the model judges candidates; edits: it proposes edits; auto: by the model.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N chunks (about 500 words each): a quick look.")] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Findings at or above are accepted and applied by `flows apply` (default 0.8).")
    ] = None,
    min_suggest: Annotated[float | None, typer.Option(help="Edits below do not become findings (default 0.1).")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Token budget of a chunk (default 700, about 500 words).")] = None,
) -> None:
    """Run a flow over documents. The same command again resumes."""
    if flow != "proofread":
        fail(f"No flow {flow!r}; there is: proofread. For example: flows run proofread book.md")
    config = _config(
        model=tuple(model or ()),
        out=out,
        protocol=protocol,
        limit=limit,
        min_confidence=min_confidence,
        min_suggest=min_suggest,
        max_tokens=max_tokens,
    )
    from chunkers.records import DocumentError
    from engine.models import ModelError
    from engine.protocol import EngineError
    from flows.config import ConfigError
    from flows.execute import InterruptedRun, NothingToDoError, execute_run, plan_run
    from flows.summary import render_run

    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    resume = f"The same command resumes: {shlex.join(command)}"
    try:
        plan = plan_run(flow, tuple(inputs), config)
        plan.run.start()
    except (ConfigError, DocumentError, ModelError, NothingToDoError, OSError) as error:
        fail(str(error))
    try:
        finished = execute_run(plan, config, command)
    except ModelError as error:
        fail(str(error))
    except (EngineError, OSError) as error:
        fail(f"{error}\nThe engine's own words are in {plan.run.folder / 'engine.log'}. {resume}", 5)
    except InterruptedRun as error:
        fail(f"Stopped by signal {error.signum}; finished calls are kept. {resume}", 128 + error.signum)
    _print(render_run(finished))


def _print(renderable: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 140)
    console.print(renderable)


@app.command()
def show(run_name: RunArgument, out: OutOption = None) -> None:
    """The summary of a finished run."""
    from chunkers.shards import ShardError
    from flows.summary import render_run

    found = _find(run_name, out)
    if found.state == "unfinished":
        command = shlex.join(found.read_manifest()["command"])
        fail(f"{found.name} is not finished; only a finished run has findings. Its own command resumes it: {command}")
    try:
        _print(render_run(found))
    except ShardError as error:
        fail(str(error))


@app.command()
def status(out: OutOption = None) -> None:
    """The runs of a workspace, the latest first."""
    from rich.table import Table

    runs = list_runs(Path(_config(out=out).out))
    if not runs:
        typer.echo("No runs yet. Start one with: flows run proofread FILE.md")
        return
    table = Table("run", "state", "words", "findings", "errors", "seconds", box=None, pad_edge=False, header_style="dim")
    for column in table.columns[2:]:
        column.justify = "right"
    for found in runs:
        try:
            manifest = found.read_manifest()
        except RunError as error:
            typer.echo(f"flows: {error}", err=True)
            continue
        counts = manifest.get("counts", {})
        cells = [f"{counts[key]:,}" if key in counts else "" for key in ("words", "findings", "errors")]
        seconds = f"{manifest['time']['wall_s']:.0f}" if "time" in manifest else ""
        table.add_row(found.name, found.state, *cells, seconds)
    _print(table)


@app.command()
def sql(
    run_name: RunArgument,
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY", help="DuckDB SQL over the views findings, edits, errors, documents, chunks, candidates, scores, calls."
        ),
    ],
    out: OutOption = None,
    output_format: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Query a run's tables with SQL."""
    import duckdb

    from flows.tables import FILES, open_views, print_rows

    if output_format not in ("table", "csv", "json"):
        fail(f"--format {output_format}: it must be table, csv or json.")
    found = _find(run_name, out)
    try:
        with open_views(found) as connection:
            print_rows(connection.execute(query), output_format, sys.stdout)
    except duckdb.Error as error:
        fail(f"{error}\nThe views of a run: {', '.join([*FILES, 'calls'])}.")


@app.command()
def apply(
    run_name: RunArgument,
    target: Annotated[Path, typer.Option("-o", "--output", help="The corrected file; a folder when the run has several documents.")],
    min_confidence: Annotated[float | None, typer.Option(help="Apply findings at or above (default: the run's own threshold).")] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="decisions.json saved from report.html; only what it accepts is applied, unless --min-confidence is given too."),
    ] = None,
    workspace: Annotated[str | None, typer.Option("--workspace", help=OUT_HELP)] = None,
) -> None:
    """Write the corrected document; everything that is not accepted stays byte for byte."""
    from chunkers.records import DocumentError
    from chunkers.shards import ShardError
    from flows.applying import apply_run
    from postprocess.assemble import AssembleError

    found = _find(run_name, workspace)
    try:
        for line in apply_run(found, target, min_confidence, decisions):
            typer.echo(line)
    except (AssembleError, DocumentError, RunError, ShardError) as error:
        fail(str(error))


def main() -> None:
    """Entry point of the `flows` command."""
    try:
        app()
    except (RunError, OSError) as error:
        typer.echo(f"flows: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
