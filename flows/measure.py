"""One measurement: our own findings and other tools' on the same corrected documents."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flows.baselines import find_baseline, propose_for_all
from flows.corrected import Books, CorrectedDocument
from flows.evaluation import grade
from postprocess.evaluate import Evaluation, evaluate
from postprocess.grade import GradedDocument

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one way of proofreading came to."""

    label: str
    seconds: float | None
    """That a tool took for all documents, loading included; None for our own findings, whose run says it."""
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All that one command measured."""

    num_documents: int
    num_books: int
    books_path: str | None
    """None where every document counts as a book."""
    num_words: int
    num_corrections: int
    num_evident: int
    min_accept: float
    min_suggest: float
    num_draws: int
    seed: int
    run: str | None
    models: tuple[str, ...]
    """Each with its protocol."""
    calibration: str
    """Where the confidences come from, in words."""
    own: Measured | None
    """None where only other tools were measured."""
    baselines: dict[str, Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """What findings are measured with."""

    min_accept: float
    min_suggest: float
    num_draws: int
    seed: int

    def measure(self, label: str, documents: Sequence[GradedDocument], seconds: float | None = None) -> Measured:
        """The figures of graded documents."""
        evaluation = evaluate(documents, min_accept=self.min_accept, min_suggest=self.min_suggest, num_draws=self.num_draws, seed=self.seed)
        return Measured(label=label, seconds=seconds, evaluation=evaluation)

    def measure_tool(self, name: str, documents: Sequence[CorrectedDocument], tell: Callable[[str], None]) -> Measured:
        """What another tool finds. Raises BaselineError where it cannot be used."""
        baseline = find_baseline(name)
        started = last = time.monotonic()

        def tell_now_and_then(num_done: int) -> None:
            nonlocal last
            if time.monotonic() > last + TELL_EVERY_S or num_done == len(documents):
                last = time.monotonic()
                tell(f"{name}: {num_done:,} of {len(documents):,} documents in {last - started:.0f} s")

        found = propose_for_all(name, [each.document for each in documents], tell_now_and_then)
        graded = [grade(each, changes) for each, changes in zip(documents, found, strict=True)]
        return self.measure(baseline.label, graded, round(time.monotonic() - started, 1))


TELL_EVERY_S = 30.0


def start_measurement(documents: Sequence[CorrectedDocument], books: Books, gauge: Gauge) -> Measurement:
    """A measurement of these documents with nothing in it yet."""
    return Measurement(
        num_documents=len(documents),
        num_books=len({each.book for each in documents}),
        books_path=str(books.path) if books.path else None,
        num_words=sum(each.document.num_words for each in documents),
        num_corrections=sum(len(each.corrections) for each in documents),
        num_evident=sum(correction.evident for each in documents for correction in each.corrections),
        min_accept=gauge.min_accept,
        min_suggest=gauge.min_suggest,
        num_draws=gauge.num_draws,
        seed=gauge.seed,
        run=None,
        models=(),
        calibration="",
        own=None,
        baselines={},
    )
