"""The commands about models: `flows models list`, `pull`, `show`, `check`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import app, config_from, fail, print_out
from flows.printable import flatten, printable

if TYPE_CHECKING:
    from rich.table import Table

    from engine.sources import Report
    from flows.models import Checked, ModelRow, Pulled, Shown

models_app = typer.Typer(
    help="Models on this machine: what there is, fetched and locked, described, checked.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(models_app, name="models")

FormatOption = Annotated[str, typer.Option("--format", help="table or json.")]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME|SOURCE]…", help="[models] names of flows.toml, or sources; by default all of flows.toml and models.lock."
    ),
]


@models_app.command("list")
def list_command(output_format: FormatOption = "table") -> None:
    """The models that are built in, set up in flows.toml, locked, or in a cache of this machine; nothing is fetched."""
    _check_format(output_format)
    from engine.folders import ModelError
    from flows.models import list_models

    try:
        rows = list_models(config_from())
    except ModelError as error:
        fail(str(error))
    if output_format == "json":
        _print_json([asdict(row) for row in rows])
        return
    print_out(_list_table(rows))
    for row in rows:
        if row.problem is not None:
            typer.echo(f"flows: {flatten(row.name)}: {printable(row.problem)}", err=True)


@models_app.command()
def pull(
    names: NamesArgument = None,
    update: Annotated[bool, typer.Option("--update", help="Take what the source has now, and lock that.")] = False,
    output_format: FormatOption = "table",
) -> None:
    """Fetch models, convert them where needed, and write their revisions and checksums into models.lock.

    A model that is locked already is fetched as it was locked.
    """
    _check_format(output_format)
    from engine.folders import ModelError
    from flows.models import default_names, pull_model

    config = config_from()
    pulled: list[Pulled] = []
    try:
        for name in names or default_names(config):
            typer.echo(f"{printable(name)} …", err=True)
            with _progress(name) as report:
                pulled.append(pull_model(name, config, is_update=update, report=report))
    except ModelError as error:
        fail(str(error))
    if output_format == "json":
        _print_json([_describe_pulled(each) for each in pulled])
        return
    table = _table("model", "revision", "files", "size", "checksum", "")
    for each in pulled:
        cells = (each.pin.revision[:16], f"{len(each.pin.files)}", _size(each.pin.num_bytes), each.pin.weights_sha256[:12])
        table.add_row(*_texts(each.name, *cells, "locked now" if each.is_new else "as locked"))
    print_out(table)


@models_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|SOURCE", help="A [models] name of flows.toml, or a source.")],
    output_format: FormatOption = "table",
) -> None:
    """What a model's files say of it, and how much memory it takes; nothing is fetched."""
    _check_format(output_format)
    from engine.folders import ModelError
    from flows.models import show_model

    try:
        shown = show_model(name, config_from())
    except ModelError as error:
        fail(str(error))
    if output_format == "json":
        _print_json(_describe_shown(shown))
    else:
        print_out(_show_table(shown))


@models_app.command()
def check(names: NamesArgument = None, output_format: FormatOption = "table") -> None:
    """Read every file of the models again, compare it with models.lock, and look whether it is whole and usable; exit code 2 if not."""
    _check_format(output_format)
    from engine.folders import ModelError
    from flows.models import check_models, default_names

    config = config_from()
    try:
        checked = list(check_models(names or default_names(config), config))
    except ModelError as error:
        fail(str(error))
    if output_format == "json":
        _print_json([asdict(each) | {"is_ok": not each.faults} for each in checked])
    else:
        print_out(_check_table(checked))
    for each in checked:
        for fault in each.faults:
            typer.echo(f"flows: {printable(each.name)}: {printable(fault)}", err=True)
    if any(each.faults for each in checked):
        raise typer.Exit(2)


def _check_format(output_format: str) -> None:
    if output_format not in ("table", "json"):
        fail(f"--format {output_format}: it must be table or json.")


