"""The engine against what a user would otherwise run, on the same prompts, weights and settings, each line in a process of its own.

    uv run python tests/bench/engine.py [--quick] [--book FILE ...] [--model SOURCE]

Prints a table for each part and, last, one JSON object; every run's figures are in it. Needs a machine with nothing else to do: a busy core
slows vLLM's threads several times over.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)  # this file has the name of the package that it measures

from chunkers.readers import read_document  # noqa: E402
from chunkers.records import CHUNKS, Chunk, Document  # noqa: E402
from chunkers.shards import write_shard  # noqa: E402
from chunkers.tokens import Tokenizer  # noqa: E402
from chunkers.windows import block_texts, window_document  # noqa: E402
from engine.device import Device, find_device  # noqa: E402
from engine.models import EMBEDDED, Model, resolve_model  # noqa: E402
from engine.prefixes import plan_prefixes  # noqa: E402
from tests.bench.engine_lines import BLOCK_SIZE, Workload  # noqa: E402

BOOK_LINES = ("generate", "generate_in_two_processes", "generate_by_shard", "run_batch", "daft", "ours")
CHUNK_TOKENS = 128
SHEET_TOKENS, PASSAGE_TOKENS = 400, 40


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a device is given to do, so that a line runs for more than a few seconds."""

    num_runs: int
    max_chunks: int | None
    shard_chunks: int
    in_flight: tuple[int, ...]
    num_documents: int
    """Of the interleaved part."""
    held: int
    """Requests that the engine computes at once in the other parts."""
    mode_prompts: int
    profile_chunks: int


CPU = Size(
    num_runs=3, max_chunks=None, shard_chunks=32, in_flight=(64, 128), num_documents=64, held=64, mode_prompts=128, profile_chunks=256
)
QUICK = Size(num_runs=1, max_chunks=72, shard_chunks=32, in_flight=(64,), num_documents=16, held=64, mode_prompts=32, profile_chunks=72)
GPU = Size(
    num_runs=3, max_chunks=None, shard_chunks=256, in_flight=(512,), num_documents=512, held=512, mode_prompts=4096, profile_chunks=8192
)
TASKS = ("Proofread the passage by the rules of this style sheet. ", "List the capitals in the passage that break this style sheet. ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within 10 minutes: fewer prompts, each line once")
    parser.add_argument(
        "--book", type=Path, nargs="+", default=[ROOT / "data" / "the-time-machine.md"], help="a GPU is done with one in 2 s"
    )
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--only", nargs="*", choices=["book", "interleaved", "modes", "profile"], help="some parts alone")
    parser.add_argument("--lines", nargs="*", choices=BOOK_LINES, default=list(BOOK_LINES), help="some lines of the book alone")
    parser.add_argument("--chunks", type=int, help="of the book; all by default, with --quick 72")
    parser.add_argument("--in-flight", nargs="*", type=int, help="64 and 128 by default, with --quick 64, on a GPU 512")
    parser.add_argument("--max-tokens", type=int, default=32, help="of an answer about the book")
    parser.add_argument("--runs", type=int, help="of each line; 3 by default, with --quick 1")
    args = parser.parse_args()
    size = QUICK if args.quick else CPU if find_device() is Device.CPU else GPU
    size = replace(
        size,
        max_chunks=args.chunks or size.max_chunks,
        in_flight=tuple(args.in_flight or size.in_flight),
        num_runs=args.runs or size.num_runs,
    )
    model = resolve_model(args.model)
    tokenizer = Tokenizer(model.tokenizer_path)
    parts = args.only or ["book", "interleaved", "modes", "profile"]
    documents = [read_document(str(path)) for path in args.book]
    found: dict[str, Any] = {"model": model.name, "quantization": model.quantization, "quick": args.quick}
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), model, size)
        if "book" in parts:
            found |= measure_book(bench, documents, tokenizer, args.lines, args.max_tokens)
        ids = tokenizer.encode_template("\n\n".join(document.text for document in documents)) if set(parts) - {"book"} else []
        if "interleaved" in parts:
            found |= measure_interleaved(bench, ids, tokenizer, rows_each=3)
        if "modes" in parts:
            found |= measure_modes(bench, ids)
        if "profile" in parts:
            found |= measure_profile(bench, ids)
    say(json.dumps(found))


