"""What a user says of a model's weights and engine, from the command line to the calls: options, int8, and what does not fit."""

import subprocess
from pathlib import Path

import pytest

from engine.device import Device, find_device
from engine.fit import FitError
from engine.models import EMBEDDED, PROOFREADER
from engine.prompts import Rendered
from engine.quantize import RECIPE
from engine.records import Sampling
from engine.sources import source_of
from flows.batch import host_batch_model
from flows.config import ModelConfig, RunConfig
from flows.engines import close_engines
from flows.execute import check_fits, plan_run
from flows.runs import SUCCESS
from tests.flows.scripted import DATA, Folder

LONG = """
[models.long]
source = "smollm2-135m"
protocol = "score"
engine_args = { max_model_len = 100000 }
"""


@pytest.fixture
def folder(tmp_path: Path, prefect_url: str) -> Folder:
    folder = Folder(tmp_path, prefect_url)
    folder.copy("using-cpp-from-swift.md")
    return folder


def test_unknown_engine_option_is_2_and_names_the_nearest(folder: Folder) -> None:
    (folder.path / "flows.toml").write_text('[models.m]\nsource = "smollm2-135m"\nengine_args = { max_num_seq = 8 }')
    told = folder.flows("plan", "proofread", "book.md", "-m", "m", code=2).stderr
    assert "'max_num_seq', which vLLM does not know; the nearest that it does is 'max_num_seqs'" in told
    assert "models.m" in told


def test_options_that_only_change_speed_keep_runs_and_calls(tmp_path: Path) -> None:
    names, keys = [], []
    for engine_args in ({}, {"max_num_seqs": 8, "enforce_eager": False}, {"dtype": "float32"}, {"quantization": "fp8"}):
        models = {"m": ModelConfig(source=EMBEDDED, engine_args=engine_args)}
        config = RunConfig(model=("m",), models=models, out=str(tmp_path), quantization="none")
        plan = plan_run("proofread", (str(DATA / "using-cpp-from-swift.md"),), config)
        names.append(plan.run.name)
        keys.append(plan.hosted[0].key_of(Rendered(token_ids=(1, 2)), Sampling()))
        close_engines()
    assert (names[0], keys[0]) == (names[1], keys[1])
    assert (len(set(names)), len(set(keys))) == (3, 3)


def test_int8_of_galley_and_of_vllm_exclude_each_other() -> None:
    models = {"m": ModelConfig(source=EMBEDDED, engine_args={"quantization": "fp8"})}
    assert RunConfig(model=("m",), models=models).find_model("m").quantization == "auto"
    with pytest.raises(ValueError, match="quantization=int8 and the engine_args of m ask for fp8"):
        RunConfig(model=("m",), models=models, quantization="int8")


def test_where_no_model_is_named_the_proofreader_scores_and_the_bare_model_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunConfig().model == RunConfig(protocol="score").model == (PROOFREADER,)
    assert RunConfig(protocol="edits").model == RunConfig(protocol="rewrite").model == (EMBEDDED,)
    assert RunConfig(protocol="edits", model=(PROOFREADER,)).model == (PROOFREADER,), "who names it gets it"
    assert host_batch_model(RunConfig(out=str(tmp_path)), None).name == EMBEDDED
    assert host_batch_model(RunConfig(out=str(tmp_path), model=(PROOFREADER,)), None).name == PROOFREADER
    close_engines()


def test_the_proofreader_has_the_weights_that_its_calibration_was_fitted_on() -> None:
    on_cpu = "int8" if find_device() is Device.CPU else "auto"
    assert RunConfig().find_model(PROOFREADER).quantization == on_cpu
    assert RunConfig().find_model(source_of(PROOFREADER)) == RunConfig().find_model(PROOFREADER).model_copy(
        update={"source": source_of(PROOFREADER)}
    ), "by whatever name"
    assert RunConfig(quantization="none").find_model(PROOFREADER).quantization == "none"
    assert RunConfig().find_model(EMBEDDED).quantization == "auto"
    scripted = {"m": ModelConfig(source=PROOFREADER, engine="scripted")}
    assert RunConfig(models=scripted).find_model("m").quantization == "auto"


def test_quantization_of_the_run_overrides_that_of_a_model() -> None:
    models = {"m": ModelConfig(source=EMBEDDED, quantization="int8")}
    assert RunConfig(model=("m",), models=models).find_model("m").quantization == "int8"
    assert RunConfig(model=("m",), models=models, quantization="none").find_model("m").quantization == "none"


def test_int8_weights_and_engine_settings_are_recorded_on_every_call(folder: Folder) -> None:
    folder.configure("score", seconds_to_load=0.25)
    folder.proofread("--limit", "1", "--quantization", "int8")
    calls = folder.calls()
    assert calls.height > 10
    assert set(calls["quantization"]) == {f"gguf:Q4_1 int8:{RECIPE}"}
    assert set(calls["engine_settings"]) == {'{"seconds_to_load":0.25}'}
    (model,) = folder.run.read_manifest()["models"]
    assert model["quantization"] == f"gguf:Q4_1 int8:{RECIPE}"


def test_model_that_does_not_fit_is_2_before_the_first_one_computes(folder: Folder) -> None:
    folder.configure("score")
    settings = folder.path / "flows.toml"
    settings.write_text(settings.read_text() + LONG)
    told = folder.flows("run", "proofread", "book.md", "-m", "fake", "-m", "long", code=2).stderr
    assert "max_model_len=100000 of long is above the 8192 positions" in told
    assert not (folder.path / "out").exists()


def test_plan_tells_of_a_model_that_does_not_fit(folder: Folder) -> None:
    (folder.path / "flows.toml").write_text(LONG)
    shown: subprocess.CompletedProcess[str] = folder.flows("plan", "proofread", "book.md", "-m", "long", "--limit", "2")
    assert "above the 8192 positions" in " ".join(shown.stdout.split())


def test_run_that_is_done_or_told_not_to_look_does_not_ask_what_fits(tmp_path: Path) -> None:
    config = RunConfig(model=("m",), models={"m": ModelConfig(source=EMBEDDED, engine_args={"max_model_len": 100000})}, out=str(tmp_path))
    plan = plan_run("proofread", (str(DATA / "using-cpp-from-swift.md"),), config)
    check_fits(plan, config.model_copy(update={"check_fit": False}))
    with pytest.raises(FitError):
        check_fits(plan, config)
    plan.run.start()
    plan.run.finish(SUCCESS)
    check_fits(plan, config)
    with pytest.raises(FitError):
        check_fits(plan, config.model_copy(update={"fresh": True}))
    close_engines()
