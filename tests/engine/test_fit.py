"""What a machine offers and whether a model fits it: read from real files, of which some say what no test machine is like."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.device import Device, Gpu, cpu_dtype, measure_free_memory, read_gpus
from engine.fit import GIB, FitError, Machine, check_fit
from engine.models import resolve_model
from tests.engine.checkpoints import make_llama, write_large, write_model

LARGE = 16 * GIB


@pytest.fixture(autouse=True)
def _no_settings_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_CPU_KVCACHE_SPACE", "VLLM_ALLOW_LONG_MAX_MODEL_LEN"):
        monkeypatch.delenv(name, raising=False)


def cpu(free_gib: float) -> Machine:
    return Machine(device=Device.CPU, free_bytes=int(free_gib * GIB), gpus=())


def gpus(number: int, total_gib: int = 80, free_gib: int = 79) -> Machine:
    one = Gpu(total_bytes=total_gib * GIB, free_bytes=free_gib * GIB)
    return Machine(device=Device.GPU, free_bytes=GIB, gpus=(one,) * number)


def make_root(root: Path, available_mib: int, groups: str, files: dict[str, str]) -> Path:
    """The files of proc and sys of a machine."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:   {available_mib * 1024} kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


MIB = 1 << 20
V2_GROUP = {
    "a/b/memory.max": f"{1000 * MIB}",
    "a/b/memory.current": f"{700 * MIB}",
    "a/b/memory.stat": f"anon 5\ninactive_file {200 * MIB}\n",
}


@pytest.mark.parametrize(
    ("groups", "files", "left_mib"),
    [
        ("0::/\n", {}, 4000),
        ("0::/a/b\n", {"a/b/memory.max": "max\n"}, 4000),
        # 700 used, of which 200 are file cache that the kernel gives up
        ("0::/a/b\n", V2_GROUP, 500),
        # the group above grants less
        ("0::/a/b\n", V2_GROUP | {"a/memory.max": f"{600 * MIB}", "a/memory.current": f"{500 * MIB}", "a/memory.stat": ""}, 100),
        ("0::/a/b\n", V2_GROUP | {"a/b/memory.max": f"{9000 * MIB}"}, 4000),
        # version 1, in a container that sees its own group as the mount
        (
            "5:cpu:/x\n4:memory:/docker/abc\n0::/\n",
            {
                "memory/memory.limit_in_bytes": f"{2000 * MIB}",
                "memory/memory.usage_in_bytes": f"{1500 * MIB}",
                "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n",
            },
            600,
        ),
        ("4:cpu,memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712"}, 4000),
    ],
)
def test_free_memory_is_what_machine_and_groups_have_left(groups: str, files: dict[str, str], left_mib: int, tmp_path: Path) -> None:
    assert measure_free_memory(make_root(tmp_path, 4000, groups, files)) == left_mib * MIB


def test_free_memory_of_this_machine_is_a_sensible_number() -> None:
    assert 64 * MIB < measure_free_memory() < 1 << 50


SMI = "0, GPU-aa11, 81559, 80994\n1, GPU-bb22, 40960, 100\n2, GPU-cc33, [N/A], [N/A]\n"


