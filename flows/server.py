"""Prefect for one command: its settings, and its server where none is set, started while the engine loads."""

import logging
import os
import threading

logger = logging.getLogger(__name__)

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


def start_server() -> threading.Thread:
    """Begin to start Prefect's temporary server, unless a server is configured; join the thread before the first flow."""
    thread = threading.Thread(target=_start, name="prefect-server", daemon=True)
    thread.start()
    return thread


def _start() -> None:
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url is None:
        SubprocessASGIServer().start(timeout=settings.server.ephemeral.startup_timeout_seconds)
