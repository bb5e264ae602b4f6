"""The proofread flow: find what may be wrong, let models judge it, collate what they say."""

from itertools import count, pairwise
from typing import Any

from prefect import flow

from chunkers.paths import AnyPath
from chunkers.shards import read_shard
from flows import stages
from flows.config import RunConfig
from flows.corpus import share_limit
from flows.errors import ErrorRow
from flows.phases import Phase, spent_times
from flows.progress import measure_models
from flows.reports import ReportContext
from flows.workers import workers


@flow(name="proofread", persist_result=False, validate_parameters=False)
def proofread(inputs: tuple[str, ...], folder: AnyPath, config: RunConfig) -> dict[str, Any]:
    """Proofread documents into a run folder; returns the counts of its report."""
    corpus = stages.read_inputs(inputs, folder, config)
    limits = share_limit(config.limit, corpus.num_prose_chunks)
    shards = list(zip(count(), corpus.shard_paths, limits, strict=False))
    candidates, judging = [], [[]]  # type: ignore[var-annotated]
    for index, shard, limit in shards:  # shard by shard, so that the engine has work while the others are searched
        with workers().place(index):
            candidates.append(stages.find_candidates.submit(shard, corpus.documents_path))
        with workers().place(index, at_engine=True):
            judging[0].append(stages.judge_shard.submit(shard, candidates[-1], config.model[0], config, limit))  # type: ignore[call-overload]
    for before, model in pairwise(config.model):
        for found in candidates:
            found.result()  # first, for its own error: a task whose input failed only says that it never ran
        workers().finish(before, judging[-1])  # one engine at a time
        judging.append([])
        for (index, shard, limit), found in zip(shards, candidates, strict=True):
            with workers().place(index, at_engine=True):
                judging[-1].append(stages.judge_shard.submit(shard, found, model, config, limit))  # type: ignore[call-overload]
    for found in candidates:
        found.result()
    judged = [dict(zip(config.model, (future.result() for future in of_shard), strict=True)) for of_shard in zip(*judging, strict=True)]
    collating = [
        stages.collate_shard.submit(shard, corpus.documents_path, found.result(), paths, config)
        for shard, found, paths in zip(corpus.shard_paths, candidates, judged, strict=True)
    ]
    for future in collating:
        future.result()
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
        times=spent_times(
            measure_models(workers().look()), {phase: s for phase, s in workers().phases().items() if phase is not Phase.WRITE}
        ),
    )
