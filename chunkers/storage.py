"""Object storage for every module that gives fsspec an S3 URL: the settings that lead to it, and the error it ends with.

Secrets are no settings: they come from the environment, a profile or the machine's role, as botocore finds them.
"""

import os
from dataclasses import dataclass
from typing import Any

import fsspec  # type: ignore[import-untyped]
from fsspec.config import conf  # type: ignore[import-untyped]

MAX_TRIES = 8
"""Of one request, with pauses that double up to 20 s: half a minute in the mean, 71 s at most. AWS_MAX_ATTEMPTS overrides it."""
BLOCK_BYTES = 8 * 2**20
"""What an open file reads ahead and holds; s3fs's own 50 MB, times files and threads, are more than most shards have."""
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 20
"""A server that says nothing for so long is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What leads to a store besides its URLs; what is None is as botocore finds it."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None


_own = dict(conf.get("s3", {}))
"""What a user has set for fsspec itself."""
_used = Storage()


def use_storage(storage: Storage) -> None:
    """Let every file system of this process that is opened from now on follow these settings; the environment's own stand above them."""
    global _used
    _used = storage
    options: dict[str, Any] = {
        "use_listings_cache": False,  # a listing of before would hide what others have written since
        "default_block_size": BLOCK_BYTES,
    }
    tries = int(os.environ.get("AWS_MAX_ATTEMPTS") or MAX_TRIES)
    options["config_kwargs"] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retries": {"mode": os.environ.get("AWS_RETRY_MODE") or "standard", "total_max_attempts": tries},
    }
    if storage.endpoint_url is not None and not _is_set("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        options["endpoint_url"] = storage.endpoint_url
    if storage.region is not None and not _is_set("AWS_REGION", "AWS_DEFAULT_REGION"):
        options["client_kwargs"] = {"region_name": storage.region}
    if storage.profile is not None and not _is_set("AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        options["profile"] = storage.profile
    conf["s3"] = options | _own


def used_storage() -> Storage:
    """The settings that are in force in this process."""
    return _used


def _is_set(*names: str) -> bool:
    return any(os.environ.get(name) for name in names)


# by its name: s3fs takes a second to import, and most runs need none
fsspec.register_implementation("s3", "chunkers.s3.S3Files", clobber=True)
use_storage(_used)
