"""What `flows batch` is told, and the two files that it writes: answers, and rows without one."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from engine.batch_file import BadLine, BatchFile
from engine.batch_lines import INVALID_REQUEST, Failure, RowEnd, write_line
from flows.batch_progress import BatchCounts
from flows.engines import HostedModel
from flows.line_file import STDOUT, LineFile, LineFileError, find_place, find_written


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCommand:
    """What `flows batch` is told besides the settings of every run."""

    input: str
    """A path, `-`, or an fsspec URL."""
    output: str
    """As of the input."""
    errors: str | None
    """The same; what the output is called has all lines in one file. None for beside the output."""
    is_ordered: bool
    """In the order of the input, not of completion."""
    limit: int | None
    """Only so many lines, the first; a setting of that name in flows.toml is about chunks."""
    skips_invalid: bool
    """Lines that cannot be answered become failed rows, and do not end it."""
    max_model_len: int | None
    """None for the model's own setting."""


def find_errors_target(command: BatchCommand) -> str:
    """Where failed rows go: as told; else beside the output, and for stdout with it."""
    if command.errors is not None or command.output == STDOUT:
        return command.errors or STDOUT
    folder, slash, name = command.output.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return f"{folder}{slash}{f'{stem}.errors.{suffix}' if dot and stem else f'{name}.errors.jsonl'}"


def check_targets(command: BatchCommand) -> None:
    """Raises LineFileError where files would overwrite each other."""
    target, source = find_errors_target(command), find_place(command.input)
    answers, failures = find_written(command.output), find_written(target)
    for kind, name, places in (("output", command.output, answers), ("errors file", target, failures)):
        if source in places[:1]:
            raise LineFileError(f"{name} is input and {kind} at once; the input is never written to; name another {kind}.")
        if source in places:
            raise LineFileError(
                f"{command.input} would be written while it is read, as the {kind} {name} grows in it; name another {kind}."
            )
    if answers[:1] != failures[:1] and set(answers) & set(failures):
        raise LineFileError(
            f"{target} and {command.output} would overwrite each other, as each grows in NAME.partial; "
            "two files have two names, or one for both; name another errors file."
        )


class BatchOutput:
    """The two files, and the counts of what is in them."""

    def __init__(self, command: BatchCommand, spool_dir: Path, hosted: HostedModel, file: BatchFile) -> None:
        self.counts = BatchCounts(num_rows=file.num_lines)
        self._model = hosted.name
        target = find_errors_target(command)
        with ExitStack() as stack:
            self._answers = stack.enter_context(_open_lines(command.output, spool_dir, command.is_ordered))
            is_one = find_place(target) == find_place(command.output)
            self._failures = self._answers if is_one else stack.enter_context(_open_lines(target, spool_dir, command.is_ordered))
            self._stack = stack.pop_all()

    def end(self, end: RowEnd) -> None:
        """Write a row's line. Raises OSError."""
        line = write_line(end, model=self._model, now=datetime.now(UTC))
        if end.failure is None:
            self._answers.write(end.number, line)
            self.counts.num_answered += 1
        else:
            self._failures.write(end.number, line)
            self.counts.failed[end.failure.code] += 1

    def finish(self) -> None:
        """Make both whole; the output last, so that where it is new the errors are."""
        if self.counts.num_ended != self.counts.num_rows:
            raise RuntimeError(f"{self.counts.num_rows:,} rows came in and {self.counts.num_ended:,} ended; please report this.")
        if self._failures is not self._answers:
            self._failures.finish()
        self._answers.finish()

    def describe(self) -> str:
        """Where the lines are."""
        shown = [self._answers.target if self._answers.target != STDOUT else "stdout"]
        if self.counts.failed and self._failures is not self._answers:
            shown.append(f"those without an answer in {self._failures.target}")
        return ", ".join(shown)

    def __enter__(self) -> "BatchOutput":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@contextmanager
def _open_lines(target: str, spool_dir: Path, is_ordered: bool) -> Iterator[LineFile]:
    lines = LineFile(target, spool_dir, is_ordered=is_ordered)
    try:
        yield lines
    finally:
        lines.close()


def end_bad_line(bad: BadLine) -> RowEnd:
    """The end of a line that cannot be answered."""
    return RowEnd(
        number=bad.number,
        custom_id=bad.custom_id,
        url=None,
        num_samples=1,
        completions=(),
        failure=Failure(code=INVALID_REQUEST, message=f"Line {bad.number}: {bad.message}."),
    )
