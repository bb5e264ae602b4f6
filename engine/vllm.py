"""vLLM in this process: with patches.py the only file that imports vllm. The CPU and the GPU build run the same code."""

import os
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self

from engine.device import cpu_dtype
from engine.fit import DEFAULT_CPU_KV_BYTES
from engine.meter import Meter, Share, count_tokens
from engine.models import Model
from engine.prefixes import CPU_BLOCK_SIZE
from engine.protocol import DEFAULT_MAX_MODEL_LEN, EngineError, Steps
from engine.pull import Puller
from engine.records import Alternatives, Completion, Outcome, Request, fail

# In this process, which is the engine's own (engine/child.py): vLLM's would import vllm twice more (49 s instead of 7.5 s to load on
# 2 cores), and hide the scheduler, which knows whose the seconds are.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.logprobs import FlatLogprobs
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from engine.patches import SCORE_FROM, limit_cache_reads

CPU_DEFAULTS: dict[str, Any] = {
    "enforce_eager": True,  # compiling takes 65 s and gives 15 %
    "block_size": CPU_BLOCK_SIZE,
    "max_num_seqs": 128,
    "max_num_batched_tokens": 1024,
}
DECODED_BEFORE = 6
"""Tokens of the prompt that an answer is decoded after, as many as vLLM's own decoding takes."""
GPU_DEFAULTS: dict[str, Any] = {"max_num_seqs": 512, "max_num_batched_tokens": 8192}


