"""Rows from any thread -> batches in a thread of its own: written when so many wait, or when the oldest has waited so long."""

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from chunkers.shards import ShardError

Row = TypeVar("Row")

MAX_TIDY_S = 2.0
"""How long `close` lets tidying go on."""
MAX_EXIT_S = 5.0
"""How long the end of the interpreter waits for what nobody has flushed."""


class BatchWriter(Generic[Row]):
    """Between two batches, and while there is none, it tidies step by step; the thread starts at the first row.

    `write` writes all of a batch or raises: OSError where nothing was written and another try may go well, ShardError where all was written
    but what can never be. `tidy` gives a fresh round of tidying, which is begun at the first row and after each batch.
    """

    def __init__(self, write: Callable[[list[Row]], None], tidy: Callable[[], Iterator[None]], *, flush_rows: int, flush_s: float) -> None:
        self._write, self._tidy, self._flush_rows, self._flush_s = write, tidy, flush_rows, flush_s
        self._changed = threading.Condition()
        self._rows: list[Row] = []
        self._waits_since = self._batch_since = 0.0
        self._num_put = self._num_done = self._num_wanted = 0
        # what the last batch met; nothing is written until a caller has heard of it and another call is made
        self._error: Exception | None = None
        self._is_raised = False
        self._closes_at: float | None = None
        self._thread: threading.Thread | None = None

    def put(self, row: Row) -> None:
        """Raises what an earlier batch met, once; its rows and this one are kept and tried again. Raises ValueError after `close`."""
        with self._changed:
            if self._closes_at is not None:
                raise ValueError("The writer is closed and takes no more rows; open another one.")
            if not self._rows:
                self._waits_since = time.monotonic()
            self._rows.append(row)
            self._num_put += 1
            if self._thread is None:
                self._start()
            if self._error is not None and not self._is_raised:
                self._raise_error()
            if self._error is not None or len(self._rows) in (1, self._flush_rows):
                self._error = None
                self._changed.notify_all()

    def flush(self) -> None:
        """Returns when every row put before is written; what failed before is tried again, and what it meets now is raised."""
        with self._changed:
            if self._closes_at is not None and self._rows:
                raise ValueError(f"The writer is closed with {len(self._rows)} rows that it could not write; they have to be put again.")
            self._error = None
            self._num_wanted = self._num_put
            self._changed.notify_all()
            while self._num_done < self._num_wanted and self._error is None:
                self._changed.wait()
            self._raise_error()

    def close(self) -> None:
        """Flush and end the thread; a second call does nothing. Raises what the last batch met."""
        if self._closes_at is None:
            self._end(MAX_TIDY_S, None)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)
        self._thread.start()
        atexit.register(self._end, 0.0, MAX_EXIT_S)

    def _end(self, tidy_s: float, timeout_s: float | None) -> None:
        with self._changed:
            self._closes_at = time.monotonic() + tidy_s
            self._error = None
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            atexit.unregister(self._end)
        with self._changed:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            self._is_raised = True
            raise self._error

    def _run(self) -> None:
        tidying: Iterator[None] | None = self._tidy()
        while (batch := self._next_batch(is_idle=tidying is None)) is not None:
            try:
                if batch:
                    self._write(batch)
                    self._count_done(len(batch))
                    tidying = tidying or self._tidy()
                elif tidying is not None and not _step(tidying):
                    tidying = None
            except ShardError as error:
                self._count_done(len(batch), error)
            except Exception as error:  # noqa: BLE001 - raised in the thread of whoever puts or flushes next
                # letting go of tidying makes room; if it was what filled the disk, the second try goes well
                is_second_try_due = bool(batch) and tidying is not None
                tidying = None
                self._put_back(batch, None if is_second_try_due else error)

    def _next_batch(self, *, is_idle: bool) -> list[Row] | None:
        """Rows that are due; none where there is time for a step of tidying; None at the end."""
        with self._changed:
            while True:
                if self._rows and self._error is None and self._is_due():
                    batch, self._rows = self._rows, []
                    self._batch_since = self._waits_since
                    return batch
                if self._closes_at is not None and (is_idle or time.monotonic() >= self._closes_at):
                    return None
                if not is_idle:
                    return []
                is_timed = self._rows and self._error is None
                self._changed.wait(self._waits_since + self._flush_s - time.monotonic() if is_timed else None)

    def _is_due(self) -> bool:
        is_asked = self._num_wanted > self._num_done or self._closes_at is not None
        return is_asked or len(self._rows) >= self._flush_rows or time.monotonic() >= self._waits_since + self._flush_s

    def _count_done(self, num_rows: int, error: Exception | None = None) -> None:
        with self._changed:
            self._num_done += num_rows
            self._take_error(error)

    def _put_back(self, batch: list[Row], error: Exception | None) -> None:
        with self._changed:
            if batch:
                self._rows, self._waits_since = batch + self._rows, self._batch_since
            self._take_error(error)

    def _take_error(self, error: Exception | None) -> None:
        self._error, self._is_raised = error, False
        self._changed.notify_all()


def _step(tidying: Iterator[None]) -> bool:
    """True while there is more to do."""
    return next(tidying, True) is None
