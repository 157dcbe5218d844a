"""Where the numbers run, and how precisely."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ContextManager  # noqa: UP035 - the class, for an annotation

import torch

from slidesurv.errors import ConfigError

__all__ = ["PeakMemory", "autocast", "fast_matmul", "peak_memory", "pick_device"]


def pick_device(wanted: str) -> torch.device:
    """Turn a setting into a device; "auto" is the first CUDA GPU, else the CPU: the mixture needs float64.

    Raises:
        ConfigError: this machine has no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f'Device \'{wanted}\' cannot be used here: {reason}. Set device = "auto" or "cpu".') from None
    return device


def autocast(device: torch.device, precision: str) -> ContextManager[object]:
    """Run matrix products in bfloat16 where that is asked for and the device has it; nothing otherwise."""
    able = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" and able else nullcontext()


@dataclass(slots=True)
class PeakMemory:
    """What a piece of work needed.

    Attributes:
        megabytes: the most memory beyond what the process held before, on the GPU if there is one; None where the
            system does not tell.
    """

    megabytes: float | None = None


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measure the memory of the work inside; the figure is there at the end.

    On the CPU this is the process's high-water mark, which Linux lets a process set back.
    """
    measured = PeakMemory()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield measured
        measured.megabytes = (torch.cuda.max_memory_allocated() - before) / 1e6
        return
    before = _set_back()
    yield measured
    if before:
        measured.megabytes = max(0, _status("VmHWM") - before) / 1e3


def _set_back() -> int:
    """Let the high-water mark start from here; the memory held now in kB, or 0 where that cannot be done."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # or what earlier work has freed would hide what this work asks for
    try:
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc
    except OSError:
        return 0
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextmanager
def fast_matmul(wanted: bool) -> Iterator[bool]:
    """Let float32 matrix products on the CPU take oneDNN's kernels while that keeps float32 accuracy.

    PyTorch's own choice is the slower library on some processors. The switch that changes it is named after bfloat16
    and may really use it elsewhere, so it is tried on two matrices first and kept only if the result is as good as
    float32's; it is put back at the end.

    Yields:
        Whether the switch is on.
    """
    switch = torch.backends.mkldnn.matmul  # type: ignore[attr-defined] # missing from torch's annotations
    before = switch.fp32_precision
    if wanted and torch.backends.mkldnn.is_available():
        switch.fp32_precision = "bf16"
        if _matmul_error() > 1e-5:
            switch.fp32_precision = before
    try:
        yield switch.fp32_precision != before
    finally:
        switch.fp32_precision = before


def _matmul_error() -> float:
    """Largest error of a float32 product, relative to its largest entry."""
    a, b = torch.randn(2, 256, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    truth = a @ b
    return float(((a.float() @ b.float()).double() - truth).abs().max() / truth.abs().max())
