"""A working folder with the scripted engine in it, and the installed command run there."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from flows.runs import Run, list_runs
from flows.tables import list_calls

FLOWS = str(Path(sys.executable).with_name("flows"))
DATA = Path(__file__).parents[2] / "data"
SETTINGS = """
[models.fake]
source = "smollm2-135m"
engine = "scripted"
protocol = "{protocol}"
engine_args = {{ {engine_args} }}

[prices]
{price} = "1"
"""


@dataclass(frozen=True)
class Folder:
    """Where commands are run."""

    path: Path
    prefect_url: str

    def configure(self, protocol: str = "edits", price: str = "per_engine_hour", **engine_args: Any) -> None:
        """Write flows.toml: the model `fake`, answered by the scripted engine, at a price of 1."""
        shown = ", ".join(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in engine_args.items())
        (self.path / "flows.toml").write_text(SETTINGS.format(protocol=protocol, engine_args=shown, price=price))

    def copy(self, name: str, target: str = "book.md") -> Path:
        """A document of data/ under another name."""
        return Path(shutil.copy(DATA / name, self.path / target))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """The command as a process."""
        environment = os.environ | {"PREFECT_API_URL": self.prefect_url}
        pipe = subprocess.PIPE
        return subprocess.Popen([FLOWS, *arguments], cwd=self.path, env=environment, stdout=pipe, stderr=pipe, text=True, encoding="utf-8")

    def flows(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """The command run to its end, which must be `code`."""
        process = self.start(*arguments)
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == code, f"exit code {process.returncode}\n{stdout}\n{stderr}"
        assert "Traceback" not in stderr
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def proofread(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """`flows run proofread book.md -m fake`."""
        return self.flows("run", "proofread", "book.md", "-m", "fake", *arguments, code=code)

    @property
    def run(self) -> Run:
        """The only run of the workspace."""
        (found,) = list_runs(self.path / "out")
        return found

    def calls(self) -> pl.DataFrame:
        """Every row of the call table."""
        return pl.read_parquet(list_calls(self.path / "out"), hive_partitioning=False)

    def tables(self) -> dict[str, bytes]:
        """The run's tables that rest on nothing but answers, byte for byte: seconds are in the calls, ledger, requests and yields."""
        paths = sorted(path for path in self.run.folder.rglob("*.parquet") if path.name not in ("ledger.parquet", "yields.parquet"))
        return {str(path.relative_to(self.run.folder)): path.read_bytes() for path in paths if "requests" not in path.parts}

    def requests(self) -> list[tuple[Any, ...]]:
        """The questions of the run with their outcomes."""
        pattern = str(self.run.folder / "requests" / "*" / "*.parquet")
        columns = "model, chunk_id, template, attempt, row_key, outcome, is_final"
        return duckdb.sql(f"select {columns} from read_parquet('{pattern}', hive_partitioning = true) order by all").fetchall()


def await_calls(folder: Folder, process: "subprocess.Popen[str]", *, num_parts: int = 1) -> None:
    """Wait until the process has written so many parts of calls."""
    deadline = time.monotonic() + 120
    while len(list(folder.path.glob("out/calls/*/part-*.parquet"))) < num_parts:
        assert process.poll() is None, f"the run ended before it had calls on disk: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.02)
