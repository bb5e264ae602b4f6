"""What names a run: a canonical form of its inputs and settings, the same on every machine and in every process.

Refuses what has no stable form, so that no name rests on the order of a set or the address of an object.
"""

import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from hashlib import file_digest
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]

from chunkers.paths import StorageError
from chunkers.records import hash_id

UNREADABLE = "unreadable"
"""In place of the checksum of an input that cannot be read."""


class IdentityError(ValueError):
    """A value that has no stable form: what was met, the rule, what to do."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space; a Decimal without trailing zeros, as a string.

    Raises IdentityError for NaN and infinities, sets, keys that are no strings, and every other object.
    """
    return json.dumps(_canonical(value, "the value"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _canonical(value: Any, place: str) -> Any:
    if isinstance(value, Enum):
        return _canonical(value.value, place)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise IdentityError(f"{place} is {value}; a name needs a finite number; give one")
        return int(value) if value.is_integer() else value
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise IdentityError(f"{place} has the key {odd[0]!r}; keys are strings; quote it")
        return {key: _canonical(item, f"{place}.{key}") for key, item in value.items()}
    raise IdentityError(f"{place} is a {type(value).__name__}, which has no stable form; give text, numbers, lists or tables")


def fingerprint_run(flow: str, version: int, settings: Mapping[str, Any], models: Iterable[str], inputs: Iterable[str]) -> str:
    """64 hex digits over what decides a run's tables; inputs by the bytes they hold now."""
    return hash_id(flow, version, canonical_json(settings), *models, *(f"{path} {digest_input(path)}" for path in inputs))


def digest_input(path: str) -> str:
    """sha256 of a file's bytes in hex digits, or UNREADABLE."""
    try:
        with Path(path).open("rb") if "://" not in path else fsspec.open(path).open() as file:
            return file_digest(file, "sha256").hexdigest()
    except StorageError:
        raise  # the name would be another one than when the store answers
    except (OSError, ValueError, ImportError):
        return UNREADABLE
