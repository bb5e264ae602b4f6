"""Models as a person manages them: listed, pulled and locked, described, checked. Names are those of flows.toml, or sources themselves."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine.cache import default_cache_dir
from engine.checksums import read_checksum, remembered_checksum
from engine.convert import read_licence
from engine.facts import Facts, context_tokens, read_facts
from engine.faults import find_faults
from engine.folders import ModelError, read_json
from engine.models import Model, converted_folder, open_model, pin_model, quantization_of
from engine.pins import Pin, check_pin, find_differences, find_pin, read_pins, save_pin
from engine.sources import BUILT_IN, Fetched, Report, fetch_source, find_source, source_of
from flows.config import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One line of `flows models list`."""

    name: str
    source: str
    origin: str
    """`built-in`, `flows.toml`, `models.lock` or `cache`."""
    num_bytes: int | None
    """On this machine's disk, in the form that is loaded; None where it is not here."""
    quantization: str | None
    """How its weights are stored; None where that is not known before it is fetched or converted."""
    context_tokens: int | None
    is_locked: bool
    problem: str | None
    """Why it cannot be used as it is; None where nothing is known against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A model that is on this machine now, and locked."""

    name: str
    source: str
    folder: Path
    pin: Pin
    is_new: bool
    """It was locked by this pull; else it is what was locked before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A model with what its files say of it."""

    name: str
    source: str
    model: Model
    facts: Facts
    is_locked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check of a model has found."""

    name: str
    source: str
    is_locked: bool
    faults: tuple[str, ...]
    """Each in a sentence; empty for a model that is as it should be."""


def find_named(name: str, config: RunConfig) -> str:
    """The source of a name. Raises ModelError for a model that is at a server."""
    found = config.find_model(name)
    if found.engine == "endpoint":
        raise ModelError(f"{name} is asked at a server ({found.base_url}). Its weights lie there; there is nothing here to pull or check.")
    return source_of(found.source)


def default_names(config: RunConfig) -> list[str]:
    """Models that flows.toml sets up or names, and what models.lock has besides; those of servers left out."""
    names = [name for name in dict.fromkeys([*config.models, *config.model]) if config.find_model(name).engine != "endpoint"]
    sources = {find_named(name, config) for name in names}
    return names + [source for source in read_pins() if source not in sources]


def list_models(config: RunConfig) -> list[ModelRow]:
    """Built-in ones, those of flows.toml and models.lock, and what else the caches hold; nothing is fetched or converted."""
    cache_dir, pins = default_cache_dir(), read_pins()
    rows, known = [], set[Path]()
    for name, origin in _list_names(config, pins):
        source = name if origin == "models.lock" else source_of(config.find_model(name).source)
        if config.find_model(name).engine == "endpoint":
            continue
        pin = pins.get(source)
        try:
            fetched = find_source(source, cache_dir, revision=None if pin is None else pin.revision)
            path = None if fetched is None else _loaded_path(fetched, cache_dir)
            rows.append(_row(name, source, origin, path, pin))
            if path is not None:
                known.add(path)
        except (ModelError, OSError) as error:
            rows.append(_row(name, source, origin, None, pin, problem=str(error)))
    for name, path in _list_cached(cache_dir):
        if path not in known:
            rows.append(_row(name, name, "cache", path, pins.get(name)))
    return rows


def _list_names(config: RunConfig, pins: dict[str, Pin]) -> Iterator[tuple[str, str]]:
    yield from ((name, "built-in") for name in BUILT_IN)
    named = [name for name in dict.fromkeys([*config.models, *config.model]) if name not in BUILT_IN]
    yield from ((name, "flows.toml") for name in named)
    listed = {source_of(config.find_model(name).source) for name in [*BUILT_IN, *named]}
    yield from ((source, "models.lock") for source in pins if source not in listed)


def _list_cached(cache_dir: Path) -> Iterator[tuple[str, Path]]:
    """Sources that the caches hold, each usable with -m, and where their files lie."""
    from engine.hub import list_repos
    from engine.remote import list_fetched

    yield from ((source, _loaded_path(fetched, cache_dir)) for source, fetched in [*list_fetched(cache_dir), *list_repos()])
    yield from ((str(path), path) for path in sorted(cache_dir.glob("models/[!.]*")) if (path / "config.json").is_file())


def _loaded_path(fetched: Fetched, cache_dir: Path) -> Path:
    """The folder that is loaded; the GGUF file where it has not been converted yet."""
    if fetched.path.is_dir():
        return fetched.path
    folder = converted_folder(fetched, cache_dir)
    return folder if folder.is_dir() else fetched.path


def _row(name: str, source: str, origin: str, path: Path | None, pin: Pin | None, problem: str | None = None) -> ModelRow:
    num_bytes = quantization = context = None
    if path is not None and path.is_dir():
        num_bytes = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        try:
            settings = read_json(path / "config.json")
            quantization = _stored_as(settings)
            context = context_tokens(settings)
        except ModelError as error:
            problem = str(error)
    elif path is not None:
        num_bytes = path.stat().st_size
    return ModelRow(
        name=name,
        source=source,
        origin=origin,
        num_bytes=num_bytes,
        quantization=quantization,
        context_tokens=context,
        is_locked=pin is not None,
        problem=problem,
    )


def _stored_as(settings: dict[str, object]) -> str:
    """As `quantization_of`, with what a converted model was before."""
    converted, method = settings.get("galley_source"), quantization_of(settings)
    if not isinstance(converted, dict):
        return method
    return f"{converted.get('quantization')}{'' if method == 'none' else f', {method}'}"


def pull_model(name: str, config: RunConfig, *, is_update: bool, report: Report | None = None) -> Pulled:
    """Bring a model here and lock it; one that is locked is brought as it was locked, unless it is to be updated.

    Raises ModelError as `resolve_model`; what was locked stays so then.
    """
    source, cache_dir = find_named(name, config), default_cache_dir()
    pin = None if is_update else find_pin(source)
    fetched = fetch_source(source, cache_dir, revision=None if pin is None else pin.revision, is_update=is_update, report=report)
    model = open_model(name, fetched, cache_dir)
    now = pin_model(model, fetched, cache_dir)
    if pin is None:
        save_pin(source, now)
    else:
        check_pin(source, pin, now)
    return Pulled(name=name, source=source, folder=model.folder, pin=now, is_new=pin is None)


def show_model(name: str, config: RunConfig) -> Shown:
    """What a model's files say; a GGUF file is converted first. Raises ModelError where it is not on this machine."""
    source, cache_dir = find_named(name, config), default_cache_dir()
    pin = find_pin(source)
    fetched = _find_here(name, source, pin, cache_dir)
    model = open_model(name, fetched, cache_dir)
    facts = read_facts(model.folder)
    if fetched.path.is_file():
        facts = replace(facts, licence=read_licence(fetched.path))
    return Shown(name=name, source=source, model=model, facts=facts, is_locked=pin is not None)


