"""Settings of a run: flows.toml in the working folder < environment FLOWS_* < flags. Every check of a setting happens here."""

import os
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError, TomlConfigSettingsSource

from chunkers.paths import is_url, is_web
from chunkers.shards import MAX_SHARD_TOKENS
from chunkers.storage import Storage, use_storage
from engine.budget import Budget
from engine.device import Device, find_device
from engine.ledger import Prices
from engine.models import EMBEDDED, PROOFREADER
from engine.options import check_options, deciding_options
from engine.process import EngineKind
from engine.sources import source_of
from flows.identity import canonical_json

if TYPE_CHECKING:
    from chunkers.readers.tables import TableColumns

Protocol = Literal["auto", "score", "edits", "rewrite"]
Quantization = Literal["auto", "none", "int8"]
FailOn = Literal["never", "accepted", "any"]

LIMITS = frozenset({"max_error_rate", "max_cost", "max_engine_hours", "deadline", "fail_on", "fresh", "prices", "check_fit"})
"""Settings that decide when a run stops and what it costs, not what it finds: they are no part of its name."""

ENDPOINT_KEYS = frozenset(
    {"base_url", "api_key_env", "tokenizer", "max_model_len", "max_in_flight", "timeout_s", "max_retries", "extra_body"}
)
"""Of a `[models.NAME]` table, those that only an endpoint has."""
NOT_IDENTITY = frozenset({"prices", "base_url", "api_key_env", "max_in_flight", "timeout_s", "max_retries", "quantization"})
"""Of the same, those that decide where, how fast and at what price a model is asked, not what it answers; how its weights are quantised is
known once `auto` is decided."""
_SCORING = frozenset(map(source_of, (EMBEDDED, PROOFREADER)))
_OWN_FIELDS = frozenset({"model", "messages", "stream", "n", "max_tokens", "max_completion_tokens", "response_format"})
"""Of a request to a server, those that galley sets itself."""
_SECRET = re.compile("key|secret|token|password|credential", re.IGNORECASE)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class ConfigError(Exception):
    """A setting that cannot be used: what was met, the rule, what to do."""


