"""What Prefect's server knows, asked over HTTP as anybody may."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

MAX_WAIT_S = 240.0


def await_some(find: Callable[[], Any]) -> Any:
    """What is found, as soon as it is something."""
    deadline = time.monotonic() + MAX_WAIT_S
    while not (found := find()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Api:
    """A server's API."""

    url: str

    def get(self, path: str) -> Any:
        """The answer to a GET."""
        return self._ask(path, None)

    def post(self, path: str, **body: Any) -> Any:
        """The answer to a POST; None where it is empty."""
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        """Again where SQLite was too busy, as Prefect's own client does."""
        request = urllib.request.Request(f"{self.url}/{path}", body, {"Content-Type": "application/json"})
        deadline = time.monotonic() + MAX_WAIT_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or b"null")
            except HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def runs_of(self, deployment: str, *states: str) -> list[Any]:
        """Its flow runs in these types of states, in the order of their start."""
        wanted = {"flow_runs": {"state": {"type": {"any_": list(states)}}}, "deployments": {"name": {"any_": [deployment]}}}
        found: list[Any] = self.post("flow_runs/filter", **wanted, sort="START_TIME_ASC")
        return found

    def artifact(self, key: str) -> Any:
        """The latest of that key; None where there is none."""
        found = self.post("artifacts/latest/filter", artifacts={"key": {"any_": [key]}})
        return found[0] if found else None

    def assets(self, prefix: str) -> dict[str, Any]:
        """What was said of each asset last, by its key."""
        event = {"prefix": ["prefect.asset.materialization.succeeded"]}
        found = self.post("events/filter", filter={"event": event, "resource": {"id_prefix": [prefix]}, "order": "ASC"})
        return {each["resource"]["prefect.resource.id"]: each["payload"] for each in found["events"]}

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold a slot of a global concurrency limit, as a run does."""
        lease = self.post("v2/concurrency_limits/increment-with-lease", names=[name], slots=1, lease_duration=300)
        try:
            yield
        finally:
            self.post("v2/concurrency_limits/decrement-with-lease", lease_id=lease["lease_id"])
