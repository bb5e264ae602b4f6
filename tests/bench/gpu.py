"""What the engine does on one GPU with models of the sizes that users run: speed by shape, share of the GPU's limit, what breaks.

    python tests/bench/gpu.py [--parts NAME ...] [--book FILE ...] [--out FILE]

Each part runs in a process of its own, under a time limit, so that it frees the GPU and harms no other. Prints tables and, last, one JSON
object. The larger models have their real shapes and random weights: their speed is true, what they say is not.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)

from chunkers.readers import read_document  # noqa: E402
from chunkers.tokens import Tokenizer  # noqa: E402
from engine.copying import find_copy_form  # noqa: E402
from engine.models import EMBEDDED, PROOFREADER, Model, resolve_model  # noqa: E402
from engine.process import EngineSpec, ProcessEngine  # noqa: E402
from engine.protocol import Engine, EngineError  # noqa: E402
from engine.records import Completion, Outcome, Request, Sampling  # noqa: E402
from engine.restart import RestartingEngine  # noqa: E402
from tests.bench.engine import rate_of, ratio, say  # noqa: E402
from tests.bench.engine_lines import Timed, Workload, make_request, run_generate_in_two_processes, run_ours  # noqa: E402

PART_S = 240
GIB = 1 << 30
BANDWIDTH, BF16_FLOPS, FP8_FLOPS = 4.8e12, 0.99e15, 1.98e15
"""Of an H200, by its data sheet."""

_COMMON = {"hidden_act": "silu", "attention_bias": False, "torch_dtype": "bfloat16", "eos_token_id": None}
_LLAMA_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "smollm2-135m": _COMMON
    | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536}
    | {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152}
    | {"tie_word_embeddings": True, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 1e5},
    "qwen3-0.6b": _COMMON
    | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072}
    | {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}
    | {"tie_word_embeddings": True, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1e6},
    "llama-3.1-8b-fp8": _COMMON
    | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336}
    | {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256}
    | {"tie_word_embeddings": False, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 5e5}
    | {"rope_scaling": _LLAMA_ROPE, "quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}},
}
"""Of models as they are published; their tokenisers are the embedded model's without an end token, so that every answer has full length."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is asked: so many prompts of so many tokens, the first of them shared, and answers of one length."""

    num: int
    prompt: int
    answer: int
    shared: int = 0

    @property
    def name(self) -> str:
        return f"{self.prompt}/{self.answer}"

    def requests(self, model: Model, seed: int) -> Iterator[Request]:
        chance = random.Random(seed)
        shared = chance.choices(range(1000, 40000), k=self.shared)
        for _ in range(self.num):
            ids = (*shared, *chance.choices(range(1000, 40000), k=self.prompt - self.shared))
            yield make_request(ids, model, Sampling(max_tokens=self.answer))

    def floor_s(self, config: dict[str, Any], num_seqs: int, kv_bytes: int) -> float:
        """Seconds that the GPU's arithmetic and memory take at least: prompts by the one, steps of the answers by the larger of both."""
        width, layers, kv = config["hidden_size"], config["num_hidden_layers"], config["num_key_value_heads"] * config["head_dim"]
        query = config["num_attention_heads"] * config["head_dim"]
        linear = layers * (2 * width * query + 2 * width * kv + 3 * width * config["intermediate_size"])
        is_fp8 = "quantization_config" in config
        flops = FP8_FLOPS if is_fp8 else BF16_FLOPS
        head = width * config["vocab_size"]
        computed = self.shared + self.num * (self.prompt - self.shared)
        prompts_s = 2 * linear * computed / flops
        steps = self.num * self.answer / num_seqs
        weights = linear * (1 if is_fp8 else 2) + 2 * head
        context = num_seqs * (self.prompt + self.answer / 2) * layers * 2 * kv * kv_bytes
        arithmetic_s = 2 * linear * num_seqs / flops + 2 * head * num_seqs / BF16_FLOPS
        each_s: float = max((weights + context) / BANDWIDTH, arithmetic_s)
        return float(prompts_s + steps * each_s)


def write_model(name: str, folder: Path) -> Model:
    """A model of that shape without weights; the embedded model's tokeniser, which no token of an answer ends."""
    own, made = resolve_model(EMBEDDED).folder, folder / name
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIGS[name]))
    shutil.copy(own / "tokenizer.json", made)
    settings = json.loads((own / "tokenizer_config.json").read_text())
    (made / "tokenizer_config.json").write_text(json.dumps({key: value for key, value in settings.items() if not key.endswith("_token")}))
    return Model(name=name, folder=made, revision="local", weights_sha256="none", quantization="none")


