"""Models that are asked at a server: what stands for their weights, whose tokeniser is theirs, and where their key comes from."""

import os
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from engine.cache import default_cache_dir
from engine.checksums import file_checksum
from engine.models import EMBEDDED, Model, ModelError, resolve_model
from engine.pins import Pin, check_pin, find_pin, make_pin
from engine.sources import source_of
from flows.config import ConfigError, ModelConfig

if TYPE_CHECKING:
    from engine.endpoint import EndpointEngine

DEFAULT_KEY_ENV = "OPENAI_API_KEY"
TOKENIZER = "tokenizer.json"
UNKNOWN = "unknown"
"""Of weights that lie on somebody else's machine."""


def resolve_endpoint(name: str, config: ModelConfig) -> Model:
    """What stands for a model at a server: its name there is its revision, and its folder holds the tokeniser that lengths are told with.

    Raises ModelError where there is no such tokeniser, and where it is not as it was locked.
    """
    return Model(name=name, folder=_find_tokenizer(config.tokenizer), revision=config.source, weights_sha256=UNKNOWN, quantization=UNKNOWN)


def _find_tokenizer(source: str | None) -> Path:
    """A folder with tokenizer.json, as it is locked; of a model on the hub that file alone is fetched."""
    source = source_of(source or EMBEDDED)
    pin = find_pin(source)
    folder = Path(source).expanduser()
    if source.startswith("hf:") and not source.endswith(".gguf"):
        folder = _fetch_tokenizer(source, pin)
    elif not (folder / TOKENIZER).is_file():
        return resolve_model(source, pin=pin).folder
    if pin is not None:
        # that file alone decides; the weights need not be here
        now = make_pin(pin.revision, pin.weights_sha256, [folder / TOKENIZER], lambda path: file_checksum(path, default_cache_dir()))
        check_pin(source, replace(pin, files={name: file for name, file in pin.files.items() if name == TOKENIZER}), now)
    return folder


def _fetch_tokenizer(source: str, pin: Pin | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    from engine.hub import TIMEOUT_S, parse_repo

    repo = parse_repo(source)
    revision = repo.revision if pin is None else pin.revision
    try:
        return Path(hf_hub_download(repo.repo_id, TOKENIZER, revision=revision, etag_timeout=TIMEOUT_S)).parent
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"The tokeniser of {source} could not be fetched ({type(error).__name__}). The hub must be reachable, or the file in its "
            "cache. Give a folder with tokenizer.json as `tokenizer`, or leave it out for the embedded model's."
        ) from error


def find_key(name: str, config: ModelConfig) -> str | None:
    """The key for a model's server, from the environment; None for a server on this machine where none is set.

    Raises ConfigError where there is none, and for one that no header can hold: the client's own error would show it.
    """
    variable = config.api_key_env or DEFAULT_KEY_ENV
    host = urlsplit(config.base_url or "").hostname or ""
    is_here = _is_loopback(host)
    if is_here and config.api_key_env is None:
        return None  # OPENAI_API_KEY is meant for somebody else
    if key := os.environ.get(variable, "").strip():
        if not all("!" <= char <= "~" for char in key):
            raise ConfigError(
                f"{variable} holds a space, a line break or a character beyond ASCII within it. A key is one word of printable ASCII; "
                f"export {variable}=… again, with the key of [models.{name}] and nothing else."
            )
        return key
    if is_here:
        return None
    raise ConfigError(
        f"{variable} is not set. The server {host} of [models.{name}] is asked with a key, which is taken from the environment alone; "
        f"export {variable}=…, or name another variable as api_key_env."
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def open_endpoint(name: str, config: ModelConfig, model: Model) -> "EndpointEngine":
    """The engine that asks the model's server. Raises ConfigError where there is no key, and EngineError where nobody answers."""
    from engine.endpoint import EndpointEngine  # its client takes a second to import; nothing but asking needs it

    return EndpointEngine(
        model,
        base_url=config.base_url or "",
        api_key=find_key(name, config),
        max_in_flight=config.max_in_flight,
        timeout_s=config.timeout_s,
        max_retries=config.max_retries,
        extra_body=config.extra_body,
    )
