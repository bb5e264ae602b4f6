"""What is changed in vLLM, beside what its own settings allow. Imported by vllm.py alone, before an engine is made."""

from itertools import chain
from typing import Any, NamedTuple

import torch
import vllm.v1.sample.sampler
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from engine.logprobs import Logits, score_rows

SCORE_FROM = "score_from"
"""Of a scoring request's `extra_args`: the first token that is scored."""


def _no_ranks(logprobs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.zeros(logprobs.shape[0], dtype=torch.int64, device=logprobs.device)


# vLLM ranks every scored token among the whole vocabulary, which nobody here reads: a fifth of the scoring time, and 18 s of
# torch.compile before the first answer.
vllm.v1.sample.sampler.batched_count_greater_than = _no_ranks  # type: ignore[attr-defined,assignment]


def _score_prompts(runner: Any, hidden_states: torch.Tensor, num_scheduled: dict[str, int]) -> dict[str, LogprobsTensors]:
    """What vLLM does prompt by prompt for every computed token, done at once for those tokens that are scored."""
    complete: dict[str, LogprobsTensors] = {}
    asked: dict[int, list[_Slice]] = {}
    for key, num_alternatives in list(runner.num_prompt_logprobs.items()):
        num_tokens = num_scheduled.get(key)
        if num_tokens is None:  # preempted: it comes again
            continue
        state = runner.requests[key]
        num_prompt = len(state.prompt_token_ids)
        # the score of token i comes out of computing token i - 1
        first = state.sampling_params.extra_args[SCORE_FROM] - 1
        computed, end = state.num_computed_tokens, state.num_computed_tokens + num_tokens
        scores = state.in_progress_prompt_logprobs_cpu or LogprobsTensors.empty_cpu(num_prompt - 1 - first, num_alternatives + 1)
        state.in_progress_prompt_logprobs_cpu = scores
        start, stop = max(computed, first), min(end, num_prompt - 1)
        if start < stop:
            offset = int(runner.query_start_loc.np[runner.input_batch.req_id_to_index[key]]) - computed
            targets = state.prompt_token_ids[start + 1 : stop + 1]
            asked.setdefault(num_alternatives, []).append(_Slice(offset + start, offset + stop, start - first, targets, scores))
        if end >= num_prompt:
            complete[key] = scores
            del runner.num_prompt_logprobs[key]
            state.in_progress_prompt_logprobs_cpu = None
    for num_alternatives, slices in asked.items():
        _fill(slices, hidden_states, num_alternatives, runner.model.compute_logits)
    return complete


class _Slice(NamedTuple):
    """Rows of a step's hidden states that score one prompt's tokens."""

    start: int
    stop: int
    row: int
    """Of `scores`, for the first of them."""
    targets: list[int]
    scores: LogprobsTensors


def _fill(slices: list[_Slice], hidden_states: torch.Tensor, num_alternatives: int, logits_of: Logits) -> None:
    indices = torch.cat([torch.arange(each.start, each.stop) for each in slices]).to(hidden_states.device)
    targets = torch.tensor(list(chain.from_iterable(each.targets for each in slices))).to(hidden_states.device)
    rows = score_rows(hidden_states[indices], targets, num_alternatives, logits_of)
    token_ids, logprobs, done = rows.token_ids.cpu(), rows.logprobs.cpu(), 0
    for each in slices:
        num_rows = each.stop - each.start
        each.scores.logprob_token_ids[each.row : each.row + num_rows] = token_ids[done : done + num_rows]
        each.scores.logprobs[each.row : each.row + num_rows] = logprobs[done : done + num_rows]
        done += num_rows


# In vLLM's first model runner, which its CPU build has; the second one batches by itself.
GPUModelRunner._get_prompt_logprobs_dict = _score_prompts  # type: ignore[assignment,method-assign]


def limit_cache_reads(cache: Any) -> None:
    """Let a scoring request read no block that holds a token whose score is made of computing it: nothing is computed for a cached one."""
    get_computed_blocks, find_longest_hit = cache.get_computed_blocks, cache.coordinator.find_longest_cache_hit
    block_size = cache.block_pool.hash_block_size

    def get_unscored_blocks(request: Any) -> Any:
        score_from = ((request.sampling_params and request.sampling_params.extra_args) or {}).get(SCORE_FROM)
        if score_from is None:
            return get_computed_blocks(request)
        hashes = request.block_hashes
        request.block_hashes = hashes[: (score_from - 1) // block_size]
        try:
            return get_computed_blocks(request)
        finally:
            request.block_hashes = hashes

    def find_hit_of_known_hashes(hashes: Any, max_length: int) -> Any:
        # windowed attention looks from the end of the length, where a scoring request has no hashes
        return find_longest_hit(hashes, min(max_length, len(hashes) * block_size))

    cache.get_computed_blocks = get_unscored_blocks
    cache.coordinator.find_longest_cache_hit = find_hit_of_known_hashes
