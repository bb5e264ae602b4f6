"""Teaches a small Llama model to copy a passage with its errors mended: low-rank additions to every linear layer, and its norms.

    uv run python -m tests.bench.proofreader.train --model FOLDER --data DATA -o OUT
    uv run torchrun --nproc-per-node 2 -m tests.bench.proofreader.train --model FOLDER --data DATA -o OUT

OUT gets log.txt and state.pt. The same command goes on from the state where there is one. Each step takes a batch on every GPU, so that two
GPUs learn from twice as much text. The same options on as many GPUs take the same batches; sums on a GPU may differ in their last bits.
"""

import argparse
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.bench.proofreader.feed import Feed
from tests.bench.proofreader.passages import IGNORED, LENGTHS, Batch

STEPS = 3_800
BATCH_TOKENS = 65_536
"""A step and GPU."""
RANK = 32
SCALE = 2.0
"""Of what is added to a layer's output."""
LEARNING_RATE = 1e-3
LAST_RATE = 0.03
"""Of the learning rate, at the end of its cosine."""
NORM_RATE = 0.2
"""Of the learning rate, for the norms: they stand for whole layers."""
WARM_UP_STEPS = 100
BETAS = (0.9, 0.98)
MAX_GRADIENT = 1.0
SAVE_STEPS, LOG_STEPS = 500, 25
CHECK_BATCHES = 8
SETTINGS = ("rank", "learning_rate", "steps", "batch_tokens", "lengths", "seed")
"""Options that must be the same when a training goes on."""

Weights = dict[str, Tensor]


class Linear(nn.Module):
    """A layer as it is, and a product of two narrow matrices that is learned beside it."""

    def __init__(self, weights: Weights, name: str, rank: int) -> None:
        super().__init__()
        weight = weights[f"{name}.weight"]
        num_out, num_in = weight.shape
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.a = nn.Parameter(torch.randn(rank, num_in) / math.sqrt(num_in))
        self.b = nn.Parameter(torch.zeros(num_out, rank))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight) + F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype)) * SCALE


