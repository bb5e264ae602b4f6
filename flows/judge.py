"""One shard and one model: candidates or chunks to the engine, what comes back into tables."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby, islice
from operator import attrgetter

from chunkers.candidates import find_candidates
from chunkers.paths import AnyPath
from chunkers.records import CANDIDATES, Candidate, Chunk
from chunkers.shards import read_shard, write_shard
from chunkers.tokens import Tokenizer
from engine.generate import GenerateJob
from engine.outcomes import Asked, asked_order, strip_reasoning
from engine.prompts import load_prompt
from engine.records import Completion, Outcome, Sampling
from engine.score import SCORES, Score, ScoreJob
from engine.surprise import propose
from flows.corpus import restore_documents
from flows.engines import HostedModel, check_going
from flows.protocols import TEXT_PROTOCOLS, TextProtocol
from flows.styles import style_passages
from postprocess.edits import AnswerError, reject_answer
from postprocess.records import EDITS, Answered, Edit

MAX_ANSWER_TOKENS = 1024
PROMPT_TOKENS = 300
"""Room for the prompt's own words and the chat template's, which no known tokeniser needs more for."""
_NO_TEXT = frozenset({Outcome.REFUSED, Outcome.ENGINE_ERROR, Outcome.TIMEOUT})
"""Outcomes whose text is no rewritten passage, whatever it looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of the questions about one shard."""

    failures: list[Completion]
    """Calls that ended without an answer, one for each chunk, piece of a chunk, or candidate's change."""
    asked: list[Asked]
    """Every question, in the order of `asked_order`."""
    answered: list[Answered] = field(default_factory=list)
    """Passages about which a model that votes gave an answer that counts, in the table's order."""


def write_candidates(shard_path: AnyPath, documents_path: AnyPath, target: AnyPath) -> None:
    """Run every detector over the documents of a shard. Raises EngineError between two of them where the run is stopped."""

    def find() -> Iterator[Candidate]:
        for document, _ in restore_documents(shard_path, documents_path):
            check_going()
            yield from find_candidates(document)

    write_shard(str(target), CANDIDATES, find())


def read_candidates(path: AnyPath) -> dict[str, list[Candidate]]:
    """A shard's candidates by document, in the shard's order."""
    grouped: dict[str, list[Candidate]] = {}
    for candidate in read_shard(str(path), Candidate):
        grouped.setdefault(candidate.doc_id, []).append(candidate)
    return grouped


def score_shard(shard_path: AnyPath, candidates_path: AnyPath, target: AnyPath, hosted: HostedModel, limit: int | None) -> Judged:
    """Score the candidates of a shard, the model's own among them, into `target`."""
    with hosted.shard():
        candidates = read_candidates(candidates_path)
        decode = _decoder(hosted.tokenizer)
        jobs, futures = [], []
        for doc_id, chunks in _limited(shard_path, limit):
            given = candidates.get(doc_id, [])
            job = ScoreJob(
                chunks,
                given,
                hosted.tokenizer,
                hosted.row_key,
                lambda reading: propose(reading, decode),
                hosted.copy_form,
                hosted.read_ahead,
            )
            jobs.append(job)
            futures.append(hosted.submit(job, len(chunks)))
        for job, future in zip(jobs, futures, strict=True):
            future.result()
            hosted.end_job(job)
    scores = sorted((score for job in jobs for score in job.scores), key=_score_order)
    write_shard(str(target), SCORES, scores)
    return Judged(
        failures=[failure for job in jobs for failure in job.failures],
        asked=sorted((asked for job in jobs for asked in job.asked), key=asked_order),
    )


def _score_order(score: Score) -> tuple[str, int, int, str, str]:
    return score.doc_id, score.start, score.end, score.replacement, score.detector


def _decoder(tokenizer: Tokenizer) -> Callable[[int], str]:
    return cache(lambda token_id: tokenizer.decode([token_id]))


def _limited(shard_path: AnyPath, limit: int | None) -> Iterator[tuple[str, list[Chunk]]]:
    """Each document's chunks of prose, no more than `limit` of the shard."""
    prose = islice((chunk for chunk in read_shard(str(shard_path), Chunk) if chunk.is_readable), limit)
    for doc_id, group in groupby(prose, key=attrgetter("doc_id")):
        yield doc_id, list(group)


def ask_shard(shard_path: AnyPath, target: AnyPath, hosted: HostedModel, limit: int | None) -> Judged:
    """Ask about every chunk of a shard in the model's protocol and write the edits, anchored or rejected, into `target`."""
    protocol = TEXT_PROTOCOLS[hosted.config.protocol]
    with hosted.shard():
        chunks = [chunk for _, group in _limited(shard_path, limit) for chunk in group]
        job = GenerateJob(
            chunks,
            load_prompt(protocol.prompt_name, protocol.prompt_version),
            hosted.renderer(),
            Sampling(max_tokens=MAX_ANSWER_TOKENS, json_schema=protocol.json_schema),
            hosted.key_of,
            check=protocol.check,
            max_model_len=hosted.max_model_len,
            block_size=hosted.block_size,
            styles=style_passages(shard_path.parent.parent),
        )
        hosted.submit(job, len(chunks)).result()
        hosted.end_job(job)
    # a piece's edits come after those of the cut answer about the whole, and take the place of the same ones
    answers = sorted(chain(job.answers, job.failures), key=_answer_order)
    edits = {edit.edit_id: edit for edit in _edits_of(answers, protocol, f"{hosted.name}/{protocol.name}")}
    write_shard(str(target), EDITS, sorted(edits.values(), key=edit_order))
    counted = [chunk for chunk, completion in job.answers if completion.outcome is Outcome.OK]
    return Judged(
        failures=[completion for _, completion in job.failures],
        asked=sorted(job.asked, key=asked_order),
        answered=[
            Answered(doc_id=chunk.doc_id, start=chunk.start, end=chunk.end)
            for chunk in sorted(counted, key=lambda chunk: (chunk.doc_id, chunk.start, chunk.end))
        ],
    )


def _answer_order(answer: tuple[Chunk, Completion]) -> tuple[str, int, int, int, str]:
    chunk, completion = answer
    return chunk.doc_id, chunk.start, -chunk.end, completion.request.attempt, completion.request.row_key


def edit_order(edit: Edit) -> tuple[str, bool, int, int, str, str, str]:
    """Total order of the edits table; edits without a place come last in their document."""
    place = edit.start is None, edit.start or 0, edit.end or 0
    return edit.doc_id, *place, edit.replacement, edit.proposer, edit.edit_id


def _edits_of(answers: Iterable[tuple[Chunk, Completion]], protocol: TextProtocol, proposer: str) -> Iterator[Edit]:
    """What the answers say, those of failed calls too: of a cut one its complete edits, of one that cannot be read that it was given."""
    for chunk, completion in answers:
        if completion.text is None:
            continue
        key, answer = completion.request.row_key, strip_reasoning(completion.text)
        is_cut = completion.outcome is Outcome.TRUNCATED
        if protocol.json_schema is None and completion.outcome in _NO_TEXT:
            yield reject_answer(answer, "answer_refused", chunk, proposer=proposer, row_key=key, message=completion.error or "")
            continue
        try:
            yield from protocol.read(answer, chunk, proposer=proposer, row_key=key, is_cut=is_cut)
        except AnswerError as error:
            shown, message = answer or completion.text, completion.error or str(error)
            yield reject_answer(shown, error.reason, chunk, proposer=proposer, row_key=key, message=message)
