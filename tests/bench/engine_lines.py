"""The lines of the engine's benchmark, each run in a process of its own: `python -P tests/bench/engine_lines.py LINE WORKLOAD RESULT`.

Every line answers the same prompts with the same weights and engine settings. Loading and the first, slow requests are not timed.
"""

import asyncio
import json
import logging
import os
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

from chunkers.records import Chunk
from chunkers.shards import read_shard
from chunkers.tokens import Tokenizer
from engine.calls import CallStore, row_key
from engine.device import Device, find_device
from engine.feed import Feed
from engine.models import Model
from engine.prefixes import CPU_BLOCK_SIZE, GPU_BLOCK_SIZE, plan_prefixes
from engine.process import EngineSpec, ProcessEngine
from engine.prompts import ChatRenderer, Prompt, load_prompt
from engine.protocol import Engine
from engine.records import Completion, Request, Sampling

LIST_SCHEMA = '{"items":{"maxLength":24,"type":"string"},"minItems":64,"type":"array"}'
"""JSON that goes on until the limit, as free text does."""
SAMPLE_S = 0.01
BLOCK_SIZE = CPU_BLOCK_SIZE if find_device() is Device.CPU else GPU_BLOCK_SIZE


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a line is to answer; written by the parent as JSON."""

    model: dict[str, Any]
    shards: tuple[str, ...] = ()
    """Parquet files of chunks, put into the proofreading template; or else `prompts`."""
    prompts: tuple[tuple[int, ...], ...] = ()
    num_runs: int = 1
    max_tokens: int = 32
    engine_args: dict[str, Any] = field(default_factory=dict)
    is_planned: bool = False
    """Whether our line orders the prompts by the prefix plan."""

    def restore_model(self) -> Model:
        return Model(**self.model | {"folder": Path(self.model["folder"])})


@dataclass(kw_only=True)
class Timed:
    """One run."""

    seconds: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reusable_tokens: int = 0
    num_steps: int = 0
    num_stalled: int = 0
    parent_cpu_s: float = 0.0
    """Of the process that feeds, where the engine has its own."""


def render_run(workload: Workload, run: int) -> Iterator[list[tuple[int, ...]]]:
    """The prompts of a run, shard after shard. Each run begins differently, so that none finds the one before in the cache."""
    model = workload.restore_model()
    tokenizer = Tokenizer(model.tokenizer_path)
    mark = tokenizer.encode_template(f"{run} ")
    if workload.prompts:
        yield [(*mark, *prompt) for prompt in workload.prompts]
        return
    renderer, prompt = ChatRenderer(model, tokenizer), _mark_prompt(run)
    for shard in workload.shards:
        yield [_render(renderer, prompt, chunk) for chunk in _readable(shard)]


def _mark_prompt(run: int) -> Prompt:
    prompt = load_prompt("proofread", 1)
    return replace(prompt, system=f"{run} {prompt.system}")


def _render(renderer: ChatRenderer, prompt: Prompt, chunk: Chunk) -> tuple[int, ...]:
    return tuple(renderer.render(prompt, {"text": chunk.text, "context_before": chunk.context_before}))


def _readable(shard: str) -> Iterator[Chunk]:
    return (chunk for chunk in read_shard(shard, Chunk) if chunk.is_readable)


# ---- what a user would otherwise run


def run_generate(workload: Workload) -> list[Timed]:
    """`LLM.generate` over all prompts at once."""
    return _generate(workload, lambda shards: [[prompt for shard in shards for prompt in shard]])


def run_generate_in_two_processes(workload: Workload) -> list[Timed]:
    """`LLM.generate` as vLLM comes: its engine in a process of its own."""
    return _generate(workload, lambda shards: [[prompt for shard in shards for prompt in shard]], num_processes=2)


def run_generate_by_shard(workload: Workload) -> list[Timed]:
    """`LLM.generate` for each shard."""
    return _generate(workload, lambda shards: shards)


def _generate(
    workload: Workload, parts_of: Callable[[list[list[tuple[int, ...]]]], list[list[tuple[int, ...]]]], num_processes: int = 1
) -> list[Timed]:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = str(num_processes - 1)  # 0: as ours, and the faster way on a CPU
    from vllm import LLM, SamplingParams

    llm = LLM(**_engine_args(workload))
    sampling = SamplingParams(temperature=0.0, max_tokens=workload.max_tokens)

    def ask(prompts: list[tuple[int, ...]]) -> list[Any]:
        return llm.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], sampling, use_tqdm=False)

    ask(next(render_run(workload, 0))[:8])
    timed = []
    for run in range(1, workload.num_runs + 1):
        parts = parts_of(list(render_run(workload, run)))
        started = time.perf_counter()
        outputs = [output for part in parts for output in ask(part)]
        timed.append(
            Timed(
                seconds=time.perf_counter() - started,
                prompt_tokens=sum(len(output.prompt_token_ids) for output in outputs),
                completion_tokens=sum(len(output.outputs[0].token_ids) for output in outputs),
                cached_tokens=sum(output.num_cached_tokens or 0 for output in outputs),
            )
        )
    return timed


def _engine_args(workload: Workload) -> dict[str, Any]:
    """Those of engine/vllm.py, so that every line computes in the same way."""
    on_cpu = {"block_size": CPU_BLOCK_SIZE, "max_num_batched_tokens": 1024, "enforce_eager": True}
    settings = on_cpu if find_device() is Device.CPU else {"block_size": GPU_BLOCK_SIZE, "max_num_batched_tokens": 8192}
    return {"model": workload.model["folder"], "max_model_len": 2560, **settings, **workload.engine_args}


def run_batch_command(workload: Workload) -> list[Timed]:
    """`vllm run-batch`, from the moment at which its engine is there; the messages are the same, and so are the tokens."""
    from vllm.entrypoints.launchers import run_batch
    from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    with TemporaryDirectory() as folder:
        flags = ["-i", f"{folder}/0.jsonl", "-o", f"{folder}/out.jsonl"]
        for name, value in _engine_args(workload).items():
            flags += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        args = run_batch.make_arg_parser(FlexibleArgumentParser()).parse_args([*flags, "--enable-prompt-tokens-details"])

        async def answer_all() -> list[Timed]:
            timed = []
            async with build_async_engine_client(args, usage_context=UsageContext.OPENAI_BATCH_RUNNER) as engine:
                for run in range(workload.num_runs + 1):
                    args.input_file = _write_batch(workload, run, Path(folder), limit=None if run else 8)
                    started = time.perf_counter()
                    await run_batch.run_batch(engine, args)
                    seconds = time.perf_counter() - started
                    if run:
                        timed.append(_read_batch(Path(args.output_file), seconds))
            return timed

        return asyncio.run(answer_all())


def _write_batch(workload: Workload, run: int, folder: Path, limit: int | None) -> str:
    prompt = _mark_prompt(run)
    path = folder / f"{run}.jsonl"
    lines = []
    for number, chunk in enumerate(chunk for shard in workload.shards for chunk in _readable(shard)):
        user = prompt.user.substitute(text=chunk.text, context_before=chunk.context_before)
        messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}]
        body = {"model": workload.model["folder"], "messages": messages, "temperature": 0.0, "max_tokens": workload.max_tokens}
        lines.append(json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body}))
    path.write_text("\n".join(lines[:limit]))
    return str(path)


def _read_batch(path: Path, seconds: float) -> Timed:
    usages = [json.loads(line)["response"]["body"]["usage"] for line in path.read_text().splitlines()]
    return Timed(
        seconds=seconds,
        prompt_tokens=sum(usage["prompt_tokens"] for usage in usages),
        completion_tokens=sum(usage["completion_tokens"] for usage in usages),
        cached_tokens=sum((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0 for usage in usages),
    )


def run_daft(workload: Workload) -> list[Timed]:
    """Daft's `vllm-prefix-caching` provider, where Daft is installed. It starts an engine for each query: what one of a single prompt takes
    is taken off."""
    import daft  # type: ignore[import-not-found]
    from daft.functions import prompt as ask  # type: ignore[import-not-found]
    from vllm import SamplingParams

    model = workload.restore_model()
    tokenizer = Tokenizer(model.tokenizer_path)
    settings = {key: value for key, value in _engine_args(workload).items() if key != "model"}

    def query(ids: list[tuple[int, ...]]) -> tuple[float, list[str]]:
        sampling = SamplingParams(temperature=0.0, max_tokens=workload.max_tokens)
        asked = ask(
            daft.col("prompt"),
            provider="vllm-prefix-caching",
            model=str(model.folder),
            gpus_per_actor=0,
            num_gpus=0,
            engine_args=settings,
            generate_args={"sampling_params": sampling},
        )
        started = time.perf_counter()
        frame = daft.from_pydict({"prompt": [tokenizer.decode(list(each)) for each in ids]}).with_column("answer", asked)
        answers: list[str] = frame.to_pydict()["answer"]
        return time.perf_counter() - started, answers

    start_s, _ = query(next(render_run(workload, 0))[:1])
    timed = []
    for run in range(1, workload.num_runs + 1):
        ids = [ids for shard in render_run(workload, run) for ids in shard]
        seconds, answers = query(ids)
        num_out = sum(len(tokenizer.encode_template(answer or "")) for answer in answers)
        timed.append(Timed(seconds=seconds - start_s, prompt_tokens=sum(map(len, ids)), completion_tokens=num_out))
    return timed


# ---- ours


class _AskAll:
    """A job that asks each prompt once and takes any answer."""

    def __init__(self, prompts: list[tuple[int, ...]], model: Model, sampling: Sampling, *, is_planned: bool) -> None:
        self.completions: list[Completion] = []
        order = plan_prefixes(prompts, block_size=BLOCK_SIZE).order if is_planned else range(len(prompts))
        self._requests = [make_request(prompts[position], model, sampling) for position in order]

    def requests(self) -> Iterator[Request]:
        yield from self._requests

    def classify(self, completion: Completion) -> Completion:
        return completion

    def follows(self, completion: Completion) -> bool:
        return False

    def receive(self, completion: Completion) -> None:
        self.completions.append(completion)


def make_request(token_ids: tuple[int, ...], model: Model, sampling: Sampling) -> Request:
    key = row_key(model, "bench", token_ids, sampling)
    return Request(
        row_key=key, doc_id="bench", chunk_id=key[:16], template="bench", template_version=1, token_ids=token_ids, sampling=sampling
    )


def run_ours(workload: Workload) -> list[Timed]:
    """Parquet in, Parquet out: the feed, the engine in its own process, the call store."""
    model = workload.restore_model()
    args = {key: value for key, value in _engine_args(workload).items() if key != "model"}
    return _feed(workload, lambda: ProcessEngine(EngineSpec(kind="vllm", model=model, engine_args=args)))


def _feed(workload: Workload, load: Callable[[], Engine]) -> list[Timed]:
    model, sampling = workload.restore_model(), Sampling(max_tokens=workload.max_tokens)
    timed: list[Timed] = []
    with load() as engine:
        for run in range(workload.num_runs + 1):
            with TemporaryDirectory() as folder:
                before, cpu_before, started = engine.steps, time.process_time(), time.perf_counter()
                with Feed(partial(CallStore, folder, model, worker="bench"), lambda: nullcontext(engine), is_eager=False) as feed:
                    futures = []
                    for prompts in render_run(workload, run):
                        job = _AskAll(prompts if run else prompts[:8], model, sampling, is_planned=workload.is_planned)
                        futures.append(feed.submit(job))
                        if not run:
                            break
                    for future in futures:
                        future.result()
                seconds, progress, after = time.perf_counter() - started, feed.progress, engine.steps
                if run:
                    timed.append(
                        Timed(
                            seconds=seconds,
                            prompt_tokens=progress.prompt_tokens,
                            completion_tokens=progress.completion_tokens,
                            cached_tokens=progress.cached_tokens,
                            reusable_tokens=progress.reusable_tokens,
                            num_steps=after.num - before.num,
                            num_stalled=after.num_stalled - before.num_stalled,
                            parent_cpu_s=time.process_time() - cpu_before,
                        )
                    )
    return timed


def run_profile(workload: Workload) -> dict[str, Any]:
    """Where the time goes that is not the engine's: our line in one process, looked at every 10 ms."""
    from engine.vllm import VllmEngine

    model = workload.restore_model()
    args = {key: value for key, value in _engine_args(workload).items() if key != "model"}
    engine = VllmEngine(model, **args)
    with _sampled() as counts:
        timed = _feed(workload, lambda: engine)
    total, in_steps = counts.pop("all"), counts.pop("step")
    shares = {name: count / total for name, count in counts.most_common(12)}
    return {"seconds": sum(run.seconds for run in timed), "engine_share": in_steps / total, "shares": shares}


