"""Scores out of hidden states against torch's own log_softmax and topk."""

import pytest
import torch

from engine.logprobs import CPU_ROWS, score_rows


@pytest.mark.parametrize("num_rows", [1, 15, CPU_ROWS, 2 * CPU_ROWS + 17])
@pytest.mark.parametrize("vocabulary", [1024, 1000, 300])
@pytest.mark.parametrize("num_alternatives", [0, 1, 4])
def test_scores_are_those_of_log_softmax(num_rows: int, vocabulary: int, num_alternatives: int) -> None:
    torch.manual_seed(num_rows + vocabulary)
    hidden, weights = torch.randn(num_rows, 32), torch.randn(vocabulary, 32)
    targets = torch.randint(0, vocabulary, (num_rows,))
    rows = score_rows(hidden, targets, num_alternatives, lambda states: states @ weights.T)
    expected = (hidden @ weights.T).log_softmax(dim=1)
    top = expected.topk(num_alternatives, dim=1)
    torch.testing.assert_close(rows.logprobs[:, :1], expected.gather(1, targets[:, None]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rows.logprobs[:, 1:], top.values, atol=1e-5, rtol=1e-5)
    assert torch.equal(rows.token_ids, torch.cat([targets[:, None], top.indices], dim=1).to(torch.int32))


def test_half_precision_is_summed_in_single() -> None:
    """48,000 equal logits: in bfloat16 their sum would stop growing at 256, and each would seem 188 times as likely."""
    rows = score_rows(torch.ones(3, 1), torch.zeros(3, dtype=torch.int64), 0, lambda states: torch.zeros(len(states), 48_000).bfloat16())
    assert rows.logprobs.flatten().tolist() == pytest.approx([-10.7790] * 3, abs=1e-3)
