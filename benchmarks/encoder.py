"""One training step of a tile transformer, and of a plain attention model, beside the literature's way of writing them.

    OMP_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/encoder.py [N ...]

The peers are the published algorithms as `benchmarks/plain` writes them (zero rows prepended, matrices multiplied from
the left, three convolutions, every row of the last layer), since the authors' programs cannot be installed. Same
weights; logits are compared before anything is timed. Both run in float32; "fast" is ours with training.fast_matmul.

The floor under each race is what ours multiplies in a step, as torch counts it, at the best rate that this processor
reaches on square matrices: no program that multiplies as much can be faster.
"""

import argparse
import os
import subprocess
import sys

import torch
from plain import tiles
from race import extra_megabytes, print_floor, product_rate, race
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from slidesurv.models.attnmil import AttnMIL
from slidesurv.models.transmil import TransMIL
from slidesurv.survival.losses import nll
from slidesurv.training.device import fast_matmul
from slidesurv.types import Bag, Sizes, SurvivalTarget

ATTENTION = {  # torch counts these on a GPU alone
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}
SIZES = Sizes(tile=1024, bins=4)
TARGET = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([1]))


def stepper(model: nn.Module, logits, *, fast: bool = False, autocast: bool = False):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, fused=True)

    def step() -> None:
        with fast_matmul(fast):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = nll(logits()[None].float(), TARGET).mean()
            loss.backward()
            optimizer.step()

    return step


def best_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of square products, the better of PyTorch's two libraries."""
    a, b = torch.rand(2, 1024, 1024).to(dtype)
    rates = []
    for fast in (False, True):
        with fast_matmul(fast):
            rates.append(product_rate(lambda: a @ b, 2 * 1024**3))
    return max(rates)


def gflop(step) -> float:
    """GFLOP of the matrix products of one step, the recomputation inside attention's backward included.

    Convolutions are left out: torch counts depth-wise ones as if every channel saw all of them.
    """
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        step()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for part, count in counts.items() if "convolution" not in str(part)) / 1e9


def made_bag(n: int) -> Bag:
    features = torch.rand(n, 1024, generator=torch.Generator().manual_seed(0))
    return Bag("benchmark", features, torch.zeros(n, 2), torch.zeros(n))


def transmil_steps(n: int) -> dict:
    """A training step of each contender, ready to be timed."""
    bag = made_bag(n)
    torch.manual_seed(0)
    lean, plain, exact = TransMIL(SIZES), TransMIL(SIZES), TransMIL(SIZES, attention="exact")
    plain.load_state_dict(lean.state_dict())
    return {
        "lean, fast": stepper(lean, lambda: lean(bag, None).logits, fast=True),
        "lean": stepper(lean, lambda: lean(bag, None).logits),
        "lean, bfloat16": stepper(lean, lambda: lean(bag, None).logits, fast=True, autocast=True),
        "exact, fast": stepper(exact, lambda: exact(bag, None).logits, fast=True),
        "plain": stepper(plain, lambda: tiles.transmil(plain, bag, None).logits),
    }


def compare_logits(n: int) -> None:
    """Print how far the lean encoder is from the plain one, without dropout."""
    bag, model = made_bag(n), TransMIL(SIZES).eval()
    with torch.inference_mode():
        error = (model(bag, None).logits - tiles.transmil(model, bag, None).logits).abs().max().item()
    print(f"N = {n}: largest difference of logits {error:.1e}")


def attnmil_steps(n: int) -> dict:
    bag, model = made_bag(n), AttnMIL(SIZES)
    call = lambda: model(bag, None).logits  # noqa: E731
    return {
        "fast": stepper(model, call, fast=True),
        "bfloat16": stepper(model, call, fast=True, autocast=True),
        "plain": stepper(model, call),
    }


def memory(which: str, n: int) -> None:
    """Print the memory that one step takes beyond what stood before it."""
    step = transmil_steps(n)[which]
    step()  # Adam's moments and the libraries' buffers are not counted
    print(f"  {which:<44} {extra_megabytes(step):9.0f} MB extra")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", nargs="*", type=int, default=[1000, 2000, 4000, 10000])
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if arguments.memory:
        memory(arguments.memory, arguments.n[0])
        return
    rate, rough = best_rate(torch.float32), best_rate(torch.bfloat16)
    print(f"square products: float32 {rate:.0f} GFLOP/s, bfloat16 {rough:.0f} GFLOP/s of processor time")
    for n in arguments.n:
        compare_logits(n)
        steps = transmil_steps(n)
        work = {name: gflop(steps[name]) for name in ("lean, fast", "exact, fast")}
        least = race(f"tile transformer, one step, N = {n}", steps.pop("lean, fast"), steps, repeats=3)
        for name, multiplied in work.items():
            print_floor(name, multiplied, rate, least["plain"])
        for which in ("lean, fast", "exact, fast", "plain"):
            shown = subprocess.run(
                [sys.executable, __file__, str(n), "--memory", which], check=True, capture_output=True, text=True
            )
            print(shown.stdout.splitlines()[-1])
    steps = attnmil_steps(10_000)
    work = gflop(steps["fast"])
    least = race("plain attention, one step, N = 10000", steps.pop("fast"), steps, repeats=5)
    print_floor("plain attention, float32", work, rate, least["plain"])
    print_floor("plain attention, bfloat16", work, rough, least["plain"])


if __name__ == "__main__":
    main()
