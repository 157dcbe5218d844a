"""Time contenders in turn, in one process, and print each one's ratio to ours.

Runs are interleaved (ours, peer, ours, peer …) so that a machine that slows down slows all of them. Processor time is
printed beside wall time: on a machine that others use, its ratio is the one to read for work in this process.
"""

import ctypes
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

__all__ = ["extra_megabytes", "peak_megabytes", "print_floor", "product_rate", "race"]


class Taken(NamedTuple):
    """Seconds of one run: by the wall's clock, and of the processor, children included."""

    wall: float
    processor: float


def race(
    title: str, ours: Callable[[], object], peers: dict[str, Callable[[], object]], *, repeats: int = 5
) -> dict[str, float]:
    """Print the time of each contender and its ratio to ours: of wall times in pairs, and of least processor times.

    Returns:
        Least processor seconds of each contender.
    """
    contenders = {"ours": ours, **peers}
    taken: dict[str, list[Taken]] = {name: [] for name in contenders}
    for round_ in range(repeats + 1):  # the first round warms up
        for name, call in contenders.items():
            run = _time(call)
            if round_:
                taken[name].append(run)
    least = {name: min(run.processor for run in runs) for name, runs in taken.items()}
    print(f"\n{title} ({repeats} runs each, in turn)")
    for name, runs in taken.items():
        walls = [run.wall for run in runs]
        ratio = median(peer / own.wall for peer, own in zip(walls, taken["ours"], strict=True))
        print(
            f"  {name:<44} wall min {min(walls):9.4f} median {median(walls):9.4f} s {ratio:8.2f} x ours"
            f"   processor {least[name]:9.4f} s {least[name] / max(least['ours'], 1e-9):8.2f} x",
            flush=True,
        )
    return least


def _time(call: Callable[[], object]) -> Taken:
    before, start = _processor(), time.perf_counter()
    call()
    return Taken(time.perf_counter() - start, _processor() - before)


def _processor() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def product_rate(multiply: Callable[[], object], flops: float, *, seconds: float = 1.0) -> float:
    """Best rate of a matrix product, in GFLOP/s of processor time; the ceiling that floors are worked out from."""
    multiply()
    runs = [_time(multiply).processor]
    while sum(runs) < seconds:
        runs.append(_time(multiply).processor)
    return flops / max(min(runs), 1e-9) / 1e9


def print_floor(what: str, gflop: float, rate: float, peer: float) -> None:
    """Print the least time that the products of ours alone need, and the ratio that a peer's seconds allow at most."""
    floor = gflop / rate
    print(f"  floor of {what}: {gflop:.1f} GFLOP at {rate:.0f} GFLOP/s = {floor:.3f} s; at most {peer / floor:.2f} x")


def extra_megabytes(call: Callable[[], object]) -> float:
    """Peak resident memory of a call beyond what stood before it, in MB; Linux only, NaN elsewhere."""
    if sys.platform != "linux":
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would hide what is asked for now
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _high_water()
    call()
    return _high_water() - before


def _high_water() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def peak_megabytes() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
