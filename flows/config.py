"""Settings of a run: flows.toml in the working folder < environment FLOWS_* < flags. Every check of a setting happens here."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError, TomlConfigSettingsSource

from engine.models import EMBEDDED

Protocol = Literal["auto", "score", "edits"]


class ConfigError(Exception):
    """A setting that cannot be used: what was met, the rule, what to do."""


class ModelConfig(BaseModel):
    """One `[models.NAME]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    """Built-in name, `pypi:…`, `hf:ORG/NAME[@REVISION]`, a folder or a GGUF file."""
    protocol: Protocol = "auto"
    """`score` judges candidates, `edits` asks for edits; `auto` is `score` for the embedded model, else `edits`."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Passed to vLLM's EngineArgs unchanged."""


class RunConfig(BaseSettings):
    """Everything that decides a run besides its inputs."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="FLOWS_", toml_file="flows.toml", use_attribute_docstrings=True
    )

    model: tuple[str, ...] = (EMBEDDED,)
    """Names from `[models]`, or sources themselves."""
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    """`[models.NAME]` tables: `source`, `protocol`, and `engine_args` that reach vLLM unchanged."""
    protocol: Protocol = "auto"
    """Overrides the models' own."""
    out: str = "out"
    """Workspace folder: holds `calls/` and `runs/`."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many chunks of prose; None for all."""
    min_confidence: float = Field(default=0.8, ge=0, le=1)
    """Findings at or above are accepted, and applied by `flows apply`."""
    min_suggest: float = Field(default=0.1, ge=0, le=1)
    """Edits below do not become findings."""
    max_tokens: int = Field(default=700, ge=64)
    """Of a chunk; 700 tokens are about 500 words."""
    max_context_tokens: int = Field(default=120, ge=0)
    """Of the text shown before and after a chunk, each."""

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if not self.model:
            raise ValueError("model is empty; a run needs at least one; leave the key out for the embedded model")
        if "://" in self.out:
            raise ValueError(f"out={self.out} is a URL; the workspace is a folder on this machine for now; give a path")
        if self.min_suggest > self.min_confidence:
            raise ValueError(f"min_suggest={self.min_suggest} is above min_confidence={self.min_confidence}; lower min_suggest")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def find_model(self, name: str) -> ModelConfig:
        """The model's table with its protocol decided."""
        found = self.models.get(name) or ModelConfig(source=name)
        protocol = self.protocol if self.protocol != "auto" else found.protocol
        if protocol == "auto":
            protocol = "score" if found.source == EMBEDDED else "edits"
        return found.model_copy(update={"protocol": protocol})


def load_config(**flags: Any) -> RunConfig:
    """Merge flows.toml, environment and flags; flags that are None or empty are left out.

    Raises ConfigError naming the key and where it came from.
    """
    if unknown := sorted(
        name for name in os.environ if name.startswith("FLOWS_") and name[6:].lower() not in {*RunConfig.model_fields, "cache"}
    ):
        raise ConfigError(
            f"{unknown[0]} is set in the environment; FLOWS_* are {', '.join(RunConfig.model_fields)} and cache; unset or mend it."
        )
    given = {key: value for key, value in flags.items() if value is not None and value != ()}
    try:
        return RunConfig(**given)
    except ValidationError as error:
        known = ", ".join(RunConfig.model_fields)
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "configuration"
        hint = f"Known keys: {known}." if first["type"] == "extra_forbidden" else "See `flows run --help`."
        raise ConfigError(f"{key}: {first['msg']} (flags, FLOWS_* or {Path('flows.toml').absolute()}). {hint}") from error
    except SettingsError as error:
        raise ConfigError(f"{error}. A list in the environment is JSON, such as FLOWS_MODEL='[\"big\"]'.") from error
    except ValueError as error:
        raise ConfigError(f"flows.toml cannot be read: {error}. Mend it, or move it away.") from error
