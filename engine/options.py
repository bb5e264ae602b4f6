"""Engine options: which vLLM knows, which are not a user's to set, and which can change an answer.

Reads vLLM's source instead of importing it, which takes 12 s. What an option's value may be is for vLLM to say when it loads.
"""

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from engine.device import find_vllm
from engine.folders import ModelError, weight_paths

_SOURCE = "is decided by the model's `source`; give another source"
_GENERATES = "the flows here ask an engine for text and for scores of text; leave it out"
OURS: dict[str, str] = {
    "model": _SOURCE,
    "model_weights": _SOURCE,
    "revision": _SOURCE,
    "code_revision": _SOURCE,
    "hf_config_path": _SOURCE,
    "tokenizer": "prompts are made of the token ids of the model's own tokeniser; leave it out",
    "tokenizer_revision": _SOURCE,
    "skip_tokenizer_init": "answers are decoded with the model's own tokeniser; leave it out",
    "runner": _GENERATES,
    "convert": _GENERATES,
    "pooler_config": _GENERATES,
    "logprobs_mode": "candidates are judged by log-probabilities as the model gives them; leave it out",
    "trust_remote_code": "it would run code that comes with a model; vLLM must know the architecture itself; leave it out",
    "hf_token": "keys are no part of settings, which are recorded; set HF_TOKEN in the environment",
}
"""Options of vLLM that are not a user's to set, and why."""

_DATA_PARALLEL = (
    "one engine is one process here, in which vLLM would wait for the other replicas for ever; start one command a GPU instead, with "
    "CUDA_VISIBLE_DEVICES and other inputs, on one workspace, or split the model over the GPUs with tensor_parallel_size"
)

SPEED_ONLY = frozenset(
    {
        # which requests are computed together, and in what order
        "max_num_seqs",
        "max_num_batched_tokens",
        "max_num_scheduled_tokens",
        "max_num_active_seqs",
        "long_prefill_token_threshold",
        "enable_chunked_prefill",
        "scheduling_policy",
        "async_scheduling",
        "scheduler_reserve_full_isl",
        "prefill_schedule_interval",
        "watermark",
        "stream_interval",
        "performance_mode",
        # what memory is taken, and what is kept of what was computed
        "gpu_memory_utilization",
        "kv_cache_memory_bytes",
        "num_gpu_blocks_override",
        "block_size",
        "enable_prefix_caching",
        "prefix_caching_hash_algo",
        "cpu_offload_gb",
        "kv_offloading_size",
        "kv_offloading_backend",
        # where it is computed
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "distributed_executor_backend",
        "disable_custom_all_reduce",
        "device_ids",
        "numa_bind",
        "numa_bind_nodes",
        "numa_bind_cpus",
        # how weights are read and steps are launched
        "safetensors_load_strategy",
        "safetensors_prefetch_num_threads",
        "max_parallel_loading_workers",
        "use_tqdm_on_load",
        "enforce_eager",
        "cudagraph_capture_sizes",
        "max_cudagraph_capture_size",
        # what is counted and said
        "disable_log_stats",
        "log_level",
        "kv_cache_metrics",
        "cudagraph_metrics",
        "enable_mfu_metrics",
    }
)
"""Options that are no part of a row key: with each, the same arithmetic is done on the same numbers, in another batch, place or order.

Last bits can differ, as they do from batch to batch under any settings and from machine to machine, neither of which is part of the key
either. Everything else is, also what vLLM may add: above all what chooses other numbers (dtype, kv_cache_dtype, quantization, load_format,
hf_overrides, attention_backend, compilation_config), another way to an answer (speculative_config), or where one ends (max_model_len).
"""

_NESTED = {
    "speculative_config": ("config/speculative.py", "SpeculativeConfig"),
    "structured_outputs_config": ("config/structured_outputs.py", "StructuredOutputsConfig"),
    "compilation_config": ("config/compilation.py", "CompilationConfig"),
    "attention_config": ("config/attention.py", "AttentionConfig"),
    "kernel_config": ("config/kernel.py", "KernelConfig"),
}
"""Options that are tables, and the class whose fields their keys are."""


