"""Fits postprocess/calibration.json on a run over documents that people have corrected.

    flows run proofread 'corrected/*.md'          (beside each NAME.md its NAME.edits.json)
    python tests/bench/fit_calibration.py out/runs/RUN --sources sources.json --write

`sources.json` maps a document's file name to its book, so that no book is on both sides of a fold. Prints, by cross-validation over books,
how often proposals of each confidence were right. Errors that people left in the text count against the proposals that find them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chunkers.shards import read_shard
from engine.score import Score
from flows.corpus import restore_corpus
from flows.runs import Run
from postprocess.confidence import Proposal, choose_proposals, features
from postprocess.truth import Correction, is_same_change, load_truth

Array = npt.NDArray[np.float64]
BANDS = ((0.8, 1.01), (0.5, 0.8), (0.3, 0.5), (0.2, 0.3), (0.1, 0.2), (0.05, 0.1))
RIDGE = {"bias": 0.001, "gain": 0.01, "prior": 0.1}
"""Weights of the terms that every proposal has are all but free; those of classes and details are held near 0."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--write", action="store_true", help="replace postprocess/calibration.json")
    arguments = parser.parse_args()
    run = Run(arguments.run)
    sources = json.loads(arguments.sources.read_text()) if arguments.sources else {}
    documents = {document.doc_id: document for document in restore_corpus(run.shards("chunks"), run.folder / "documents.parquet")}
    truth = {doc_id: load_truth(Path(document.path).with_suffix(".edits.json"), document.text) for doc_id, document in documents.items()}
    proposals = choose_proposals(score for path in run.shards("scores") for score in read_shard(str(path), Score))
    right = np.array([is_right(proposal, documents[proposal.best.doc_id].text, truth[proposal.best.doc_id]) for proposal in proposals])
    books = np.array([sources.get(Path(documents[p.best.doc_id].path).name, p.best.doc_id) for p in proposals])
    names = sorted({name for proposal in proposals for name in features(proposal)})
    table = np.array([[features(proposal).get(name, 0.0) for name in names] for proposal in proposals])
    ridge = np.array([RIDGE.get(name, 1.0) for name in names])
    held_out = np.zeros(len(right))
    for book in sorted(set(books)):
        is_out = books == book
        held_out[is_out] = predict(table[is_out], fit(table[~is_out], right[~is_out], ridge))
    num_words = sum(document.num_words for document in documents.values())
    num_truth = sum(map(len, truth.values()))
    origin = f"{len(documents)} documents of {len(set(books))} books, {num_words:,} words, {num_truth} corrections by people"
    print(origin)  # noqa: T201
    print(f"{len(proposals):,} proposals, {int(right.sum())} right; by cross-validation over books:")  # noqa: T201
    for low, high in BANDS:
        band = (held_out >= low) & (held_out < high)
        if band.any():
            share = f"{int(right[band].sum())} of {int(band.sum())} right"
            print(f"  {low:.2f}-{min(high, 1):.2f}: {share}, mean confidence {held_out[band].mean():.2f}")  # noqa: T201
    weights = dict(zip(names, np.round(fit(table, right, ridge), 4).tolist(), strict=True))
    content = json.dumps({"origin": origin, "weights": weights}, indent=1) + "\n"
    if arguments.write:
        (Path(__file__).parents[2] / "postprocess" / "calibration.json").write_text(content)
    else:
        print(content)  # noqa: T201


def is_right(proposal: Proposal, text: str, corrections: Sequence[Correction]) -> float:
    """1.0 where the proposal makes the text that a person made."""
    score = proposal.best
    change = (score.start, score.end, score.replacement)
    near = [item for item in corrections if item.start <= score.end + 80 and score.start <= item.end + 80]
    return float(any(is_same_change(text, (item.start, item.end, item.corrected), change) for item in near))


def predict(table: Array, weights: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-table @ weights)), dtype=np.float64)


def fit(table: Array, right: Array, ridge: Array) -> Array:
    """Logistic regression with a ridge for each weight, by Newton's method."""
    weights = np.zeros(table.shape[1])
    for _ in range(60):
        chance = predict(table, weights)
        gradient = table.T @ (chance - right) + ridge * weights
        curvature = (table.T * (chance * (1 - chance))) @ table + np.diag(ridge)
        weights -= np.linalg.solve(curvature, gradient)
    return weights


if __name__ == "__main__":
    main()