@contextmanager
def _progress(name: str) -> "Iterator[Report | None]":
    """A bar on stderr for what is fetched from a bucket; None where stderr is no terminal. The hub's client draws its own."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task(flatten(name).replace("[", "("), total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def _table(*columns: str) -> "Table":
    from rich.table import Table

    return Table(*columns, box=None, pad_edge=False, header_style="dim")


def _texts(*cells: str) -> list[Any]:
    from rich.text import Text

    return [Text(flatten(cell)) for cell in cells]


def _size(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "–"
    units = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
    return next((f"{num_bytes / unit:.1f} {name}" for unit, name in units if num_bytes >= unit), f"{num_bytes} B")


def _count(number: int | None) -> str:
    return "not said" if number is None else f"{number:,}"


MAX_UNBROKEN = 30
"""Characters of a model's name that a line always has room for; longer ones go on in the next."""


def _list_table(rows: "list[ModelRow]") -> "Table":
    table = _table("model", "from", "on disk", "quantisation", "context", "locked", "source")
    table.columns[0].overflow = table.columns[-1].overflow = "fold"  # both are typed again
    table.columns[0].no_wrap = all(len(row.name) <= MAX_UNBROKEN for row in rows)
    for row in rows:
        context = "" if row.context_tokens is None else f"{row.context_tokens:,}"
        size = "not here" if row.num_bytes is None else _size(row.num_bytes)
        source = row.source if row.source != row.name else ""
        table.add_row(*_texts(row.name, row.origin, size, row.quantization or "", context, "yes" if row.is_locked else "no", source))
    return table


def _describe_pulled(pulled: "Pulled") -> dict[str, Any]:
    return {
        "name": pulled.name,
        "source": pulled.source,
        "folder": str(pulled.folder),
        "is_new": pulled.is_new,
        "revision": pulled.pin.revision,
        "weights_sha256": pulled.pin.weights_sha256,
        "num_bytes": pulled.pin.num_bytes,
        "files": {name: asdict(file) for name, file in pulled.pin.files.items()},
    }


def _describe_shown(shown: "Shown") -> dict[str, Any]:
    model = shown.model
    return {
        "name": shown.name,
        "source": shown.source,
        **asdict(shown.facts),
        "quantization": model.quantization,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256,
        "folder": str(model.folder),
        "is_locked": shown.is_locked,
    }


def _show_table(shown: "Shown") -> "Table":
    facts, model = shown.facts, shown.model
    memory = f"{_size(facts.weight_bytes)} of weights"
    if facts.kv_bytes_per_token is not None:
        memory += f" + {_size(facts.kv_bytes_per_token)} of KV cache a token"
        if facts.context_tokens is not None:
            memory += f" ({_size(facts.kv_bytes_per_token * facts.context_tokens)} for one of full length)"
    rows = {
        "source": shown.source,
        "architecture": facts.architecture or "not said",
        "parameters": _count(facts.num_parameters),
        "layers": _count(facts.num_layers),
        "vocabulary": _count(facts.vocab_size),
        "context": _count(facts.context_tokens),
        "dtype": facts.dtype or "not said",
        "quantisation": model.quantization,
        "chat template": "yes" if facts.has_chat_template else "no",
        "code": "its repository has some; it is never run" if facts.has_code else "none",
        "licence": facts.licence or "not said",
        "memory": memory,
        "revision": model.revision,
        "checksum": model.weights_sha256,
        "locked": "yes" if shown.is_locked else "no",
        "folder": str(model.folder),
    }
    table = _table(shown.name, "")
    table.columns[1].overflow = "fold"
    for name, value in rows.items():
        table.add_row(*_texts(name, value))
    return table


def _check_table(checked: "list[Checked]") -> "Table":
    table = _table("model", "locked", "")
    for each in checked:
        state = "ok" if not each.faults else f"{len(each.faults)} fault{'s' if len(each.faults) > 1 else ''}"
        table.add_row(*_texts(each.name, "yes" if each.is_locked else "no", state))
    return table
