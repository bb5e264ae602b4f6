"""The commands that read what runs have left, or watch and stop one: show, status, errors, logs, sql, apply, cancel."""

import shlex
import sys
from typing import Annotated, Any

import typer

from chunkers.paths import path_of
from flows.cli import OUT_HELP, OutOption, RunArgument, app, config_from, fail, print_out, recorded_config, run_from
from flows.runs import Run, RunError, ask_each, list_runs


@app.command()
def show(
    run_name: RunArgument,
    call: Annotated[
        str | None, typer.Option(metavar="KEY", help="Show one call, named by the beginning of its row key: prompt, answer, edits.")
    ] = None,
    out: OutOption = None,
) -> None:
    """The summary of a finished run, or one call of any run."""
    from chunkers.shards import ShardError
    from flows.summary import render_run

    found = run_from(run_name, out)
    if call is not None:
        from engine.models import ModelError
        from flows.scratchpad import render_call

        try:
            print_out(render_call(found, call, recorded_config(found)))
        except (ModelError, RunError) as error:
            fail(str(error))
        return
    if found.state == "running":
        progress = found.read_progress() or {"line": "it has just started"}
        fail(f"{found.name} is running: {progress['line'].strip()}. `flows logs -f {found.name}` follows it.")
    if found.state == "unfinished":
        command = shlex.join(found.read_manifest()["command"])
        fail(f"{found.name} is not finished; only a finished run has findings. Its own command resumes it: {command}")
    try:
        print_out(render_run(found))
    except ShardError as error:
        fail(str(error))


@app.command()
def status(out: OutOption = None) -> None:
    """The runs of a workspace, the latest first; of those that run now, how far they are."""
    from rich.table import Table
    from rich.text import Text

    runs = list_runs(path_of(config_from(out=out).out))
    if not runs:
        typer.echo("No runs yet. Start one with: flows run proofread FILE.md")
        return
    table = Table("run", "state", "words", "findings", "errors", "seconds", "", box=None, pad_edge=False, header_style="dim")
    for column in table.columns[2:6]:
        column.justify = "right"
    for found, manifest, state in zip(runs, ask_each(runs, _read_manifest), ask_each(runs, lambda run: run.state), strict=True):
        if isinstance(manifest, RunError):
            typer.echo(f"flows: {manifest}", err=True)
            continue
        if state == "running":
            progress = found.read_progress() or {"line": "", "wall_s": 0}
            table.add_row(found.name, state, "", "", "", f"{progress['wall_s']:.0f}", Text(progress["line"].strip()))
            continue
        counts = manifest.get("counts", {})
        cells = [f"{counts[key]:,}" if key in counts else "" for key in ("words", "findings", "errors")]
        seconds = f"{manifest['time']['wall_s']:.0f}" if "time" in manifest else ""
        end = f"exit code {manifest['exit_code']}" if manifest.get("exit_code") else ""
        table.add_row(found.name, state, *cells, seconds, end)
    print_out(table)


def _read_manifest(run: Run) -> dict[str, Any] | RunError:
    try:
        return run.read_manifest()
    except RunError as error:
        return error


