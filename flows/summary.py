"""A run in ten seconds: what `flows run` ends with and `flows show` repeats. Read from the run folder alone."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chunkers.shards import read_shard
from flows.corpus import DocumentRow, read_rows
from flows.runs import Run
from postprocess.exports.report import CATEGORY_LABELS, Band, report_counts
from postprocess.records import Finding, FindingStatus

NUM_SUREST = 10
MAX_SHOWN_CHARS = 34


def read_findings(run: Run) -> list[Finding]:
    """The run's findings in the table's order. Raises ShardError where the run has not come so far."""
    return list(read_shard(str(run.folder / "findings.parquet"), Finding))


def render_run(run: Run) -> RenderableType:
    """Counts, findings by category and confidence, the ten surest, where the reports are, time and speed."""
    manifest, findings = run.read_manifest(), read_findings(run)
    rows = read_rows(run.folder / "documents.parquet")
    parts: list[RenderableType] = [_headline(manifest)]
    parts += [Text(f"  {flatten(row.path)}: {note}") for row in rows.values() for note in row.notes]
    if findings:
        parts += [Text(), _count_table(findings), Text(), _surest_table(findings, rows)]
    elif manifest["counts"]["words"]:
        floor = manifest["config"]["min_suggest"]
        parts.append(Text(f"Nothing at confidence {floor:g} or above. What was weighed:"))
        parts.append(Text(f"  flows sql {run.folder} 'from scores order by gain desc limit 20'"))
    parts += [Text(), *_truth_lines(manifest), *_error_lines(run, manifest), *_file_lines(run, manifest), _time_line(manifest)]
    return Group(*parts)


def _headline(manifest: dict[str, Any]) -> Text:
    counts = manifest["counts"]
    documents = _number(counts["documents"], "document")
    chapters = f", {_number(counts['chapters'], 'chapter')}" if counts["chapters"] else ""
    return Text(f"{documents}{chapters}, {_number(counts['words'], 'word')}: {_number(counts['findings'], 'finding')}", style="bold")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _count_table(findings: Sequence[Finding]) -> Table:
    table = Table("findings", *Band, box=None, pad_edge=False, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for category, bands in report_counts(findings).items():
        table.add_row(CATEGORY_LABELS[category], *(str(bands[band] or "·") for band in Band))
    return table


def _surest_table(findings: Sequence[Finding], rows: dict[str, DocumentRow]) -> Table:
    surest = sorted(
        (finding for finding in findings if finding.status is not FindingStatus.CONFLICT),
        key=lambda finding: (-finding.confidence, finding.doc_id, finding.start, finding.replacement),
    )[:NUM_SUREST]
    table = Table("line", "the surest", "", "confidence", box=None, pad_edge=False, header_style="dim")
    table.columns[0].justify = table.columns[3].justify = "right"
    for finding in surest:
        place = str(finding.line) if len(rows) == 1 else f"{flatten(rows[finding.doc_id].path)}:{finding.line}"
        table.add_row(Text(place), _change(finding), CATEGORY_LABELS[finding.category], f"{finding.confidence:.2f}")
    return table


def _change(finding: Finding) -> Text:
    before = finding.context_before[-MAX_SHOWN_CHARS:]
    after = finding.context_after[:MAX_SHOWN_CHARS]
    text = Text(flatten(before.partition(" ")[2] if len(before) == MAX_SHOWN_CHARS else before))
    text.append(f"[-{flatten(finding.original)}-]" if finding.original else "", style="red")
    text.append(f"{{+{flatten(finding.replacement)}+}}" if finding.replacement else "", style="green")
    text.append(flatten(after.rpartition(" ")[0] if len(after) == MAX_SHOWN_CHARS else after))
    return text


def flatten(text: str) -> str:
    """One line without control characters: those of a document or a file name must not reach the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def _truth_lines(manifest: dict[str, Any]) -> Iterator[Text]:
    counts = manifest["counts"]
    if counts["corrections"] is not None:
        yield Text(
            f"{counts['corrections_found']} of {_number(counts['corrections'], 'correction')} that people made here are among the findings."
        )


def _error_lines(run: Run, manifest: dict[str, Any]) -> Iterator[Text]:
    if num_errors := manifest["counts"]["errors"]:
        yield Text(f"{_number(num_errors, 'input or call')} did not come through: flows sql {run.folder} 'from errors'", style="yellow")


def _file_lines(run: Run, manifest: dict[str, Any]) -> Iterator[Text]:
    files = ["report.html", "report.md", *manifest["counts"]["files"]]
    shown = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
    yield Text(f"{run.folder}/")
    yield Text(f"  {shown}")


def _time_line(manifest: dict[str, Any]) -> Text:
    time = manifest["time"]
    parts = [f"{time['wall_s']:.0f} s: engine start {time['load_s']:.0f}, engine work {time['busy_s']:.0f}, other {time['other_s']:.0f}"]
    if time["busy_s"]:
        rate = f"{time['computed_tokens'] / time['busy_s']:,.0f} tokens/s computed"
        parts.append(f"{rate}, {time['cached_share']:.0%} of the prompts from the prefix cache")
    if time["num_stored"]:
        parts.append(f"{_number(time['num_stored'], 'call')} from the store")
    return Text(" · ".join(parts), style="dim")
