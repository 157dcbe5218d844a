"""Time contenders in turn, in one process, and print each one's ratio to ours.

Runs are interleaved (ours, peer, ours, peer …) so that a machine that slows down slows all of them.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

__all__ = ["extra_megabytes", "peak_megabytes", "race"]


def race(title: str, ours: Callable[[], object], peers: dict[str, Callable[[], object]], *, repeats: int = 5) -> None:
    """Print the minimum and median seconds of each contender, and the median of the paired ratios peer / ours."""
    contenders = {"ours": ours, **peers}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(repeats + 1):  # the first round warms up
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    print(f"\n{title} ({repeats} runs each, in turn)")
    for name, taken in seconds.items():
        ratio = median(peer / own for peer, own in zip(taken, seconds["ours"], strict=True))
        print(f"  {name:<44} min {min(taken):9.4f} s   median {median(taken):9.4f} s   {ratio:8.2f} x ours")


def extra_megabytes(call: Callable[[], object]) -> float:
    """Peak resident memory of a call beyond what stood before it, in MB; Linux only, NaN elsewhere."""
    if sys.platform != "linux":
        return float("nan")
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
