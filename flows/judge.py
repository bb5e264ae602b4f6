"""One shard and one model: candidates or chunks to the engine, what comes back into tables."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

from chunkers.candidates import find_candidates
from chunkers.records import CANDIDATES, Candidate, Chunk
from chunkers.shards import read_shard, write_shard
from chunkers.tokens import Tokenizer
from engine.calls import row_key
from engine.generate import GenerateJob
from engine.prompts import ChatRenderer, load_prompt
from engine.records import Completion, Outcome, Sampling
from engine.score import SCORES, KeyOf, Score, ScoreJob
from engine.surprise import propose
from flows.corpus import restore_documents
from flows.engines import HostedModel
from postprocess.edits import EDITS_SCHEMA, AnswerError, anchor_edits, parse_edits, reject_answer, salvage_edits
from postprocess.records import EDITS, Edit

PROMPT_NAME, PROMPT_VERSION = "proofread", 1
MAX_ANSWER_TOKENS = 1024
PROMPT_TOKENS = 300
"""Room for the prompt's own words and the chat template's, which no known tokeniser needs more for."""
EDITS_CONFIDENCE = 0.5
"""Of an edit that a model proposed and nothing scored: an even chance, until it is calibrated on corrections by people."""


def write_candidates(shard_path: Path, documents_path: Path, target: Path) -> None:
    """Run every detector over the documents of a shard."""
    found = (candidate for document, _ in restore_documents(shard_path, documents_path) for candidate in find_candidates(document))
    write_shard(str(target), CANDIDATES, found)


def read_candidates(path: Path) -> dict[str, list[Candidate]]:
    """A shard's candidates by document, in the shard's order."""
    grouped: dict[str, list[Candidate]] = {}
    for candidate in read_shard(str(path), Candidate):
        grouped.setdefault(candidate.doc_id, []).append(candidate)
    return grouped


def score_shard(shard_path: Path, candidates_path: Path, target: Path, hosted: HostedModel, limit: int | None) -> list[Completion]:
    """Score the candidates of a shard, the model's own among them, into `target`; returns the calls that failed."""
    candidates = read_candidates(candidates_path)
    decode = _decoder(hosted.tokenizer)
    jobs, futures = [], []
    for doc_id, chunks in _limited(shard_path, limit):
        given = candidates.get(doc_id, [])
        job = ScoreJob(chunks, given, hosted.tokenizer, _key_of(hosted), lambda reading: propose(reading, decode))
        jobs.append(job)
        hosted.score_jobs.append(job)
        hosted.num_chunks += len(chunks)
        futures.append(hosted.feed.submit(job))
    for future in futures:
        future.result()
    scores = sorted((score for job in jobs for score in job.scores), key=_score_order)
    write_shard(str(target), SCORES, scores)
    return [failure for job in jobs for failure in job.failures]


def _score_order(score: Score) -> tuple[str, int, int, str, str]:
    return score.doc_id, score.start, score.end, score.replacement, score.detector


def _decoder(tokenizer: Tokenizer) -> Callable[[int], str]:
    return cache(lambda token_id: tokenizer.decode([token_id]))


def _key_of(hosted: HostedModel) -> KeyOf:
    return lambda token_ids, sampling: row_key(hosted.model, hosted.engine_kind, token_ids, sampling)


def _limited(shard_path: Path, limit: int | None) -> Iterator[tuple[str, list[Chunk]]]:
    """Each document's chunks of prose, no more than `limit` of the shard."""
    prose = islice((chunk for chunk in read_shard(str(shard_path), Chunk) if chunk.is_readable), limit)
    for doc_id, group in groupby(prose, key=attrgetter("doc_id")):
        yield doc_id, list(group)


def ask_shard(shard_path: Path, target: Path, hosted: HostedModel, limit: int | None) -> list[Completion]:
    """Ask for edits of every chunk of a shard and write them anchored or rejected into `target`; returns the calls that failed."""
    chunks = [chunk for _, group in _limited(shard_path, limit) for chunk in group]
    schema = json.dumps(EDITS_SCHEMA, separators=(",", ":"), sort_keys=True)
    sampling = Sampling(max_tokens=MAX_ANSWER_TOKENS, json_schema=schema)
    renderer = ChatRenderer(hosted.model, hosted.tokenizer)
    job = GenerateJob(chunks, load_prompt(PROMPT_NAME, PROMPT_VERSION), renderer, sampling, _key_of(hosted))
    hosted.num_chunks += len(chunks)
    hosted.feed.submit(job).result()
    by_id = {chunk.chunk_id: chunk for chunk in chunks}
    edits = {edit.edit_id: edit for edit in _edits_of(job.completions, by_id, f"{hosted.name}/edits")}
    write_shard(str(target), EDITS, sorted(edits.values(), key=edit_order))
    return [completion for completion in job.completions if completion.outcome is not Outcome.OK]


def edit_order(edit: Edit) -> tuple[str, bool, int, int, str, str, str]:
    """Total order of the edits table; edits without a place come last in their document."""
    place = edit.start is None, edit.start or 0, edit.end or 0
    return edit.doc_id, *place, edit.replacement, edit.proposer, edit.edit_id


def _edits_of(completions: Iterable[Completion], chunks: dict[str, Chunk], proposer: str) -> Iterator[Edit]:
    for completion in completions:
        chunk, key, text = chunks[completion.request.chunk_id], completion.request.row_key, completion.text
        if text is None:
            continue
        try:
            found = parse_edits(text) if completion.outcome is Outcome.OK else salvage_edits(text)
        except AnswerError as error:
            yield reject_answer(text, error.reason, chunk, proposer=proposer, row_key=key, message=str(error))
            continue
        yield from anchor_edits(found, chunk, proposer=proposer, row_key=key, confidence=EDITS_CONFIDENCE)
