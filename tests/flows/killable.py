"""The steps of a proofread run with the scripted engine in a process that is forked ready and killed at random moments.

Run as `python -m tests.flows.killable FOLDER NUM_KILLS SEED`; prints what it saw as JSON. A fork spares the imports, without which 200
runs would take minutes; only imports and what reads word lists have happened before it, and no thread was started.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from chunkers.candidates.harper import guess_dialect, load_linter
from chunkers.candidates.lexicon import load_lexicon
from engine.calls import CallStore
from engine.ledger import Prices
from engine.models import EMBEDDED, Model, resolve_model
from engine.protocol import Engine
from engine.scripted import build_scripted
from flows.asked import write_asked
from flows.collation import collate_shard
from flows.config import ModelConfig, RunConfig
from flows.corpus import build_corpus
from flows.engines import HostedModel, Limits
from flows.errors import call_error, write_errors
from flows.judge import score_shard, write_candidates
from flows.reports import ReportContext, write_reports
from flows.runs import SUCCESS, Run
from flows.tables import list_calls

NAME = "fake"


@dataclass
class KillableModel(HostedModel):
    """Writes and merges parts all the time, so that a kill meets every step of it."""

    def _load_engine(self) -> AbstractContextManager[Engine]:
        return build_scripted(self.model, seconds_a_call=0.0005, batch=4)

    def _open_store(self) -> CallStore:
        return CallStore(str(self.workspace), self.model, worker=f"w:{os.getpid()}", flush_rows=8, merge_parts=4)


def work(folder: Path, model: Model) -> None:
    """One whole run, or what is missing of it."""
    settings = ModelConfig(source=EMBEDDED, engine="scripted", protocol="score")
    config = RunConfig(model=(NAME,), models={NAME: settings}, out=str(folder), max_tokens=128)
    hosted = KillableModel(name=NAME, config=settings, workspace=folder, model=model, prices=Prices(), is_fresh=False, limits=Limits())
    run = Run(folder / "runs" / "r")
    with run.hold():
        run.start()
        sizes = {"max_tokens": config.max_tokens, "max_context_tokens": config.max_context_tokens}
        corpus = build_corpus([str(folder.parent / "book.md")], run.folder, hosted.tokenizer, **sizes)
        for shard in corpus.shard_paths:
            candidates = run.folder / "candidates" / shard.name
            write_candidates(shard, corpus.documents_path, candidates)
            scores = run.folder / "scores" / f"model={NAME}" / shard.name
            judged = score_shard(shard, candidates, scores, hosted, None)
            write_errors(scores.with_name(scores.name.replace("shard", "errors")), [call_error(each, NAME) for each in judged.failures])
            write_asked(run.folder / "requests" / f"model={NAME}" / shard.name, judged.asked)
            collate_shard(shard, corpus.documents_path, candidates, {NAME: scores}, config)
        hosted.close()
        context = ReportContext(run="r", flow="proofread", model=NAME, min_confidence=0.8, prices=((NAME, Prices()),), currency="USD")
        write_reports(run.folder, corpus, [], context)
        run.finish(SUCCESS)


def fork_and_kill(folder: Path, model: Model, after_s: float | None) -> bool:
    """True where the run came to its end before it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work(folder, model)
        except BaseException as error:  # noqa: BLE001 - the child of a fork must not go on as its parent
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(9)
        os._exit(0)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "a run ended with an error"
    return True


def read_tables(folder: Path) -> dict[str, bytes]:
    """Tables and reports, byte for byte; the scripted engine takes no time, so that those with seconds are the same too."""
    files = [path for path in sorted((folder / "runs" / "r").rglob("*")) if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def count_calls(folder: Path) -> tuple[int, int]:
    """Rows of the call table, and different row keys among them."""
    # not every file that is there: a process killed after a merge leaves the parts that the merged one replaces
    calls = pl.read_parquet(list_calls(folder), hive_partitioning=False)
    return calls.height, calls["row_key"].n_unique()


def measure_run(folder: Path, model: Model) -> float:
    """Seconds of a whole run in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    assert fork_and_kill(folder, model, None)
    return time.monotonic() - started


def main() -> None:
    """Kill runs until so many were killed; each that comes to its end is compared with one that nobody touched, and begun anew."""
    base, num_kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    model, rng = resolve_model(EMBEDDED), random.Random(seed)
    load_lexicon()
    load_linter(guess_dialect((base / "book.md").read_text("utf-8")))
    whole_s = min(measure_run(base / "reference", model) for _ in range(3))
    num_killed, num_ended, different = 0, 0, list[str]()
    while num_killed < num_kills or not num_ended:
        is_done = fork_and_kill(base / "killed", model, rng.uniform(0, whole_s) if num_killed < num_kills else None)
        num_killed += not is_done
        if is_done:
            num_ended += 1
            expected, found = read_tables(base / "reference"), read_tables(base / "killed")
            different += sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            rows, keys = count_calls(base / "killed")
            different += [] if rows == keys == count_calls(base / "reference")[1] else [f"{rows} rows of {keys} calls"]
            shutil.rmtree(base / "killed")
    json.dump({"num_killed": num_killed, "num_ended": num_ended, "different": different, "whole_s": whole_s}, sys.stdout)


if __name__ == "__main__":
    main()
