"""The proofread flow: find what may be wrong, let models judge it, collate what they say."""

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from chunkers.paths import AnyPath
from chunkers.shards import read_shard
from flows import stages
from flows.config import RunConfig
from flows.corpus import share_limit
from flows.engines import host_model
from flows.errors import ErrorRow
from flows.phases import spent_times
from flows.progress import measure_models
from flows.reports import ReportContext

MAX_SHARDS_AT_ONCE = 4
"""Shards in work at the same time: enough that the engine never waits for the next one's candidates."""


@flow(name="proofread", task_runner=ThreadPoolTaskRunner(max_workers=MAX_SHARDS_AT_ONCE), persist_result=False, validate_parameters=False)  # type: ignore[arg-type]
def proofread(inputs: tuple[str, ...], folder: AnyPath, config: RunConfig) -> dict[str, Any]:
    """Proofread documents into a run folder; returns the counts of its report."""
    corpus = stages.read_inputs(inputs, folder, config)
    candidates = [stages.find_candidates.submit(shard, corpus.documents_path) for shard in corpus.shard_paths]
    limits = share_limit(config.limit, corpus.num_prose_chunks)
    judging = []
    for model in config.model:
        futures = [
            stages.judge_shard.submit(shard, found, model, config, limit)  # type: ignore[call-overload]
            for shard, found, limit in zip(corpus.shard_paths, candidates, limits, strict=True)
        ]
        judging.append(futures)
        if model != config.model[-1]:
            hosted = host_model(model, config)
            for found in candidates:
                found.result()  # first, for its own error: a task whose input failed only says that it never ran
            hosted.await_shards(futures)
            hosted.close()  # one engine at a time; while the next one loads, these answers become edits
    for found in candidates:
        found.result()
    judged = [dict(zip(config.model, (future.result() for future in of_shard), strict=True)) for of_shard in zip(*judging, strict=True)]
    for shard, found, paths in zip(corpus.shard_paths, candidates, judged, strict=True):
        stages.collate_shard(shard, corpus.documents_path, found.result(), paths, config)
    return stages.write_reports(folder, corpus, _read_errors(judged), _report_context(folder, config))


def _read_errors(judged: list[dict[str, AnyPath]]) -> list[ErrorRow]:
    return [
        row
        for paths in judged
        for path in paths.values()
        for row in read_shard(str(path.with_name(path.name.replace("shard", "errors"))), ErrorRow)
    ]


def _report_context(folder: AnyPath, config: RunConfig) -> ReportContext:
    names = ", ".join(f"{name} ({config.find_model(name).protocol})" for name in config.model)
    return ReportContext(
        run=folder.name,
        flow="proofread",
        model=names,
        min_confidence=config.min_confidence,
        prices=tuple((name, config.find_prices(name).prices()) for name in config.model),
        currency=config.prices.currency,
        proposers=tuple((name, f"{name}/{config.find_model(name).protocol}") for name in config.model),
        times=spent_times(measure_models([host_model(name, config) for name in config.model])),
    )