# ---- parts


def measure_sizes(name: str, folder: Path) -> dict[str, Any]:
    """One model in one engine: shapes, numbers in flight, tokens a step."""
    from engine.vllm import VllmEngine

    model, config = write_model(name, folder), CONFIGS[name]
    is_small = "quantization_config" not in config
    started = time.perf_counter()
    limits = {"max_num_seqs": 1024, "max_num_batched_tokens": 16384, "max_cudagraph_capture_size": 1024}
    engine = VllmEngine(model, **options_of(name), **limits)
    cache = engine._engine.vllm_config.cache_config
    found: dict[str, Any] = {
        "load_s": round(time.perf_counter() - started, 1),
        "used_gib": used_gib(),
        "cache_tokens": (cache.num_gpu_blocks or 0) * cache.block_size,
        "lines": [],
    }
    scheduler = engine._find_scheduler()
    say(f"  loaded in {found['load_s']} s, {found['used_gib']} GiB used, a cache of {found['cache_tokens']} tokens")
    list(engine.run(Shape(num=64, prompt=300, answer=8).requests(model, 0)))
    template = Shape(num=2048 if is_small else 1024, prompt=800, answer=80, shared=200)
    lines = [(template, n, tokens) for n, tokens in TEMPLATE_SWEEP]
    lines += [(Shape(num=512, prompt=2048, answer=128), 512, tokens) for tokens in (8192,)]
    lines += [(Shape(num=n, prompt=1000, answer=1000), n, 8192) for n in (512,)]
    for seed, (shape, num_seqs, num_tokens) in enumerate(lines, 1):
        scheduler.max_num_running_reqs, scheduler.max_num_scheduled_tokens = num_seqs, num_tokens
        engine.max_in_flight = 2 * num_seqs
        line = measure(engine, list(shape.requests(model, seed)))
        floor = shape.floor_s(config, min(num_seqs, shape.num), 2 if is_small else 1)
        line |= {"shape": shape.name, "in_flight": num_seqs, "step_tokens": num_tokens, "of_floor": round(floor / line["seconds"], 3)}
        found["lines"].append(line)
        show(line)
    return found


def options_of(name: str) -> dict[str, Any]:
    """Weights of no meaning; an 8-bit cache for 8-bit weights."""
    return {"load_format": "dummy"} | ({"kv_cache_dtype": "fp8"} if "quantization_config" in CONFIGS[name] else {})


TEMPLATE_SWEEP = ((256, 8192), (512, 8192), (1024, 8192), (512, 2048), (512, 16384))


def measure_line(line: Callable[[Workload], list[Timed]], name: str, folder: Path) -> dict[str, Any]:
    """The same model in the proofreading template's shape, as plain `LLM.generate` or with our pipeline around it."""
    model, template = write_model(name, folder), Shape(num=2048, prompt=800, answer=80, shared=200)
    prompts = tuple(request.token_ids for request in template.requests(model, 77))
    options = options_of(name) | {"max_num_seqs": 512}
    workload = Workload(
        model=asdict(model) | {"folder": str(model.folder)}, prompts=prompts, num_runs=2, max_tokens=template.answer, engine_args=options
    )
    found = {"runs": [asdict(run) for run in line(workload)]}
    rate, runs = rate_of(found), found["runs"]
    say(f"  {rate:.0f} all/s; {[round(run['completion_tokens'] / run['seconds']) for run in runs]} out/s")
    return found


def measure_processes(name: str, folder: Path) -> dict[str, Any]:
    """One to four engines on the one GPU, with a part of its memory each, in processes of their own."""
    model, template = write_model(name, folder), Shape(num=1536, prompt=800, answer=80, shared=200)
    memory = {"gpu_memory_utilization": 0.01, "kv_cache_memory_bytes": 24 * GIB}
    spec = EngineSpec(kind="vllm", model=model, engine_args={"load_format": "dummy", "max_num_seqs": 512, **memory})
    found: dict[str, Any] = {"lines": []}
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        started = time.perf_counter()
        engines = [stack.enter_context(engine) for engine in pool.map(lambda _: ProcessEngine(spec), range(4))]
        found |= {"load_s": round(time.perf_counter() - started, 1), "used_gib": used_gib()}
        say(f"  four engines loaded in {found['load_s']} s, {found['used_gib']} GiB used")

        def answer(engine: Engine, requests: list[Request]) -> list[Completion]:
            return list(engine.run(requests))

        list(pool.map(answer, engines, [list(Shape(num=64, prompt=100, answer=8).requests(model, 1)) for _ in engines]))
        for num in (1, 2, 3, 4):
            parts = [list(template.requests(model, 10 * num + each)) for each in range(num)]
            started = time.perf_counter()
            done = list(chain.from_iterable(pool.map(answer, engines, parts)))
            line = count(done, time.perf_counter() - started) | {"shape": template.name, "engines": num}
            found["lines"].append(line)
            show(line)
    return found


