"""What galley has taught the embedded model: low-rank additions to its weights, kept as int8 and added once.

Owns the file format and the sum. Which model is which is for sources.py and models.py.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.folders import ModelError
from engine.weights import Tensor, list_tensors, read_header, write_tensors

FOLDER = Path(__file__).parent
ADDED_AS = "galley_adapter"
"""Key of a merged model's config.json: the adapter's name and, for one that copies, the tokens around a passage."""


def adapter_path(name: str) -> Path:
    """The adapter's file. Raises ModelError for a name that is none."""
    path = FOLDER / f"{name}.safetensors"
    if not name.isidentifier() or not path.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.safetensors")))
        raise ModelError(f"{name!r} is no adapter that comes with galley; there is {known}. Mend what stands after the plus.")
    return path


def add_adapter(path: Path, folder: Path) -> None:
    """Add the adapter's matrices to the weights of a converted model in `folder`, in place, rounded to bfloat16.

    For each linear layer the file has `NAME.b` (out, rank) and `NAME.a` (rank, in) as int8 with one float32 scale a row; the layer's weight
    grows by their product. Tensors called as the model's take their place. Raises ModelError where the file is not for this model.
    """
    added = {tensor.name: tensor for tensor in read_header(path)}
    config = json.loads((folder / "config.json").read_text())
    weights = folder / "model.safetensors"
    changed = dict(_add(list_tensors(folder), added))
    if rest := sorted(added.keys() - _used(changed, added)):
        raise ModelError(f"{path} has {rest[0]}, which the model in {folder} lacks; an adapter belongs to the model that it was made of.")
    written = weights.with_suffix(".merged")
    write_tensors(written, changed)
    shutil.move(written, weights)
    config[ADDED_AS] = json.loads(path.with_suffix(".json").read_text())
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def _used(changed: dict[str, Any], added: dict[str, Tensor]) -> set[str]:
    stems = {name.removesuffix(".weight") for name in changed}
    return {name for name in added if name in changed or name.rpartition(".")[0] in stems}


def _add(tensors: Iterator[Tensor], added: dict[str, Tensor]) -> Iterator[tuple[str, tuple[str, npt.NDArray[Any]]]]:
    for tensor in tensors:
        stem = tensor.name.removesuffix(".weight")
        if tensor.name in added:
            yield tensor.name, ("BF16", _round(added[tensor.name].widen(slice(None))))
        elif f"{stem}.a" in added:
            low, high = (_restore(added, f"{stem}.{part}") for part in "ab")
            if (high.shape[0], low.shape[1]) != tensor.shape or high.shape[1] != low.shape[0]:
                met = f"{stem} is {tensor.shape} in the model and {(high.shape[0], low.shape[1])} in the adapter"
                raise ModelError(f"{met}; an adapter belongs to the model that it was made of.")
            yield tensor.name, ("BF16", _round(tensor.widen(slice(None)) + high @ low))
        else:
            yield tensor.name, (tensor.dtype, tensor.map())


def _restore(added: dict[str, Tensor], name: str) -> npt.NDArray[np.float32]:
    rows = added[name].map().astype(np.float32)
    return np.asarray(rows * added[f"{name}_scale"].map()[:, None], dtype=np.float32)


def _round(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """To bfloat16, to nearest even."""
    bits = np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