@pytest.mark.parametrize(
    ("visible", "totals_mib"),
    [
        (None, [81559, 40960]),
        ("1,0", [40960, 81559]),
        ("GPU-bb", [40960]),
        ("", []),
        ("0,7,1", [81559]),
    ],
)
def test_gpus_are_those_that_the_process_may_use(visible: str | None, totals_mib: list[int]) -> None:
    assert [gpu.total_bytes // MIB for gpu in read_gpus(SMI, visible)] == totals_mib


def test_model_that_needs_more_memory_than_is_free_is_refused_without_reading_it(tmp_path: Path) -> None:
    model = write_large(tmp_path, LARGE)
    check_fit(model, {}, 2048, cpu(free_gib=16 + 2 + 1.6))
    with pytest.raises(FitError, match=r"tiny needs 19.5 GiB of memory and 19.0 GiB are free: 16.0 GiB of weights, 2.0 GiB of KV cache"):
        check_fit(model, {}, 2048, cpu(free_gib=19))


@pytest.mark.parametrize(("flags", "dtype"), [("fma avx avx2 avx512f avx512_bf16", "auto"), ("fma avx avx2 avx_vnni", "float32")])
def test_cpu_without_avx512_computes_in_32_bits(flags: str, dtype: str, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu vme {flags} xsave\nbugs\t\t: spectre_v1\n")
    assert cpu_dtype(tmp_path) == dtype


def test_weights_in_32_bits_take_twice_the_room_of_their_16_bits(tmp_path: Path) -> None:
    model = write_large(tmp_path, LARGE)
    machine = replace(cpu(free_gib=19 + 16 + 0.6), dtype="float32")
    check_fit(model, {}, 2048, machine)
    with pytest.raises(FitError, match=r"needs 35.5 GiB of memory and 35.0 GiB are free: 32.0 GiB of weights"):
        check_fit(model, {}, 2048, replace(machine, free_bytes=35 * GIB))
    check_fit(model, {"dtype": "bfloat16"}, 2048, cpu(free_gib=20))


def test_kv_cache_is_as_large_as_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_large(tmp_path, LARGE)
    check_fit(model, {"kv_cache_memory_bytes": GIB}, 2048, cpu(free_gib=19))
    with pytest.raises(FitError, match=r"lower kv_cache_memory_bytes in its engine_args"):
        check_fit(model, {"kv_cache_memory_bytes": 4 * GIB}, 2048, cpu(free_gib=21))
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "8")
    with pytest.raises(FitError, match=r"needs 25.5 GiB .* lower VLLM_CPU_KVCACHE_SPACE"):
        check_fit(model, {"kv_cache_memory_bytes": GIB}, 2048, cpu(free_gib=21))
    with pytest.raises(FitError, match=r"needs 35.0 GiB .* 16.0 GiB of weights, 16.0 GiB of KV cache, 3.0 GiB for the engine"):
        check_fit(model, {"tensor_parallel_size": 2}, 2048, cpu(free_gib=21))
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1.5")
    with pytest.raises(FitError, match="no whole number of GiB"):
        check_fit(model, {}, 2048, cpu(free_gib=99))


# 2 x 32 layers x 8 heads x 128 = 65,536 numbers a token: 128 KiB in 16 bits, 4 GiB for 32,768 tokens
WIDE = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40000}


@pytest.mark.parametrize(
    ("settings", "options", "is_refused"),
    [
        ({}, {}, True),
        ({}, {"kv_cache_memory_bytes": 4 * GIB}, False),
        ({}, {"kv_cache_memory_bytes": 4 * GIB, "dtype": "float32"}, True),
        ({}, {"kv_cache_dtype": "fp8"}, False),
        ({}, {"hf_overrides": {"num_hidden_layers": 2}}, False),
        ({"sliding_window": 4096}, {}, False),
        ({"sliding_window": 32768}, {}, True),
        ({"kv_lora_rank": 512}, {}, False),
        ({"layer_types": ["linear_attention", "full_attention"]}, {}, False),
        ({"num_hidden_layers": None}, {}, False),
    ],
)
def test_one_sequence_fits_into_the_kv_cache(settings: dict[str, Any], options: dict[str, Any], is_refused: bool, tmp_path: Path) -> None:
    model = write_large(tmp_path, GIB, **WIDE | settings)
    if is_refused:
        with pytest.raises(FitError, match=r"max_model_len=32768 of tiny needs \d.0 GiB of KV cache .* to 16384 or less"):
            check_fit(model, options, 32768, cpu(free_gib=99))
    else:
        check_fit(model, options, 32768, cpu(free_gib=99))