class VllmEngine:
    """One vLLM engine, loaded once, fed by `add_request` and `step` without draining in between."""

    def __init__(self, model: Model, *, max_model_len: int = DEFAULT_MAX_MODEL_LEN, **engine_args: Any) -> None:
        """Load `model`. `engine_args` go to vLLM's EngineArgs unchanged, over this file's defaults.

        Raises EngineError when vLLM cannot start on this machine.
        """
        defaults = CPU_DEFAULTS | {"dtype": cpu_dtype()} if current_platform.is_cpu() else GPU_DEFAULTS
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
        if "kv_cache_memory_bytes" not in arguments:  # over which vLLM would take the variable
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(DEFAULT_CPU_KV_BYTES >> 30))
        try:
            self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        except (RuntimeError, ValueError, OSError, TypeError) as error:
            raise EngineError(f"vLLM could not load {model.name} from {model.folder}: {error}") from error
        self.build = _engine_build()
        self.determinism = "batch_invariant" if os.environ.get("VLLM_BATCH_INVARIANT") == "1" else "none"
        self._tokenizer = self._engine.get_tokenizer()
        self._meter = Meter()
        scheduler = self._find_scheduler()
        self._watch(scheduler)
        limit_cache_reads(scheduler.kv_cache_manager)
        self.max_in_flight = 2 * arguments["max_num_seqs"]
        caches = arguments["enable_prefix_caching"]
        self.block_size: int | None = scheduler.kv_cache_manager.block_pool.hash_block_size if caches else None

    @property
    def busy_seconds(self) -> float:
        """As the protocol says."""
        return self._meter.busy_seconds

    @property
    def steps(self) -> Steps:
        """As the protocol says; what asks it in its own process does so between steps, and none is stalled."""
        return Steps(self._meter.num_steps)

    def _find_scheduler(self) -> Any:
        core = getattr(self._engine.engine_core, "engine_core", None)
        if (scheduler := getattr(core, "scheduler", None)) is not None:
            return scheduler
        raise EngineError(f"{self.build} hides its scheduler; engine-seconds need it; install the version that pyproject.toml names.")

    def _watch(self, scheduler: Any) -> None:
        """Count the tokens of each step where the scheduler hears of its end: the only place that knows prompt from answer."""
        update, requests = scheduler.update_from_output, scheduler.requests
        answering: dict[str, str] = {}
        """Ids of the requests whose prompt is computed, as they were given, by vLLM's."""

        def count_and_update(scheduled: Any, result: Any) -> Any:
            for key in scheduled.finished_req_ids:
                answering.pop(key, None)
            nums = scheduled.num_scheduled_tokens
            self._meter.count_ones({answering[key] for key, num in nums.items() if num == 1 and key in answering and key in requests})
            for key in [key for key, num in nums.items() if num != 1 or key not in answering]:
                if request := requests.get(key):
                    # vLLM adds «-» and eight random characters to the id that a request was given
                    given = key.rpartition("-")[0] or key
                    self._meter.count(given, count_tokens(nums[key], request.num_computed_tokens, request.num_prompt_tokens))
                    if request.num_computed_tokens >= request.num_prompt_tokens:
                        answering[key] = given
            return update(scheduled, result)

        scheduler.update_from_output = count_and_update

    def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """As the protocol says. Holds `max_in_flight` requests, so that a step always finds a full queue."""
        source = Puller(requests)
        in_flight: dict[str, Request] = {}
        try:
            while not source.is_exhausted or in_flight:
                for request in source.pull(len(in_flight), self.max_in_flight):
                    if refusal := self._add(request):
                        yield refusal
                    else:
                        in_flight[request.row_key] = request
                if in_flight:
                    yield from self._step(in_flight)
        finally:
            if in_flight:
                self._engine.abort_request(list(in_flight))
                for key in in_flight:
                    self._meter.take(key)

    def _add(self, request: Request) -> Completion | None:
        try:
            self._engine.add_request(request.row_key, {"prompt_token_ids": list(request.token_ids)}, _sampling_params(request))
        except (VLLMValidationError, ValueError) as error:  # the older the vLLM, the more often the latter
            is_long = len(request.token_ids) >= self._engine.model_config.max_model_len
            return fail(request, Outcome.INPUT_TOO_LONG if is_long else Outcome.ENGINE_ERROR, str(error))
        return None

    def _step(self, in_flight: dict[str, Request]) -> Iterator[Completion]:
        started = time.perf_counter()
        try:
            outputs = [output for output in self._engine.step() if isinstance(output, RequestOutput) and output.finished]
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineError(f"vLLM died in a step: {error}") from error
        self._meter.end_step(time.perf_counter() - started)
        for output in outputs:
            yield self._complete(in_flight.pop(output.request_id), output, self._meter.take(output.request_id))

    def _complete(self, request: Request, output: RequestOutput, share: Share) -> Completion:
        answer = output.outputs[0]
        is_scoring = request.sampling.score_from is not None
        is_cut = not is_scoring and answer.finish_reason == "length"
        logprobs, alternatives = _scores(request, output) if is_scoring else ((), ())
        return Completion(
            request=request,
            outcome=Outcome.TRUNCATED if is_cut else Outcome.OK,
            finish_reason="stop" if is_scoring else answer.finish_reason,
            text=None if is_scoring else self._text(request, answer),
            logprobs=logprobs,
            alternatives=alternatives,
            prompt_tokens=len(request.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            completion_tokens=0 if is_scoring else len(answer.token_ids),
            engine_seconds=share.prefill_seconds + share.decode_seconds,
            decode_seconds=share.decode_seconds,
            error=f"The answer was cut at max_tokens={request.sampling.max_tokens}." if is_cut else None,
        )

    def _text(self, request: Request, answer: CompletionOutput) -> str:
        """The answer without the token that ended it, decoded once; where a stop text is looked for, vLLM has decoded it step by step."""
        if request.sampling.stop:
            return answer.text
        token_ids = list(answer.token_ids[:-1] if answer.finish_reason == "stop" else answer.token_ids)
        # after the prompt's end: some tokenisers drop the white space that a text begins with
        before = list(request.token_ids[-DECODED_BEFORE:])
        start, whole = (self._tokenizer.decode(ids, skip_special_tokens=True) for ids in (before, before + token_ids))
        return whole.removeprefix(start) if whole.startswith(start) else self._tokenizer.decode(token_ids, skip_special_tokens=True)

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


def _sampling_params(request: Request) -> SamplingParams:
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
            skip_reading_prefix_cache=False,
            extra_args={SCORE_FROM: sampling.score_from},
        )
    return SamplingParams(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        seed=sampling.seed,
        stop=list(sampling.stop),
        detokenize=bool(sampling.stop),
        stop_token_ids=list(sampling.stop_token_ids),
        structured_outputs=None if sampling.json_schema is None else StructuredOutputsParams(json=sampling.json_schema),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _scores(request: Request, output: RequestOutput) -> tuple[tuple[float, ...], tuple[Alternatives, ...]]:
    scored = output.prompt_logprobs
    first = request.sampling.score_from
    if not isinstance(scored, FlatLogprobs) or first is None:
        raise EngineError(f"vLLM returned no log-probabilities for the scoring request {request.row_key}.")
    logprobs: list[float] = []
    alternatives: list[Alternatives] = []
    num_scored = len(request.token_ids) - first
    # FlatLogprobs: one slice a position, the prompt's own token first, then the likeliest. Where patches.py has no hold on vLLM (in workers
    # of its own, in its second model runner) slices of tokens that nobody scores come before
    first_slice = len(scored.start_indices) - num_scored
    for start, end in zip(scored.start_indices[first_slice:], scored.end_indices[first_slice:], strict=True):
        logprobs.append(scored.logprobs[start])
        if request.sampling.num_alternatives:
            alternatives.append(
                Alternatives(token_ids=tuple(scored.token_ids[start + 1 : end]), logprobs=tuple(scored.logprobs[start + 1 : end]))
            )
    return tuple(logprobs), tuple(alternatives)