class PricesConfig(BaseModel):
    """A `[prices]` table: what engine time or tokens cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_engine_hour: Decimal | None = Field(default=None, ge=0)
    """Of an engine that is held: loading, computing, waiting."""
    input_per_million: Decimal | None = Field(default=None, ge=0)
    """Prompt tokens that are computed."""
    cached_per_million: Decimal | None = Field(default=None, ge=0)
    """Prompt tokens from the prefix cache; by default as computed ones."""
    output_per_million: Decimal | None = Field(default=None, ge=0)
    """Tokens of answers."""
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    """Three letters, only shown."""

    def prices(self) -> Prices:
        """For the ledger."""
        return Prices(**self.model_dump(exclude={"currency"}))


class StorageConfig(BaseModel):
    """The `[storage]` table: what leads to a store besides its URLs and secrets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint_url: str | None = None
    """Of an S3 server that is not Amazon's; AWS_ENDPOINT_URL stands above it."""
    region: str | None = None
    """AWS_REGION stands above it."""
    profile: str | None = None
    """In `~/.aws`, where its keys are; AWS_PROFILE and AWS_ACCESS_KEY_ID stand above it."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_secrets(cls, table: Any) -> Any:
        if isinstance(table, dict) and (secret := next((key for key in table if _SECRET.search(str(key))), None)):
            raise ValueError(
                f"{secret} is a secret, and settings are kept with every run; credentials come from elsewhere; remove it "
                "and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile"
            )
        return table

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, address: str | None) -> str | None:
        if address is not None:
            url = urlsplit(address)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ValueError("it is no address of a server; give one, such as http://localhost:9000")
            if url.username or url.password:
                raise ValueError("it holds a user or password; secrets come from the environment or a profile alone; remove them")
        return address

    def use(self) -> None:
        """Let this process follow these settings."""
        use_storage(Storage(**self.model_dump()))


class ModelConfig(BaseModel):
    """One `[models.NAME]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    """Built-in name, `pypi:…`, `hf:ORG/NAME[@REVISION]`, `s3://…`, a folder or a GGUF file; of an endpoint the model's name there."""
    protocol: Protocol = "auto"
    """`score` judges candidates, `edits` asks for edits, `rewrite` for the corrected passage; `auto` is `score` for the embedded model,
    else `edits`."""
    engine: EngineKind | Literal["endpoint"] = "vllm"
    """`endpoint` asks an OpenAI-compatible server; `scripted` answers without a model, for trying what a run does."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Passed to vLLM's EngineArgs unchanged."""
    quantization: Quantization = "auto"
    """`int8` rounds the weights once and computes with 8 bits; `none` takes them as the source has them; `auto` is `int8` for
    `smollm2-135m-proofreader` on a CPU, else `none`."""
    prices: PricesConfig | None = None
    """This model's own; None for those of `[prices]`."""
    base_url: str | None = None
    """Of an endpoint: the server's address, which most often ends in `/v1`."""
    api_key_env: str | None = Field(default=None, pattern="^[A-Z_][A-Z0-9_]*$")
    """Of an endpoint: the environment variable that holds its key, `OPENAI_API_KEY` by default; a server on this machine needs none."""
    tokenizer: str | None = None
    """Of an endpoint: a model source, or a folder with tokenizer.json, that lengths are told with; the embedded model's by default."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Of an endpoint: tokens of a prompt with its answer."""
    max_in_flight: int = Field(default=64, ge=1, le=1024)
    """Of an endpoint: requests at once at most; how many there are follows what the server can take."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Of an endpoint: a request that has no answer by then is a timeout, and asked again."""
    max_retries: int = Field(default=5, ge=0)
    """Of an endpoint: further tries, with growing pauses, where the server fails or the connection does."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Of an endpoint: added to every request as it is, such as `seed` or `chat_template_kwargs`."""

    @model_validator(mode="after")
    def _check_engine(self) -> "ModelConfig":
        if self.engine != "endpoint":
            if given := sorted(
                key for key in ENDPOINT_KEYS if getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True)
            ):
                raise ValueError(
                    f'{given[0]} is set and engine is {self.engine}; it is for a server; set engine = "endpoint", or remove it'
                )
            return self
        url = urlsplit(self.base_url or "")
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError("an endpoint has no usable base_url; it is the server's address; give one, such as http://localhost:8000/v1")
        if url.username or url.password:
            raise ValueError("base_url holds a user or password; secrets come from the environment alone; name the variable as api_key_env")
        if self.engine_args:
            raise ValueError(
                "engine_args are set for an endpoint; they are for an engine of this machine; put what a server takes in extra_body"
            )
        if self.protocol == "score":
            raise ValueError(
                'the score protocol needs log-probabilities of given text, which no endpoint gives; set protocol = "edits" or "rewrite"'
            )
        if own := sorted(_OWN_FIELDS & self.extra_body.keys()):
            raise ValueError(f"extra_body holds {own[0]}, which every request sets itself; remove it")
        canonical_json(self.extra_body)  # it decides the answers, and so the calls' keys
        return self

    def identity(self) -> str:
        """Everything that decides what the model answers, for the name of a run."""
        deciding = self.model_copy(update={"engine_args": deciding_options(self.engine_args)})
        return deciding.model_dump_json(exclude=set(NOT_IDENTITY if self.engine == "endpoint" else NOT_IDENTITY | ENDPOINT_KEYS))

    @model_validator(mode="after")
    def _check_options(self) -> "ModelConfig":
        if self.engine == "vllm":
            check_options(self.engine_args)
        elif self.engine == "endpoint" and self.quantization != "auto":
            raise ValueError(f'quantization = "{self.quantization}" is set for an endpoint, whose weights are its server\'s; remove it')
        return self

    @field_validator("engine_args")
    @classmethod
    def _check_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        canonical_json(arguments)  # they decide the answers, and so the calls' keys
        length = arguments.get("max_model_len", 1)
        if not isinstance(length, int) or length < 1:
            raise ValueError(f"max_model_len={arguments['max_model_len']!r} is no whole number of tokens; give one, such as 8192")
        return arguments