@pytest.mark.parametrize(
    ("settings", "longest"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear", "factor": 4.0}}, 8192),
        ({"max_position_embeddings": 8192, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 8192),
        ({"max_position_embeddings": 8192, "rope_parameters": {"rope_type": "default", "rope_theta": 1.0}}, 8192),
        ({"max_position_embeddings": None, "text_config": {"max_position_embeddings": 512}}, 512),
    ],
)
def test_model_is_not_asked_for_more_than_its_length(settings: dict[str, Any], longest: int, tmp_path: Path) -> None:
    model = write_model(tmp_path, make_llama(), **settings)
    for machine in (cpu(free_gib=99), Machine(device=None, free_bytes=0, gpus=())):
        check_fit(model, {}, longest, machine)
        with pytest.raises(FitError, match=rf"max_model_len={longest + 1} of tiny .* Set max_model_len = {longest} or less"):
            check_fit(model, {}, longest + 1, machine)


@pytest.mark.parametrize(
    ("quantized", "word"),
    [
        ({"quant_method": "fp8"}, "8-bit floating point"),
        ({"quant_method": "bitsandbytes"}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 8}, "8-bit GPTQ"),
        ({"quant_method": "modelopt"}, "modelopt"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"type": "float", "num_bits": 8}}}}, "8-bit floating"),
        (
            {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {"weights": {"num_bits": 8}}}},
            "8-bit packed",
        ),
        ({"quant_method": "awq", "bits": 4}, None),
        ({"quant_method": "gptq", "bits": 4}, None),
        (
            {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {"weights": {"num_bits": 4}}}},
            None,
        ),
        (
            {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"g": {"weights": {"num_bits": 8}}}},
            None,
        ),
    ],
)
def test_weights_that_a_cpu_cannot_compute_with_are_refused_there_alone(
    quantized: dict[str, Any], word: str | None, tmp_path: Path
) -> None:
    model = write_model(tmp_path, make_llama(), quantization_config=quantized)
    assert resolve_model(str(tmp_path)).quantization == quantized["quant_method"], "passed through as it is"
    check_fit(model, {}, 2048, gpus(1))
    if word is None:
        check_fit(model, {}, 2048, cpu(free_gib=99))
    else:
        with pytest.raises(FitError, match=f"{word}.*on a GPU only"):
            check_fit(model, {}, 2048, cpu(free_gib=99))


def test_gpus_hold_what_they_are_granted(tmp_path: Path) -> None:
    model = write_large(tmp_path, 100 * GIB)
    with pytest.raises(FitError, match=r"needs 100.0 GiB for weights .* each of 1 GPUs, and is granted 73.6 GiB"):
        check_fit(model, {}, 2048, gpus(1))
    check_fit(model, {"tensor_parallel_size": 2}, 2048, gpus(2))
    with pytest.raises(FitError, match=r"over 4 GPUs .* and 2 are visible"):
        check_fit(model, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 2048, gpus(2))
    with pytest.raises(FitError, match=r"gpu_memory_utilization=0.92\) and 40.0 GiB are free"):
        check_fit(model, {"tensor_parallel_size": 2}, 2048, gpus(2, free_gib=40))
    with pytest.raises(FitError, match="gpu_memory_utilization='half'"):
        check_fit(model, {"gpu_memory_utilization": "half"}, 2048, gpus(2))
    check_fit(model, {"quantization": "fp8"}, 2048, gpus(1))
    check_fit(model, {}, 2048, Machine(device=Device.GPU, free_bytes=0, gpus=()))


def test_sequence_on_gpus_takes_what_weights_leave(tmp_path: Path) -> None:
    # 73.6 GiB granted, 70 of weights, 2 for the engine: 1.6 left, 4 needed
    model = write_large(tmp_path, 70 * GIB, **WIDE)
    with pytest.raises(FitError, match=r"needs 4.0 GiB of KV cache for one sequence and there are 1.6 GiB"):
        check_fit(model, {}, 32768, gpus(1))
    check_fit(model, {}, 8192, gpus(1))
