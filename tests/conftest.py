"""Shared by all tests: the embedded model, one vLLM engine for the whole session, and settings that keep a user's own out."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.models import EMBEDDED, Model, resolve_model
from engine.protocol import Engine

for name in [key for key in os.environ if key.startswith(("FLOWS_", "PREFECT_")) and key != "FLOWS_CACHE"]:
    del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prefect's database of the test session, so that a user's is never touched."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="session")
def model() -> Model:
    """SmolLM2-135M-Instruct, converted into the user's cache at the first use."""
    return resolve_model(EMBEDDED)


@pytest.fixture(scope="session")
def vllm_engine(model: Model) -> Iterator[Engine]:
    """The real engine; 20 s to load."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from engine.vllm import VllmEngine

        engine = VllmEngine(model, max_model_len=512)
    with engine:
        yield engine


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty workspace folder."""
    return tmp_path / "out"