class Bench:
    """Runs lines, and keeps what they found."""

    def __init__(self, folder: Path, model: Model, size: Size) -> None:
        self.folder, self.size = folder, size
        self.base = Workload(model=asdict(model) | {"folder": str(model.folder)}, num_runs=size.num_runs)

    def run(self, line: str, workload: Workload) -> dict[str, Any] | None:
        """The line's result; None where it could not run here, which is said."""
        given, result = self.folder / "workload.json", self.folder / "result.json"
        given.write_text(json.dumps(asdict(workload)))
        result.unlink(missing_ok=True)
        command = [sys.executable, "-P", str(ROOT / "tests/bench/engine_lines.py"), line, str(given), str(result)]
        started = time.monotonic()
        ended = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if ended.returncode or not result.is_file():
            last = (ended.stderr.strip().splitlines() or ["nothing"])[-1]
            say(f"  {line}: did not run here: {last[:160]}")
            return None
        found: dict[str, Any] = json.loads(result.read_text())
        return found | {"whole_s": round(time.monotonic() - started, 1)}


def measure_book(
    bench: Bench, documents: Sequence[Document], tokenizer: Tokenizer, names: Sequence[str], max_tokens: int
) -> dict[str, Any]:
    """Books in the proofreading template, in their natural order."""
    readable = list(islice(chain.from_iterable(_window(document, tokenizer) for document in documents), bench.size.max_chunks))
    shards = []
    for first in range(0, len(readable), bench.size.shard_chunks):
        shards.append(str(bench.folder / f"chunks-{first}.parquet"))
        write_shard(shards[-1], CHUNKS, readable[first : first + bench.size.shard_chunks])
    found: dict[str, Any] = {"book": {}}
    for num_seqs in bench.size.in_flight:
        say(f"{documents[0].path}: {len(readable)} chunks of {CHUNK_TOKENS} tokens, {num_seqs} in flight")
        workload = replace(bench.base, shards=tuple(shards), engine_args={"max_num_seqs": num_seqs}, max_tokens=max_tokens)
        lines = {}
        for line in names:
            if line == "daft" and not find_spec("daft"):
                say("  daft: not installed (`uv run --with daft …`)")
            else:
                lines[line] = bench.run(line, workload)
        found["book"][str(num_seqs)] = lines
        show_lines(lines)
    # the last, largest number in flight is what the summary is about
    ours, generate = (rate_of(lines.get(line)) for line in ("ours", "generate"))
    found["ratio_vs_generate"] = ratio(ours, generate)
    found["ratio_vs_generate_in_two_processes"] = ratio(ours, rate_of(lines.get("generate_in_two_processes")))
    found["ratio_vs_best_other"] = ratio(ours, max(rate_of(result) or 0 for line, result in lines.items() if line != "ours"))
    runs = (lines.get("ours") or {"runs": []})["runs"]
    found["feed_stall"] = ratio(sum(run["num_stalled"] for run in runs), sum(run["num_steps"] for run in runs))
    found["book_reuse_of_possible"] = ratio(sum(run["cached_tokens"] for run in runs), sum(run["reusable_tokens"] for run in runs))
    return found


def _window(document: Document, tokenizer: Tokenizer) -> Iterator[Chunk]:
    counts = tokenizer.count_tokens(block_texts(document))
    chunks = window_document(document, counts, tokenizer.count_tokens, max_tokens=CHUNK_TOKENS, max_context_tokens=24)
    return (chunk for chunk in chunks if chunk.is_readable)


