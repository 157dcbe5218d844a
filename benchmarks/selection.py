"""Prototypes and mixture beside scikit-learn and the plain algorithm: seconds, quality, extra memory.

    OMP_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/selection.py [--big] [--mixture]

Features are made: log-normal, non-negative, around 40 kinds of tissue. ``--big`` adds a million tiles; ``--mixture``
leaves k-means out.
"""

import ctypes
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from pprint import pprint

import torch
from race import print_floor, product_rate, race
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_info
from torch import Tensor

from slidesurv.selection.mixture import map_em
from slidesurv.selection.prototypes import fit_prototypes

COUNT, DIM, PRIOR, STRENGTH, STEPS = 16, 1024, 0.1, 10.0, 3


def features(n: int, seed: int = 0) -> Tensor:
    """(n, 1024) float32 that look like pooled convolutional features."""
    generator = torch.Generator().manual_seed(9)
    kinds, directions = torch.randn(40, 64, generator=generator), 0.12 * torch.randn(64, DIM, generator=generator)
    generator.manual_seed(seed)
    tiles = torch.empty(n, DIM)
    for part in tiles.split(8192):
        kind = kinds[torch.randint(40, (len(part),), generator=generator)]
        mixed = (kind + 0.6 * torch.randn(len(part), 64, generator=generator)) @ directions
        part[:] = 0.3 * (mixed + 0.3 * torch.randn(part.shape, generator=generator)).exp()
    return tiles


def plain_em(x: Tensor, m: Tensor) -> Tensor:
    """MAP-EM as one writes it down: float32, the whole slide in each product."""
    weights, means, variances = torch.full((len(m),), 1 / len(m)), m, torch.full_like(m, PRIOR)
    for _ in range(STEPS):
        distance = x**2 @ (1 / variances).T - 2 * x @ (means / variances).T + (means**2 / variances).sum(1)
        joint = weights.log() - 0.5 * (distance + variances.log().sum(1) + DIM * math.log(2 * math.pi))
        gamma = (joint - joint.logsumexp(1, keepdim=True)).exp()
        n = gamma.sum(0) + STRENGTH
        weights, means = n / n.sum(), (gamma.T @ x + STRENGTH * m) / n[:, None]
        variances = (gamma.T @ x**2 + STRENGTH * (PRIOR + m**2)) / n[:, None] - means**2
    return gamma


def sklearn_em(x: Tensor, m: Tensor) -> object:
    start = {"weights_init": [1 / len(m)] * len(m), "means_init": m.numpy()}
    start["precisions_init"] = torch.full_like(m, 1 / PRIOR).numpy()
    return GaussianMixture(len(m), covariance_type="diag", max_iter=STEPS, tol=0, reg_covar=1e-3, **start).fit(
        x.numpy()
    )


def kmeans(x: Tensor, seed: int = 0) -> Tensor:
    """scikit-learn's, as PANTHER calls it."""
    return torch.from_numpy(KMeans(COUNT, max_iter=50, random_state=seed).fit(x.numpy()).cluster_centers_).float()


def minibatch(x: Tensor, seed: int = 0) -> Tensor:
    return torch.from_numpy(MiniBatchKMeans(COUNT, random_state=seed).fit(x.numpy()).cluster_centers_).float()


def ours(x: Tensor, seed: int = 0) -> Tensor:
    return fit_prototypes(x, count=COUNT, seed=seed).means


def inertia(x: Tensor, means: Tensor) -> float:
    """Mean squared distance of a tile to its prototype."""
    return sum((torch.cdist(part, means).amin(1) ** 2).sum().item() for part in x.split(8192)) / len(x)