def measure_drafts(num_drafts: int, books: Sequence[Path]) -> dict[str, Any]:
    """The proofreader copies passages with their errors mended, token by token or with drafts out of its own prompt."""
    from engine.vllm import VllmEngine

    model = resolve_model(PROOFREADER)
    form, tokenizer = find_copy_form(model.folder), Tokenizer(model.tokenizer_path)
    if form is None:
        raise SystemExit(f"{PROOFREADER} does not copy; measure another model.")
    ids = tokenizer.encode_template("\n\n".join(read_document(str(book)).text for book in books))
    passages = [ids[first : first + 300] for first in range(0, min(len(ids), 2080 * 300), 300)]
    table: dict[str, Any] = {"method": "ngram", "num_speculative_tokens": num_drafts, "prompt_lookup_min": 2, "prompt_lookup_max": 4}
    options: dict[str, Any] = {"speculative_config": table} if num_drafts else {}
    engine = VllmEngine(model, max_num_seqs=512, **options)
    scheduler = engine._find_scheduler()
    counted, tell = {"drafted": 0, "accepted": 0}, scheduler.make_spec_decoding_stats

    def count_drafts(*args: Any, **named: Any) -> Any:
        counted["drafted"] += named["num_draft_tokens"]
        counted["accepted"] += named["num_accepted_tokens"]
        return tell(*args, **named)

    scheduler.make_spec_decoding_stats = count_drafts
    sampling = Sampling(max_tokens=320, stop_token_ids=(form.end,))
    requests = [make_request(tuple(form.frame(each)), model, sampling) for each in passages]
    list(engine.run(requests[:32]))
    counted.update(drafted=0, accepted=0)
    line = measure(engine, requests[32:]) | {"drafts": num_drafts} | counted
    line |= {"acceptance": ratio(counted["accepted"], counted["drafted"])}
    show(line)
    return line


def measure_faults() -> dict[str, Any]:
    """What is too long, too large, killed."""
    model = resolve_model(EMBEDDED)
    eager = {"enforce_eager": True, "gpu_memory_utilization": 0.05}
    small = eager | {"kv_cache_memory_bytes": 4 * GIB}
    found: dict[str, Any] = {}

    def try_engine(what: str, use: Callable[[Engine], str], **options: Any) -> None:
        started = time.perf_counter()
        try:
            with RestartingEngine(lambda: ProcessEngine(EngineSpec(kind="vllm", model=model, engine_args=options))) as engine:
                told = use(engine)
        except EngineError as error:
            told = f"EngineError: {str(error)[:600]}"
        found[what] = {"told": told, "seconds": round(time.perf_counter() - started, 1)}
        say(f"  {what}: {found[what]['seconds']} s: {told}")

    def use_killed(engine: Engine) -> str:
        shape, killed_at, answered = Shape(num=2000, prompt=400, answer=64), 0.0, set[str]()
        for completion in engine.run(shape.requests(model, 5)):
            if not answered:
                inner = engine._engine  # type: ignore[attr-defined]
                os.kill(inner.pid, signal.SIGKILL)
                killed_at = time.perf_counter()
            answered.add(completion.request.row_key)
            if engine.num_deaths and "back_s" not in found:  # type: ignore[attr-defined]
                found["back_s"] = round(time.perf_counter() - killed_at, 1)
        return f"killed once, {engine.num_deaths} deaths, {len(answered)} of {shape.num} answered, again after {found.get('back_s')} s"  # type: ignore[attr-defined]

    def use_long(engine: Engine) -> str:
        requests = [make_request(tuple(range(1000, 1000 + n)), model, Sampling(max_tokens=8)) for n in (3000, 2560, 2559, 100)]
        return str([str(each.outcome) for each in sorted(engine.run(requests), key=lambda done: -len(done.request.token_ids))])

    def use_all(engine: Engine) -> str:
        outcomes = [each.outcome for each in engine.run(Shape(num=1024, prompt=400, answer=64).requests(model, 9))]
        return str({str(outcome): outcomes.count(outcome) for outcome in set(outcomes)})

    def use_options(engine: Engine) -> str:
        ids = tuple(range(2000, 2300))
        few = [make_request(ids, model, Sampling(max_tokens=8)), make_request(ids, model, Sampling(score_from=200, num_alternatives=4))]
        return str([(str(each.outcome), len(each.logprobs), each.completion_tokens) for each in engine.run(few)])

    try_engine("killed", use_killed, **small)
    try_engine("too long", use_long, **small)
    try_engine("cache for 40 of 1024 requests", use_all, num_gpu_blocks_override=1200, **eager)
    try_engine("cache too small for one", use_all, num_gpu_blocks_override=100, **eager)
    try_engine("more cache than memory", use_all, **eager | {"kv_cache_memory_bytes": 200 * GIB})
    try_engine("fp8 cache", use_options, kv_cache_dtype="fp8", **small)
    try_engine("no async scheduling", use_options, async_scheduling=False, **small)
    try_engine("all memory", use_all, gpu_memory_utilization=0.99)
    return found