def measure_interleaved(bench: Bench, ids: Sequence[int], tokenizer: Tokenizer, rows_each: int) -> dict[str, Any]:
    """Documents with a style sheet each, two templates, rows shuffled, a cache that holds a quarter of what can be shared."""
    chance, num_documents, held = random.Random(5), bench.size.num_documents, bench.size.held
    tasks = [tokenizer.encode_template(task) for task in TASKS]
    prompts = []
    for _ in range(num_documents):
        start = chance.randrange(len(ids) - SHEET_TOKENS)
        sheet = ids[start : start + SHEET_TOKENS]
        for _ in range(rows_each):
            place = chance.randrange(len(ids) - PASSAGE_TOKENS)
            prompts += [(*task, *sheet, *ids[place : place + PASSAGE_TOKENS]) for task in tasks]
    chance.shuffle(prompts)
    plan = plan_prefixes(prompts, block_size=BLOCK_SIZE)
    shared = num_documents * len(TASKS) * SHEET_TOKENS
    num_blocks = max(shared // 4, held * (SHEET_TOKENS // 8 + PASSAGE_TOKENS)) // BLOCK_SIZE
    share = plan.reusable_tokens / plan.num_tokens
    say(f"{len(prompts)} rows of {num_documents} documents, shuffled; {share:.0%} of their tokens can be reused")
    say(f"  the cache holds {num_blocks} blocks, {num_blocks * BLOCK_SIZE / shared:.0%} of the style sheets")
    settings = {"max_num_seqs": held, "num_gpu_blocks_override": num_blocks}
    workload = replace(bench.base, prompts=tuple(prompts), engine_args=settings, max_tokens=8)
    lines = {"generate": bench.run("generate", workload), "ours": bench.run("ours", replace(workload, is_planned=True))}
    show_lines(lines)
    runs = (lines["ours"] or {"runs": []})["runs"]
    return {
        "interleaved": lines,
        "ratio_vs_natural_order": ratio(rate_of(lines["ours"]), rate_of(lines["generate"])),
        "reuse_of_possible": ratio(sum(run["cached_tokens"] for run in runs), sum(run["reusable_tokens"] for run in runs)),
    }


def measure_modes(bench: Bench, ids: Sequence[int]) -> dict[str, Any]:
    """Scoring against prefill, and JSON under a schema against free text."""
    starts = range(0, bench.size.mode_prompts * CHUNK_TOKENS // 2, CHUNK_TOKENS // 2)
    prompts = tuple(tuple(ids[start : start + CHUNK_TOKENS]) for start in starts)
    found = bench.run("modes", replace(bench.base, prompts=prompts, engine_args={"max_num_seqs": bench.size.held}, max_tokens=48))
    if found is None:
        return {"modes": None}
    rates = {name: median(each) for name, each in found["rates"].items()}
    for name, rate in rates.items():
        say(f"  {name:26s}{rate:9.0f} tokens/s")
    return {
        "modes": found,
        "score_ratio_vs_prefill": ratio(rates["score"], rates["prefill"]),
        "schema_ratio": ratio(rates["schema"], rates["free_text"]),
    }


def measure_profile(bench: Bench, ids: Sequence[int]) -> dict[str, Any]:
    """Our line with the engine in the same process, looked at a hundred times a second."""
    prompts = tuple(tuple(ids[start : start + CHUNK_TOKENS]) for start in range(0, bench.size.profile_chunks * 32, 32))
    settings = {"max_num_seqs": max(128, bench.size.held)}
    found = bench.run("profile", replace(bench.base, prompts=prompts, num_runs=1, engine_args=settings))
    if found is None:
        return {"profile": None}
    say(f"  profile of {found['seconds']:.0f} s: {found['engine_share']:.1%} in the engine's steps; outside of them, of all samples:")
    for name, share in found["shares"].items():
        say(f"    {share:6.2%}  {name}")
    return {"profile": found, "largest_own_share": max(found["shares"].values(), default=0.0)}


def rate_of(result: dict[str, Any] | None) -> float | None:
    """Tokens a second of prompts and answers together, the median of the runs."""
    return median((run["prompt_tokens"] + run["completion_tokens"]) / run["seconds"] for run in result["runs"]) if result else None


def ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else round(part / whole, 4)


def show_lines(lines: dict[str, dict[str, Any] | None]) -> None:
    reference = rate_of(lines.get("generate"))
    for line, result in lines.items():
        if result is None:
            continue
        cached = ratio(sum(run["cached_tokens"] for run in result["runs"]), sum(run["prompt_tokens"] for run in result["runs"]))
        rate = rate_of(result)
        stall = ratio(sum(run["num_stalled"] for run in result["runs"]), sum(run["num_steps"] for run in result["runs"]))
        told = f", stall {stall:.1%}" if stall is not None else ""
        seconds = ", ".join(f"{run['seconds']:.1f}" for run in result["runs"])
        shown = f"{ratio(rate, reference)}  {cached:.0%} cached{told}"
        say(f"  {line:18s}{rate:8.0f} tokens/s  {shown}  ({seconds} s of {result['whole_s']})")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
