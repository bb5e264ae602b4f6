"""A made-up model of some kilobytes: real safetensors, a real tokeniser with a token for each byte, a chat template."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "float32",
    "vocab_size": 260,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}<|assistant|>"
NUM_PARAMETERS = 260 * 8 + 16 * 8


def write_tiny(folder: Path, *, seed: int = 0, num_shards: int = 1, template: str | None = TEMPLATE, **config: Any) -> Path:
    """Write it into a folder; another seed makes other weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    _write_tokenizer(folder)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | ({} if template is None else {"chat_template": template})
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: en\n---\n# Tiny\n")
    rng = np.random.default_rng(seed)
    tensors = {
        "model.embed_tokens.weight": rng.random((260, 8), dtype=np.float32),
        "model.layers.0.mlp.gate_proj.weight": rng.random((16, 8), dtype=np.float32),
    }
    if num_shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    placed = {name: f"model-{number:05}-of-00002.safetensors" for number, name in enumerate(tensors, start=1)}
    for name, file in placed.items():
        save_file({name: tensors[name]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


def _write_tokenizer(folder: Path) -> None:
    vocab = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