class RunConfig(BaseSettings):
    """Everything that decides a run besides its inputs."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="FLOWS_", toml_file="flows.toml", use_attribute_docstrings=True
    )

    model: tuple[str, ...] = (PROOFREADER,)
    """Names from `[models]`, or sources themselves; where none is named, `smollm2-135m` answers batch files and text protocols."""
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    """`[models.NAME]` tables: `source`, `protocol`, `engine_args` that reach vLLM unchanged, `prices`; of a server `base_url` and more."""
    protocol: Protocol = "auto"
    """Overrides the models' own."""
    quantization: Quantization = "auto"
    """Overrides the models' own; `int8` rounds the weights of a model once and computes with 8 bits, `none` takes them as they are."""
    check_fit: bool = True
    """Refuse a model that does not fit into memory before anything is computed."""
    out: str = "out"
    """Workspace: a folder or `s3://BUCKET/PREFIX`; holds `calls/` and `runs/`."""
    storage: StorageConfig = Field(default_factory=StorageConfig)
    """`[storage]`: `endpoint_url`, `region`, `profile` of `s3://`; see [Storage](#storage)."""
    cluster: str | None = None
    """Who works on shards: `local:N` for N processes here, `tcp://HOST:PORT` for a Dask scheduler's workers; None for this process."""
    style: str | None = None
    """Style sheet of all documents; None for `NAME.style.toml` beside each, else `style.toml` in its folder."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many chunks of prose; None for all."""
    min_confidence: float = Field(default=0.8, ge=0, le=1)
    """Findings at or above are accepted, and applied by `flows apply`."""
    min_suggest: float = Field(default=0.1, ge=0, le=1)
    """Edits below do not become findings."""
    calibration: str | None = None
    """A file of `flows calibrate` that confidences come from; None for the one that comes with galley."""
    text_column: str = "text"
    """Of a table of documents (`.parquet`, `.jsonl`): the column, or the key of each line, that holds the text."""
    id_column: str | None = None
    """The one that says what a row is called; None for `id` or `url` where there is one, else the row's number."""
    text_format: Literal["text", "markdown"] = "text"
    """What the texts of tables are read as: `text` or `markdown`."""
    max_tokens: int = Field(default=448, ge=64)
    """Of a chunk; 448 tokens are about 330 words."""
    max_context_tokens: int = Field(default=32, ge=0)
    """Of the text shown before and after a chunk, each."""
    max_shard_tokens: int = Field(default=MAX_SHARD_TOKENS, ge=1)
    """A shard, the work of one worker at a time, is closed once it holds so many; a document is never parted."""
    prices: PricesConfig = Field(default_factory=PricesConfig)
    """`[prices]`: `per_engine_hour`, or `input_per_million`, `cached_per_million`, `output_per_million` tokens; `currency`."""
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    """A run with more failed calls or inputs than this share ends with exit code 3."""
    max_cost: Decimal | None = Field(default=None, ge=0)
    """Money that one command may spend; what is in flight then is finished, the rest skipped, exit code 4."""
    max_engine_hours: float | None = Field(default=None, ge=0)
    """The same for the hours for which engines are held."""
    deadline: str | None = None
    """The same for time: a duration (`90m`, `1h30m`), a time of day (`06:00`), or a date with time (`2026-12-01T06:00`)."""
    fail_on: FailOn = "never"
    """`accepted` or `any`: a run with such findings ends with exit code 1."""
    fresh: bool = False
    """Compute everything anew; what is stored stays, and the new answers are the ones found from then on."""

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if not self.model:
            raise ValueError("model is empty; a run needs at least one; leave the key out for the embedded model")
        if is_url(self.out) and (problem := _find_problem(self.out)):
            raise ValueError(f"out={self.out} {problem}; a workspace is a path or s3://BUCKET/PREFIX; give one")
        if self.min_suggest > self.min_confidence:
            raise ValueError(f"min_suggest={self.min_suggest} is above min_confidence={self.min_confidence}; lower min_suggest")
        if len(set(self.model)) < len(self.model):
            raise ValueError(f"model={list(self.model)} names one twice; each model answers once; name it once")
        if "model" not in self.model_fields_set and self.protocol in ("edits", "rewrite"):
            object.__setattr__(self, "model", (EMBEDDED,))  # the proofreader has learned to copy, not to answer
        if scoring := [name for name in self.model if (found := self.find_model(name)).engine == "endpoint" and found.protocol == "score"]:
            raise ValueError(
                f"protocol=score and {scoring[0]} is an endpoint; an endpoint gives no log-probabilities of a given text; "
                "ask it with protocol=edits or rewrite"
            )
        for name in self.model:
            if (found := self.find_model(name)).quantization == "int8" and (other := found.engine_args.get("quantization")):
                raise ValueError(f"quantization=int8 and the engine_args of {name} ask for {other}; weights are rounded once; remove one")
        odd = [
            name
            for name in self.model
            if (prices := self.find_prices(name)).currency != self.prices.currency and prices.prices().is_empty is False
        ]
        if odd:
            raise ValueError(f"the prices of {odd[0]} are in another currency than [prices]; a run adds them up; set one currency for all")
        if self.cluster is not None:
            check_cluster(self.cluster)
        if self.deadline is not None:
            parse_deadline(self.deadline, datetime.now(UTC))
        if self.max_cost is not None and all(self.find_prices(name).prices().is_empty for name in self.model):
            raise ValueError("max_cost is set and no price is; a limit of money needs a price; set per_engine_hour or others in [prices]")
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

    def __setstate__(self, state: dict[Any, Any]) -> None:
        # in another process, where nobody has loaded the settings
        super().__setstate__(state)
        self.storage.use()

    def find_model(self, name: str) -> ModelConfig:
        """The model's table with its protocol decided."""
        found = self.models.get(name) or ModelConfig(source=name)
        protocol = self.protocol if self.protocol != "auto" else found.protocol
        if protocol == "auto":
            protocol = "score" if source_of(found.source) in _SCORING and found.engine != "endpoint" else "edits"
        quantization = found.quantization if self.quantization == "auto" or found.engine == "endpoint" else self.quantization
        is_plain = found.engine == "vllm" and "quantization" not in found.engine_args
        if quantization == "auto" and source_of(found.source) == source_of(PROOFREADER) and is_plain and find_device() is Device.CPU:
            quantization = "int8"  # what its calibration was fitted on
        return found.model_copy(update={"protocol": protocol, "quantization": quantization})

    def table_columns(self) -> "TableColumns":
        """Where in a table the documents stand."""
        from chunkers.readers.tables import TableColumns  # the readers take a while, and most commands read nothing

        return TableColumns(text=self.text_column, id=self.id_column, format=self.text_format)

    def find_prices(self, name: str) -> PricesConfig:
        """The model's own prices, or those of all."""
        own = self.models[name].prices if name in self.models else None
        return own or self.prices

    def budget(self, now: datetime) -> Budget:
        """What one command that starts `now` may spend."""
        return Budget(
            max_cost=self.max_cost,
            max_engine_seconds=None if self.max_engine_hours is None else 3600 * self.max_engine_hours,
            deadline=None if self.deadline is None else parse_deadline(self.deadline, now),
        )


