"""Counts what the detectors propose over documents that people have corrected; needs no engine.

    python tests/bench/count_candidates.py corrected/*.md --manifest docs-manifest.json

Beside each NAME.md lies its NAME.edits.json; the manifest is a list of objects with `name` and `source`, the book. Prints how many of the
corrections some candidate makes exactly, by type; what each detector proposes, how often it is right and in how many books. `--priors`
prints the lines of chunkers/candidates/priors.py, `--missed FILE` writes the corrections that nobody makes. `--times` only times the
detectors, for which documents need no corrections.
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chunkers.candidates import DETECTORS, find_candidates
from chunkers.candidates.prose import Prose
from chunkers.readers import parse_document
from chunkers.records import Candidate
from postprocess.truth import Correction, is_same_change, load_truth

OLD_BOOKS = "standardebooks/"
"""Sources that start with this are books, most of the 19th century; the others are documentation."""
MIN_PRIOR = 0.01
"""Detectors below it are told by the default. So are Harper's rules that are never right: of hundreds, each was met once or twice."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one detector proposed."""

    met: int = 0
    in_old_books: int = 0
    right: int = 0
    alone: int = 0
    """Corrections that no other detector makes."""
    books: set[str] = field(default_factory=set)
    """Books in which it is right."""

    @property
    def prior(self) -> float:
        return (self.right + 1) / (self.met + 2)


@dataclass(slots=True, kw_only=True)
class Count:
    """What all detectors proposed over all documents."""

    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    by_type: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    words: Counter[bool] = field(default_factory=Counter)
    """By whether the source is an old book."""
    places: Counter[bool] = field(default_factory=Counter)
    """Different changes proposed, by the same."""
    missed: list[tuple[str, Correction, str]] = field(default_factory=list)
    """Book, correction, the text around it."""

    def add(self, path: Path, book: str) -> None:
        document = parse_document(path.read_bytes(), path.name)
        text = document.text
        is_old = book.startswith(OLD_BOOKS)
        candidates = find_candidates(document)
        self.words[is_old] += document.num_words
        self.places[is_old] += len({(candidate.start, candidate.end, candidate.replacement) for candidate in candidates})
        for candidate in candidates:
            self.tallies[candidate.detector].met += 1
            self.tallies[candidate.detector].in_old_books += is_old
        for correction in load_truth(path.with_suffix(".edits.json"), text):
            makers = list_makers(text, correction, candidates)
            self.by_type[correction.type] += 1
            self.found[correction.type] += bool(makers)
            if not makers:
                context = f"{text[max(0, correction.start - 60) : correction.start]}⟦{correction.original}⟧{text[correction.end :][:60]}"
                self.missed.append((book, correction, context))
            for detector in makers:
                self.tallies[detector].right += makers[detector]
                self.tallies[detector].alone += len(makers) == 1
                self.tallies[detector].books.add(book)


def list_makers(text: str, correction: Correction, candidates: Iterable[Candidate]) -> Counter[str]:
    """How often each detector proposes a change that makes the corrected text."""
    wanted = (correction.start, correction.end, correction.corrected)
    return Counter(
        candidate.detector
        for candidate in candidates
        if correction.start <= candidate.end + 80
        and candidate.start <= correction.end + 80
        and is_same_change(text, wanted, (candidate.start, candidate.end, candidate.replacement))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path, nargs="+")
    parser.add_argument("--manifest", type=Path, help="which book each document belongs to; by default each is a book")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--priors", action="store_true")
    parser.add_argument("--missed", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    entries = json.loads(arguments.manifest.read_text("utf-8")) if arguments.manifest else []
    books = {entry["name"]: entry["source"] for entry in entries}
    if arguments.times:
        print("\n".join(list_times(arguments.documents)))  # noqa: T201
        return
    count = Count()
    for path in sorted(arguments.documents):
        count.add(path, books.get(path.stem, path.stem))
    print("\n".join(list_lines(count)))  # noqa: T201
    if arguments.priors:
        print("\n".join(list_priors(count)))  # noqa: T201
    if arguments.missed:
        rows = (
            f"{correction.type}\t{book}\t{context!r}\t{correction.original!r} -> {correction.corrected!r}"
            for book, correction, context in sorted(count.missed, key=lambda row: (row[1].type, row[0], row[1].start))
        )
        arguments.missed.write_text("\n".join(rows) + "\n", "utf-8")


def list_lines(count: Count) -> Iterator[str]:
    """The tables that a person reads."""
    total, found = sum(count.by_type.values()), sum(count.found.values())
    yield f"{total} corrections, {found} made by some candidate ({found / total:.3f})"
    for kind, num in count.by_type.most_common():
        yield f"  {kind:<15} {count.found[kind]:>4} of {num:>4}  {count.found[kind] / num:.3f}"
    for is_old, name in ((True, "old books"), (False, "documentation")):
        words, places = count.words[is_old], count.places[is_old]
        if words:
            yield f"{name}: {words:,} words, {places:,} different changes proposed, {1000 * places / words:.1f} per 1,000 words"
    yield f"{'detector':<34}   met  in old books  right  alone  books  prior"
    for detector, tally in sorted(count.tallies.items(), key=lambda item: (-item[1].right, item[1].met, item[0])):
        counts = f"{tally.met:>5} {tally.in_old_books:>13} {tally.right:>6} {tally.alone:>6} {len(tally.books):>6}"
        yield f"{detector:<34} {counts}  {tally.prior:.4f}"


def list_times(paths: Iterable[Path]) -> Iterator[str]:
    """Seconds that each detector takes over the documents, the slowest first."""
    seconds: dict[str, float] = defaultdict(float)
    for path in paths:
        prose = Prose(parse_document(path.read_bytes(), path.name))
        begun = time.perf_counter()
        num_words = len(prose.words)
        seconds["words"] += time.perf_counter() - begun
        for find in DETECTORS:
            begun = time.perf_counter()
            for _ in find(prose):
                pass
            seconds[f"{find.__module__.rpartition('.')[2]}.{find.__name__}"] += time.perf_counter() - begun
        yield f"{path.name}: {num_words:,} words"
    yield f"{'all':<34} {sum(seconds.values()):.1f} s"
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        yield f"{name:<34} {spent:.1f} s"


def list_priors(count: Count) -> Iterator[str]:
    """The lines of PRIOR, highest share first, then the default."""
    kept = {
        name: tally for name, tally in count.tallies.items() if tally.prior >= MIN_PRIOR and (tally.right or not name.startswith("harper:"))
    }
    for name, tally in sorted(kept.items(), key=lambda item: (-item[1].prior, item[0])):
        yield f'    "{name}": {tally.prior:.3f},  # {tally.right} of {tally.met}'
    rest = [tally for name, tally in count.tallies.items() if name not in kept]
    yield f"rest: {sum(tally.right for tally in rest)} of {sum(tally.met for tally in rest):,}"


if __name__ == "__main__":
    main()
