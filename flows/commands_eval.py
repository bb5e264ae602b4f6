"""The commands that measure findings against corrections by people, and calibrate confidence on them: eval, calibrate."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import OUT_HELP, OutOption, app, config_from, fail, print_out, recorded_config, run_from
from flows.commands_run import FlowArgument, FreshOption, MaxTokensOption, ModelOption, ProtocolOption, QuantizationOption, check_flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.config import RunConfig
    from flows.corrected import Books, CorrectedDocument
    from flows.measure import Gauge, Measured
    from flows.runs import Run

TruthOption = Annotated[
    list[Path] | None,
    typer.Option(
        exists=True,
        help="Corrections: a folder, or a file, named NAME.edits.json for NAME.md. Repeatable. Default: beside each document.",
    ),
]
BooksOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help='JSON that tells which book each document is of: {"NAME": "BOOK"}, or a list of objects with name, source and perhaps group. '
        "Default: docs-manifest.json beside the documents or one folder above; else every document counts as a book.",
    ),
]
EVAL_HELP = """Measure a flow's findings against corrections that people made in the same documents.

Runs the flow as `flows run` does, in the same workspace, so that what is stored is not computed again; --run takes a run that is there.
Shows precision, recall, F0.5 and false alarms per 10,000 words with intervals, by category, proposer and confidence. A finding is right
where it makes exactly the text that a person made; every other one is a false alarm, real errors that people left in among them.

