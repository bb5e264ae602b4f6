"""What a person is told of a batch file: what is wrong with it, what is taken for granted, and how it ended."""

from collections import Counter
from collections.abc import Iterator

from engine.batch import RowRenderer
from engine.batch_file import MAX_SHOWN, BatchFile
from flows.batch_progress import BatchCounts
from flows.config import RunConfig
from flows.ends import End, ExitCode
from flows.engines import HostedModel
from flows.execute import measure_time
from flows.phases import measure_phases
from flows.summary import describe_time


def describe_bad(name: str, file: BatchFile) -> str:
    """The lines that cannot be answered, the first of them each by itself."""
    shown: list[str] = []
    for bad in file.bad_lines():
        if len(shown) == MAX_SHOWN:
            shown.append(f"  … and {file.num_bad - MAX_SHOWN:,} more")
            break
        shown.append(f"  line {bad.number}{f' ({bad.custom_id})' if bad.custom_id else ''}: {bad.message}")
    return "\n".join(
        [
            f"{name}: {file.num_bad:,} of {file.num_lines:,} lines cannot be answered; nothing was computed.",
            *shown,
            "Mend them, or give --skip-invalid: they become failed rows then, and the others are answered.",
        ]
    )


def note_defaults(file: BatchFile, hosted: HostedModel, renderer: RowRenderer) -> Iterator[str]:
    """What the command decides where a file says something else, or nothing; and what it leaves out."""
    if file.num_left_out:
        yield f"--limit: {file.num_left_out:,} of {file.num_lines + file.num_left_out:,} lines are left out."
    others: Counter[str] = Counter({name: count for name, count in file.models.items() if name is not None and name != hosted.name})
    if others:
        named = [f"{name} in {count:,} {'row' if count == 1 else 'rows'}" for name, count in others.most_common(3)]
        more = f" and {len(others) - 3:,} other names" if len(others) > 3 else ""
        yield f"body.model says {', '.join(named)}{more}; {hosted.name} answers them all."
    if renderer.defaults:
        said = ", ".join(f"{name} {value:g}" for name, value in sorted(renderer.defaults.items()))
        yield f"generation_config.json of {hosted.name}: {said}, where a row does not say otherwise."


def find_end(counts: BatchCounts, config: RunConfig, hosted: HostedModel) -> End:
    """The end that the counts come to; a spent budget before failed rows."""
    if reason := hosted.progress.end_of_budget:
        return End(ExitCode.BUDGET, f"Stopped at {reason}: {counts.num_skipped:,} rows were not asked; their code is skipped_budget.")
    if counts.num_failed and counts.num_failed > config.max_error_rate * counts.num_rows:
        share = f"{counts.num_failed:,} of {counts.num_rows:,} rows failed"
        return End(ExitCode.FAILED_ROWS, f"{share}, which is more than --max-error-rate {config.max_error_rate:g}.")
    return End(ExitCode.DONE, None)


def summarise(counts: BatchCounts, where: str, hosted: HostedModel, wall_s: float) -> list[str]:
    """Rows, calls, time and reuse; `where` says where the lines are."""
    progress = hosted.progress
    failed = ", ".join(f"{code} {count:,}" for code, count in sorted(counts.failed.items()))
    lines = [
        f"{counts.num_rows:,} rows: {counts.num_answered:,} answered, {counts.failed.total():,} not{f' ({failed})' if failed else ''}"
        f" → {where}"
    ]
    num_computed = progress.num_answered - progress.num_stored - progress.num_skipped
    lines.append(f"{num_computed:,} calls computed, {progress.num_stored:,} from the store")
    times = describe_time(measure_time([hosted.state], wall_s, measure_phases()))
    if not hosted.prices.is_empty:
        times += f" · cost {hosted.limits.spending.cost:,.4f}"
    return [*lines, times]
