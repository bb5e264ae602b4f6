"""An OpenAI batch file: its lines checked in one pass, and read again as rows. Holds a few bytes a line, whatever stands there."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.batch_rows import BatchRow, RowError, find_custom_id, parse_row

MAX_SHOWN = 20
"""Lines of which it is said what is wrong with them."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that cannot be answered."""

    number: int
    """From 1."""
    custom_id: str | None
    """None where the line has none, or none that can be read."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedRow:
    """A row and its place."""

    number: int
    """Of its line, from 1."""
    row: BatchRow
    first_sample: int
    """Rows before it that ask the same and draw their answers have drawn so many: it draws others, not theirs again."""


class BatchFileError(Exception):
    """A batch file that cannot be used at all: what was met, the rule, what to do."""


class BatchFile:
    """A batch file on this machine's disk, which must not change meanwhile."""

    def __init__(
        self,
        path: Path,
        *,
        check: Callable[[BatchRow], None] = lambda _: None,
        draw_of: Callable[[BatchRow], str | None] = lambda _: None,
        limit: int | None = None,
    ) -> None:
        """Read and check every line, or the first `limit` of those that are not blank.

        `check` raises ValueError for a row that this model cannot answer; `draw_of` names what a row draws its answers from, None where
        they are decided.
        Raises OSError, and BatchFileError where it holds no line.
        """
        self._path, self._check = path, check
        self._offsets, self._numbers = array("q"), array("q")
        self._bad = array("q")
        """Indexes of the lines that cannot be answered, ascending."""
        self._same_id: dict[int, int] = {}
        """Index of a line -> number of the line that has its custom_id already."""
        self.models: Counter[str | None] = Counter()
        """Models that the good rows name."""
        self.num_left_out = 0
        """Lines after the first `limit`."""
        self.num_samples = 0
        """Answers that the good rows ask for."""
        ids, asked, sizes = array("Q"), array("Q"), array("q")
        digest, bad = sha256(), set[int]()
        for index, (offset, number, line) in enumerate(self._lines(limit)):
            digest.update(line)
            self._offsets.append(offset)
            self._numbers.append(number)
            try:
                row = self._read(line)
            except ValueError:
                bad.add(index)
                ids.append(_hash(custom_id) if (custom_id := find_custom_id(line)) else 0)
                asked.append(0)
                sizes.append(0)
                continue
            ids.append(_hash(row.custom_id))
            asked.append(_hash(draw) if (draw := draw_of(row)) is not None else 0)
            sizes.append(max(1, len(row.prompts)) * row.num_samples)
            self.models[row.model] += 1
            self.num_samples += sizes[-1]
        if not self._offsets:
            raise BatchFileError("it holds no line; a batch file has one request a line")
        self.sha256 = digest.hexdigest()
        """Of its lines."""
        for index, first in self._find_same(np.frombuffer(ids, dtype=np.uint64)):
            self._same_id[index] = self._numbers[first]
            if index not in bad:
                bad.add(index)
                sizes[index] = 0
        self._bad.extend(sorted(bad))
        self._first_samples = _count_before(np.frombuffer(asked, dtype=np.uint64), np.frombuffer(sizes, dtype=np.int64))

    @property
    def num_lines(self) -> int:
        return len(self._offsets)

    @property
    def num_bad(self) -> int:
        return len(self._bad)

    @property
    def num_rows(self) -> int:
        """Lines that can be answered."""
        return self.num_lines - self.num_bad

    def rows(self) -> Iterator[NumberedRow]:
        """The rows that can be answered, in order. Raises BatchFileError where the file has changed."""
        bad = iter(self._bad)
        next_bad = next(bad, -1)
        with self._path.open("rb") as file:
            for index, offset in enumerate(self._offsets):
                if index == next_bad:
                    next_bad = next(bad, -1)
                    continue
                file.seek(offset)
                try:
                    row = parse_row(_without_mark(file.readline(), offset))
                except RowError as error:
                    raise BatchFileError(f"line {self._numbers[index]} has changed since it was checked; run the command again") from error
                yield NumberedRow(number=self._numbers[index], row=row, first_sample=int(self._first_samples[index]))

    def bad_lines(self) -> Iterator[BadLine]:
        """What is wrong with the lines that cannot be answered, in order."""
        with self._path.open("rb") as file:
            for index in self._bad:
                offset, number = self._offsets[index], self._numbers[index]
                file.seek(offset)
                line = _without_mark(file.readline(), offset)
                messages = []
                try:
                    self._read(line)
                except ValueError as error:
                    messages.append(str(error))
                if first := self._same_id.get(index):
                    messages.append(f"custom_id is that of line {first} too; it must be a text that no other line has")
                yield BadLine(number=number, custom_id=find_custom_id(line), message="; ".join(messages))

    def _lines(self, limit: int | None) -> Iterator[tuple[int, int, bytes]]:
        """Offset, number and bytes of each line that is not blank."""
        offset, num_left = 0, limit
        with self._path.open("rb") as file:
            for number, whole in enumerate(file, start=1):
                line = _without_mark(whole, offset)
                if line.strip() and num_left == 0:
                    self.num_left_out += 1
                elif line.strip():
                    num_left = None if num_left is None else num_left - 1
                    yield offset, number, line
                offset += len(whole)

    def _read(self, line: bytes) -> BatchRow:
        row = parse_row(line)
        self._check(row)
        return row

    def _find_same(self, ids: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
        """Pairs of a line and the first that has its custom_id, by index."""
        order = np.argsort(ids, kind="stable")
        is_same = (ids[order][1:] == ids[order][:-1]) & (ids[order][1:] != 0)
        if not is_same.any():
            return
        with self._path.open("rb") as file:

            def read_id(index: int) -> str | None:
                file.seek(self._offsets[index])
                return find_custom_id(_without_mark(file.readline(), self._offsets[index]))

            firsts: dict[str | None, int] = {}
            for position in np.flatnonzero(is_same).tolist():
                before, index = int(order[position]), int(order[position + 1])
                if position == 0 or not is_same[position - 1]:
                    firsts = {read_id(before): before}
                custom_id = read_id(index)  # 64 bits of two texts may agree by chance
                if custom_id in firsts:
                    yield index, firsts[custom_id]
                else:
                    firsts[custom_id] = index


def _without_mark(line: bytes, offset: int) -> bytes:
    return line.removeprefix(_BOM) if offset == 0 else line


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8"), digest_size=8).digest(), "little") or 1


def _count_before(asked: NDArray[np.uint64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each line the sizes of those before it that ask the same, added up; 0 where `asked` is 0."""
    order = np.argsort(asked, kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = asked[order][1:] != asked[order][:-1]
    since_first = before - before[is_first][np.cumsum(is_first) - 1]
    found = np.zeros(len(order), dtype=np.int64)
    found[order] = np.where(asked[order] == 0, 0, since_first)
    return found