# ---- what the parts share


def measure(engine: Engine, requests: list[Request]) -> dict[str, Any]:
    before, busy, started = engine.steps.num, engine.busy_seconds, time.perf_counter()
    done = list(engine.run(requests))
    seconds = time.perf_counter() - started
    steps = engine.steps.num - before
    return count(done, seconds) | {"steps": steps, "busy": round((engine.busy_seconds - busy) / seconds, 4)}


def count(done: Sequence[Completion], seconds: float) -> dict[str, Any]:
    prompt, answer = sum(each.prompt_tokens for each in done), sum(each.completion_tokens for each in done)
    failed = sum(each.outcome not in (Outcome.OK, Outcome.TRUNCATED) for each in done)
    rates = {"out_rate": round(answer / seconds), "all_rate": round((prompt + answer) / seconds)}
    counts = {"prompt_tokens": prompt, "cached_tokens": sum(each.cached_tokens for each in done), "answer_tokens": answer, "failed": failed}
    return {"seconds": round(seconds, 2)} | rates | counts


def show(line: dict[str, Any]) -> None:
    shown = {key: value for key, value in line.items() if key not in ("prompt_tokens", "answer_tokens", "out_rate", "all_rate")}
    say(f"  {line['out_rate']:8d} out/s {line['all_rate']:8d} all/s  {shown}")


def used_gib() -> float:
    printed = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True)
    return round(int(printed.stdout.split()[0]) / 1024, 1)


def run_part(part: str, books: Sequence[Path]) -> dict[str, Any]:
    kind, _, name = part.partition(":")
    with TemporaryDirectory() as folder:
        if kind == "sizes":
            return measure_sizes(name, Path(folder))
        if kind == "processes":
            return measure_processes(name, Path(folder))
        if kind == "drafts":
            return measure_drafts(int(name), books)
        if kind == "faults":
            return measure_faults()
        return measure_line({"ours": run_ours, "generate": run_generate_in_two_processes}[kind], name, Path(folder))


PARTS = (
    *(f"{kind}:{name}" for name in CONFIGS for kind in ("sizes", "generate", "ours")),
    *(f"processes:{name}" for name in ("smollm2-135m", "qwen3-0.6b")),
    *(f"drafts:{num}" for num in (0, 4, 8, 16)),
    "faults",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--book", type=Path, nargs="+", default=[ROOT / "data" / "the-time-machine.md"])
    parser.add_argument("--out", type=Path, help="where each part's result is kept as soon as it is there")
    parser.add_argument("--limit", type=float, default=PART_S, help="seconds of one part")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        args.out.write_text(json.dumps(run_part(args.parts[0], args.book)))
        return
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for part in args.parts:
            say(part)
            started = time.monotonic()
            result = Path(folder) / "result.json"
            command = [sys.executable, __file__, "--one", "--parts", part, "--out", str(result), "--book", *map(str, args.book)]
            child = subprocess.Popen(command, start_new_session=True)
            try:
                child.wait(args.limit)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                say(f"  {part}: ended after {args.limit:.0f} s")
            found[part] = json.loads(result.read_text()) if result.is_file() else None
            say(f"  {'done' if found[part] else 'failed'} after {time.monotonic() - started:.0f} s")
            result.unlink(missing_ok=True)
            if args.out:
                args.out.write_text(json.dumps(found))
    say(json.dumps(found))


if __name__ == "__main__":
    main()
