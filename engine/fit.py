"""Whether a model fits this machine, told before anything is loaded: its quantisation, its length, its memory.

Estimates from the headers of the weights and from config.json. Where those do not say enough, nothing is claimed and vLLM has the word.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.device import Device, Gpu, cpu_dtype, find_device, list_gpus, measure_free_memory
from engine.facts import KV_NUMBER_BYTES, context_tokens, kv_bytes_per_token, text_config
from engine.folders import ModelError, read_json
from engine.models import Model
from engine.weights import FLOATS, list_tensors

GIB = 1 << 30
DEFAULT_CPU_KV_BYTES = 2 * GIB
"""Of KV cache on a CPU, where neither VLLM_CPU_KVCACHE_SPACE nor kv_cache_memory_bytes says more."""
CPU_OVERHEAD_BYTES = int(1.5 * GIB)
"""Of an engine's process on a CPU beside weights and KV cache: 1.3 GiB were measured with the embedded model."""
GPU_OVERHEAD_BYTES = 2 * GIB
"""Of an engine on each GPU beside weights and KV cache: context, activations, graphs. Not measured here yet."""
DEFAULT_GPU_SHARE = 0.92
"""vLLM's own gpu_memory_utilization."""

_NOT_ON_CPU = {
    "fp8": "8-bit floating point",
    "fbgemm_fp8": "8-bit floating point",
    "modelopt": "8-bit floating point",
    "modelopt_fp4": "4-bit floating point",
    "fp_quant": "4-bit floating point",
    "bitsandbytes": "bitsandbytes",
    "experts_int8": "8-bit experts",
    "humming": "humming",
}
"""Methods of config.json for which vLLM 0.32 has no CPU kernel (fp8: only with AMX's newest), and what they are. Others it may have."""
_UNSCALED_ROPE = frozenset({"default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})
"""Kinds of rotary scaling whose max_position_embeddings is the scaled length already; of the others `factor` multiplies it."""
_KV_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}


class FitError(ModelError):
    """A model that cannot run here as it is asked for: what was met, the rule, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What there is to run on."""

    device: Device | None
    """None where no vLLM is installed: only lengths are checked."""
    free_bytes: int
    """Of main memory."""
    gpus: tuple[Gpu, ...]
    """Empty where nobody can tell: then their memory is not checked."""
    dtype: str = "auto"
    """What its engine computes in where the options do not say."""


def find_machine() -> Machine:
    """This one, as it is now."""
    device = find_device()
    gpus, dtype = (list_gpus(), "auto") if device is Device.GPU else ((), cpu_dtype())
    return Machine(device=device, free_bytes=measure_free_memory(), gpus=gpus, dtype=dtype)


def check_fit(model: Model, options: Mapping[str, Any], max_model_len: int, machine: Machine) -> None:
    """Raise FitError where an engine with these options would not load the model on this machine."""
    settings = read_json(model.folder / "config.json")
    config = text_config(settings)
    if "hf_overrides" not in options:
        _check_length(model, config, max_model_len)
    if machine.device is None:
        return
    options = {"dtype": machine.dtype, **options}
    sequence_bytes = _sequence_bytes(kv_bytes_per_token(config), config, options, max_model_len)
    if machine.device is Device.CPU:
        check_method(model, settings)
        _check_cpu(model, options, sequence_bytes, max_model_len, machine.free_bytes)
    elif machine.gpus:
        _check_gpus(model, options, sequence_bytes, max_model_len, machine.gpus)


def check_method(model: Model, settings: Mapping[str, Any]) -> None:
    """Raise FitError for quantised weights that vLLM cannot compute with on a CPU. `settings` are the model's config.json."""
    given = settings.get("quantization_config") or {}
    method = given.get("quant_method")
    met = _NOT_ON_CPU.get(method or "")
    if method == "gptq" and given.get("bits", 4) != 4:
        met = f"{given['bits']}-bit GPTQ"
    elif method == "compressed-tensors":
        groups = given.get("config_groups", {}).values()
        weights = [group["weights"] for group in groups if group.get("weights")]
        if any(each.get("type") == "float" for each in weights):
            met = "8-bit floating point" if weights[0].get("num_bits") == 8 else "4-bit floating point"
        elif given.get("format") == "pack-quantized" and any(each.get("num_bits") != 4 for each in weights):
            met = f"{weights[0].get('num_bits')}-bit packed"
    if met:
        raise FitError(
            f"{model.name} has {met} weights ({method}), which vLLM computes with on a GPU only. On a CPU it takes bfloat16, int8 by "
            "compressed-tensors, and 4 bits by AWQ, GPTQ or compressed-tensors. Take the unquantised model, or its int8 weights."
        )


def _check_length(model: Model, config: Mapping[str, Any], max_model_len: int) -> None:
    longest = context_tokens(config)
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if longest is None or not isinstance(kind, str) or (kind not in _UNSCALED_ROPE and not rope.get("factor")):
        return
    longest = longest if kind in _UNSCALED_ROPE else int(longest * rope["factor"])
    if max_model_len > longest and os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        raise FitError(
            f"max_model_len={max_model_len} of {model.name} is above the {longest} positions of its config.json. A model reads no more "
            f"than it was made for. Set max_model_len = {longest} or less in its engine_args."
        )


def _sequence_bytes(kv_bytes: int | None, config: Mapping[str, Any], options: Mapping[str, Any], max_model_len: int) -> int | None:
    """KV cache of one sequence of full length; None where config.json does not say it, or a window keeps less of it."""
    window = config.get("sliding_window")
    if kv_bytes is None or "hf_overrides" in options or (isinstance(window, int) and window < max_model_len):
        return None
    return kv_bytes * _number_bytes(options) // KV_NUMBER_BYTES * max_model_len


def _number_bytes(options: Mapping[str, Any]) -> int:
    """Of one number in the KV cache."""
    asked = str(options.get("kv_cache_dtype", "auto"))
    if asked.startswith(("fp8", "int8")):
        return 1
    dtype = options.get("dtype", "auto")
    # float32 weights are computed with in 16 bits unless that is asked for
    return _KV_BYTES.get(asked) or (_KV_BYTES.get(str(dtype), 2) if dtype != "auto" else 2)


def _num_ranks(options: Mapping[str, Any]) -> int:
    """Processes that share the model's layers."""
    return int(_number(options, "tensor_parallel_size", 1) * _number(options, "pipeline_parallel_size", 1))


def _number(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise FitError(f"{name}={value!r} in engine_args is no number above 0. Give one, or leave it out.")
    return value


def _weights_bytes(model: Model, options: Mapping[str, Any]) -> int:
    """As they are computed with: vLLM widens floats that are asked for in 32 bits while it loads them."""
    number_bytes = 4 if options["dtype"] in ("float32", "float") else 0
    return sum(
        math.prod(tensor.shape) * number_bytes if number_bytes and tensor.dtype in FLOATS else tensor.num_bytes
        for tensor in list_tensors(model.folder)
    )


def _kv_bytes_on_cpu(options: Mapping[str, Any]) -> tuple[int, str]:
    """What one process takes for its KV cache, and what says so; the environment has the last word, as in vLLM."""
    if given := os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
        if not given.isdecimal():
            raise FitError(f"VLLM_CPU_KVCACHE_SPACE={given!r} is no whole number of GiB. Set one, such as 4, or unset it.")
        return int(given) * GIB, "VLLM_CPU_KVCACHE_SPACE"
    return int(_number(options, "kv_cache_memory_bytes", DEFAULT_CPU_KV_BYTES)), "kv_cache_memory_bytes in its engine_args"


def _check_cpu(model: Model, options: Mapping[str, Any], sequence_bytes: int | None, max_model_len: int, free_bytes: int) -> None:
    kv_bytes, setting = _kv_bytes_on_cpu(options)
    ranks = _num_ranks(options)
    weights_bytes = _weights_bytes(model, options)
    needed = weights_bytes + ranks * (kv_bytes + CPU_OVERHEAD_BYTES)
    if needed > free_bytes:
        raise FitError(
            f"{model.name} needs {_gib(needed)} of memory and {_gib(free_bytes)} are free: {_gib(weights_bytes)} of weights, "
            f"{_gib(ranks * kv_bytes)} of KV cache, {_gib(ranks * CPU_OVERHEAD_BYTES)} for the engine itself. A model has to fit. "
            f"Free memory, lower {setting}, or take a smaller model or its int8 weights; check_fit = false tries it all the same."
        )
    _check_sequence(model, sequence_bytes, max_model_len, ranks * kv_bytes, f"raise {setting}")


def _check_gpus(model: Model, options: Mapping[str, Any], sequence_bytes: int | None, max_model_len: int, gpus: tuple[Gpu, ...]) -> None:
    ranks = _num_ranks(options)
    if ranks > len(gpus):
        raise FitError(
            f"{model.name} is to be split over {ranks} GPUs (tensor_parallel_size x pipeline_parallel_size) and {len(gpus)} are visible. "
            "Each part needs one. Lower them, or look at CUDA_VISIBLE_DEVICES."
        )
    share = _number(options, "gpu_memory_utilization", DEFAULT_GPU_SHARE)
    granted = int(share * min(gpu.total_bytes for gpu in gpus[:ranks]))
    free = min(gpu.free_bytes for gpu in gpus[:ranks])
    if free < granted:
        raise FitError(
            f"{model.name} is to take {_gib(granted)} of each GPU (gpu_memory_utilization={share}) and {_gib(free)} are free. vLLM takes "
            "its share at once. End what else is on the GPU, or lower gpu_memory_utilization in its engine_args."
        )
    if not {"quantization", "cpu_offload_gb", "kv_offloading_size", "offload_group_size"}.isdisjoint(options):
        return  # the weights take another room than their files
    weights_bytes = _weights_bytes(model, options) // ranks
    left = granted - weights_bytes - GPU_OVERHEAD_BYTES
    if left <= 0:
        raise FitError(
            f"{model.name} needs {_gib(weights_bytes)} for weights and about {_gib(GPU_OVERHEAD_BYTES)} for the engine itself on each of "
            f"{ranks} GPUs, and is granted {_gib(granted)} (gpu_memory_utilization={share}). A model has to fit. Raise "
            "tensor_parallel_size, or take a smaller model or a quantised one; check_fit = false tries it all the same."
        )
    _check_sequence(model, sequence_bytes, max_model_len, ranks * left, 'raise tensor_parallel_size, set kv_cache_dtype = "fp8"')


def _check_sequence(model: Model, sequence_bytes: int | None, max_model_len: int, kv_bytes: int, advice: str) -> None:
    if sequence_bytes is not None and sequence_bytes > kv_bytes:
        raise FitError(
            f"max_model_len={max_model_len} of {model.name} needs {_gib(sequence_bytes)} of KV cache for one sequence and there are "
            f"{_gib(kv_bytes)}. One sequence has to fit. Lower max_model_len to {max_model_len * kv_bytes // sequence_bytes} or less, "
            f"or {advice}."
        )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f} GiB"
