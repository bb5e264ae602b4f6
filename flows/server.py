"""Prefect for one command: its settings, and its server where none is set, started while the engine loads."""

import base64
import json
import logging
import os
import threading
import urllib.request
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

from engine.protocol import EngineError

logger = logging.getLogger(__name__)

MAX_ANSWER_S = 10.0
SETTINGS = {
    # nothing leaves the machine
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # the temporary server takes 10 s to come up, more on a loaded machine, and Prefect gives it 20
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # our own progress lines are what a user reads; the flow run's log is in Prefect
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
}


def prepare_prefect() -> None:
    """Set what a user has not; before prefect is imported."""
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)


def find_prefect_url() -> str | None:
    """The address of the API of the server that is set, by PREFECT_API_URL or a profile of Prefect's; None for none."""
    prepare_prefect()
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def is_loopback(url: str) -> bool:
    """Whether a server's address is one that this machine alone can ask."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def ask_server(url: str, path: str) -> Any:
    """The answer of a server's API to a GET, asked with the key or password that Prefect's settings have.

    Raises OSError where there is none, ValueError where it is no JSON.
    """
    from prefect.settings import get_current_settings

    settings, request = get_current_settings().api, urllib.request.Request(f"{url.rstrip('/')}/{path}")
    if settings.auth_string is not None:
        token = base64.b64encode(settings.auth_string.get_secret_value().encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    elif settings.key is not None:
        request.add_header("Authorization", f"Bearer {settings.key.get_secret_value()}")
    with urllib.request.urlopen(request, timeout=MAX_ANSWER_S) as answer:
        return json.load(answer)


def start_server() -> "Future[str]":
    """Begin to start Prefect's temporary server, unless a server is configured; the server's address, to be waited for before a flow."""
    url: Future[str] = Future()
    threading.Thread(target=_start, args=(url,), name="prefect-server", daemon=True).start()
    return url


def _start(url: "Future[str]") -> None:
    try:
        from prefect.server.api.server import SubprocessASGIServer
        from prefect.settings import get_current_settings

        settings = get_current_settings()
        if settings.api.url is None:
            server = SubprocessASGIServer()
            server.start(timeout=settings.server.ephemeral.startup_timeout_seconds)
            url.set_result(server.api_url)
        else:
            url.set_result(settings.api.url)
    except BaseException as error:  # noqa: BLE001 - handed to who waits
        url.set_exception(
            EngineError(f"Prefect's server did not start: {error}. Start one with `prefect server start` and set PREFECT_API_URL.")
        )
