"""Engine options: unknown ones name the nearest known, ours are refused, the rest pass, and only those that can change an answer count."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.folders import ModelError
from engine.options import OURS, SPEED_ONLY, OptionError, check_drafts, check_options, deciding_options, read_fields

ROOT = Path(__file__).parents[2]
PASSED: dict[str, Any] = {
    "kv_cache_dtype": "fp8",
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 2,
    "data_parallel_size": 1,
    "dtype": "float32",
    "quantization": "fp8",
    "enable_prefix_caching": False,
    "disable_log_stats": False,
    "attention_backend": "FLASH_ATTN",
    "speculative_config": {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4},
    "compilation_config": {"mode": 3},
}


@pytest.mark.parametrize(
    ("options", "met", "nearest"),
    [
        ({"max_num_seq": 64}, "max_num_seq", "max_num_seqs"),
        ({"tensor_paralel_size": 2}, "tensor_paralel_size", "tensor_parallel_size"),
        ({"kv_cache_type": "fp8"}, "kv_cache_type", "kv_cache_dtype"),
        ({"dtype": "auto", "quantisation": "fp8"}, "quantisation", "quantization"),
        ({"_api_process_count": 2}, "_api_process_count", ""),
        ({"speculative_config": {"method": "ngram", "num_speculative_token": 4}}, "num_speculative_token", "num_speculative_tokens"),
    ],
)
def test_unknown_option_names_the_nearest_known(options: dict[str, Any], met: str, nearest: str) -> None:
    with pytest.raises(OptionError, match=f"'{met}', which vLLM does not know; the nearest that it does is '{nearest}"):
        check_options(options)


@pytest.mark.parametrize("name", sorted(OURS))
def test_option_that_is_not_a_user_s_says_why(name: str) -> None:
    with pytest.raises(OptionError, match=rf"{name}, which is not a user's to set: .+;"):
        check_options({name: "x"})


@pytest.mark.parametrize("options", [{"data_parallel_size": 2}, {"distributed_executor_backend": "external_launcher"}])
def test_data_parallelism_says_what_to_do_instead(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"one command a GPU instead.*tensor_parallel_size"):
        check_options(options)


def test_other_options_pass() -> None:
    check_options(PASSED)
    check_options({"speculative_config": {"model": "./draft", "num-speculative-tokens": 3, "method": "eagle3"}})


@pytest.mark.parametrize("name", ["speculative_config", "hf_overrides", "compilation_config"])
def test_code_of_a_model_is_not_run_by_way_of_a_table_either(name: str) -> None:
    for inner in ({"trust_remote_code": True}, {"trust-remote-code": True}, {"passes": [{"trust_remote_code": True}]}):
        with pytest.raises(OptionError, match="a table in engine_args has trust_remote_code"):
            check_options({name: inner})


@pytest.mark.parametrize("options", [{"speculative_config": {"model": "{}"}}, {"spec_model": "{}"}])
def test_draft_model_is_a_folder_of_safetensors(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(given: str) -> None:
        check_drafts({key: {"model": given} if isinstance(value, dict) else given for key, value in options.items()})

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "org" / "x"
    for given in ("org/x", "./org/x", "hf:org/x", str(folder), "ngram"):
        with pytest.raises(ModelError, match=r"is no folder.*flows models pull hf:ORG/NAME.*the path of its folder"):
            check(given)
    folder.mkdir(parents=True)
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match="Pickled weights are refused"):
        check("org/x")
    (folder / "model.safetensors").touch()
    for given in ("org/x", "./org/x/", str(folder)):
        check(given)
    check_drafts(PASSED)


def test_options_of_ours_are_vllm_s_own() -> None:
    known = read_fields("engine/arg_utils.py", "EngineArgs")
    assert len(known) > 150
    assert known >= SPEED_ONLY | OURS.keys()


def test_options_that_only_change_speed_decide_nothing() -> None:
    deciding = {"kv_cache_dtype", "dtype", "quantization", "attention_backend", "speculative_config", "compilation_config"}
    assert deciding_options(PASSED).keys() == deciding | {"data_parallel_size"}
    assert deciding_options({"max_model_len": 8192, "load_format": "dummy", "max_num_seqs": 8}) == {
        "max_model_len": 8192,
        "load_format": "dummy",
    }
    assert deciding_options({"seconds_to_load": 1.0}) == {"seconds_to_load": 1.0}


def test_check_imports_neither_vllm_nor_torch() -> None:
    code = """
import sys
from flows.config import ModelConfig
ModelConfig(source="x", engine_args={"max_num_seqs": 8, "speculative_config": {"method": "ngram"}})
print(sorted({"vllm", "torch", "transformers"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.slow
def test_fields_read_from_the_source_are_those_of_the_classes() -> None:
    from dataclasses import fields

    from vllm import EngineArgs
    from vllm.config import AttentionConfig, CompilationConfig, KernelConfig, SpeculativeConfig, StructuredOutputsConfig

    for path, found in {
        "engine/arg_utils.py": EngineArgs,
        "config/speculative.py": SpeculativeConfig,
        "config/structured_outputs.py": StructuredOutputsConfig,
        "config/compilation.py": CompilationConfig,
        "config/attention.py": AttentionConfig,
        "config/kernel.py": KernelConfig,
    }.items():
        assert read_fields(path, found.__name__) == {field.name for field in fields(found) if not field.name.startswith("_")}
