"""A GGUF file into a folder that vLLM loads: weights to bfloat16 safetensors, settings to config.json, tokens to tokenizer.json.

Owns the mapping of names and layouts. Which file, when and whereto is for models.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.folders import ModelError

CONVERTER_VERSION = 1
"""Part of the cache folder's name: raise it when `convert_gguf` writes something else for the same file."""

_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert_gguf(gguf_path: Path, folder: Path) -> None:
    """Write a Llama-architecture GGUF as bfloat16 safetensors with config.json and tokenizer.json into `folder`.

    Weights are dequantised once; vLLM has no GGUF loader of its own, and transformers' takes ten times as long.

    Raises ModelError for an architecture or tokeniser that this does not know.
    """
    reader = _read_gguf(gguf_path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    architecture, tokenizer_model = fields["general.architecture"], fields.get("tokenizer.ggml.model")
    if architecture != "llama" or tokenizer_model != "gpt2":
        raise ModelError(
            f"{gguf_path} holds a {architecture} model with a {tokenizer_model} tokeniser; only llama with byte-level BPE is read. "
            "Give the model's safetensors folder or hf:ORG/NAME instead."
        )
    config = _llama_config(fields)
    kinds = [tensor.tensor_type.name for tensor in reader.tensors]
    config["galley_source"] = {"file": gguf_path.name, "quantization": f"gguf:{max(sorted(set(kinds)), key=kinds.count)}"}
    config["tie_word_embeddings"] = all(tensor.name != "output.weight" for tensor in reader.tensors)
    _save_bfloat16(dict(_llama_tensors(reader, config)), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": config["eos_token_id"]}))
    _save_tokenizer(fields, folder)


def read_licence(gguf_path: Path) -> str | None:
    """The licence that a GGUF file names. Raises ModelError where it is none."""
    found = _read_gguf(gguf_path).fields.get("general.license")
    return None if found is None else str(found.contents())[:80]


def _read_gguf(gguf_path: Path) -> Any:
    import gguf

    try:
        return gguf.GGUFReader(gguf_path)
    except (ValueError, IndexError) as error:
        raise ModelError(f"{gguf_path} is no readable GGUF file ({error}). Fetch it again, or give a safetensors folder.") from error


def _llama_config(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": fields["llama.rope.dimension_count"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "attention_bias": False,
        "mlp_bias": False,
    }


def _llama_tensors(reader: Any, config: dict[str, Any]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    import gguf

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for tensor in reader.tensors:
        weights = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        parts = tensor.name.split(".")
        if parts[0] == "blk":
            kind = parts[2]
            if kind in heads:
                # llama.cpp stores the rotary halves interleaved
                weights = weights.reshape(heads[kind], -1, 2, weights.shape[-1]).swapaxes(1, 2).reshape(weights.shape)
            yield f"model.layers.{parts[1]}.{_TENSORS[kind]}.weight", weights
        elif tensor.name in _OUTER_TENSORS:
            yield _OUTER_TENSORS[tensor.name], weights


_OUTER_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def _save_bfloat16(tensors: dict[str, npt.NDArray[np.float32]], path: Path) -> None:
    from safetensors import TensorSpec, serialize_file

    def rounded(array: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
        bits = np.ascontiguousarray(array).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # round to nearest, ties to even

    halves = {name: rounded(array) for name, array in tensors.items()}  # kept alive: the specs hold bare addresses
    specs = {
        name: TensorSpec(dtype="bfloat16", shape=list(half.shape), data_ptr=half.ctypes.data, data_len=half.nbytes)
        for name, half in halves.items()
    }
    serialize_file(specs, str(path), {"format": "pt"})


def _save_tokenizer(fields: dict[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    if fields.get("tokenizer.ggml.pre") != "smollm":
        raise ModelError(
            f"The tokeniser splits text by the rule {fields.get('tokenizer.ggml.pre')!r}; only smollm is known. "
            "Give the model's safetensors folder instead."
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3
    special = [token for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"], strict=True) if kind == control]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    eos = tokens[fields["tokenizer.ggml.eos_token_id"]]
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": eos,
        "pad_token": eos,
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields.get("tokenizer.chat_template"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
