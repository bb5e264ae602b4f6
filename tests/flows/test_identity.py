"""A run's name follows what decides its tables, and nothing without a stable form; a deadline is the moment that was meant."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chunkers.storage import Storage
from engine.records import Outcome
from flows.config import ConfigError, RunConfig, load_config, parse_deadline, restore_config
from flows.execute import plan_run
from flows.identity import IdentityError, canonical_json, fingerprint_run


def test_same_value_has_one_form() -> None:
    assert (
        canonical_json({"b": [1, 2.0, None], "a": True}) == canonical_json({"a": True, "b": (1.0, 2, None)}) == '{"a":true,"b":[1,2,null]}'
    )
    assert canonical_json(Decimal("2.50")) == canonical_json(Decimal("2.5")) == '"2.5"'
    assert canonical_json(Outcome.OK) == '"ok"'
    assert canonical_json({"a": 1}) != canonical_json({"a": "1"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), {1: "a"}, b"bytes", [{"deep": {3}}], Path("x")])
def test_value_without_a_stable_form_is_refused(value: Any) -> None:
    with pytest.raises(IdentityError):
        canonical_json(value)


def test_fingerprint_follows_bytes_settings_and_models(tmp_path: Path) -> None:
    book = tmp_path / "book.md"
    book.write_text("one")

    def name(settings: dict[str, Any] | None = None, model: str = "m", version: int = 1) -> str:
        return fingerprint_run("proofread", version, settings or {"limit": 3}, [model], [str(book)])

    first = name()
    assert name() == first
    assert len({first, name({"limit": 4}), name(model="n"), name(version=2)}) == 4
    book.write_text("two")
    assert name() != first
    assert fingerprint_run("proofread", 1, {}, [], ["missing.md"]) == fingerprint_run("proofread", 1, {}, [], ["missing.md"])


def test_limits_and_prices_do_not_rename_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.md").write_text("One sentence.\n")

    def name(**settings: Any) -> str:
        return plan_run("proofread", ("book.md",), RunConfig(**settings)).run.name

    limits = {"max_error_rate": 0.5, "max_engine_hours": 2.0, "deadline": "2h", "fail_on": "any", "fresh": True}
    assert name(**limits, prices={"per_engine_hour": "2"}, max_cost="3") == name()
    assert name(max_tokens=100) != name()


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_deadline_is_a_duration_a_time_of_day_or_a_date() -> None:
    assert parse_deadline("90m", NOW) == NOW + timedelta(minutes=90)
    assert parse_deadline("1h30m", NOW) == NOW + timedelta(minutes=90)
    assert parse_deadline("45s", NOW) == NOW + timedelta(seconds=45)
    assert parse_deadline("2026-11-24T12:00:01+00:00", NOW) == NOW + timedelta(seconds=1)
    for text in ("00:00", "06:30", "23:59"):
        moment = parse_deadline(text, NOW)
        assert NOW < moment <= NOW + timedelta(days=1)
        assert f"{moment.astimezone():%H:%M}" == text


@pytest.mark.parametrize("text", ["", "tomorrow", "24:00", "90", "-5m", "2026-11-24T11:59:00+00:00", "m"])
def test_what_is_no_time_to_come_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="deadline"):
        parse_deadline(text, NOW)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": ("m", "m")}, "names one twice"),
        ({"models": {"m": {"source": "x", "engine_args": {"max_model_len": "8k"}}}}, "no whole number"),
        ({"models": {"m": {"source": "x", "engine_args": {"day": NOW}}}}, "no stable form"),
        ({"deadline": "99999999h"}, "deadline"),
        (
            {"model": ("m",), "models": {"m": {"source": "x", "prices": {"input_per_million": 1, "currency": "EUR"}}}},
            "another currency",
        ),
    ],
)
def test_settings_that_cannot_hold_are_refused_with_a_reason(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(**settings)


def test_recorded_settings_are_those_of_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorded = load_config(deadline="2999-01-01T00:00", max_tokens=100).model_dump(mode="json")
    (tmp_path / "flows.toml").write_text('limit = 2\n[models.m]\nsource = "x"\n')
    monkeypatch.setenv("FLOWS_MIN_CONFIDENCE", "0.5")
    config = restore_config(recorded, "elsewhere", Storage(region="here"))
    assert (config.limit, config.max_tokens, config.min_confidence, config.models, config.out) == (None, 100, 0.8, {}, "elsewhere")
    assert config.deadline is None, "it may be past"
    assert config.storage.region == "here"
    with pytest.raises(ConfigError, match="with this version"):
        restore_config(recorded | {"unknown": 1}, "out", Storage())
