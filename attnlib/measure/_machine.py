"""The machine that a time was taken on: what it is, and what it does with memory between programs."""

import ctypes
import os
import platform
from pathlib import Path

import jax


def machine() -> str:
    """Describe in one line what a measurement ran on: processor, cores, JAX's device, versions.

    It goes into published pages, so it names no host and no path.

    Example:
        >>> machine().count("Python")
        1
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    device = jax.devices()[0]
    kind = "" if device.device_kind.lower() == device.platform else f" ({device.device_kind})"
    plural = "s" if cores > 1 else ""
    return (
        f"{_processor()}, {cores} core{plural}, jax {jax.__version__} on {device.platform}{kind}, "
        f"Python {platform.python_version()}"
    )


def keep_memory() -> bool:
    """Let this process keep the memory that programs give back, so that times do not depend on what ran before.

    On Linux, a large array goes back to the system when it is freed, and the system clears every page before the
    next program gets it. What is large depends on what was freed before. This asks the C library to take arrays of
    every size from its own memory, and to keep it. It cannot be undone. It holds for the thread that calls it: say
    `jax.config.update("jax_cpu_enable_async_dispatch", False)` before JAX starts, and programs take their memory in
    the thread that runs them.

    Returns:
        Whether the C library has agreed: False where it has no such settings (macOS, Windows, musl), and then nothing
        has changed.

    Cost: the process never gets smaller again.

    Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.

    Example:
        >>> import subprocess, sys
        >>> code = "from attnlib import clock; assert clock.keep_memory() in (True, False)"
        >>> subprocess.run([sys.executable, "-c", code]).returncode  # another process: it cannot be undone
        0
    """
    if platform.system() != "Linux" or not hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    # The numbers are those of malloc.h; -1: never.
    trim_threshold, mmap_max = -1, -4
    return bool(library.mallopt(mmap_max, 0)) and bool(library.mallopt(trim_threshold, -1))


def _processor() -> str:
    """Return the processor's model where the system tells it, else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((" ".join(m.split()) for m in models if m), platform.machine() or "unknown processor")
