"""What a scheduled run leaves at Prefect: its report and its surest findings as artifacts, its tables as assets. Each of a bounded size."""

from collections.abc import Iterable

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.assets import Asset, add_asset_metadata, materialize
from prefect.assets.core import AssetProperties
from prefect.cache_policies import NO_CACHE

from chunkers.paths import ObjectPath
from chunkers.shards import measure_shard
from flows.corpus import read_rows
from flows.printable import flatten
from flows.runs import Run
from flows.summary import read_findings
from postprocess.records import Finding, FindingStatus

MAX_MARKDOWN_CHARS = 20_000
"""Of the report: it is stored in Prefect's database, once for every run."""
MAX_FINDINGS = 200
"""Of the table; the surest."""
MAX_CELL_CHARS = 200
TABLES = ("documents", "findings", "edits", "errors", "yields", "ledger")
"""Of a run; those that are there become assets."""


def publish_run(run: Run, name: str, inputs: Iterable[str]) -> None:
    """Leave a finished run's report, findings and tables under the name of its schedule; inside a flow run."""
    described = f"{run.name}: {', '.join(inputs)}"
    create_markdown_artifact(cut_report((run.folder / "report.md").read_text("utf-8"), run), key=f"{name}-report", description=described)
    create_table_artifact(list_surest(run), key=f"{name}-findings", description=f"The surest findings of {described}")
    create_link_artifact(
        _link_page(run), link_text=f"{run.name}/report.html", key=f"{name}-page", description=_describe_page(run, described)
    )
    publish_tables(run, name)


def _link_page(run: Run) -> str:
    page = run.folder / "report.html"
    return str(page) if isinstance(page, ObjectPath) else page.absolute().as_uri()


def _describe_page(run: Run, described: str) -> str:
    return f"In the store: {described}" if isinstance(run.folder, ObjectPath) else f"On the machine that ran {described}"


def cut_report(report: str, run: Run) -> str:
    """The report as far as there is room, ended after a whole paragraph, with the place of the rest."""
    place = f"`{run.folder}`"
    if len(report) <= MAX_MARKDOWN_CHARS:
        return f"{report}\nAll of it is in {place}.\n"
    kept = report[:MAX_MARKDOWN_CHARS].rpartition("\n\n")[0]
    return f"{kept}\n\n… and {len(report) - len(kept):,} characters more: `report.md` and `report.html` in {place}.\n"


def list_surest(run: Run) -> list[dict[str, str | int | float]]:
    """The surest findings, one a row, as `flows show` has them."""
    documents = read_rows(run.folder / "documents.parquet")
    findings = sorted(
        (finding for finding in read_findings(run) if finding.status is not FindingStatus.CONFLICT),
        key=lambda finding: (-finding.confidence, finding.doc_id, finding.start, finding.replacement),
    )
    return [_cells(finding, documents[finding.doc_id].path) for finding in findings[:MAX_FINDINGS]]


def _cells(finding: Finding, path: str) -> dict[str, str | int | float]:
    return {
        "document": _cut(path),
        "line": finding.line,
        "original": _cut(finding.original),
        "replacement": _cut(finding.replacement),
        "category": finding.category.value,
        "confidence": round(finding.confidence, 3),
        "status": finding.status.value,
    }


def _cut(text: str) -> str:
    shown = flatten(text)
    return shown if len(shown) <= MAX_CELL_CHARS else shown[:MAX_CELL_CHARS] + "…"


def publish_tables(run: Run, name: str) -> None:
    """Tell Prefect of each table of the run; the same asset every time, with the run's own file in its metadata."""
    tables = [table for table in TABLES if (run.folder / f"{table}.parquet").is_file()]
    assets = [
        Asset(key=_asset_key(name, table), properties=AssetProperties(name=f"{table} of {name}", description=f"As {run.name} has it"))
        for table in tables
    ]
    materialize(*assets, by="galley", name="tables", cache_policy=NO_CACHE, persist_result=False)(_describe)(run, name, tables)


def _describe(run: Run, name: str, tables: Iterable[str]) -> None:
    for table in tables:
        shard = measure_shard(str(run.folder / f"{table}.parquet"))
        metadata = {"path": shard.url, "rows": shard.num_rows, "bytes": shard.num_bytes, "run": run.name}
        add_asset_metadata(_asset_key(name, table), metadata)


def _asset_key(name: str, table: str) -> str:
    return f"galley://{name}/{table}"
