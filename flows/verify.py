"""`flows verify`: a sample of a run's calls asked again, and how many answers are the same to the last bit."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np

from engine.records import Completion, Outcome, Request, Sampling
from flows.config import RunConfig
from flows.engines import HostedModel, host_model
from flows.runs import Run, RunError
from flows.tables import ask_views


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One model's sample."""

    model: str
    num_calls: int
    """Of the run that are ok; the sample is of these."""
    num_sampled: int
    num_identical: int
    """Text and every log-probability the same."""
    max_difference: float
    """Nats, of one log-probability; 0 where none differs or none was scored."""
    labels: tuple[tuple[str, int], ...]
    """Determinism label and engine build of the stored calls, with their number in the sample."""
    engine_build: str
    """That answered now."""


@dataclass(frozen=True, slots=True)
class _Stored:
    request: Request
    text: str | None
    logprobs: tuple[float, ...]
    label: str


def verify_run(run: Run, config: RunConfig, sample: int) -> Iterator[Verified]:
    """Ask `sample` calls of each model again, the stored answers left as they are; the sample is the same for the same calls.

    Raises RunError where a run has no calls, ModelError and EngineError as an engine does.
    """
    num_verified = 0
    for name in config.model:
        num_calls, stored = _sample(run, name, sample)
        if stored:
            num_verified += 1
            yield _verify(host_model(name, config), num_calls, stored)
    if not num_verified:
        raise RunError(f"{run.name} has no calls that came through; there is nothing to verify; run its command first.")


def _sample(run: Run, model: str, sample: int) -> tuple[int, dict[str, _Stored]]:
    return ask_views(run, lambda views: _sample_views(views, model, sample))


def _sample_views(connection: duckdb.DuckDBPyConnection, model: str, sample: int) -> tuple[int, dict[str, _Stored]]:
    if not connection.execute("select 1 from duckdb_views() where view_name = 'calls'").fetchone():
        return 0, {}
    latest = (
        "select *, count(*) over () as num_calls from calls where outcome = 'ok' and model = ? "
        "qualify row_number() over (partition by row_key order by created_at desc, worker desc) = 1"
    )
    # keys are hashes: those that sort first are a random sample, and always the same
    columns = "num_calls, row_key, prompt_ids, messages, sampling, text, logprobs, determinism, engine_build"
    rows = connection.execute(f"select {columns} from ({latest}) order by row_key limit ?", [model, sample]).fetchall()
    found: dict[str, _Stored] = {}
    for _, key, prompt_ids, messages, sampling, text, logprobs, determinism, build in rows:
        settings = json.loads(sampling)
        request = Request(
            row_key=key,
            doc_id="",
            chunk_id="",
            template="",
            template_version=0,
            token_ids=tuple(prompt_ids),
            messages=None if messages is None else tuple((role, content) for role, content in json.loads(messages)),
            sampling=Sampling.restore(settings),
        )
        found[key] = _Stored(request, text, tuple(logprobs), f"{determinism}, {build}")
    return (rows[0][0] if rows else 0), found


def _verify(hosted: HostedModel, num_calls: int, stored: dict[str, _Stored]) -> Verified:
    num_identical, differences = 0, [0.0]
    with hosted.open_engine() as engine:
        for completion in engine.run(item.request for item in stored.values()):
            difference = _compare(stored[completion.request.row_key], completion)
            num_identical += difference == 0.0
            differences += [] if difference is None else [difference]
        build = engine.build
    return Verified(
        model=hosted.name,
        num_calls=num_calls,
        num_sampled=len(stored),
        num_identical=num_identical,
        max_difference=max(differences),
        labels=tuple(sorted(Counter(item.label for item in stored.values()).items())),
        engine_build=build,
    )


def _compare(stored: _Stored, completion: Completion) -> float | None:
    """Largest difference of a log-probability, 0 where all is the same; None where it cannot be told as a number."""
    before, now = np.array(stored.logprobs, dtype=np.float32), np.array(completion.logprobs, dtype=np.float32)
    # what a job takes as a whole answer although it was cut, as words that mend a passage, is stored as ok
    if completion.outcome not in (Outcome.OK, Outcome.TRUNCATED) or stored.text != completion.text or before.shape != now.shape:
        return None
    return float(np.max(np.abs(before - now), initial=0.0))
