"""Packs what train.py learned as an adapter: int8 with a scale a row for the narrow matrices, float32 for the norms.

    uv run python -m tests.bench.proofreader.pack OUT/state.pt --model FOLDER -o engine/adapters/proofreader.safetensors

Writes the JSON file beside it too, and says how far the products are from what was learned.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.bench.proofreader.passages import END, START
from tests.bench.proofreader.train import SCALE

BASE = "SmolLM2-135M-Instruct"
"""Named in the adapter's metadata, for people."""
MAX_INT8 = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A matrix as small integers."""

    values: Tensor
    """int8."""
    scales: Tensor
    """float32, one a row."""

    def restore(self) -> Tensor:
        """The matrix, nearly."""
        return self.values.float() * self.scales[:, None]


def round_rows(matrix: Tensor) -> Rows:
    """Each row's largest number becomes MAX_INT8."""
    scales = (matrix.abs().amax(1, keepdim=True) / MAX_INT8).clamp_min(torch.finfo(torch.float32).tiny)
    return Rows(values=(matrix / scales).round().clamp(-MAX_INT8, MAX_INT8).to(torch.int8), scales=scales[:, 0].float())


def balance(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Other matrices with the product `b @ a`, each with half of every singular value: so int8 loses least."""
    b_basis, b_rest = torch.linalg.qr(b)
    a_basis, a_rest = torch.linalg.qr(a.T)
    left, values, right = torch.linalg.svd(b_rest @ a_rest.T)
    halves = values.sqrt()
    return (halves[:, None] * right) @ a_basis.T, (b_basis @ left) * halves


def pack(learned: dict[str, Tensor], weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The adapter's tensors, and what to say of their errors."""
    packed: dict[str, Tensor] = {}
    lost: list[float] = []
    rounded: list[float] = []
    for name, matrix in learned.items():
        stem, _, part = name.rpartition(".")
        if part == "weight":
            packed[name] = matrix.float()
        elif part == "a":
            a, b = matrix.float(), learned[f"{stem}.b"].float() * SCALE
            low, high = (round_rows(each) for each in balance(a, b))
            packed |= {f"{stem}.a": low.values.contiguous(), f"{stem}.a_scale": low.scales}
            packed |= {f"{stem}.b": high.values.contiguous(), f"{stem}.b_scale": high.scales}
            added, total = b @ a, weights[f"{stem}.weight"].float() + b @ a
            lost.append(_share(high.restore() @ low.restore() - added, added))
            rounded.append(_share(total.bfloat16().float() - total, added))
    return packed, [f"{_mean(lost):.1%} of what is added is lost to int8, {_mean(rounded):.1%} to rounding the sum to bfloat16"]


def _share(error: Tensor, whole: Tensor) -> float:
    return float(torch.linalg.vector_norm(error) / torch.linalg.vector_norm(whole))


def _mean(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers)


def main() -> None:
    """Write the adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, help="state.pt of a training")
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="the model that was trained")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    state = torch.load(arguments.state, map_location="cpu")
    packed, lines = pack(state["parameters"], load_file(arguments.model / "model.safetensors"))
    save_file(packed, arguments.out, metadata={"rank": str(state["settings"]["rank"]), "base": BASE})
    form = {"name": arguments.out.stem, "copies": {"start": START, "end": END}}
    arguments.out.with_suffix(".json").write_text(json.dumps(form) + "\n")
    num_matrices = sum(tensor.numel() for tensor in packed.values() if tensor.dtype == torch.int8)
    lines.append(f"{num_matrices:,} parameters of rank {state['settings']['rank']}, {arguments.out.stat().st_size:,} bytes")
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
