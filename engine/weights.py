"""Tensors of a model's safetensors files: listed from the headers alone, read one by one, written without a second copy.

Owns the byte layout of a tensor on disk. bfloat16, which numpy lacks, is read as float32 and written as its upper half.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.folders import INDEX, ModelError, read_json, weight_paths

FLOATS = frozenset({"BF16", "F16", "F32"})
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "I8": "int8"}
"""As the safetensors library calls the dtypes that are written here."""
_MAX_HEADER_BYTES = 100_000_000
"""As the safetensors library limits it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Where one tensor lies."""

    name: str
    path: Path
    dtype: str
    """As safetensors has it: `BF16`, `F32`, `I8`, …"""
    shape: tuple[int, ...]
    start: int
    """Of its first byte in the file."""
    num_bytes: int

    def map(self) -> npt.NDArray[Any]:
        """Its numbers, mapped into memory, not read; those of bfloat16 as 16 bits each. Raises ModelError for a dtype that numpy lacks."""
        if self.dtype not in _NUMPY:
            raise ModelError(f"{self.path} holds {self.name} as {self.dtype}, which cannot be read here; give weights in bfloat16.")
        if not math.prod(self.shape):
            return np.empty(self.shape, dtype=_NUMPY[self.dtype])
        return np.memmap(self.path, dtype=_NUMPY[self.dtype], mode="r", offset=self.start, shape=self.shape)

    def widen(self, rows: slice) -> npt.NDArray[np.float32]:
        """Some of its rows as float32; `dtype` is one of FLOATS."""
        part = self.map()[rows]
        if self.dtype == "BF16":
            return np.asarray((part.astype(np.uint32) << 16).view(np.float32))
        return np.asarray(part, dtype=np.float32)


def list_tensors(folder: Path) -> Iterator[Tensor]:
    """Every tensor of a folder's safetensors files, by file and then as the file has them. Raises ModelError for a broken file.

    Where there is an index, only of the files that it names: beside them the same weights may lie once more, for another loader.
    """
    index = folder / INDEX
    named = set(read_json(index).get("weight_map", {}).values()) if index.is_file() else None
    for path in weight_paths(folder):
        if named is None or path.name in named:
            yield from read_header(path)


def read_header(path: Path) -> list[Tensor]:
    """The tensors of one safetensors file. Raises ModelError where it is broken or cut."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= _MAX_HEADER_BYTES:
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(file.read(size))
        tensors = [
            Tensor(
                name=name,
                path=path,
                dtype=entry["dtype"],
                shape=tuple(entry["shape"]),
                start=8 + size + entry["data_offsets"][0],
                num_bytes=entry["data_offsets"][1] - entry["data_offsets"][0],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        ]
        end = max((tensor.start + tensor.num_bytes for tensor in tensors), default=0)
        if end > path.stat().st_size:
            raise ValueError(f"it ends at byte {path.stat().st_size} and should at {end}")
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"{path} is no whole safetensors file ({error}). Fetch or copy it again.") from error
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, tuple[str, npt.NDArray[Any]]]) -> None:
    """Write a safetensors file from dtypes and contiguous arrays, which may be mapped ones: they are not copied."""
    from safetensors import TensorSpec, serialize_file

    specs = {
        name: TensorSpec(dtype=_NAMES[dtype], shape=list(array.shape), data_ptr=array.ctypes.data, data_len=array.nbytes)
        for name, (dtype, array) in tensors.items()
    }
    serialize_file(specs, str(path), {"format": "pt"})