class OptionError(ValueError):
    """An engine option that cannot be used: what was met, the rule, what to do."""


def check_options(options: Mapping[str, Any]) -> None:
    """Check the names of options that go to vLLM's EngineArgs; where vLLM is not installed, those that are ours alone.

    Raises OptionError for a name that vLLM does not know, with the nearest that it does, and for one that is not a user's to set.
    """
    for name, reason in OURS.items():
        if name in options:
            raise OptionError(f"engine_args has {name}, which is not a user's to set: {reason}")
    if "trust_remote_code" in _list_keys(options):
        raise OptionError(f"a table in engine_args has trust_remote_code, which is not a user's to set: {OURS['trust_remote_code']}")
    if options.get("data_parallel_size", 1) != 1 or options.get("distributed_executor_backend") == "external_launcher":
        raise OptionError(f"engine_args asks for data parallelism: {_DATA_PARALLEL}")
    if not options:
        return
    known = read_fields("engine/arg_utils.py", "EngineArgs")
    if find_vllm() and not known:
        raise OptionError("the installed vLLM has no EngineArgs where options are looked up; install the version that pyproject.toml names")
    _check_names("engine_args", options, known)
    for name, (path, class_name) in _NESTED.items():
        if isinstance(table := options.get(name), Mapping):
            _check_names(name, (key.replace("-", "_") for key in table), read_fields(path, class_name))


def check_drafts(options: Mapping[str, Any]) -> None:
    """Raises ModelError where a draft model is no folder of safetensors: vLLM would fetch a name from the hub, and unpickle what it finds.

    Looks at the disk, and so is asked where an engine is planned, not where settings are read.
    """
    table = options.get("speculative_config")
    for where, given in {
        "speculative_config.model": table.get("model") if isinstance(table, Mapping) else None,
        "spec_model": options.get("spec_model"),
    }.items():
        if given is None:
            continue
        folder = Path(str(given)).absolute()
        if not folder.is_dir():
            raise ModelError(
                f"engine_args has {where} = {str(given)!r}, and {folder} is no folder. A draft model is a folder on this machine, for vLLM "
                "would fetch anything else itself, past models.lock. Bring it here first, as `flows models pull hf:ORG/NAME` does, and "
                "give the path of its folder; where the method needs no draft model, leave it out."
            )
        if not weight_paths(folder):
            raise ModelError(
                f"engine_args has {where} = {str(given)!r}, and {folder} holds no *.safetensors. Pickled weights are refused: loading one "
                "runs whatever code it holds. Give a folder with safetensors."
            )


def deciding_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that can change an answer."""
    return {name: value for name, value in options.items() if name not in SPEED_ONLY}


def _list_keys(value: Any) -> Iterator[str]:
    """Every key in a value, however deep, as vLLM reads it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key).replace("-", "_")
            yield from _list_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _list_keys(inner)


def _check_names(where: str, names: Iterable[str], known: frozenset[str]) -> None:
    for name in names if known else ():
        if name not in known:
            nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
            raise OptionError(f"{where} has {name!r}, which vLLM does not know; the nearest that it does is {nearest!r}; mend or remove it")


@cache
def read_fields(path: str, class_name: str) -> frozenset[str]:
    """Names of the public fields of a dataclass in a file of the installed vLLM; none where it has no such class, or is not installed."""
    source = (find_vllm() or Path()) / path
    body = next((node.body for node in _read_classes(source) if node.name == class_name), [])
    names = (node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name))
    return frozenset(name for name in names if not name.startswith("_"))


def _read_classes(source: Path) -> list[ast.ClassDef]:
    try:
        return [node for node in ast.parse(source.read_bytes()).body if isinstance(node, ast.ClassDef)]
    except (OSError, SyntaxError):
        return []
