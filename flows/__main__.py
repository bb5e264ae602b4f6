"""The command line. Imports nothing heavy before a command needs it: `--help`, `status`, `show` and `sql` answer in under a second."""

import sys

import typer

from flows import commands_batch, commands_eval, commands_models, commands_read, commands_run, commands_serve  # noqa: F401 - they add their commands
from flows.cli import app
from flows.runs import RunError


def main() -> None:
    """Entry point of the `flows` command."""
    try:
        app()
    except (RunError, OSError) as error:
        typer.echo(f"flows: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