@contextmanager
def _sampled() -> Iterator[Counter[str]]:
    """Count samples: by our innermost function where a thread is not in one engine step, else as `step`; `all` together."""
    counts: Counter[str] = Counter()
    stop = threading.Event()
    own = ("chunkers", "engine", "postprocess", "flows")

    def look() -> None:
        while not stop.wait(SAMPLE_S):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            counts["all"] += 1
            for ident, frame in sys._current_frames().items():
                if ident == threading.get_ident() or names.get(ident) == "MainThread":
                    continue
                found, is_step, is_waiting = None, False, frame.f_code.co_name in ("wait", "get", "select", "poll")
                while frame is not None:
                    module = frame.f_globals.get("__name__", "")
                    is_step |= module == "vllm.v1.engine.llm_engine" and frame.f_code.co_name == "step"
                    if found is None and module.partition(".")[0] in own:
                        found = f"{module}.{frame.f_code.co_name}"
                    frame = frame.f_back
                if is_step:
                    counts["step"] += 1
                elif found and not is_waiting:
                    counts[found] += 1

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        stop.set()
        thread.join()


def run_modes(workload: Workload) -> dict[str, Any]:
    """Tokens a second of prefill, of scoring, of free text and of JSON under a schema, in turns on one engine."""
    from engine.vllm import VllmEngine

    model = workload.restore_model()
    engine = VllmEngine(model, **{key: value for key, value in _engine_args(workload).items() if key != "model"})
    free = Sampling(max_tokens=workload.max_tokens)
    modes = {
        "prefill": Sampling(max_tokens=1),
        "score": Sampling(score_from=1),
        "score_with_alternatives": Sampling(score_from=1, num_alternatives=4),
        "free_text": free,
        "schema": replace(free, json_schema=LIST_SCHEMA),
    }
    rates: dict[str, list[float]] = {name: [] for name in modes}
    for run in range(workload.num_runs + 1):
        for number, (name, sampling) in enumerate(modes.items()):
            # another beginning for each mode and run: nothing comes from the cache
            prompts = [prompt for shard in render_run(workload, 1000 + len(modes) * run + number) for prompt in shard][: None if run else 8]
            started = time.perf_counter()
            done = list(engine.run([make_request(prompt, model, sampling) for prompt in prompts]))
            seconds = time.perf_counter() - started
            is_answer = name in ("free_text", "schema")
            computed = sum(each.completion_tokens if is_answer else each.prompt_tokens - each.cached_tokens for each in done)
            if run:
                rates[name].append(computed / seconds)
    return {"rates": rates}


LINES: dict[str, Callable[[Workload], Any]] = {
    "generate": run_generate,
    "generate_in_two_processes": run_generate_in_two_processes,
    "generate_by_shard": run_generate_by_shard,
    "run_batch": run_batch_command,
    "daft": run_daft,
    "ours": run_ours,
    "profile": run_profile,
    "modes": run_modes,
}


def main() -> None:
    line, workload_path, result_path = sys.argv[1:]
    logging.disable(logging.WARNING)
    given = json.loads(Path(workload_path).read_text())
    workload = Workload(**given | {"prompts": tuple(map(tuple, given["prompts"])), "shards": tuple(given["shards"])})
    result = LINES[line](workload)
    if isinstance(result, list):
        result = {"runs": [asdict(run) for run in result]}
    result["max_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    Path(result_path).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
