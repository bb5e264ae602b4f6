"""The Prefect tasks: paths and configuration in, paths out. The call store is the only cache, so Prefect's is off."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from chunkers.paths import AnyPath
from chunkers.shards import write_shard
from flows import collation, corpus, judge, reports
from flows.asked import write_asked
from flows.collation import answered_path
from flows.config import RunConfig
from flows.engines import host_model
from flows.errors import ErrorRow, call_error, write_errors
from flows.phases import Phase, timed
from postprocess.records import ANSWERED


@task(name="read", cache_policy=NO_CACHE, persist_result=False)
def read_inputs(inputs: tuple[str, ...], folder: AnyPath, config: RunConfig) -> corpus.Corpus:
    """Documents and chunk shards of the inputs, cut for the first model's tokeniser."""
    with timed(Phase.READ):
        return corpus.build_corpus(
            inputs,
            folder,
            host_model(config.model[0], config).tokenizer,
            max_tokens=config.max_tokens,
            max_context_tokens=config.max_context_tokens,
            max_shard_tokens=config.max_shard_tokens,
            style_path=config.style,
            columns=config.table_columns(),
        )


@task(name="find-candidates", cache_policy=NO_CACHE, persist_result=False)
def find_candidates(shard_path: AnyPath, documents_path: AnyPath) -> AnyPath:
    """The shard's candidates."""
    target = shard_path.parent.parent / "candidates" / shard_path.name
    with timed(Phase.DETECT):
        judge.write_candidates(shard_path, documents_path, target)
    return target


@task(name="judge", cache_policy=NO_CACHE, persist_result=False)
def judge_shard(shard_path: AnyPath, candidates_path: AnyPath, model: str, config: RunConfig, limit: int | None) -> AnyPath:
    """One shard's chunks, or the first `limit`, through one model: scores or edits, and beside them the calls that failed."""
    hosted = host_model(model, config)
    is_scoring = config.find_model(model).protocol == "score"
    target = shard_path.parent.parent / ("scores" if is_scoring else "answers") / f"model={hosted.model.slug}" / shard_path.name
    if is_scoring:
        judged = judge.score_shard(shard_path, candidates_path, target, hosted, limit)
    else:
        judged = judge.ask_shard(shard_path, target, hosted, limit)
    write_errors(target.with_name(target.name.replace("shard", "errors")), [call_error(failure, model) for failure in judged.failures])
    if not is_scoring:
        write_shard(str(answered_path(target)), ANSWERED, judged.answered)
    write_asked(shard_path.parent.parent / "requests" / f"model={hosted.model.slug}" / shard_path.name, judged.asked)
    return target


@task(name="collate", cache_policy=NO_CACHE, persist_result=False)
def collate_shard(
    shard_path: AnyPath, documents_path: AnyPath, candidates_path: AnyPath, judged: dict[str, AnyPath], config: RunConfig
) -> AnyPath:
    """The shard's edits, guarded, and its findings."""
    with timed(Phase.COLLATE):
        return collation.collate_shard(shard_path, documents_path, candidates_path, judged, config)


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def write_reports(folder: AnyPath, found: corpus.Corpus, errors: list[ErrorRow], context: reports.ReportContext) -> dict[str, Any]:
    """The run's own tables and every form of report; returns the counts for the manifest."""
    with timed(Phase.WRITE):
        return reports.write_reports(folder, found, errors, context)
