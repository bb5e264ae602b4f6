"""What every command of the command line shares: the application, its messages, how settings and runs are found."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from chunkers.paths import path_of
from flows.printable import printable
from flows.runs import Run, RunError, find_run

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

OUT_HELP = "Workspace, a folder or s3://BUCKET/PREFIX, with calls/ and runs/ (default: out, or `out` in flows.toml, or FLOWS_OUT)."
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, its name or the beginning of it, or `last`.")]
OutOption = Annotated[str | None, typer.Option("-o", "--out", help=OUT_HELP)]


def fail(message: str, code: int = 2) -> NoReturn:
    """Print a message for a person on stderr and end."""
    typer.echo(f"flows: {printable(message)}", err=True)
    raise typer.Exit(code)


def config_from(**flags: Any) -> "RunConfig":
    """Settings with the flags over them; ends with a message where one cannot be used."""
    from flows.config import ConfigError, load_config

    try:
        return load_config(**flags)
    except ConfigError as error:
        fail(str(error))


def run_from(name: str, out: str | None) -> Run:
    """The run of that name; ends with a message where there is none."""
    try:
        return Run(find_run(name, path_of(config_from(out=out).out)).folder.absolute())
    except RunError as error:
        fail(str(error))


def recorded_config(run: Run) -> "RunConfig":
    """The settings that a run was made with, its workspace where it is now; and its working folder as ours, for paths are named from there.

    Ends with a message where they cannot be read.
    """
    from chunkers.storage import used_storage
    from flows.config import ConfigError, restore_config

    try:
        manifest = run.read_manifest()
        config = restore_config(manifest.get("config", {}), str(run.workspace.absolute()), used_storage())
        # a run in a store may be of another machine: what is named from its working folder is then not there, and whoever reads it says so
        if isinstance(run.folder, Path) or Path(manifest["cwd"]).is_dir():
            os.chdir(manifest["cwd"])
    except (ConfigError, RunError, OSError, KeyError) as error:
        fail(f"{run.name} cannot be taken up with the settings that it was made with: {error}. Run its command again where it was run.")
    return config


def print_out(renderable: Any) -> None:
    """To stdout: in the terminal's width, elsewhere in lines as long as they are."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 140)
    console.print(renderable)