@app.command()
def errors(
    run_name: RunArgument,
    out: OutOption = None,
    output_format: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Every input and call of a run that did not come through, with the reason."""
    from flows.tables import FORMATS, open_views, print_rows

    if output_format not in FORMATS:
        fail(f"--format {output_format}: it must be table, csv or json.")
    found = run_from(run_name, out)
    with open_views(found) as connection:
        if not connection.execute("select 1 from duckdb_views() where view_name = 'errors'").fetchone():
            fail(f"{found.name} is {found.state} and has no table of errors yet; it is written when the run ends.")
        query = (
            "select e.outcome, coalesce(e.path, d.path) as document, e.model, left(e.row_key, 12) as call, e.message "
            "from errors e left join documents d using (doc_id) order by e.outcome, document, e.model, e.chunk_id, e.row_key"
        )
        print_rows(connection.execute(query), output_format, sys.stdout)
        counts = connection.execute("select outcome, count(*) from errors group by 1 order by 1").fetchall()
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in counts) or "none"
    typer.echo(f"{found.name}: {told}.", err=True)
    if any(outcome != "unreadable" for outcome, _ in counts):
        typer.echo(f"flows retry {found.name} asks them again; flows show {found.name} --call KEY shows one.", err=True)


@app.command()
def logs(
    run_name: RunArgument,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is written, until the run ends.")] = False,
    out: OutOption = None,
) -> None:
    """What a run has said so far, with the time."""
    from flows.printable import flatten
    from flows.watching import read_log

    found = run_from(run_name, out)
    try:
        for line in read_log(found, is_followed=follow):
            typer.echo(flatten(line))
    except RunError as error:
        fail(str(error))


@app.command()
def cancel(run_name: RunArgument, out: OutOption = None) -> None:
    """Stop a run that goes on, as Ctrl-C would: what it has finished is kept."""
    from flows.watching import cancel_run

    found = run_from(run_name, out)
    try:
        pid = cancel_run(found)
    except RunError as error:
        fail(str(error))
    typer.echo(f"Stopped {found.name} (process {pid}). Its command resumes it: {shlex.join(found.read_manifest()['command'])}")


@app.command()
def sql(
    run_name: RunArgument,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY",
            help="DuckDB SQL over findings, edits, errors, documents, styles, chunks, candidates, scores, requests, calls, ledger "
            "and yields.",
        ),
    ] = None,
    is_all: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Over all runs of the workspace that have ended, each view with a column `run`; with `runs`, and `latest`, which has "
            "for each file the run that read it last. No RUN is given then.",
        ),
    ] = False,
    out: OutOption = None,
    output_format: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Query a run's tables with SQL, or with --all those of all runs."""
    import duckdb

    from flows.tables import FILES, FORMATS, ask_views, ask_workspace, print_rows

    if output_format not in FORMATS:
        fail(f"--format {output_format}: it must be table, csv or json.")
    if is_all == (query is not None):
        fail('one run, or all: flows sql RUN "QUERY", or flows sql --all "QUERY".')
    try:
        if query is None:
            workspace = path_of(config_from(out=out).out).absolute()
            if not list_runs(workspace):
                fail(f"No runs in {workspace / 'runs'}. Start one with: flows run proofread FILE.md; or name their workspace: -o FOLDER.")
            ask_workspace(workspace, lambda views: print_rows(views.execute(run_name), output_format, sys.stdout))
        else:
            found = run_from(run_name, out)
            ask_views(found, lambda views: print_rows(views.execute(query), output_format, sys.stdout))
    except duckdb.Error as error:
        told = "The views of a run: " if query is not None else "The views over all runs: runs, latest, "
        fail(f"{error}\n{told}{', '.join([*FILES, 'calls'])}.")


@app.command()
def apply(
    run_name: RunArgument,
    target: Annotated[str, typer.Option("-o", "--output", help="The corrected file; a folder when the run has several documents.")],
    min_confidence: Annotated[float | None, typer.Option(help="Apply findings at or above (default: the run's own threshold).")] = None,
    decisions: Annotated[
        str | None,
        typer.Option(help="decisions.json saved from report.html; only what it accepts is applied, unless --min-confidence is given too."),
    ] = None,
    workspace: Annotated[str | None, typer.Option("--workspace", help=OUT_HELP)] = None,
) -> None:
    """Write the corrected document; everything that is not accepted stays byte for byte."""
    from chunkers.records import DocumentError
    from chunkers.shards import ShardError
    from flows.applying import apply_run
    from postprocess.assemble import AssembleError

    found = run_from(run_name, workspace)
    try:
        for line in apply_run(found, path_of(target), min_confidence, None if decisions is None else path_of(decisions)):
            typer.echo(line)
    except (AssembleError, DocumentError, RunError, ShardError) as error:
        fail(str(error))
