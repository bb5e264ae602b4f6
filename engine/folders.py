"""What a folder must hold to be a model: which of its files belong to one, which are refused, and whether all are there.

The same rules hold for a folder here, a repository of the hub and a prefix of a bucket. Knows nothing of where a folder comes from.
"""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
NEEDED = ("config.json", "tokenizer.json")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Unpickling runs whatever code a file holds."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SUFFIXES = (".json", ".safetensors", ".model", ".txt", ".jinja")
_LICENCES = ("README.md", "LICENSE", "LICENSE.md", "LICENCE", "LICENCE.md")
_DECIDING = frozenset(
    {
        *NEEDED,
        INDEX,
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "quantize_config.json",
        "hf_quant_config.json",
    }
)


class ModelError(Exception):
    """A model source that cannot be used: what was met, the rule, what to do."""


def choose_files(names: Collection[str]) -> list[str]:
    """The names of a remote folder that are fetched, sorted, the weights last.

    Only names without a folder and of plain characters, so that none can lead out of the folder they are written to.
    """
    chosen = {name for name in names if _SAFE_NAME.fullmatch(name) and (name.endswith(_SUFFIXES) or name in _LICENCES)}
    weights = {name for name in chosen if name.endswith(".safetensors")}
    # the same weights once more, under the names of another loader
    doubles = {name for name in weights if name.startswith("consolidated")}
    if weights - doubles:
        chosen -= doubles
    return sorted(chosen, key=lambda name: (name in weights, name))


def require_files(names: Collection[str], where: str) -> None:
    """Raises ModelError where a folder with these files is no model that can be loaded; `where` is its path or address."""
    weights = [name for name in names if name.endswith(".safetensors")]
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    if ggufs and not weights:
        raise ModelError(
            f"{where} holds GGUF files and no safetensors ({_few(ggufs)}). A GGUF model is one file: name it, such as {where}/{ggufs[0]}."
        )
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if pickles and not weights:
        raise ModelError(
            f"{where} has its weights as {_few(pickles)} and no *.safetensors. Pickled weights are refused: loading one runs whatever code "
            "it holds. Choose a revision or a copy with safetensors, or convert it where you trust it (transformers: save_pretrained)."
        )
    if missing := [name for name in NEEDED if name not in names]:
        raise ModelError(f"{where} has no {' and no '.join(missing)}. A model folder holds config.json, tokenizer.json and *.safetensors.")
    if not weights:
        raise ModelError(f"{where} has no *.safetensors. Convert the weights to safetensors, or give a .gguf file.")


def refuse_single_file(source: str) -> None:
    """Raises ModelError where the source is one file of weights that is no whole model."""
    if source.endswith(".safetensors"):
        folder = source.rpartition("/")[0] or "its folder"
        raise ModelError(
            f"{source} is one file of weights. Safetensors hold no configuration and no tokeniser; "
            f"give the folder that holds them too: {folder}"
        )
    if source.endswith(PICKLES):
        raise ModelError(
            f"{source} holds pickled weights. They are refused: loading one runs whatever code it holds. Give a folder with *.safetensors."
        )


def list_names(folder: Path) -> list[str]:
    """Names of the folder's own files, sorted."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def weight_paths(folder: Path) -> list[Path]:
    """The folder's safetensors, sorted by name."""
    return sorted(folder.glob("*.safetensors"))


def deciding_paths(folder: Path) -> list[Path]:
    """The files that decide what the model answers, sorted by name: settings, tokeniser, chat template, weights."""
    return [folder / name for name in list_names(folder) if name in _DECIDING or name.endswith((".safetensors", ".model"))]


def missing_shards(folder: Path) -> list[str]:
    """Weight files that the folder's index names and that are not there, sorted. Raises ModelError for an index that is none."""
    if not (folder / INDEX).is_file():
        return []
    content = read_json(folder / INDEX)
    named = content.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) and _SAFE_NAME.fullmatch(name) for name in named.values()):
        raise ModelError(f"{folder / INDEX} has no weight_map from tensors to names of files in its folder. Fetch the model again.")
    return sorted({name for name in named.values() if not (folder / name).is_file()})


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ModelError where there is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}). Fetch the model again, or mend the file.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object. Fetch the model again, or mend the file.")
    return content


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
