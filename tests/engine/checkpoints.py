"""Made-up models: the files of a small Llama, and the headers of large ones."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.models import Model

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
SHAPES = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (48, 32),
    "mlp.up_proj": (48, 32),
    "mlp.down_proj": (32, 48),
}
BYTES = {"F32": 4, "BF16": 2, "F16": 2, "I8": 1}


@dataclass(frozen=True)
class Part:
    """One tensor of a made-up file."""

    dtype: str
    shape: tuple[int, ...]
    content: bytes


def part_of(numbers: npt.NDArray[np.float32], dtype: str = "F32") -> Part:
    """float32 numbers as a tensor of that dtype; for BF16 the lower half of each is cut off."""
    if dtype == "BF16":
        return Part(dtype, numbers.shape, (numbers.view(np.uint32) >> 16).astype("<u2").tobytes())
    return Part(dtype, numbers.shape, numbers.astype({"F32": "<f4", "F16": "<f2", "I8": "i1"}[dtype]).tobytes())


def make_llama(dtype: str = "F32", seed: int = 1) -> dict[str, Part]:
    """Every tensor of a small Llama with a bias; the rows of a matrix have very different sizes, and one is zero."""
    rng = np.random.default_rng(seed)
    tensors = {"model.embed_tokens.weight": part_of(rng.normal(size=(64, 32)).astype(np.float32), dtype)}
    for layer in range(2):
        for name, shape in SHAPES.items():
            weights = (rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 1, size=(shape[0], 1))).astype(np.float32)
            weights[3] = 0
            tensors[f"model.layers.{layer}.{name}.weight"] = part_of(weights, dtype)
        tensors[f"model.layers.{layer}.self_attn.q_proj.bias"] = part_of(rng.normal(size=32).astype(np.float32), dtype)
        tensors[f"model.layers.{layer}.input_layernorm.weight"] = part_of(rng.normal(size=32).astype(np.float32), dtype)
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, Part]) -> None:
    """By hand, from the format's description: what is read back has passed through no code of ours."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, part in tensors.items():
        header[name] = {"dtype": part.dtype, "shape": list(part.shape), "data_offsets": [end, end + len(part.content)]}
        end += len(part.content)
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(part.content for part in tensors.values()))


def write_model(folder: Path, tensors: Mapping[str, Part], **settings: Any) -> Model:
    """A folder with these weights, and `settings` over CONFIG."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | settings))
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", tensors)
    return Model(name="tiny", folder=folder, revision="local", weights_sha256="ab" * 32, quantization="none")


def write_large(folder: Path, num_bytes: int, **settings: Any) -> Model:
    """A model whose one matrix is said to take so many bytes; the disk holds none of them."""
    model = write_model(folder, {}, **settings)
    shape = [num_bytes // 2048, 1024]
    entry = {"dtype": "BF16", "shape": shape, "data_offsets": [0, 2 * math.prod(shape)]}
    head = json.dumps({"model.layers.0.mlp.up_proj.weight": entry}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + 2 * math.prod(shape))
    return model
