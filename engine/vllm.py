"""vLLM in this process: the only file that imports vllm. The CPU and the GPU build run the same code."""

import os
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self

from engine.models import Model
from engine.protocol import DEFAULT_MAX_MODEL_LEN, EngineError
from engine.records import Alternatives, Completion, Outcome, Request

# In process: vLLM's own engine process imports vllm twice more (49 s instead of 7.5 s to load on 2 cores).
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")

import torch
import vllm.v1.sample.sampler
from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.logprobs import FlatLogprobs
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams


def _no_ranks(logprobs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.zeros(logprobs.shape[0], dtype=torch.int64, device=logprobs.device)


# vLLM ranks every scored token among the whole vocabulary, which nobody here reads: a fifth of the scoring time, and 18 s of
# torch.compile before the first answer.
vllm.v1.sample.sampler.batched_count_greater_than = _no_ranks  # type: ignore[attr-defined,assignment]

CPU_DEFAULTS: dict[str, Any] = {
    "enforce_eager": True,  # compiling takes 65 s and gives 15 %
    "block_size": 32,  # 128 by default: a prefix shorter than a block is never reused
    "max_num_seqs": 128,
    "max_num_batched_tokens": 1024,
}
GPU_DEFAULTS: dict[str, Any] = {"max_num_seqs": 512, "max_num_batched_tokens": 8192}


class VllmEngine:
    """One vLLM engine, loaded once, fed by `add_request` and `step` without draining in between."""

    def __init__(self, model: Model, *, max_model_len: int = DEFAULT_MAX_MODEL_LEN, **engine_args: Any) -> None:
        """Load `model`. `engine_args` go to vLLM's EngineArgs unchanged, over this file's defaults.

        Raises EngineError when vLLM cannot start on this machine.
        """
        defaults = CPU_DEFAULTS if current_platform.is_cpu() else GPU_DEFAULTS
        arguments = {
            "model": str(model.folder),
            "dtype": "auto",
            "max_model_len": max_model_len,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            **defaults,
            **engine_args,
        }
        try:
            self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        except (RuntimeError, ValueError, OSError, TypeError) as error:
            raise EngineError(f"vLLM could not load {model.name} from {model.folder}: {error}") from error
        self.build = _engine_build()
        self.determinism = "batch_invariant" if os.environ.get("VLLM_BATCH_INVARIANT") == "1" else "none"
        self.busy_seconds = 0.0
        self._unattributed_seconds = 0.0
        """Of steps since a request last ended; goes to the next that end, so that the calls add up to the busy time."""
        self._max_waiting = 2 * arguments["max_num_seqs"]

    def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """As the protocol says. Holds up to twice `max_num_seqs` requests, so that a step always finds a full queue."""
        source = iter(requests)
        in_flight: dict[str, Request] = {}
        is_exhausted = False
        try:
            while not is_exhausted or in_flight:
                while not is_exhausted and len(in_flight) < self._max_waiting:
                    try:
                        request = next(source)
                    except StopIteration:
                        is_exhausted = True
                        break
                    if request is None:
                        if not in_flight:
                            raise RuntimeError("The source has nothing to add although every request is answered; it would wait for ever.")
                        break
                    if refusal := self._add(request):
                        yield refusal
                    else:
                        in_flight[request.row_key] = request
                if in_flight:
                    yield from self._step(in_flight)
        finally:
            if in_flight:
                self._engine.abort_request(list(in_flight))

    def _add(self, request: Request, *, read_cache: bool = True) -> Completion | None:
        try:
            self._engine.add_request(request.row_key, {"prompt_token_ids": list(request.token_ids)}, _sampling_params(request, read_cache))
        except VLLMValidationError as error:
            return _failed(request, Outcome.INPUT_TOO_LONG if error.parameter == "input_tokens" else Outcome.ENGINE_ERROR, str(error))
        return None

    def _step(self, in_flight: dict[str, Request]) -> Iterator[Completion]:
        started = time.perf_counter()
        try:
            outputs = [output for output in self._engine.step() if isinstance(output, RequestOutput) and output.finished]
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineError(f"vLLM died in a step: {error}") from error
        seconds = time.perf_counter() - started
        self.busy_seconds += seconds
        self._unattributed_seconds += seconds
        ended = [(in_flight[output.request_id], output) for output in outputs]
        for request, output in ended:
            # nothing is computed for a cached token, its score least of all
            if _scores_from_cache(request, output) and (refusal := self._add(request, read_cache=False)):
                raise EngineError(f"vLLM refused a request that it had taken: {refusal.error}")
        ended = [(request, output) for request, output in ended if not _scores_from_cache(request, output)]
        weights = [_num_computed(output) for _, output in ended]
        for (request, output), weight in zip(ended, weights, strict=True):
            del in_flight[output.request_id]
            yield _completion(request, output, self._unattributed_seconds * weight / sum(weights))
        if ended:
            self._unattributed_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._engine.engine_core.shutdown()


def _engine_build() -> str:
    for name in ("vllm-cpu", "vllm"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    raise EngineError("vLLM is imported from no installed package; install galley with its cpu group or its gpu extra.")


def _sampling_params(request: Request, read_cache: bool) -> SamplingParams:
    sampling = request.sampling
    if sampling.score_from is not None:
        return SamplingParams(
            temperature=sampling.temperature,
            max_tokens=1,
            prompt_logprobs=sampling.num_alternatives,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            # vLLM leaves the cache unread when prompt_logprobs are asked for; what stands before score_from may come from it
            skip_reading_prefix_cache=not read_cache,
        )
    return SamplingParams(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        stop_token_ids=list(sampling.stop_token_ids),
        structured_outputs=None if sampling.json_schema is None else StructuredOutputsParams(json=sampling.json_schema),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _scores_from_cache(request: Request, output: RequestOutput) -> bool:
    # the score of token i comes out of computing token i - 1
    score_from = request.sampling.score_from
    return score_from is not None and (output.num_cached_tokens or 0) > score_from - 1


def _num_computed(output: RequestOutput) -> int:
    num_prompt = len(output.prompt_token_ids or ())
    return max(1, num_prompt - (output.num_cached_tokens or 0) + len(output.outputs[0].token_ids))


def _completion(request: Request, output: RequestOutput, seconds: float) -> Completion:
    answer = output.outputs[0]
    is_scoring = request.sampling.score_from is not None
    is_cut = not is_scoring and answer.finish_reason == "length"
    logprobs, alternatives = _scores(request, output) if is_scoring else ((), ())
    return Completion(
        request=request,
        outcome=Outcome.TRUNCATED if is_cut else Outcome.OK,
        finish_reason="stop" if is_scoring else answer.finish_reason,
        text=None if is_scoring else answer.text,
        logprobs=logprobs,
        alternatives=alternatives,
        prompt_tokens=len(request.token_ids),
        cached_tokens=output.num_cached_tokens or 0,
        completion_tokens=0 if is_scoring else len(answer.token_ids),
        engine_seconds=seconds,
        error=f"The answer was cut at max_tokens={request.sampling.max_tokens}." if is_cut else None,
    )


def _scores(request: Request, output: RequestOutput) -> tuple[tuple[float, ...], tuple[Alternatives, ...]]:
    scored = output.prompt_logprobs
    first = request.sampling.score_from
    if not isinstance(scored, FlatLogprobs) or first is None:
        raise EngineError(f"vLLM returned no log-probabilities for the scoring request {request.row_key}.")
    logprobs: list[float] = []
    alternatives: list[Alternatives] = []
    for position in range(first, len(request.token_ids)):
        # FlatLogprobs: one slice a position, the prompt's own token first, then the likeliest
        start, end = scored.start_indices[position], scored.end_indices[position]
        logprobs.append(scored.logprobs[start])
        if request.sampling.num_alternatives:
            alternatives.append(
                Alternatives(token_ids=tuple(scored.token_ids[start + 1 : end]), logprobs=tuple(scored.logprobs[start + 1 : end]))
            )
    return tuple(logprobs), tuple(alternatives)


def _failed(request: Request, outcome: Outcome, error: str) -> Completion:
    return Completion(
        request=request,
        outcome=outcome,
        finish_reason=None,
        text=None,
        logprobs=(),
        alternatives=(),
        prompt_tokens=len(request.token_ids),
        cached_tokens=0,
        completion_tokens=0,
        engine_seconds=0.0,
        error=error,
    )
