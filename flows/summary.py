"""A run in ten seconds: what `flows run` ends with and `flows show` repeats. Read from the run folder alone."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chunkers.shards import read_shard
from engine.ledger import total_cost
from flows.corpus import DocumentRow, read_rows
from flows.costs import read_ledger
from flows.phases import spent_times
from flows.printable import flatten
from flows.runs import Run
from flows.styles import describe_proposal
from postprocess.exports.report import CATEGORY_LABELS, YIELD_COLUMNS, Band, report_counts, yield_cells
from postprocess.records import Finding, FindingStatus, is_voter
from postprocess.yields import Yield, describe_yield

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
    parts += [
        Text(),
        *_yield_parts(run, findings),
        *_truth_lines(manifest),
        *_error_lines(run, manifest),
        *_file_lines(run, manifest),
        _time_line(manifest),
        *_phase_lines(manifest),
        *_cost_lines(run, manifest),
    ]
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


def _yield_parts(run: Run, findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """What each proposer added, as a table where models looked for mistakes themselves, and a sentence for each model."""
    path = run.folder / "yields.parquet"
    rows = list(read_shard(str(path), Yield)) if path.is_file() else []  # runs of earlier versions have none
    voters = {row.proposer for row in rows if is_voter(row.proposer)}
    if len(voters) > 1:
        num_disputed = sum(bool(finding.dissenters or (finding.silent and voters & set(finding.proposers))) for finding in findings)
        yield Text(f"{_number(len(voters), 'model')} looked for mistakes; over {_number(num_disputed, 'finding')} they disagree.")
    if voters:
        table = Table(*YIELD_COLUMNS, box=None, pad_edge=False, header_style="dim")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*(Text(flatten(cell)) for cell in yield_cells(row)))
        yield from (table, Text())
    for row in rows:
        if row.engine_seconds is not None:
            yield Text(flatten(f"{row.proposer} {describe_yield(row)}."), style="yellow" if row.is_idle_model else "")


def _truth_lines(manifest: dict[str, Any]) -> Iterator[Text]:
    counts = manifest["counts"]
    if counts["corrections"] is not None:
        yield Text(
            f"{counts['corrections_found']} of {_number(counts['corrections'], 'correction')} that people made here are among the findings."
        )


def _error_lines(run: Run, manifest: dict[str, Any]) -> Iterator[Text]:
    if num_errors := manifest["counts"]["errors"]:
        yield Text(f"{_number(num_errors, 'input or call')} did not come through: flows errors {run.folder}", style="yellow")


def _file_lines(run: Run, manifest: dict[str, Any]) -> Iterator[Text]:
    files = ["report.html", "report.md", *manifest["counts"]["files"]]
    shown = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
    yield Text(f"{run.folder}/")
    yield Text(f"  {shown}")
    if proposed := manifest["counts"].get("style"):  # not in manifests of earlier versions
        yield Text(f"  {describe_proposal(proposed)}")


def describe_time(time: Mapping[str, Any]) -> str:
    """Where the time of a command went, how fast the engine was, and what it reused; `time` as `measure_time` gives it."""
    parts = [f"{time['wall_s']:.0f} s: engine start {time['load_s']:.0f}, engine work {time['busy_s']:.0f}, other {time['other_s']:.0f}"]
    if time["busy_s"]:
        rate = f"{time['computed_tokens'] / time['busy_s']:,.0f} tokens/s computed"
        parts.append(f"{rate}, {_describe_reuse(time)}")
    if time.get("feed_stall") is not None:
        parts.append(f"feed stall {time['feed_stall']:.1%} of {time['num_steps']:,} steps")
    return " · ".join(parts)


def _time_line(manifest: dict[str, Any]) -> Text:
    time = manifest["time"]
    stored = f" · {_number(time['num_stored'], 'call')} from the store" if time["num_stored"] else ""
    return Text(describe_time(time) + stored, style="dim")


def _phase_lines(manifest: dict[str, Any]) -> Iterator[Text]:
    """Where the time of the last command went, kind by kind; manifests of earlier versions do not tell."""
    phases, executions = manifest["time"].get("phases"), manifest.get("executions")
    if phases and executions:
        times = spent_times(executions[-1]["models"], phases)
        yield Text(", ".join(f"{flatten(spent.what)} {spent.seconds:.1f}" for spent in times) + " s", style="dim")


def _describe_reuse(time: Mapping[str, Any]) -> str:
    share = f"{time['cached_share']:.0%} of the prompts from the prefix cache"
    possible = time.get("reuse_of_possible")  # not in manifests of earlier versions
    return share if possible is None else f"{share} ({possible:.0%} of what could be)"


def _cost_lines(run: Run, manifest: dict[str, Any]) -> Iterator[Text]:
    """From the ledger: what the run held engines for, over all its commands, and what that came to."""
    rows, counts = read_ledger(run), manifest["counts"]
    held_s = sum(row.engine_seconds for row in rows)
    if not held_s:
        return
    cost = total_cost(rows)
    total, unit = (Decimal(round(held_s)), "engine-seconds") if cost is None else (cost, manifest["config"]["prices"]["currency"])
    parts = [f"{total:,.0f} {unit}" if cost is None else f"{total:.4f} {unit}"]
    if counts["words"]:
        parts.append(f"{total * 1000 / counts['words']:.4g} per 1,000 words")
    if counts["accepted"]:
        parts.append(f"{total / counts['accepted']:.4g} per accepted finding")
    yield Text(f"{', '.join(parts)} (loading and waiting included; flows sql {run.folder} 'from ledger')", style="dim")
