"""`flows plan`: what a run would compute, found by running its jobs with nothing to spend. No engine, no Prefect, nothing written."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from chunkers.duplicates import find_duplicates
from chunkers.paths import AnyPath
from chunkers.records import Chunk
from chunkers.shards import read_shard
from engine.budget import Budget, Spending
from engine.fit import FitError
from engine.records import Outcome
from engine.score import JUDGE_TEMPLATE, MEND_TEMPLATE, READ_TEMPLATE
from flows.config import RunConfig
from flows.corpus import Corpus, build_corpus, share_limit
from flows.engines import HostedModel, Limits, close_engines, limit_engines
from flows.execute import Plan
from flows.judge import Judged, ask_shard, score_shard, write_candidates
from flows.runs import Run, list_runs

logger = logging.getLogger(__name__)

JUDGED_A_CHUNK = 50
"""Candidates that a model is asked about in a chunk of 400 tokens, where this workspace has none to count: «Pride and Prejudice» has 50."""
COPIED_A_CHUNK = 6
"""The same for a model that copies: it is sure of most places, and is asked what it would rather have at the others."""
FURTHER = frozenset({MEND_TEMPLATE, JUDGE_TEMPLATE})
"""Templates of the questions that follow the reading of a chunk."""
JUDGED_TOKENS = 45
"""Tokens computed for one of them, the rest of its prompt being cached: measured on the same book."""


class _Kind(NamedTuple):
    """What is counted of a question."""

    template: str
    is_skipped: bool
    is_first: bool


@dataclass(slots=True)
class ModelPlan:
    """What one model would be asked."""

    name: str
    num_stored: int = 0
    """Questions that the store answers."""
    num_new: int = 0
    """Questions that were never asked. Those about the candidates of a chunk that is yet to be read are not known, and not in it."""
    num_failed_before: int = 0
    """Questions that were asked and failed, and are asked again."""
    new_tokens: int = 0
    """Prompt tokens of both."""
    reusable_tokens: int = 0
    """Of those, what the prefix cache can spare at best. Questions about candidates that are yet to come reuse more."""
    chunks: Counter[str] = field(default_factory=Counter)
    """`new` and `stored` chunks, by the question that reads them."""
    num_expected: int = 0
    """Questions that are likely to follow from chunks yet to be read."""
    seconds: float | None = None
    """Of engine work, by the speed of an earlier run in this workspace; None where there was none."""
    cost: Decimal | None = None
    """Money for that, without the tokens of answers, whose number nobody knows; None where there is no price, or one of time and no speed
    to tell it."""
    misfit: str | None = None
    """Why a run that has to load the model would refuse it; None where nothing speaks against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What `flows run` would do with the same arguments."""

    run: Run
    num_documents: int
    num_words: int
    num_chunks: int
    """Of prose."""
    unread: tuple[str, ...]
    models: tuple[ModelPlan, ...]
    num_near_duplicates: int | None
    """Chunks of prose that repeat an earlier one, word for word or nearly; None where nobody asked."""


def plan_calls(plan: Plan, config: RunConfig, near_duplicates: float | None = None) -> RunPlan:
    """Chunk the inputs and look every question up in the call store; and count chunks of prose that are at least so similar to others."""
    try:
        with TemporaryDirectory(prefix="flows-plan-") as folder:
            corpus = build_corpus(
                plan.inputs,
                Path(folder),
                plan.hosted[0].tokenizer,
                max_tokens=config.max_tokens,
                max_context_tokens=config.max_context_tokens,
                max_shard_tokens=config.max_shard_tokens,
                style_path=config.style,
                columns=config.table_columns(),
            )
            candidates: dict[AnyPath, AnyPath] = {shard: Path(folder) / "candidates" / shard.name for shard in corpus.shard_paths}
            for shard, target in candidates.items():
                write_candidates(shard, corpus.documents_path, target)
            num_near = None if near_duplicates is None else _count_near_duplicates(corpus.shard_paths, near_duplicates)
            models = tuple(_plan_model(hosted, corpus, candidates, Path(folder), config) for hosted in plan.hosted)
    finally:
        close_engines()
    return RunPlan(
        run=plan.run,
        num_documents=corpus.num_documents,
        num_words=corpus.num_words,
        num_chunks=sum(corpus.num_prose_chunks),
        unread=tuple(unread.message for unread in corpus.unread),
        models=models,
        num_near_duplicates=num_near,
    )


def _count_near_duplicates(shard_paths: Iterable[AnyPath], min_similarity: float) -> int:
    texts = (chunk.text for path in shard_paths for chunk in read_shard(str(path), Chunk) if chunk.is_readable)
    return sum(1 for _ in find_duplicates(texts, min_similarity))


def without_spending() -> None:
    """Let the engines that are hosted from now on compute nothing: what is not stored is skipped."""
    limit_engines(Limits(spending=Spending(Budget(max_calls=0))))


def _plan_model(hosted: HostedModel, corpus: Corpus, candidates: dict[AnyPath, AnyPath], folder: AnyPath, config: RunConfig) -> ModelPlan:
    limits = share_limit(config.limit, corpus.num_prose_chunks)
    # counted shard by shard: of a large corpus the questions themselves do not fit into memory
    asked: Counter[_Kind] = Counter()
    for shard, limit in zip(corpus.shard_paths, limits, strict=True):
        judged = _judge(hosted, shard, candidates[shard], folder, limit)
        asked.update(_Kind(row.template, row.outcome is Outcome.SKIPPED_BUDGET, row.attempt == 1) for row in judged.asked)
    progress = hosted.progress
    made = ModelPlan(name=hosted.name, num_stored=progress.num_stored, num_failed_before=progress.num_failed_before)
    made.misfit = _find_misfit(hosted) if config.check_fit else None
    made.num_new = progress.num_skipped - progress.num_failed_before
    made.new_tokens = progress.skipped_tokens
    made.reusable_tokens = progress.reusable_tokens
    made.chunks = _count_chunks(asked)
    made.num_expected = _expect_judged(asked, made.chunks, COPIED_A_CHUNK if hosted.copy_form else JUDGED_A_CHUNK)
    speed = _find_speed(hosted)
    if speed:
        is_scoring = hosted.config.protocol == "score"
        computed = made.new_tokens * _computed_share(asked) if is_scoring else made.new_tokens - made.reusable_tokens
        made.seconds = (computed + made.num_expected * JUDGED_TOKENS) / speed
    if not hosted.prices.is_empty and (made.seconds is not None or hosted.prices.per_engine_hour is None):
        num_tokens = made.new_tokens + made.num_expected * JUDGED_TOKENS
        by_tokens = num_tokens * (hosted.prices.input_per_million or Decimal(0)) / 1_000_000
        made.cost = by_tokens + hosted.prices.cost_of_time(made.seconds or 0.0)
    return made


def _find_misfit(hosted: HostedModel) -> str | None:
    try:
        hosted.check_fit()
    except FitError as error:
        return str(error)
    return None


def _judge(hosted: HostedModel, shard: AnyPath, candidates: AnyPath, folder: AnyPath, limit: int | None) -> Judged:
    target = folder / "judged" / shard.name
    if hosted.config.protocol == "score":
        return score_shard(shard, candidates, target, hosted, limit)
    return ask_shard(shard, target, hosted, limit)


def _count_chunks(asked: Counter[_Kind]) -> Counter[str]:
    chunks: Counter[str] = Counter()
    for kind, number in asked.items():
        if kind.template not in FURTHER and kind.is_first:
            chunks["new" if kind.is_skipped else "stored"] += number
    return chunks


def _expect_judged(asked: Counter[_Kind], chunks: Counter[str], usual: int) -> int:
    """Of chunks that a model has yet to read: as many as those have that it has read."""
    if not any(kind.template == READ_TEMPLATE for kind in asked):
        return 0
    num_further = sum(number for kind, number in asked.items() if kind.template in FURTHER)
    each = num_further / chunks["stored"] if chunks["stored"] else usual
    return round(each * chunks["new"])


def _computed_share(asked: Counter[_Kind]) -> float:
    """Of the prompts' tokens; those of candidates' questions are nearly all in the prefix cache."""
    skipped = sum(number for kind, number in asked.items() if kind.is_skipped)
    judging = sum(number for kind, number in asked.items() if kind.is_skipped and kind.template in FURTHER)
    return 1.0 - 0.9 * judging / skipped if skipped else 1.0


def _find_speed(hosted: HostedModel) -> float | None:
    """Tokens a second that the model computed in the latest run of the workspace in which it computed for a while."""
    for measured in _measured(hosted):
        if measured["busy_s"] > 1:
            return float(measured["computed_tokens"] / measured["busy_s"])
    return None


def _measured(hosted: HostedModel) -> Iterator[dict[str, float]]:
    for run in list_runs(hosted.workspace):
        for execution in reversed(run.read_manifest().get("executions", [])):
            if hosted.name in execution["models"]:
                yield execution["models"][hosted.name]