def _find_here(name: str, source: str, pin: Pin | None, cache_dir: Path) -> Fetched:
    fetched = find_source(source, cache_dir, revision=None if pin is None else pin.revision)
    if fetched is None:
        locked = "" if pin is None else f" as it is locked ({pin.revision})"
        raise ModelError(f"{source} is not on this machine{locked}. This command fetches nothing; flows models pull {name}")
    return fetched


def check_models(names: Iterable[str], config: RunConfig) -> Iterator[Checked]:
    """Read every file of each model again, compare it with models.lock, and look whether all of it can be loaded."""
    for name in names:
        source = find_named(name, config)
        pin = find_pin(source)
        try:
            faults = _find_faults(name, source, pin)
        except (ModelError, OSError) as error:
            faults = [str(error)]
        yield Checked(name=name, source=source, is_locked=pin is not None, faults=tuple(faults))


def _find_faults(name: str, source: str, pin: Pin | None) -> list[str]:
    cache_dir = default_cache_dir()
    fetched = _find_here(name, source, pin, cache_dir)
    decayed = []

    def checksum(path: Path) -> str:
        before = remembered_checksum(path, cache_dir)
        now = read_checksum(path, cache_dir)
        if before not in (None, now):
            decayed.append(f"{path} has other bytes than when it was read last, with the same size and time; fetch or copy it again.")
        return now

    paths = [fetched.path] if fetched.path.is_file() else [path for path in fetched.path.iterdir() if path.is_file()]
    for path in [*paths, *filter(None, [fetched.adapter])]:
        checksum(path)  # before anything rests on what was remembered
    model = open_model(name, fetched, cache_dir)
    faults = list(decayed)
    if pin is not None:
        differences = find_differences(pin, pin_model(model, fetched, cache_dir))
        faults += [f"{each}; bring it back, or lock it as it is: flows models pull {name} --update" for each in differences]
    return faults + find_faults(model)
