"""Planning and chunking of a large corpus against the tokeniser alone. Prints what it does, and as the last line one JSON object.

python -m tests.bench.planning_bench tokenizer.json [--mb 200] [--kind parquet|jsonl|folder] [--book FILE]… [--folder FOLDER]

The documents are paragraphs of books in random order, of 2 to 40 kB each, in which one word in 200 has its letters shuffled, so that there
are as many different words as a large corpus has. Timed is what a run does before its first question, but for the detectors: inputs found
and named by their bytes, read, parsed, counted, chunked, written as shards. After each tenth another process encodes the same texts with
`encode_batch_fast`, a million code points at once and with all cores: `ratio` is the one speed by the other. `peak_mb` is the largest
resident memory of the planning process, Python and all libraries included.
"""

import argparse
import json
import resource
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import pyarrow as pa
import pyarrow.parquet as pq
import tokenizers

from chunkers.readers import Unread, read_documents
from chunkers.readers.tables import TableColumns
from chunkers.tokens import BATCH_CHARS, Tokenizer
from flows.corpus import build_corpus, expand_inputs
from flows.identity import digest_input
from flows.styles import find_sheet

DATA = Path(__file__).parents[2] / "data"
NUM_PARTS = 10
MIN_CHARS, MAX_CHARS = 2_000, 40_000
SHUFFLED = 200
"""One word in so many."""


def main(options: argparse.Namespace) -> None:
    with TemporaryDirectory(prefix="planning-", dir=options.folder) as folder:
        corpus_dir, run_dir = Path(folder, "corpus"), Path(folder, "run")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
            books = [str(path) for path in options.book]
            num_bytes = sum(
                other.submit(make_part, str(corpus_dir), part, options.mb * 1_000_000 // NUM_PARTS, options.kind, books).result()
                for part in range(NUM_PARTS)
            )
            measure(other, corpus_dir, run_dir, num_bytes, str(options.tokenizer))


def measure(other: ProcessPoolExecutor, corpus_dir: Path, run_dir: Path, num_bytes: int, tokenizer_path: str) -> None:
    tokenizer_s = paused_s = 0.0
    started, cpu_started = perf_counter(), process_time()
    found = expand_inputs([str(corpus_dir)])
    for path in found:
        digest_input(path)
        find_sheet(path, None)
    part_starts = {found[len(found) * part // NUM_PARTS]: part for part in range(NUM_PARTS)}

    def inputs() -> Iterator[str]:
        nonlocal tokenizer_s, paused_s
        for number, path in enumerate(found):
            if path in part_starts:
                paused = perf_counter()
                part = part_starts[path]
                of_part = found[number : len(found) * (part + 1) // NUM_PARTS]
                tokenizer_s += other.submit(encode_part, of_part, tokenizer_path).result()
                paused_s += perf_counter() - paused
            yield path

    corpus = build_corpus(inputs(), run_dir, Tokenizer(tokenizer_path), max_tokens=448, max_context_tokens=32)
    seconds, cpu_seconds = perf_counter() - started - paused_s, process_time() - cpu_started
    if corpus.unread:
        raise SystemExit(f"{len(corpus.unread)} of the documents were not read: {corpus.unread[0].message}")
    result = {
        "mb": round(num_bytes / 1e6, 1),
        "ratio": round(tokenizer_s / seconds, 3),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "tokenizer_seconds": round(tokenizer_s, 1),
        "mb_per_s": round(num_bytes / 1e6 / seconds, 2),
        "tokenizer_mb_per_s": round(num_bytes / 1e6 / tokenizer_s, 2),
        "documents": corpus.num_documents,
        "shards": len(corpus.shard_paths),
        "prose_chunks": sum(corpus.num_prose_chunks),
    }
    sys.stdout.write(
        f"{corpus.num_documents:,} documents in {len(found):,} files: {len(corpus.shard_paths):,} shards in {seconds:,.1f} s, "
        f"the tokeniser alone {tokenizer_s:,.1f} s\n{json.dumps(result)}\n"
    )


def make_part(folder: str, part: int, num_bytes: int, kind: str, books: list[str]) -> int:
    """Writes one tenth of the documents; returns the bytes of their texts. The same ones each time."""
    draw = Random(part)
    paragraphs = [paragraph for book in books for paragraph in Path(book).read_text("utf-8").split("\n\n") if paragraph.strip()]
    target = Path(folder)
    target.mkdir(exist_ok=True)
    made = 0
    if kind == "folder":
        (target / f"part-{part}").mkdir()
        for number in count():
            text = _make_text(draw, paragraphs)
            made += len(text.encode())
            (target / f"part-{part}" / f"{number:06}.txt").write_text(text, "utf-8")
            if made >= num_bytes:
                return made
    schema = pa.schema([("url", pa.string()), ("text", pa.large_string())])
    with (target / f"part-{part}.{kind}").open("wb") as file:
        writer = pq.ParquetWriter(file, schema, compression="zstd") if kind == "parquet" else None
        for number in count():
            rows = [{"url": f"https://example.org/{part}/{number}/{each}", "text": _make_text(draw, paragraphs)} for each in range(200)]
            made += sum(len(row["text"].encode()) for row in rows)
            if writer is not None:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            else:
                file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
            if made >= num_bytes:
                break
        if writer is not None:
            writer.close()
    return made


def _make_text(draw: Random, paragraphs: list[str]) -> str:
    wanted, num_chars, text = draw.randrange(MIN_CHARS, MAX_CHARS), 0, list[str]()
    while num_chars < wanted:
        words = paragraphs[int(draw.random() * len(paragraphs))].split(" ")
        for _ in range(len(words) // SHUFFLED + (draw.random() * SHUFFLED < len(words) % SHUFFLED)):
            place = int(draw.random() * len(words))
            words[place] = "".join(draw.sample(words[place], len(words[place])))
        text.append(" ".join(words))
        num_chars += len(text[-1]) + 2
    return "\n\n".join(text) + "\n"


def encode_part(paths: list[str], tokenizer_path: str) -> float:
    """Seconds in which the tokeniser alone encodes the texts of some files; reading them is not counted."""
    engine = tokenizers.Tokenizer.from_file(tokenizer_path)
    seconds, batch, num_chars = 0.0, list[str](), 0
    documents = (found for path in paths for found in read_documents(path, TableColumns()) if not isinstance(found, Unread))
    for document in [*documents, None]:
        if document is not None:
            batch.append(document.text)
            num_chars += len(document.text)
        if num_chars >= BATCH_CHARS or document is None:
            started = perf_counter()
            engine.encode_batch_fast(batch, add_special_tokens=False)
            seconds += perf_counter() - started
            batch, num_chars = [], 0
    return seconds


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--kind", choices=("parquet", "jsonl", "folder"), default="parquet")
    parser.add_argument("--book", type=Path, action="append")
    parser.add_argument("--folder", type=Path, help="where the corpus is made, and deleted again (default: the temporary folder)")
    options = parser.parse_args()
    options.book = options.book or [DATA / "the-time-machine.md"]
    if options.folder is not None and shutil.disk_usage(options.folder).free < 3_000_000 * options.mb:
        parser.error(f"{options.folder} has less than three times {options.mb} MB free")
    return options


if __name__ == "__main__":
    main(_parse())
