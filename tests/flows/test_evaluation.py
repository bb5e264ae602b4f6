"""What a run's shards say of corrected documents, measured and calibrated; the shards are written here, as a run writes them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chunkers.readers import read_document
from chunkers.records import CANDIDATES, Candidate, Category
from chunkers.shards import write_shard
from chunkers.tokens import Tokenizer
from engine.models import Model
from engine.score import SCORES, Score
from flows.calibrating import calibrate_runs
from flows.collation import MIN_KEPT_CONFIDENCE, find_calibration
from flows.config import ConfigError, RunConfig
from flows.corpus import build_corpus
from flows.corrected import CorrectedDocument, find_books, load_corrected
from flows.evaluation import grade_run, leave_books_out, read_documents
from flows.runs import Run
from postprocess.calibrate import CalibrationError
from postprocess.confidence import load_calibration
from postprocess.evaluate import Evaluation, evaluate

CONFIG = RunConfig(model=("judge",), protocol="score")
WRONG, RIGHT_WORDS = ("recieved", "wich", "occured", "beleive"), ("received", "which", "occurred", "believe")
BOOKS = {"one": "first", "two": "second", "three": "third"}


@pytest.fixture
def run(tmp_path: Path, model: Model) -> Run:
    """Three documents of four errors each; a model gained by mending them, and lost by changing as many right words."""
    folder = tmp_path / "runs" / "proofread-3-documents-00000000"
    paths, scores = [], list[Score]()
    for name in BOOKS:
        path = tmp_path / f"{name}.md"
        text = f"Of {name} there is this. " + " ".join(f"He {wrong} it, and the table stood there." for wrong in WRONG) + "\n"
        path.write_text(text, "utf-8")
        fixes = [(text.index(wrong), wrong, right) for wrong, right in zip(WRONG, RIGHT_WORDS, strict=True)]
        corrections = [{"start": at, "end": at + len(old), "original": old, "corrected": new, "type": "SPELL"} for at, old, new in fixes]
        path.with_suffix(".edits.json").write_text(json.dumps(corrections))
        doc_id = read_document(str(path)).doc_id
        scores += [score(doc_id, at, old, new, gain=8.0 + number) for number, (at, old, new) in enumerate(fixes)]
        tables = [at for at in range(len(text)) if text.startswith("table", at)]
        scores += [score(doc_id, at, "table", "cable", gain=-4.0 + number) for number, at in enumerate(tables)]
        paths.append(str(path))
    (tmp_path / "books.json").write_text(json.dumps(BOOKS))
    corpus = build_corpus(paths, folder, Tokenizer(model.tokenizer_path), max_tokens=700, max_context_tokens=120)
    (shard,) = corpus.shard_paths
    order = sorted(scores, key=lambda each: (each.doc_id, each.start, each.end, each.replacement, each.detector))
    write_shard(str(folder / "scores" / "model=judge" / shard.name), SCORES, order)
    write_shard(str(folder / "candidates" / shard.name), CANDIDATES, list[Candidate]())
    return Run(folder)


def score(doc_id: str, start: int, original: str, replacement: str, *, gain: float) -> Score:
    candidate = Candidate(
        doc_id=doc_id,
        start=start,
        end=start + len(original),
        original=original,
        replacement=replacement,
        category=Category.SPELL,
        detector="spelling",
        message="",
    )
    fields = {name: getattr(candidate, name) for name in ("candidate_id", "doc_id", "start", "end", "original", "replacement", "detector")}
    return Score(**fields, category=candidate.category.value, message="", row_key="ab", gain=gain, surprise=9.0)


def corrected(run: Run) -> list[CorrectedDocument]:
    documents = read_documents(run)
    return load_corrected(documents, [], find_books(run.workspace / "books.json", [document.path for document in documents]))


def measure(run: Run, config: RunConfig = CONFIG, *, is_cross_validated: bool = False) -> Evaluation:
    documents = corrected(run)
    held_out = leave_books_out(run, config, documents) if is_cross_validated else None
    return evaluate(grade_run(run, config, documents, held_out), min_accept=0.5, min_suggest=0.1, num_draws=100)


def test_everything_that_was_weighed_is_measured(run: Run) -> None:
    found = measure(run)
    assert (found.num_documents, found.num_books, found.accepted.num_corrections) == (3, 3, 12)
    assert len(found.curve) > 4
    assert found.curve[-1].confidence < MIN_KEPT_CONFIDENCE, "what a run keeps no edit of is weighed too"
    assert found.curve[-1].recall == 1.0
    assert found.curve[-1].precision == 0.5
    assert {each.proposer for each in found.proposers} == {"judge/score", "spelling"}


def test_left_out_books_are_judged_by_the_others(run: Run) -> None:
    found = measure(run, is_cross_validated=True)
    assert (found.accepted.precision, found.accepted.recall) == (1.0, 1.0), "what holds in two books holds in the third"
    assert sum(band.num_findings for band in found.bands) == 24, "what a run keeps no edit of is weighed too"
    documents = corrected(run)
    before = leave_books_out(run, CONFIG, documents)
    documents[0] = replace(documents[0], corrections=[])  # its people left every error in, which only the other books may learn from
    after = leave_books_out(run, CONFIG, documents)
    is_same = {(key[1] == documents[0].document.doc_id, after[key] == confidence) for key, confidence in before.items()}
    assert is_same == {(True, True), (False, False)}


def test_calibration_of_a_run_is_a_file_that_runs_use(run: Run, tmp_path: Path) -> None:
    documents = corrected(run)
    content, report = calibrate_runs([(run, CONFIG, documents)])
    assert report[0] == f"3 documents of 3 books, {sum(each.document.num_words for each in documents):,} words, 12 corrections by people"
    assert report[1] == "24 proposals, 12 right; by cross-validation over books:"
    twice, same_report = calibrate_runs([(run, CONFIG, documents), (run, CONFIG, documents)])
    assert (twice, same_report) == (content, report), "the same proposals in two runs count once"
    path = tmp_path / "own.json"
    path.write_text(content, "utf-8")
    own = RunConfig(model=("judge",), protocol="score", calibration=str(path))
    assert find_calibration(own) == load_calibration(path) != find_calibration(CONFIG)
    assert measure(run, own).accepted.recall == 1.0


def test_run_without_scores_cannot_be_calibrated(run: Run) -> None:
    asked = RunConfig(model=("judge",), protocol="edits")
    with pytest.raises(CalibrationError, match="no scored proposals"):
        calibrate_runs([(run, asked, corrected(run))])
    with pytest.raises(CalibrationError, match="no scored proposals"):
        leave_books_out(run, asked, corrected(run))


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"weights": 3}', '{"weights": {"bias": "1"}}'])
def test_wrong_calibration_is_an_error_that_says_what_it_must_be(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "own.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"calibration=.*own\.json cannot be used .*a file that `flows calibrate` wrote"):
        find_calibration(RunConfig(calibration=str(path)))
