"""The README's ten questions, each run with DuckDB and with Polars over one workspace; and the views over all its runs."""

import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from chunkers.paths import ObjectPath
from chunkers.records import DOCUMENTS, Category, hash_id
from chunkers.shards import write_shard
from engine.outcomes import Asked
from engine.parts import REPLACES
from engine.records import CALLS, Outcome
from flows.__main__ import app
from flows.asked import write_asked
from flows.corpus import DocumentRow
from flows.runs import Run, write_file, write_shard_names
from flows.tables import FILES, open_workspace
from postprocess.records import FINDINGS, Finding, FindingStatus, name_finding
from postprocess.yields import YIELDS, Yield
from tests.chat_server import ChatServer
from tests.flows.scripted import Folder
from tests.flows.test_several_models import BOOK, CHANGES, SETTINGS, answer
from tests.s3 import Faults

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SECTION = README.partition("## Questions to the tables")[2].partition("\n## ")[0]
Rows = list[tuple[Any, ...]]

MODELS = ("small", "big")
WORDS = [("teh", "the"), ("recieve", "receive"), ("it's", "its"), ("go", "went"), ("go", "goes"), ("were", "was")]
CHAPTERS = (None, "I", "II", "I: again")


def make_asks(doc_id: str, model: str, num: int) -> list[Asked]:
    """Questions about a document, some asked twice; the same in every run."""
    draw = Random(f"{doc_id} {model}")
    asks = []
    for index in range(num):
        # two chunks share one call
        key = hash_id(doc_id, model, index // 2)
        is_ok = index % 7 != 6
        asks.append(
            Asked(
                doc_id=doc_id,
                chunk_id=hash_id(doc_id, index),
                template="score-read",
                template_version=1,
                sample_index=0,
                attempt=1,
                row_key=key,
                outcome=Outcome.OK if is_ok else Outcome.TRUNCATED,
                is_final=True,
                prompt_tokens=100 + index // 2,
                cached_tokens=draw.randrange(100),
                completion_tokens=0,
                engine_seconds=Random(key).randrange(1, 4000) / 512,
                decode_seconds=0.0,
            )
        )
    return asks


def call_rows(asks: Iterable[Asked], model: str, created: datetime) -> list[dict[str, Any]]:
    rows = {}
    for number, asked in enumerate(asks):
        row: dict[str, Any] = {field.name: getattr(asked, field.name, "x") for field in CALLS}
        row |= {"model": model, "outcome": asked.outcome.value, "cost": Decimal(number) / 1000 if model == "big" else None}
        row |= {"error": None if asked.outcome is Outcome.OK else f"cut at {number}", "text": None, "messages": None}
        row |= {"finish_reason": None, "engine_settings": None, "prompt_ids": [1], "logprobs": [], "alternative_ids": []}
        row |= {"alternative_logprobs": [], "created_at": created + timedelta(seconds=number)}
        rows[asked.row_key] = row
    return list(rows.values())


def make_findings(doc_id: str, seed: int, *, has_models: bool) -> list[Finding]:
    draw = Random(f"{doc_id} {seed}")
    found = {}
    for _ in range(60):
        original, replacement = draw.choice(WORDS)
        start = draw.randrange(0, 3000, 10)
        names = ["harper:SpellCheck", "style:casing", *(["small/score", "big/edits", "other/rewrite"] if has_models else [])]
        proposers = tuple(sorted(draw.sample(names, draw.randrange(1, len(names)))))
        others = [name for name in names if name not in proposers and "/" in name]
        draw.shuffle(others)
        finding = Finding(
            finding_id=name_finding(doc_id, start, start + len(original), replacement),
            doc_id=doc_id,
            start=start,
            end=start + len(original),
            line=1 + start // 50,
            column=1 + start % 50,
            chapter=CHAPTERS[start // 800],
            original=original,
            replacement=replacement,
            category=Category.SPELL,
            message="",
            votes=len(proposers),
            proposers=proposers,
            confidence=draw.randrange(100) / 128,
            status=draw.choice(list(FindingStatus)),
            context_before="",
            context_after="",
            silent=tuple(sorted(others[:1])),
            dissenters=tuple(sorted(others[1:])),
        )
        found[start, finding.replacement] = finding
    return [found[key] for key in sorted(found)]


def make_yield(proposer: str, right: int | None, wrong: int | None) -> Yield:
    return Yield(
        proposer=proposer,
        num_edits=50,
        num_rejected=10,
        num_findings=20,
        num_accepted=5,
        alone_accepted=9,
        alone_suggested=4,
        accepted_right=right,
        accepted_false=wrong,
        suggested_right=None if right is None else right // 2,
        suggested_false=None if wrong is None else wrong + 1,
        engine_seconds=None,
    )


def make_run(
    workspace: Path, name: str, day: int, paths: Iterable[str], *, marker: str | None = "_SUCCESS", models: tuple[str, ...] = MODELS
) -> Run:
    """A run's folder: documents, questions, findings and yields."""
    run = Run(workspace / "runs" / name)
    run.start()
    created = datetime(2026, 1, day, tzinfo=UTC)
    manifest: dict[str, Any] = {"run": name, "flow": "proofread", "created_at": created.isoformat(), "cwd": "/books"}
    run.write_manifest(manifest | {"inputs": list(paths), "models": [{"name": model} for model in models]})
    documents = [
        DocumentRow(
            doc_id=hash_id(path),
            path=path,
            format="markdown",
            encoding="utf-8",
            bom="",
            title=None,
            language=None,
            notes=(),
            num_chars=10_000,
            num_words=500 + 250 * len(path),
        )
        for path in paths
    ]
    write_shard(str(run.folder / "documents.parquet"), DOCUMENTS, documents)
    for model in models:
        for index, document in enumerate(documents):
            asks = make_asks(document.doc_id, model, 15 + index)
            write_asked(run.folder / "requests" / f"model={model}" / f"shard-{index:05}.parquet", asks)
    if marker is not None:
        findings = [found for document in documents for found in make_findings(document.doc_id, day, has_models=bool(models))]
        write_shard(str(run.folder / "findings.parquet"), FINDINGS, findings)
        given = (None, None) if day == 1 else (2 * day, day)
        rows = [
            make_yield("harper", *given),
            make_yield("big/edits", *given[::-1]),
            make_yield("style", *(None if each is None else 0 for each in given)),
        ]
        write_shard(str(run.folder / "yields.parquet"), YIELDS, rows)
        run.finish(marker)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace `out`: a run of version 1, two later ones, one that was killed; calls of two models, some parts merged."""
    folder = tmp_path_factory.mktemp("work [2]")
    workspace = folder / "out"
    old = make_run(workspace, "proofread-emma-aaaaaaaa", 1, ["emma.md"], models=())
    pq.write_table(pq.read_table(old.folder / "findings.parquet").drop_columns(["silent", "dissenters"]), old.folder / "findings.parquet")
    make_run(workspace, "proofread-2-documents-bbbbbbbb", 2, ["emma.md", "o'hara.md"], marker="_PARTIAL")
    make_run(workspace, "proofread-emma-cccccccc", 3, ["emma.md"])
    make_run(workspace, "proofread-emma-dddddddd", 4, ["emma.md", "never.md"], marker=None)
    for model in MODELS:
        parts = workspace / "calls" / f"model={model}"
        created = datetime(2026, 1, 2, tzinfo=UTC)
        rows = [call_rows(make_asks(hash_id(path), model, 16), model, created) for path in ("emma.md", "o'hara.md", "never.md")]
        for number, of_part in enumerate(rows):
            write_shard(str(parts / f"part-{number}.parquet"), CALLS, of_part)
        if model == "small":  # the two first have been merged and are not deleted yet
            schema = CALLS.with_metadata({**CALLS.metadata, REPLACES: json.dumps(["part-0.parquet", "part-1.parquet"]).encode()})
            pq.write_table(pa.Table.from_pylist([*rows[0], *rows[1]], schema=schema), parts / "part-9.parquet")
    return folder


def queries() -> dict[int, str]:
    (block,) = re.findall(r"^```sql\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^-- (\d+)\. .*?\n(.*?);$", block, re.MULTILINE | re.DOTALL)
    return {int(number): query for number, query in found}


def ended_runs(workspace: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and manifest of each run that has ended, the latest first."""
    found = [path.parent for path in workspace.glob("runs/*/manifest.json")]
    ended = [(path, json.loads((path / "manifest.json").read_text())) for path in found if any(path.glob("_[SP]*"))]
    return sorted(ended, key=lambda run: run[1]["created_at"], reverse=True)


def scan(workspace: Path, pattern: str) -> pl.LazyFrame:
    """A table of all ended runs, in the oldest of which columns may be missing."""
    frames = [
        pl.scan_parquet(path, hive_partitioning=True, glob=False).with_columns(run=pl.lit(folder.name))
        for folder, _ in ended_runs(workspace)
        for path in sorted(folder.glob(pattern))
    ]
    return pl.concat(frames, how="diagonal")


def latest(workspace: Path) -> pl.LazyFrame:
    rows: dict[tuple[str, str], tuple[str, str, str]] = {}
    for folder, manifest in ended_runs(workspace):
        for doc_id, path in pl.read_parquet(folder / "documents.parquet", glob=False).select("doc_id", "path").iter_rows():
            rows.setdefault((manifest["cwd"], path), (folder.name, doc_id, path))
    return pl.LazyFrame(list(rows.values()), schema=["run", "doc_id", "path"], orient="row")


def latest_findings(workspace: Path) -> pl.LazyFrame:
    return scan(workspace, "findings.parquet").join(latest(workspace), on=["run", "doc_id"])


def calls(workspace: Path) -> pl.LazyFrame:
    """Every call once, told by what decides it: there are no two answers to one question here."""
    return pl.scan_parquet(sorted(workspace.glob("calls/*/part-*.parquet")), hive_partitioning=False, glob=False).unique("row_key")


def found_by_models_alone(workspace: Path) -> pl.LazyFrame:
    return (
        latest_findings(workspace)
        .filter(pl.col("proposers").list.eval(pl.element().str.contains("/", literal=True)).list.all())
        .select("path", "line", "original", "replacement", "confidence")
        .sort("confidence", "path", "line", "original", "replacement", descending=[True, False, False, False, False])
    )


def most_frequent(workspace: Path) -> pl.LazyFrame:
    return (
        latest_findings(workspace)
        .filter(pl.col("status") == "accepted")
        .group_by("original", "replacement")
        .agg(pl.len(), pl.col("path").n_unique())
        .sort("len", "original", "replacement", descending=[True, False, False])
        .head(20)
    )


def cost_of_books(workspace: Path) -> pl.LazyFrame:
    asked = scan(workspace, "requests/*/shard-*.parquet").join(scan(workspace, "documents.parquet"), on=["run", "doc_id"])
    costs = pl.col("cost")
    return (
        asked.select("path", "row_key")
        .unique()
        .join(calls(workspace), on="row_key")
        .group_by("path", "model")
        .agg(pl.len(), pl.col("engine_seconds").sum().round(1).alias("seconds"), pl.when(costs.count() > 0).then(costs.sum()).alias("cost"))
        .sort("path", "model")
    )


def disagreements(workspace: Path) -> pl.LazyFrame:
    return (
        latest_findings(workspace)
        .filter(pl.col("dissenters").list.len() > 0)
        .sort("path", "start", "original", "replacement")
        .select("path", "line", "original", "replacement", "proposers", "dissenters", "silent")
    )


def failed_calls(workspace: Path) -> pl.LazyFrame:
    return (
        calls(workspace)
        .filter(pl.col("outcome") != "ok")
        .group_by("model", "outcome")
        .agg(pl.len(), pl.col("chunk_id").n_unique(), pl.col("error").min())
        .sort("len", "model", "outcome", descending=[True, False, False])
    )


def precision_of_proposers(workspace: Path) -> pl.LazyFrame:
    return (
        scan(workspace, "yields.parquet")
        .join(latest(workspace), on="run", how="semi")
        .filter(pl.col("accepted_right").is_not_null())
        .group_by("proposer")
        .agg(
            hits=(pl.col("accepted_right") + pl.col("suggested_right")).sum(),
            misses=(pl.col("accepted_false") + pl.col("suggested_false")).sum(),
        )
        .filter(pl.col("hits") + pl.col("misses") > 0)
        .with_columns(precision=(pl.col("hits") / (pl.col("hits") + pl.col("misses"))).round(3))
        .sort("precision", "proposer", descending=[True, False])
    )


def cached_share(workspace: Path) -> pl.LazyFrame:
    return (
        calls(workspace)
        .group_by("model")
        .agg(pl.len(), pl.col("prompt_tokens").sum(), (100 * pl.col("cached_tokens").sum() / pl.col("prompt_tokens").sum()).round(1))
        .filter(pl.col("prompt_tokens") > 0)
        .sort("model")
    )


def slowest_documents(workspace: Path) -> pl.LazyFrame:
    seconds = pl.col("engine_seconds").sum()
    return (
        scan(workspace, "requests/*/shard-*.parquet")
        .unique(["run", "doc_id", "row_key"])
        .join(latest(workspace), on=["run", "doc_id"])
        .join(scan(workspace, "documents.parquet").select("run", "doc_id", "num_words"), on=["run", "doc_id"])
        .group_by("path", "num_words")
        .agg(seconds.round(1).alias("seconds"), (1000 * seconds / pl.col("num_words").first()).round(2).alias("each"))
        .sort("each", "path", descending=[True, False])
        .head(10)
    )


def chapters(workspace: Path) -> pl.LazyFrame:
    return (
        latest_findings(workspace)
        .group_by("path", "chapter")
        .agg(pl.len(), (pl.col("status") == "accepted").sum().alias("accepted"), pl.col("start").min())
        .sort("path", "start")
        .drop("start")
    )


def changed(workspace: Path) -> pl.LazyFrame:
    (after, _), (before, _) = ended_runs(workspace)[:2]
    findings = scan(workspace, "findings.parquet").join(scan(workspace, "documents.parquet"), on=["run", "doc_id"])
    place = ["path", "line", "start", "original", "replacement"]
    then, now = (findings.filter(pl.col("run") == run.name).select(*place, "status") for run in (before, after))
    return (
        then.join(now, on=place, how="full", coalesce=True, nulls_equal=True)
        .filter(pl.col("status").ne_missing(pl.col("status_right")))
        .sort("path", "start", "original", "replacement")
        .drop("start")
    )


POLARS: dict[int, Callable[[Path], pl.LazyFrame]] = {
    1: found_by_models_alone,
    2: most_frequent,
    3: cost_of_books,
    4: disagreements,
    5: failed_calls,
    6: precision_of_proposers,
    7: cached_share,
    8: slowest_documents,
    9: chapters,
    10: changed,
}
"""By the number of the question; from the files alone."""


def ask(workspace: Path, query: str) -> Rows:
    with open_workspace(workspace) as views:
        return views.execute(query).fetchall()


def assert_same(left: Rows, right: Rows, tolerance: float = 1e-9) -> None:
    """The same rows in the same order; floats may have been added in another one."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert [type(cell) for cell in one if not isinstance(cell, int)] == [type(cell) for cell in other if not isinstance(cell, int)]
        for mine, theirs in zip(one, other, strict=True):
            assert mine == theirs or (isinstance(mine, float) and math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=tolerance)), (one, other)


def test_readme_asks_ten_questions() -> None:
    assert list(queries()) == list(POLARS) == list(range(1, 11))
    block = SECTION.partition("```sql")[2].partition("```")[0]
    assert not set('"$`\\!') & set(block), "a query goes between the quotation marks of a shell as it stands"


@pytest.mark.parametrize("number", POLARS)
def test_question_has_the_same_answer_with_duckdb_and_with_polars(number: int, folder: Path) -> None:
    rows = ask(folder / "out", queries()[number])
    assert len(rows) >= 2
    assert_same(rows, POLARS[number](folder / "out").collect().rows())


@pytest.mark.parametrize(("number", "index"), [(2, 0), (7, 1)])
def test_polars_forms_of_the_readme_give_the_same_answer(number: int, index: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    block = re.findall(r"^```python\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)[index]
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert_same(ask(folder / "out", queries()[number]), names["answer"].rows())


def test_every_call_counts_once_and_belongs_to_no_run(folder: Path) -> None:
    keys = [
        key
        for model in MODELS
        for path in ("emma.md", "o'hara.md", "never.md")
        for key in {a.row_key for a in make_asks(hash_id(path), model, 16)}
    ]
    assert ask(folder / "out", "select count(*), count(distinct row_key) from calls") == [(len(keys), len(keys))]
    assert "run" not in {name for name, *_ in ask(folder / "out", "describe calls")}


def test_unfinished_run_is_named_and_has_no_rows(folder: Path) -> None:
    states = ask(folder / "out", "select run, state, name, models, started_at from runs order by started_at desc")
    assert [row[:3] for row in states] == [
        ("proofread-emma-dddddddd", "unfinished", "emma"),
        ("proofread-emma-cccccccc", "done", "emma"),
        ("proofread-2-documents-bbbbbbbb", "partial", "2-documents"),
        ("proofread-emma-aaaaaaaa", "done", "emma"),
    ]
    assert states[1][3:] == (["small", "big"], datetime(2026, 1, 3, tzinfo=UTC))
    for view in ("documents", "requests", "findings", "yields"):
        runs = {run for (run,) in ask(folder / "out", f"select distinct run from {view}")}
        assert runs <= {run for run, state, *_ in states if state in ("done", "partial")}
        assert len(runs) >= 2


def test_latest_run_of_a_file_is_the_last_that_read_it_to_the_end(folder: Path) -> None:
    rows = ask(folder / "out", "select path, run from latest order by path")
    assert rows == [("emma.md", "proofread-emma-cccccccc"), ("o'hara.md", "proofread-2-documents-bbbbbbbb")]


def test_columns_that_an_older_run_has_not_are_null(folder: Path) -> None:
    query = "select run, count(*) > 0, count(silent) > 0 from findings group by run order by run"
    assert [row[1:] for row in ask(folder / "out", query)] == [(True, True), (True, False), (True, True)]
    model_types = ask(folder / "out", "select distinct typeof(model) from requests")
    assert model_types == [("VARCHAR",)]


@pytest.mark.parametrize("number", POLARS)
def test_workspace_without_an_ended_run_answers_with_no_rows(number: int, tmp_path: Path) -> None:
    make_run(tmp_path, "proofread-emma-dddddddd", 4, ["emma.md"], marker=None)
    assert ask(tmp_path, queries()[number]) == []


def test_run_whose_manifest_cannot_be_read_is_named_and_its_rows_are_there(tmp_path: Path) -> None:
    make_run(tmp_path, "proofread-emma-aaaaaaaa", 1, ["emma.md"])
    broken = make_run(tmp_path, "proofread-emma-bbbbbbbb", 2, ["emma.md"])
    broken.manifest_path.write_text("{")
    assert ask(tmp_path, "select run, flow, started_at from runs where state = 'done' and flow is null") == [(broken.name, None, None)]
    assert ask(tmp_path, f"select count(*) > 0 from findings where run = '{broken.name}'") == [(True,)]
    assert ask(tmp_path, "select run from latest") == [("proofread-emma-aaaaaaaa",)]


def test_model_called_by_a_number_or_a_date_is_text(tmp_path: Path) -> None:
    make_run(tmp_path, "proofread-emma-aaaaaaaa", 1, ["emma.md"], models=("7", "2026-01-02"))
    rows = ask(tmp_path, "select distinct model from requests order by 1")
    assert rows == [("2026-01-02",), ("7",)]


@pytest.mark.slow
def test_questions_to_real_runs(tmp_path: Path, prefect_url: str) -> None:
    folder = Folder(tmp_path, prefect_url)
    (tmp_path / "book.md").write_text(BOOK)
    (tmp_path / "book.edits.json").write_text('[{"start": 31, "end": 34, "original": "tho", "corrected": "the", "type": "WORD"}]')
    with ChatServer(answer, models=tuple(CHANGES)) as server:
        protocols = {"first": "edits", "second": "rewrite", "third": "edits"}
        settings = "".join(SETTINGS.format(name=name, url=server.url, protocol=protocol) for name, protocol in protocols.items())
        (tmp_path / "flows.toml").write_text(settings)
        folder.flows("run", "proofread", "book.md", "-m", "first", "--min-confidence", "0.4")
        folder.flows("run", "proofread", "book.md", *(word for name in CHANGES for word in ("-m", name)), "--min-confidence", "0.4")
    for number, query in queries().items():
        rows = ask(tmp_path / "out", query)
        assert_same(rows, POLARS[number](tmp_path / "out").collect().rows(), tolerance=0.11)  # a rounded half may fall to either side
        assert rows or number == 5, "nothing failed here"
    told = folder.flows("sql", "--all", queries()[2], "--format", "json").stdout
    assert {"original": "tho", "replacement": "the", "times": 1, "books": 1} in map(json.loads, told.splitlines())


WRONG = [
    (("sql", "--all"), "Missing argument"),
    (("sql", "--all", "last", "select 1"), "flows sql --all"),
    (("sql", "last"), "flows sql RUN"),
    (("sql", "--all", "select 1"), "No runs in"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_use_says_what_to_do(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    told = Folder(tmp_path, "").flows(*arguments, code=2)
    assert words in told.stderr
    assert told.stdout == ""


def test_unknown_view_names_those_that_there_are(folder: Path) -> None:
    told = Folder(folder, "").flows("sql", "--all", "from nothing", code=2)
    assert "latest" in told.stderr


def upload(workspace: Path, target: ObjectPath) -> None:
    """A workspace as runs in a store would have written it: each has noted its shards."""
    for path in sorted(workspace.rglob("*")):
        if path.is_file():
            write_file(target / path.relative_to(workspace).as_posix(), path.read_bytes())
    for folder in (target / "runs").iterdir():
        write_shard_names(folder, sorted({path.name for path in folder.glob("requests/*/shard-*.parquet")}))


def test_a_workspace_in_a_store_answers_as_the_one_here(
    folder: Path, bucket: ObjectPath, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = bucket / "w", folder / "out"
    upload(here, there)
    with open_workspace(there) as of_store, open_workspace(here) as of_folder:
        for query in (*queries().values(), *(f"from {name} order by all" for name in (*FILES, "calls", "latest"))):
            assert_same(of_store.execute(query).fetchall(), of_folder.execute(query).fetchall())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{faults.port}")
    faults.seen.clear()
    command = ["sql", "--all", "select run, state, exit_code from runs order by all", "--format", "csv", "-o"]
    told = CliRunner().invoke(app, [*command, str(there)])
    seen = list(faults.seen)
    assert told.exit_code == 0, told.output
    assert told.stdout == CliRunner().invoke(app, [*command, str(here)]).stdout
    assert told.stdout.count("\n") == 5
    assert all("delimiter=%2F" in asked or "max-keys=1" in asked for asked in seen if "list-type=2" in asked), "no list of all there is"
    tables = [asked for asked in seen if asked.startswith("GET ") and asked.endswith(".parquet")]
    assert len(tables) <= 4 * len(set(tables)), "a table's footer, and no more"
