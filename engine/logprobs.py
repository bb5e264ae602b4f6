"""Log-probabilities of given tokens out of a model's hidden states: many prompts at once, and only the positions that are asked for.

Owns the arithmetic; what a runner is and where its rows go is vllm.py's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

Logits = Callable[[torch.Tensor], torch.Tensor]
"""Hidden states [rows, width] to logits [rows, vocabulary]."""

CPU_ROWS, GPU_ROWS = 128, 1024
"""Rows whose logits are made at once: 128 of 49,152 in bfloat16 are 12.6 MB, which stay in a server CPU's last cache."""
CACHE_ROWS = 16
"""Rows that a CPU brings into 32 bits and sums up at once: 3 MB, which stay in the cores' own caches. Of 49,152 entries, on two cores, 22
µs a row; all at once 75, torch's log_softmax 116."""
GROUP = 256
"""The likeliest tokens are looked for in the groups of so many with the largest maxima; 7 µs a row, torch's topk 54."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Scores of rows, the given token first, then the likeliest ones, likeliest first."""

    token_ids: torch.Tensor
    """[rows, 1 + alternatives], int32."""
    logprobs: torch.Tensor
    """[rows, 1 + alternatives], float32, natural logarithms."""


def score_rows(hidden: torch.Tensor, targets: torch.Tensor, num_alternatives: int, logits_of: Logits) -> Rows:
    """Log-probability of each row's target token and of the likeliest ones.

    `hidden` is [rows, width]; `targets` is [rows], int64, on the same device; at least one row. The numbers of a row do not depend on the
    rows beside it, but for what the model's own matrix product makes of them.
    """
    is_cpu = hidden.device.type == "cpu"
    step = CPU_ROWS if is_cpu else GPU_ROWS
    parts = [
        _score(logits_of(hidden[first : first + step]), targets[first : first + step], num_alternatives, CACHE_ROWS if is_cpu else step)
        for first in range(0, len(targets), step)
    ]
    return Rows(torch.cat([part.token_ids for part in parts]), torch.cat([part.logprobs for part in parts]))


def _score(logits: torch.Tensor, targets: torch.Tensor, num_alternatives: int, step: int) -> Rows:
    token_ids, logprobs = [], []
    for first in range(0, len(targets), step):
        scores = logits[first : first + step].float()
        wanted = targets[first : first + step, None]
        if num_alternatives:
            wanted = torch.cat([wanted, _likeliest(scores, num_alternatives)], dim=1)
        given = scores.gather(1, wanted)
        largest = scores.amax(dim=1, keepdim=True)
        # in place: the scores are ours and read no more
        total = scores.sub_(largest).exp_().sum(dim=1, keepdim=True)
        token_ids.append(wanted)
        logprobs.append(given - largest - total.log())
    return Rows(torch.cat(token_ids).to(torch.int32), torch.cat(logprobs))


def _likeliest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [rows, count] of the largest scores of each row, largest first: each lies in one of the `count` groups that peak highest."""
    num_rows, size = scores.shape
    if size % GROUP or count > size // GROUP:
        return scores.topk(count, dim=1).indices
    groups = scores.view(num_rows, -1, GROUP)
    peaks = groups.amax(dim=2).topk(count, dim=1).indices
    found = groups.gather(1, peaks[:, :, None].expand(-1, -1, GROUP)).view(num_rows, -1).topk(count, dim=1).indices
    return peaks.gather(1, found // GROUP) * GROUP + found % GROUP
