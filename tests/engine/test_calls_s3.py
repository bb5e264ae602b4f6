"""The call store on an S3 protocol server over HTTP: where rename does not exist, an object appears whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import closing

import fsspec  # type: ignore[import-untyped]
import pytest

from engine.calls import CallStore
from engine.parts import PartFolder
from tests.engine.test_calls import MODEL, answer, ask
from tests.s3 import serve_s3


@pytest.fixture
def bucket_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a server of this test's own."""
    with serve_s3() as environment:
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        fsspec.filesystem("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("calls-test")
        yield "s3://calls-test/out"
        fsspec.filesystem("s3").clear_instance_cache()


def test_calls_on_s3_are_found_merged_and_never_lost(bucket_url: str) -> None:
    requests = [ask(number) for number in range(40)]
    with closing(CallStore(bucket_url, MODEL, worker=f"w:{os.getpid()}", flush_rows=2, flush_s=3600.0, merge_parts=4)) as store:
        for request in requests:
            store.append(answer(request), engine_build="b", determinism="none")
        store.flush()
        assert [store.find(request) for request in requests] == [answer(request) for request in requests]
    with closing(CallStore(bucket_url, MODEL, worker="other")) as later:
        assert [later.find(request) for request in requests] == [answer(request) for request in requests]
    folder = PartFolder(f"{bucket_url}/calls/model={MODEL.slug}")
    assert len(folder.list_counted()) < 20, "parts were merged: 20 of two rows were written"
