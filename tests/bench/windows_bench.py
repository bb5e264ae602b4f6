"""How fast documents become chunks. Prints MB/s of windowing with counts known, and tokenising plus windowing against the tokeniser alone.

python tests/bench/windows_bench.py tokenizer.json book.txt
"""

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import tokenizers

from chunkers.readers import read_document
from chunkers.tokens import Tokenizer
from chunkers.windows import block_texts, window_document

NUM_ROUNDS = 7


def main(tokenizer_path: str, text_path: str) -> None:
    started = perf_counter()
    document = read_document(text_path)
    read_s = perf_counter() - started
    num_megabytes = len(document.text.encode("utf-8", "replace")) / 1e6
    texts = block_texts(document)
    tokenizer = Tokenizer(tokenizer_path)
    engine = tokenizers.Tokenizer.from_file(tokenizer_path)
    counts = tokenizer.count_tokens(texts)

    def window() -> None:
        window_document(document, counts, tokenizer.count_tokens)

    def tokenise_and_window() -> None:
        window_document(document, tokenizer.count_tokens(texts), tokenizer.count_tokens)

    def encode() -> None:
        engine.encode_batch_fast(texts, add_special_tokens=False)

    # the two that are compared take turns, so that a busy machine slows both
    both_s, encode_s = _time_in_turns(tokenise_and_window, encode)
    (window_s,) = _time_in_turns(window)
    chunks = window_document(document, counts, tokenizer.count_tokens)
    fill = sum(chunk.num_tokens for chunk in chunks) / len(chunks) / 700 if chunks else 0.0
    lines = [
        f"{Path(text_path).name}: {num_megabytes:.2f} MB, {len(texts)} blocks, {len(chunks)} chunks, {fill:.0%} of the budget used",
        f"read                  {num_megabytes / read_s:8.1f} MB/s",
        f"window, counts known  {num_megabytes / window_s:8.1f} MB/s",
        f"encode_batch_fast     {num_megabytes / encode_s:8.1f} MB/s",
        f"tokenise + window     {num_megabytes / both_s:8.1f} MB/s, {encode_s / both_s:.2f} of the tokeniser alone",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _time_in_turns(*runs: Callable[[], None]) -> list[float]:
    """Best seconds of each over the rounds."""
    best = [float("inf")] * len(runs)
    for _ in range(NUM_ROUNDS):
        for index, run in enumerate(runs):
            started = perf_counter()
            run()
            best[index] = min(best[index], perf_counter() - started)
    return best


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2])