class Norm(nn.Module):
    def __init__(self, weights: Weights, name: str, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights[f"{name}.weight"].float())
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, self.epsilon).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, weights: Weights, name: str, rank: int, head_dim: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Linear(weights, f"{name}.{part}_proj", rank) for part in "qkvo")
        self.head_dim = head_dim

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (project(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        num_shared = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(num_shared, 1), v.repeat_interleave(num_shared, 1)
        found: Tensor = self.o_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return found


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Mlp(nn.Module):
    def __init__(self, weights: Weights, name: str, rank: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (Linear(weights, f"{name}.{part}_proj", rank) for part in ("gate", "up", "down"))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return found


class Layer(nn.Module):
    def __init__(self, weights: Weights, name: str, rank: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.self_attn = Attention(weights, f"{name}.self_attn", rank, config["head_dim"])
        self.mlp = Mlp(weights, f"{name}.mlp", rank)
        self.input_layernorm = Norm(weights, f"{name}.input_layernorm", config["rms_norm_eps"])
        self.post_attention_layernorm = Norm(weights, f"{name}.post_attention_layernorm", config["rms_norm_eps"])

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        found: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return found


class Llama(nn.Module):
    """Llama whose input and output words share their weights; its parts are called as in a checkpoint, without `model.` before them."""

    def __init__(self, weights: Weights, config: dict[str, Any], rank: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Parameter(weights["model.embed_tokens.weight"], requires_grad=False)
        self.layers = nn.ModuleList(Layer(weights, f"model.layers.{index}", rank, config) for index in range(config["num_hidden_layers"]))
        self.norm = Norm(weights, "model.norm", config["rms_norm_eps"])
        self.head_dim, self.rope_theta = config["head_dim"], config["rope_theta"]

    def forward(self, token_ids: Tensor) -> Tensor:
        dims = torch.arange(0, self.head_dim, 2, device=token_ids.device).float()
        angles = torch.outer(
            torch.arange(token_ids.shape[1], device=token_ids.device).float(), 1 / self.rope_theta ** (dims / self.head_dim)
        )
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos().to(self.embed_tokens.dtype), angles.sin().to(self.embed_tokens.dtype)
        x = F.embedding(token_ids, self.embed_tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        found: Tensor = self.norm(x)
        return found

    def find_loss(self, batch: Batch) -> Tensor:
        """Nats per token of the copies."""
        token_ids, places, wanted = (
            torch.from_numpy(array).to(self.embed_tokens.device, non_blocking=True)
            for array in (batch.token_ids, batch.places, batch.wanted)
        )
        hidden = self(token_ids).flatten(0, 1)[places]
        return F.cross_entropy(F.linear(hidden, self.embed_tokens).float(), wanted, ignore_index=IGNORED)

    def list_learned(self) -> dict[str, nn.Parameter]:
        """What is trained, by its name in a checkpoint."""
        return {f"model.{name}": parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def load_model(folder: Path, rank: int, device: str) -> Llama:
    """The model of a folder in bfloat16; what is learned is in float32 and the same each time."""
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / "model.safetensors", device=device).items()}
    torch.manual_seed(0)
    return Llama(weights, json.loads((folder / "config.json").read_text()), rank).to(device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of the GPUs this process has."""

    rank: int
    world: int
    device: str

    def sum(self, numbers: Tensor) -> Tensor:
        """Of all GPUs, in place."""
        if self.world > 1:
            torch.distributed.all_reduce(numbers)
        return numbers


def find_place() -> Place:
    """As torchrun says; the CPU where there is no GPU, which is for trying it out."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if not torch.cuda.is_available():
        if world > 1:
            torch.distributed.init_process_group("gloo")
        return Place(rank=rank, world=world, device="cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(local)
    if world > 1:
        torch.distributed.init_process_group("nccl")
    return Place(rank=rank, world=world, device=f"cuda:{local}")


class Trainer:
    """A model, how it changes, and how far it is."""

    def __init__(self, options: argparse.Namespace, place: Place) -> None:
        self.options, self.place = options, place
        self.model = load_model(options.model, options.rank, place.device)
        self.learned = self.model.list_learned()
        matrices = [parameter for parameter in self.learned.values() if parameter.dim() == 2]
        norms = [parameter for parameter in self.learned.values() if parameter.dim() == 1]
        groups = [{"params": matrices}, {"params": norms}]
        self.optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=0.0, fused=place.device != "cpu")
        self.num_done = 0
        self.state_path = options.out / "state.pt"
        if place.device != "cpu" and not options.no_compile:
            torch._dynamo.config.cache_size_limit = 64  # every length compiles anew
            for layer in self.model.layers:
                layer.compile(dynamic=False)

    def restore(self) -> None:
        """Go on from the state, where there is one. Raises SystemExit where it was made with other settings."""
        if not self.state_path.is_file():
            return
        state = torch.load(self.state_path, map_location=self.place.device)
        for name, met in state["settings"].items():
            if (wanted := getattr(self.options, name)) != met:
                option = name.replace("_", "-")
                raise SystemExit(f"{self.state_path} was made with --{option} {met}, now {wanted}; give the same, or another -o.")
        with torch.no_grad():
            for name, parameter in self.learned.items():
                parameter.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.num_done = state["num_done"]

    def save(self) -> None:
        """The state, whole or not at all."""
        if self.place.rank == 0:
            state = {
                "parameters": {name: parameter.detach() for name, parameter in self.learned.items()},
                "optimizer": self.optimizer.state_dict(),
                "num_done": self.num_done,
                "settings": {name: getattr(self.options, name) for name in SETTINGS},
            }
            written = self.state_path.with_suffix(".new")
            torch.save(state, written)
            written.replace(self.state_path)

    def step(self, batch: Batch) -> Tensor:
        """Learn from a batch on each GPU; the loss on this one's."""
        rate = find_rate(self.num_done, self.options.steps) * self.options.learning_rate
        for group, share in zip(self.optimizer.param_groups, (1.0, NORM_RATE), strict=True):
            group["lr"] = rate * share
        loss = self.model.find_loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self._share_gradients()
        nn.utils.clip_grad_norm_(self.learned.values(), MAX_GRADIENT)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        self.num_done += 1
        return loss.detach()

    def _share_gradients(self) -> None:
        if self.place.world == 1:
            return
        gradients = [parameter.grad for parameter in self.learned.values() if parameter.grad is not None]
        mean = self.place.sum(torch.cat([gradient.flatten() for gradient in gradients])) / self.place.world
        for gradient, part in zip(gradients, torch.split(mean, [gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def check(self, feed: Feed) -> float:
        """Loss on passages of documents that were held back."""
        passages = feed.read_passages(is_held_back=True)
        with torch.no_grad():
            batches = (passages.make_batch(number, num_tokens=feed.batch_tokens, seed=feed.seed) for number in range(CHECK_BATCHES))
            return math.fsum(self.model.find_loss(batch).item() for batch in batches) / CHECK_BATCHES


def find_rate(num_done: int, num_steps: int) -> float:
    """Share of the learning rate after so many steps: up in a line, down in a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, num_done / num_steps)))
    return min(1.0, (num_done + 1) / WARM_UP_STEPS) * (LAST_RATE + (1 - LAST_RATE) * cosine)


def train(trainer: Trainer, feed: Feed, log: Path) -> None:
    """Take steps until all are done or the time is over."""
    options, place = trainer.options, trainer.place
    started, first = time.monotonic(), trainer.num_done
    loss = torch.zeros((), device=place.device)
    for batch in feed.take_batches(first * place.world + place.rank, place.world):
        loss += trainer.step(batch)
        if trainer.num_done % SAVE_STEPS == 0:
            trainer.save()
        if trainer.num_done % LOG_STEPS == 0:
            spent = time.monotonic() - started
            speed = (trainer.num_done - first) * options.batch_tokens / spent
            write_line(f"{trainer.num_done} loss {loss.item() / LOG_STEPS:.4f} {speed:,.0f} tokens a second and GPU", log, place)
            loss.zero_()
            is_late = place.sum(torch.tensor(float(spent > options.seconds), device=place.device))
            if is_late.item():
                break
        if trainer.num_done >= options.steps:
            break
    trainer.save()


def write_line(line: str, log: Path, place: Place) -> None:
    """To the log and the terminal, once for all GPUs."""
    if place.rank == 0:
        print(line, flush=True)  # noqa: T201
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def main() -> None:
    """Train, or go on with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="with model.safetensors, config.json, tokenizer.json")
    parser.add_argument("--data", type=Path, required=True, help="what texts.py wrote")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the state and the log")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS, help="a step and GPU")
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=list(LENGTHS), help="tokens of the rows of a batch, one of these by chance"
    )
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=12, help="processes a GPU that make batches")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so long; the same command goes on")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    place = find_place()
    trainer = Trainer(options, place)
    trainer.restore()
    log = options.out / "log.txt"
    feed = Feed(
        data=options.data,
        tokenizer_path=options.model / "tokenizer.json",
        lengths=tuple(options.lengths),
        batch_tokens=options.batch_tokens,
        seed=options.seed,
        num_processes=options.workers,
    )
    if trainer.num_done < options.steps:
        train(trainer, feed, log)
    if trainer.num_done >= options.steps and place.rank == 0:
        write_line(f"{trainer.num_done} loss {trainer.check(feed):.4f} on what was held back", log, place)
    if place.world > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