def _find_problem(url: str) -> str | None:
    """Why a URL cannot be a workspace; None where it can."""
    parts = urlsplit(url)
    if is_web(url):
        return "is an address of the web, where nothing can be written"
    if parts.username or parts.password:
        return "holds a user or password, and secrets come from the environment or a profile alone"
    if any(mark in url for mark in "*?[#"):
        return "holds one of * ? [ #, which a listing or a URL takes for something else"
    return None if parts.netloc or parts.scheme != "s3" else "names no bucket"


def check_cluster(address: str) -> None:
    """Raises ValueError where it is no address of a cluster."""
    if not re.fullmatch(r"local:[1-9]\d{0,3}|(tcp|tls|ucx|ws|wss)://[^\s/]+", address):
        raise ValueError(
            f"cluster={address!r} is no cluster; give local:N for N processes of this machine, or tcp://HOST:PORT of a Dask scheduler"
        )


def parse_deadline(text: str, now: datetime) -> datetime:
    """The moment that `90m`, `06:00` (the next one here) or `2026-12-01T06:00` stands for, seen from `now`.

    Raises ValueError for anything else, and for a moment that is past.
    """
    duration = _DURATION.fullmatch(text)
    try:
        if text and duration:
            hours, minutes, seconds = (int(part or 0) for part in duration.groups())
            return now + timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            local = now.astimezone()
            hour, minute = map(int, text.split(":"))
            moment = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return moment if moment > local else moment + timedelta(days=1)
        moment = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"deadline={text!r} is no time; give a duration (90m, 1h30m), a time of day (06:00) or 2026-12-01T06:00") from None
    if moment <= now:
        raise ValueError(f"deadline={text} is past; a run needs time; give a later one")
    return moment


class RecordedConfig(RunConfig):
    """The settings of a run as its manifest has them: no flows.toml and no environment of now has a say."""

    model_config = SettingsConfigDict(toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def restore_config(recorded: dict[str, Any], out: str, storage: Storage) -> RunConfig:
    """The settings that a manifest records, with the workspace and its storage as they are now, and without a deadline, which may be past.

    Raises ConfigError where this version does not know them.
    """
    try:
        return RecordedConfig(**recorded | {"out": out, "storage": asdict(storage), "fresh": False, "deadline": None})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}: {first['msg']}. Run its command again with this version.") from error


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
        config = RunConfig(**given)
        config.storage.use()
        return config
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