def em_rates() -> dict[str, float]:
    """GFLOP/s of the mixture's own products, 16 x 256 tiles of 2,049 numbers, by precision."""
    rates = {}
    for dtype in (torch.float32, torch.float64):
        tiles, coefficients = torch.rand(256, 2 * DIM + 1, dtype=dtype), torch.rand(COUNT, 2 * DIM + 1, dtype=dtype)
        multiplied = 2 * COUNT * tiles.numel()
        rates[str(dtype)] = product_rate(lambda c=coefficients, t=tiles: c @ t.T, multiplied)
        square = torch.rand(1024, 1024, dtype=dtype)
        whole = product_rate(lambda s=square: s @ s, 2 * 1024**3)
        print(f"{dtype}: square products {whole:.0f} GFLOP/s, the mixture's {rates[str(dtype)]:.0f} GFLOP/s")
    return rates


def em_calls(n: int) -> dict[str, Callable[[], object]]:
    x, m = features(n, seed=1), fit_prototypes(features(10_000)).means
    return {
        "ours": lambda: map_em(x, m, PRIOR, iterations=STEPS, strength=STRENGTH),
        "ours, float32": lambda: map_em(x, m, PRIOR, iterations=STEPS, strength=STRENGTH, dtype=torch.float32),
        "plain, float32": lambda: plain_em(x, m),
        "sklearn GaussianMixture": lambda: sklearn_em(x, m),
    }


def kmeans_calls(n: int) -> dict[str, Callable[[], object]]:
    x = features(n)
    peers = {"sklearn KMeans": kmeans} if n <= 400_000 else {"sklearn MiniBatchKMeans": minibatch}
    return {"ours": lambda: ours(x)} | {name: lambda call=call: call(x) for name, call in peers.items()}


CALLS = {"em": em_calls, "kmeans": kmeans_calls}


def memory(kind: str, n: int) -> None:
    """Print the extra memory of each contender, each in a fresh process."""
    print(f"\nextra memory, {kind} on {n} tiles", flush=True)
    for name in CALLS[kind](1000):
        subprocess.run([sys.executable, __file__, "--memory", kind, str(n), name], check=True)


def one_memory(kind: str, n: int, name: str) -> None:
    CALLS[kind](1000)[name]()  # libraries are loaded before the measure starts
    call = CALLS[kind](n)[name]
    ctypes.CDLL(None).malloc_trim(0)  # Linux: freed memory goes back, so that taking it again counts
    Path("/proc/self/clear_refs").write_text("5")  # and the peak starts again from what is held now
    before = peak_megabytes()
    call()
    print(f"  {name:<44} {peak_megabytes() - before:9.1f} MB", flush=True)


def peak_megabytes() -> float:
    """Peak resident memory since the last reset; `race.peak_megabytes` cannot be reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def quality(n: int) -> None:
    x = features(n)
    print(f"\nmean squared distance to the prototype, {n} tiles, seeds 0 1 2")
    peer = kmeans if n <= 400_000 else minibatch
    found = {call.__name__: [inertia(x, call(x, seed)) for seed in range(3)] for call in (ours, peer)}
    best = min(found[peer.__name__])
    for name, values in found.items():
        print(f"  {name:<44}", *(f"{value:9.3f} ({value / best:.4f})" for value in values))


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    if sys.argv[1:2] == ["--memory"]:
        return one_memory(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    pprint(threadpool_info())
    print("torch threads:", torch.get_num_threads())
    rates = em_rates()
    for n in (1_000, 12_000):
        calls = em_calls(n)
        least = race(f"EM, {STEPS} iterations, {n} tiles, ours in float64", calls.pop("ours"), dict(calls))
        race(f"EM, {STEPS} iterations, {n} tiles, ours in float32", calls.pop("ours, float32"), calls)
        for name, rate in rates.items():
            products = 2 * STEPS - 1.5  # an E-step and an M-step each, no last M-step, the first E-step without x²
            print_floor(f"EM, {name}", products * 4e-9 * COUNT * n * DIM, rate, least["plain, float32"])
    memory("em", 12_000)
    if "--mixture" in sys.argv:
        return None
    for n in (200_000, 1_000_000) if "--big" in sys.argv else (200_000,):
        calls = kmeans_calls(n)
        race(f"k-means, {n} tiles", calls.pop("ours"), calls, repeats=3)
        quality(n)
        memory("kmeans", n)
    return None


if __name__ == "__main__":
    main()
