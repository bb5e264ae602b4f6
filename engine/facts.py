"""What can be told of a model from its files, before anything is loaded: architecture, size, length, licence, memory.

Reads config.json and the headers of the weights. Whether it fits this machine is for fit.py.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.folders import read_json, weight_paths
from engine.weights import Tensor, list_tensors

_PACKED = (".qweight", ".weight_packed")
"""Tensors that hold several weights in each 32-bit number, as AWQ, GPTQ and compressed-tensors name them."""
_NO_WEIGHTS = re.compile(r"(scales?|zeros|qzeros|zero_point|g_idx|weight_shape|absmax|quant_map|quant_state\S*|inv_freq)$")
"""Tensors that quantisation and rotary embeddings store beside the parameters."""
KV_NUMBER_BYTES = 2
"""Of a number in the KV cache: float32 weights too are computed with in 16 bits unless something else is asked for."""
_LICENCE = re.compile(r"^license:[ \t]*['\"]?([\w.+-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of one model; None where its files do not say."""

    architecture: str | None
    num_parameters: int
    num_layers: int | None
    vocab_size: int | None
    context_tokens: int | None
    """Positions that it was made for."""
    dtype: str | None
    """Of the weights that are not quantised."""
    has_chat_template: bool
    has_code: bool
    """Its config.json names code of its repository, which is not run."""
    licence: str | None
    weight_bytes: int
    """Of its weight files, which is about what they take in memory."""
    kv_bytes_per_token: int | None
    """Of KV cache in 16 bits, all layers together; a window that slides keeps less."""


def read_facts(folder: Path) -> Facts:
    """Raises ModelError for a folder whose config.json or weights cannot be read."""
    settings = read_json(folder / "config.json")
    config = text_config(settings)
    architectures = settings.get("architectures")
    return Facts(
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else None,
        num_parameters=_count_parameters(list_tensors(folder), settings),
        num_layers=_number(config, "num_hidden_layers", "n_layer"),
        vocab_size=_number(config, "vocab_size"),
        context_tokens=context_tokens(settings),
        dtype=_dtype(settings, config),
        has_chat_template=has_chat_template(folder),
        has_code="auto_map" in settings,
        licence=find_licence(folder),
        weight_bytes=sum(path.stat().st_size for path in weight_paths(folder)),
        kv_bytes_per_token=kv_bytes_per_token(config),
    )


def text_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config.json about text, where a model has several."""
    nested = settings.get("text_config")
    return dict(settings) | (nested if isinstance(nested, dict) else {})


def context_tokens(settings: Mapping[str, Any]) -> int | None:
    """Positions that a config.json says the model was made for."""
    return _number(text_config(settings), "max_position_embeddings", "n_positions", "max_seq_len")


def has_chat_template(folder: Path) -> bool:
    """Whether the model knows conversations."""
    if (folder / "chat_template.jinja").is_file():
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and bool(read_json(path).get("chat_template"))


def find_licence(folder: Path) -> str | None:
    """What the folder's README says in its front matter, else the first line of its licence; cut at 80 characters."""
    try:
        if found := _LICENCE.search(_front_matter((folder / "README.md").read_text("utf-8", "replace"))):
            return found[1][:80]
    except OSError:
        pass
    for path in sorted(folder.glob("LICEN[SC]E*")):
        if lines := path.read_text("utf-8", "replace").split("\n", 50):
            return next((line.strip()[:80] for line in lines if line.strip()), None)
    return None


def _front_matter(text: str) -> str:
    return text[4:].partition("\n---")[0] if text.startswith("---\n") else ""


def _count_parameters(tensors: Iterable[Tensor], settings: Mapping[str, Any]) -> int:
    bits = _weight_bits(settings.get("quantization_config"))
    total = 0
    for tensor in tensors:
        if _NO_WEIGHTS.search(tensor.name):
            continue
        packed = 32 // bits if bits and tensor.name.endswith(_PACKED) else 1
        total += math.prod(tensor.shape) * packed
    return total


def _weight_bits(given: Any) -> int | None:
    if not isinstance(given, dict):
        return None
    bits = given.get("bits") or given.get("w_bit")
    groups = given.get("config_groups")
    if bits is None and isinstance(groups, dict):
        weights = [group.get("weights") for group in groups.values() if isinstance(group, dict)]
        bits = next((each.get("num_bits") for each in weights if isinstance(each, dict)), None)
    return bits if isinstance(bits, int) and 0 < bits <= 32 else None


def kv_bytes_per_token(config: Mapping[str, Any]) -> int | None:
    """Of KV cache in 16 bits, all layers together, by a model's `text_config`; None where it does not say."""
    layers = _number(config, "num_hidden_layers", "n_layer")
    heads, hidden = _number(config, "num_attention_heads", "n_head"), _number(config, "hidden_size", "n_embd")
    if layers is None or "linear_attention" in str(config.get("layer_types")):
        return None
    if latent := _number(config, "kv_lora_rank"):  # keys and values of all heads in one vector, the rotary part beside it
        return layers * (latent + (_number(config, "qk_rope_head_dim") or 0)) * KV_NUMBER_BYTES
    head_dim = _number(config, "head_dim") or (hidden // heads if hidden and heads else None)
    kv_heads = _number(config, "num_key_value_heads") or heads
    return 2 * layers * kv_heads * head_dim * KV_NUMBER_BYTES if kv_heads and head_dim else None


def _dtype(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    found = settings.get("dtype") or settings.get("torch_dtype") or config.get("dtype") or config.get("torch_dtype")
    return found if isinstance(found, str) else None


def _number(config: Mapping[str, Any], *keys: str) -> int | None:
    found = next((config[key] for key in keys if key in config), None)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
