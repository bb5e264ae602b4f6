"""The commands that work by a schedule, and that look whether this machine can: serve, doctor."""

import json
import re
from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows.cli import OutOption, app, config_from, fail
from flows.commands_run import (
    ClusterOption,
    FlowArgument,
    InputsArgument,
    LimitOption,
    MaxTokensOption,
    ModelOption,
    ProtocolOption,
    QuantizationOption,
    StyleOption,
    check_flow,
)
from flows.printable import printable

INTERVAL = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


@app.command()
def serve(
    flow: FlowArgument,
    inputs: InputsArgument,
    cron: Annotated[str | None, typer.Option(help='When: minute hour day month weekday, such as "0 2 * * *" for two at night.')] = None,
    interval: Annotated[str | None, typer.Option(help="Or how often: 6h, 1h30m, 90s, or seconds.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of --cron, such as Europe/Vienna (default: this machine's).")] = None,
    name: Annotated[str | None, typer.Option(help="Of the deployment (default: from patterns, folder and machine).")] = None,
    model: ModelOption = None,
    out: OutOption = None,
    protocol: ProtocolOption = None,
    quantization: QuantizationOption = None,
    limit: LimitOption = None,
    min_confidence: Annotated[float | None, typer.Option(help="Findings at or above are accepted (default 0.8).")] = None,
    min_suggest: Annotated[float | None, typer.Option(help="Edits below do not become findings (default 0.1).")] = None,
    max_tokens: MaxTokensOption = None,
    style: StyleOption = None,
    max_error_rate: Annotated[
        float | None, typer.Option(help="Share of calls or inputs that may fail; more fails the Prefect run.")
    ] = None,
    max_cost: Annotated[str | None, typer.Option(help="Money that each run may spend; more fails it, and the next goes on.")] = None,
    max_engine_hours: Annotated[float | None, typer.Option(help="Hours for which each run may hold engines.")] = None,
    deadline: Annotated[str | None, typer.Option(help="When each run is to stop: 90m after its start, or at 06:00.")] = None,
    cluster: ClusterOption = None,
    fail_on: Annotated[str | None, typer.Option(help="never, accepted or any: the run's message says so (default never).")] = None,
) -> None:
    """Proofread what is new, again and again: a Prefect deployment on a schedule, served until Ctrl-C.

    Quote the patterns: they are expanded at each run. A run takes what no finished run of this schedule has covered.
    """
    from flows.serving import Served, ServeError, ServerLostError, make_schedule, name_schedule
    from flows.serving import serve as serve_schedule

    check_flow(flow)
    settings: dict[str, Any] = {
        "model": list(model or ()),
        "out": out,
        "protocol": protocol,
        "quantization": quantization,
        "limit": limit,
        "min_confidence": min_confidence,
        "min_suggest": min_suggest,
        "max_tokens": max_tokens,
        "style": style,
        "max_error_rate": max_error_rate,
        "max_cost": max_cost,
        "max_engine_hours": max_engine_hours,
        "deadline": deadline,
        "cluster": cluster,
        "fail_on": fail_on,
    }
    settings = {key: value for key, value in settings.items() if value not in (None, [])}
    config = config_from(**settings)
    if deadline and "-" in deadline:
        fail(f"--deadline {deadline} is one day; each run of a schedule has its own; give a duration (90m) or a time of day (06:00).")
    try:
        schedule = make_schedule(cron, None if interval is None else _seconds(interval), timezone)
        named = name or name_schedule(inputs, config.out)
        served = Served(name=_checked(named), inputs=tuple(inputs), settings=settings, schedule=schedule)
        serve_schedule(served, lambda line: typer.echo(printable(line)))
    except ServeError as error:
        fail(str(error))
    except ServerLostError as error:
        fail(str(error), 5)


@app.command()
def doctor(
    inputs: Annotated[list[str] | None, typer.Argument(metavar="[INPUT]…", help="Files or patterns that shall be reachable too.")] = None,
    model: ModelOption = None,
    out: OutOption = None,
    cluster: ClusterOption = None,
    engine: Annotated[bool, typer.Option("--engine", help="Load each model's engine too, and ask it for a word.")] = False,
    is_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Whether this machine, its services and stores are as runs need them, and what to do where not; exit code 2 where something fails."""
    from flows.checkup import Check, Health
    from flows.doctor import examine

    checks: list[Check] = []
    for check in examine(config_from(model=tuple(model or ()), out=out, cluster=cluster), inputs or (), is_engine=engine):
        checks.append(check)
        if not is_json:
            typer.echo(f"{check.health.value:<4}  {check.subject:<9}  {printable(check.met)}")
            if check.advice:
                typer.echo(f"{'':17}{printable(check.advice)}")
    worst = max(checks, key=lambda check: list(Health).index(check.health)).health
    if is_json:
        typer.echo(json.dumps({"health": worst, "checks": [asdict(check) for check in checks]}, indent=2, ensure_ascii=False))
    if worst is Health.FAIL:
        raise typer.Exit(2)


def _seconds(interval: str) -> float:
    found = INTERVAL.fullmatch(interval)
    if not interval or not found:
        fail(f"--interval {interval} is no duration; give one such as 6h, 1h30m, 90s, or a number of seconds.")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _checked(name: str) -> str:
    from flows.serving import NAME

    if not NAME.fullmatch(name):
        fail(f"--name {name!r}: it is the key of artifacts too: small letters, digits, and single dashes between; such as nightly-books.")
    return name