What was chosen or fitted on a book says nothing about that book: no book may be in the documents that you develop or calibrate with and in
those that you test with. --cross-validate judges each book by a calibration fitted on the others."""


@app.command("eval", help=EVAL_HELP)
def evaluate(
    flow: FlowArgument,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]…", help="Corrected documents, or quoted patterns such as 'books/*.md'; none with --run."),
    ] = None,
    run_name: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Measure this finished run instead of running.")] = None,
    truth: TruthOption = None,
    books: BooksOption = None,
    cross_validate: Annotated[
        bool, typer.Option("--cross-validate", help="Take each book's confidences from a calibration fitted on the other books alone.")
    ] = False,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure another tool too: harper, languagetool, codespell, hunspell, or MODEL/edits and "
            "MODEL/rewrite for a model alone, such as smollm2-135m/edits. Repeatable. All but Harper and models need the extra `eval`."
        ),
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="All baselines but models, which take long.")] = False,
    baselines_only: Annotated[bool, typer.Option("--baselines-only", help="Measure nothing but the baselines.")] = False,
    min_confidence: Annotated[
        float | None, typer.Option(help="The threshold at which findings are measured (default: the run's own, 0.8).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all figures and the curve.")] = False,
    num_draws: Annotated[int, typer.Option("--draws", min=100, help="How often the documents are drawn anew for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 1,
    model: ModelOption = None,
    out: OutOption = None,
    protocol: ProtocolOption = None,
    quantization: QuantizationOption = None,
    max_tokens: MaxTokensOption = None,
    fresh: FreshOption = None,
) -> None:
    """See EVAL_HELP."""
    check_flow(flow)
    if (run_name is None) == (not inputs):
        fail("Give documents, which are run and measured, or --run, which has its own. For example: flows eval proofread 'books/*.md'")
    truth, books = [path.absolute() for path in truth or []], books.absolute() if books else None  # a run's settings change the folder
    if run_name is not None:
        if model or fresh or protocol or quantization or max_tokens:
            fail("--run and a setting of runs are given; a run has the settings it was made with; leave --run or the setting out.")
        found = run_from(run_name, out)
        if found.state not in ("done", "partial"):
            fail(f"{found.name} is {found.state}; only a finished run can be measured; run its command again first.")
        config = recorded_config(found)
    else:
        config = config_from(
            model=tuple(model or ()), out=out, protocol=protocol, quantization=quantization, max_tokens=max_tokens, fresh=fresh
        )
    threshold = config.min_confidence if min_confidence is None else min_confidence
    if not 0 <= threshold <= 1:
        fail(f"--min-confidence {threshold:g}: it must be from 0 to 1.")
    if config.limit is not None:
        fail("limit is set, so that documents are read in part; what is measured is read whole; remove it from flows.toml or FLOWS_LIMIT.")
    if baselines_only and not (baseline or baselines):
        fail("--baselines-only and no baseline is given; add --baselines, or --baseline harper.")
    names = _choose_baselines(baseline or [], baselines, config)
    from dataclasses import replace

    from flows.eval_view import describe, render_measurement
    from flows.measure import Gauge, start_measurement

    with _told():
        documents, known = _corrected(found if run_name is not None else tuple(inputs or ()), truth, books)
        gauge = Gauge(min_accept=threshold, min_suggest=min(config.min_suggest, threshold), num_draws=num_draws, seed=seed)
        measurement = start_measurement(documents, known, gauge)
        end: tuple[str, int] | None = None
        if not baselines_only:
            run, end = (found, None) if run_name is not None else _compute(flow, tuple(inputs or ()), config)
            own, calibration = _measure_run(run, config, documents, gauge, cross_validate)
            models = tuple(f"{name} ({config.find_model(name).protocol})" for name in config.model)
            measurement = replace(measurement, run=run.name, models=models, calibration=calibration, own=own)
        compared = {name: _measure_baseline(flow, name, config, documents, gauge) for name in names}
        measurement = replace(measurement, baselines=compared)
    if as_json:
        typer.echo(json.dumps(describe(measurement), indent=1, ensure_ascii=False))
    else:
        print_out(render_measurement(measurement))
    if end:
        fail(*end)


MODEL_PROTOCOLS = ("edits", "rewrite")
"""MODEL/PROTOCOL is a baseline: a model that is measured alone."""


def _choose_baselines(named: Sequence[str], is_all: bool, config: "RunConfig") -> list[str]:
    """Names in the order in which they are shown, each checked, before anything is computed."""
    from flows.baselines import BASELINES, find_baseline
    from flows.engines import close_engines, host_model

    names = dict.fromkeys([*(BASELINES if is_all else ()), *named])
    with _told():
        for name in names:
            if alone := _find_alone(name, config):
                host_model(alone.model[0], alone)
            else:
                find_baseline(name)
    close_engines()  # that a model is there is known now; what it may spend is not
    return list(names)


def _find_alone(name: str, config: "RunConfig") -> "RunConfig | None":
    """The settings for one model alone where the name of a baseline says so."""
    model, _, protocol = name.rpartition("/")
    return config.model_copy(update={"model": (model,), "protocol": protocol}) if protocol in MODEL_PROTOCOLS and model else None


@contextmanager
def _told() -> "Iterator[None]":
    """What a user can mend ends the command with a message."""
    from chunkers.records import DocumentError
    from chunkers.shards import ShardError
    from engine.models import ModelError
    from flows.baselines import BaselineError
    from flows.config import ConfigError
    from flows.corrected import CorrectedError
    from flows.runs import RunError
    from postprocess.calibrate import CalibrationError

    try:
        yield
    except (BaselineError, CalibrationError, ConfigError, CorrectedError, DocumentError, ModelError, RunError, ShardError) as error:
        fail(str(error))


def _corrected(source: "Run | tuple[str, ...]", truth: Sequence[Path], books_path: Path | None) -> "tuple[list[CorrectedDocument], Books]":
    from chunkers.readers import read_document
    from flows.corpus import expand_inputs
    from flows.corrected import find_books, load_corrected
    from flows.evaluation import read_documents

    if isinstance(source, tuple):
        unique = {document.doc_id: document for document in reversed([read_document(path) for path in expand_inputs(source)])}
        documents = list(reversed(unique.values()))
    else:
        documents = read_documents(source)
    books = find_books(books_path, [document.path for document in documents])
    return load_corrected(documents, truth, books), books


def _compute(flow: str, inputs: tuple[str, ...], config: "RunConfig") -> "tuple[Run, tuple[str, int] | None]":
    """The finished run, and the message and code that the command then ends with."""
    from flows.commands_run import compute_run
    from flows.ends import ExitCode

    run, end = compute_run(flow, inputs, config, [Path(sys.argv[0]).name, *sys.argv[1:]])
    if end.code is ExitCode.BUDGET:
        fail(f"{end.reason} A run that is not whole is not measured; the same command resumes.", end.code)
    is_bad = end.code not in (ExitCode.DONE, ExitCode.FINDINGS)
    return run, (end.reason or "", int(end.code)) if is_bad else None


def _measure_run(
    run: "Run", config: "RunConfig", documents: "list[CorrectedDocument]", gauge: "Gauge", is_cross_validated: bool
) -> "tuple[Measured, str]":
    """The figures, and where the confidences come from."""
    from flows.evaluation import grade_run, leave_books_out

    held_out = leave_books_out(run, config, documents) if is_cross_validated else None
    measured = gauge.measure("galley", grade_run(run, config, documents, held_out))
    if is_cross_validated:
        return measured, "each book by a calibration fitted on the other books"
    if config.calibration is not None:
        return measured, f"the calibration {config.calibration}"
    return measured, "the calibration that comes with galley; of books that it was fitted on it says too much (see --cross-validate)"


def _measure_baseline(flow: str, name: str, config: "RunConfig", documents: "list[CorrectedDocument]", gauge: "Gauge") -> "Measured":
    from flows.evaluation import grade_answers

    alone = _find_alone(name, config)
    if alone is None:
        return gauge.measure_tool(name, documents, _tell)
    run, end = _compute(flow, tuple(each.document.path for each in documents), alone)
    if end:
        _tell(f"{name}: {end[0]}")
    # of all its commands: a repeated one finds its answers stored
    seconds = round(sum(execution["wall_s"] for execution in run.read_manifest()["executions"]), 1)
    return gauge.measure(f"{alone.model[0]} alone, {alone.protocol}", grade_answers(run, alone, alone.model[0], documents), seconds)


_tell: Callable[[str], None] = lambda line: typer.echo(line, err=True)  # noqa: E731


@app.command()
def calibrate(
    run_names: Annotated[
        list[str], typer.Argument(metavar="RUN…", help="Finished runs over corrected documents: folder, name, or `last`.")
    ],
    target: Annotated[
        Path | None,
        typer.Option("-o", "--output", dir_okay=False, help="The calibration's file; without it the calibration goes to stdout."),
    ] = None,
    truth: TruthOption = None,
    books: BooksOption = None,
    workspace: Annotated[str | None, typer.Option("--workspace", help=OUT_HELP)] = None,
) -> None:
    """Fit the confidence of findings on documents that people have corrected.

    Says by cross-validation over books how often findings of each confidence were right. `calibration = "FILE"` in flows.toml, or
    FLOWS_CALIBRATION, makes runs use the file. Documents that you test with must be of other books.
    """
    from flows.calibrating import calibrate_runs
    from flows.runs import write_file

    found = [run_from(name, workspace) for name in run_names]
    truth, books = [path.absolute() for path in truth or []], books.absolute() if books else None  # a run's settings change the folder
    folder = Path.cwd()
    with _told():
        corpora = []
        for run in found:
            if run.state not in ("done", "partial"):
                fail(f"{run.name} is {run.state}; only a finished run can be calibrated on; run its command again first.")
            config = recorded_config(run)
            documents, _ = _corrected(run, truth, books)
            corpora.append((run, config, documents))
        content, report = calibrate_runs(corpora)
    for line in report:
        typer.echo(line, err=target is None)
    if target is None:
        typer.echo(content, nl=False)
    else:
        write_file(folder / target, content)
        typer.echo(f'{target}: written. calibration = "{target}" in flows.toml makes runs use it.')
