"""S3 as fsspec's users see it: s3fs, whose failures are OSErrors in words. Imported by fsspec at the first `s3://`.

What is transient (500 and its like, a connection that breaks, an answer that takes too long) botocore has tried again by then, as
`storage.use_storage` has set it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from errno import EINVAL
from typing import Any

from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)
from fsspec.asyn import sync_wrapper  # type: ignore[import-untyped]
from s3fs import S3FileSystem  # type: ignore[import-untyped]

from chunkers.paths import StorageError

_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)
_AWAY = frozenset({429, 500, 502, 503, 504})
"""HTTP status codes that say nothing of what was asked."""


class S3Files(S3FileSystem):  # type: ignore[misc]
    """Raises StorageError where the store stays away or has no credentials, else what s3fs raises, with the object's name in it."""

    retries = 3
    """s3fs's own, for bodies that break off."""

    async def _call_s3(self, method: str, *given: Any, **kwargs: Any) -> Any:
        with _explained(method, kwargs):
            return await super()._call_s3(method, *given, **kwargs)

    async def _is_object(self, path: str) -> bool:
        bucket, key, _ = self.split_path(path)
        try:
            await self._call_s3("head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return False
        return True

    is_object = sync_wrapper(_is_object)
    """Whether there is one of that name; no listing is asked, and none is needed."""

    async def _age_s(self, path: str) -> float:
        bucket, key, _ = self.split_path(path)
        head = await self._call_s3("head_object", Bucket=bucket, Key=key)
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return float((now - head["LastModified"]).total_seconds())

    age_s = sync_wrapper(_age_s)
    """Seconds since an object was written, by the server's clock alone; FileNotFoundError without one."""

    async def _has_objects(self, path: str) -> bool:
        bucket, key, _ = self.split_path(path)
        listed = await self._call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key.rstrip('/')}/" if key else "", MaxKeys=1)
        return bool(listed.get("Contents"))

    has_objects = sync_wrapper(_has_objects)
    """Whether something lies under that name; one is listed, of however many."""

    async def _cat_file(self, path: str, **given: Any) -> Any:
        # more at once would ask for its size first, and what is read whole is small
        return await super()._cat_file(path, **{"max_concurrency": 1} | given)

    def snapshot(self) -> "S3Snapshot":
        """The same store for one question."""
        return S3Snapshot()


class S3Snapshot(S3Files):
    """Asks once what is to be known of an object: DuckDB asks five times for each file that it opens, before its first byte."""

    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._known: dict[str, Any] = {}

    async def _info(self, path: str, *given: Any, **kwargs: Any) -> Any:
        key = self._strip_protocol(path)
        if key not in self._known:
            self._known[key] = await super()._info(path, *given, **kwargs)
        return self._known[key]


@contextmanager
def _explained(method: str, kwargs: dict[str, Any]) -> Iterator[None]:
    where = "s3://" + "/".join(str(kwargs[key]) for key in ("Bucket", "Key", "Prefix") if kwargs.get(key))
    try:
        yield
    except _NO_CREDENTIALS as error:
        raise StorageError(
            f"{where} cannot be reached without credentials ({error}); they are not written into flows.toml; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or profile in [storage]."
        ) from error
    except (ConnectionError, HTTPClientError) as error:
        raise _away(where, str(error)) from error
    except ParamValidationError as error:
        raise OSError(EINVAL, f"{where} is no name of an object: {str(error).splitlines()[-1].partition(':')[0]}") from error
    except BotoCoreError as error:
        raise StorageError(f"{where} cannot be used ({error}); check its name, and [storage] in flows.toml.") from error
    except OSError as error:
        response = getattr(error.__cause__, "response", None) or {}
        status, code = response.get("ResponseMetadata", {}).get("HTTPStatusCode"), response.get("Error", {}).get("Code")
        if status in _AWAY:
            raise _away(where, f"{code}, {status} to {method}") from error
        if code == "NoSuchBucket" or isinstance(error, PermissionError):
            raise type(error)(f"{where}: {error} (asked for {method}); check the bucket's name and what your credentials allow") from error
        raise


def _away(where: str, met: str) -> StorageError:
    return StorageError(
        f"{where}: the store does not answer ({met}); it was asked again for a while; check the network, and AWS_ENDPOINT_URL or "
        "endpoint_url in [storage]."
    )
