"""One training step and one prediction of every method, beside the literature's way of computing the same function.

    OMP_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/models.py \
        [METHOD ...] [--tiles 1000 4000 10000] [--repeats 3]

The authors' programs cannot be installed; `benchmarks/plain` has what they compute, written plainly on our weights.
Before anything is timed, both answer one patient in float64 without dropout: logits, loss and gradient must agree.
Both are timed in float32 on one thread, in turn, with dropout, by this process's time on the processor, and the least
of all runs counts; "apart" is how far the float32 logits of a prediction are from each other. A step is forward, loss,
backward and Adam.
"""

import argparse
import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from plain import genes, pairs, tiles
from torch import Tensor, nn

from slidesurv.models.base import SurvivalModel
from slidesurv.registry import models
from slidesurv.training.cost import USUAL
from slidesurv.training.device import fast_matmul, peak_memory
from slidesurv.training.step import losses, show
from slidesurv.types import Bag, Genomics, ModelOutput, PatientData, SurvivalTarget, Use

SECONDS = 0.5  # of processor time that quick contenders share at least
CHECKED, CLOSE = 1_100, 1e-6  # tiles (no square, and more than the prompts) and what float64 may be apart
Answer = Callable[[PatientData], ModelOutput]


@dataclass(frozen=True)
class Case:
    """A method, its choices, and how the literature computes it.

    Attributes:
        anew: what the method keeps of a patient is forgotten before every run, as at the first sight of a patient.
        same: the literature's way is ours.
    """

    method: str
    plain: Callable[[Any, Bag, Genomics | None], ModelOutput]
    choices: dict[str, Any] = field(default_factory=dict)
    anew: bool = False
    same: bool = False


CASES = {
    "snn": Case("snn", genes.snn, same=True),
    "bulkrnabert": Case("bulkrnabert", genes.bulkrnabert, same=True),
    "snntrans": Case("snntrans", genes.snntrans),
    "attnmil": Case("attnmil", tiles.attnmil, same=True),
    "clam": Case("clam", tiles.clam, same=True),
    "clam, instances": Case("clam", tiles.clam, {"instance": "svm"}),
    "dsmil": Case("dsmil", tiles.dsmil),
    "dtfdmil": Case("dtfdmil", tiles.dtfdmil),
    "transmil": Case("transmil", tiles.transmil),
    "rrtmil": Case("rrtmil", tiles.rrtmil),
    "panther, first time": Case("panther", tiles.panther, anew=True),
    "panther": Case("panther", tiles.panther),
    "mcat": Case("mcat", pairs.mcat),
    "motcat": Case("motcat", pairs.motcat),
    "motcat, chunks of 256": Case("motcat", pairs.motcat, {"micro_batch": 256}),
    "cmta": Case("cmta", pairs.cmta),
    "mome": Case("mome", pairs.mome),
    "multibert": Case("multibert", pairs.multibert),
    "ghanet": Case("ghanet", pairs.ghanet),
    "vgat, first time": Case("vgat", pairs.vgat, anew=True),
    "vgat": Case("vgat", pairs.vgat),
}


def made_patient(n: int, dtype: torch.dtype = torch.float32) -> PatientData:
    draw = torch.Generator().manual_seed(0)
    features = torch.rand(n, USUAL.tile, generator=draw).to(dtype)
    bag = Bag("benchmark", features, torch.zeros(n, 2).long(), torch.zeros(n).long())
    sizes = (*USUAL.groups, USUAL.embedding, USUAL.expression)
    *groups, embedding, expression = (torch.randn(size, generator=draw).to(dtype) for size in sizes)
    target = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([tiles.DEATH]))
    return PatientData("benchmark", bag, Genomics(tuple(groups), embedding, expression), target)


def made_model(case: Case) -> SurvivalModel:
    torch.manual_seed(0)
    model = models.build(case.method, USUAL, **case.choices)
    model.prepare([made_patient(1000).bag])
    return model


def contenders(case: Case) -> tuple[dict[str, SurvivalModel], dict[str, Answer]]:
    """A model of each, with the same weights, and the way in which each answers."""
    ours, plain = made_model(case), made_model(case)
    plain.load_state_dict(ours.state_dict())
    answers: dict[str, Answer] = {
        "plain": lambda patient: case.plain(plain, patient.bag, patient.genomics),
        "ours": lambda patient: show(ours, patient),
    }
    return {"plain": plain, "ours": ours}, answers


def differences(case: Case, n: int) -> float:
    """Largest difference of logits, of loss, and of gradient relative to its largest entry, in float64."""
    made, answers = contenders(case)
    patient = made_patient(n, torch.float64)
    found = {}
    for name, model in made.items():
        _without_dropout(model.double().eval())
        with torch.no_grad():
            logits = answers[name](patient).logits
        torch.manual_seed(1)  # of shuffled tiles
        _without_dropout(model.train())
        loss = losses(model, answers[name](patient), patient.target)["loss"]
        loss.backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
        gradient = torch.cat([grad.flatten() for grad in grads])
        found[name] = logits, loss.detach()[None], gradient / gradient.abs().max()
    apart = [_largest(one, other) for one, other in zip(found["plain"], found["ours"], strict=True)]
    return torch.tensor(apart).max().item()  # NaN if one is; Python's max would pass over it


def _largest(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def _without_dropout(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.AlphaDropout | nn.MultiheadAttention):
            layer.eval()
    return model


def step(model: SurvivalModel, answer: Answer, patient: PatientData) -> Callable[[], None]:
    """A training step, ready to be timed; its rate is 0, so that a router sends every step the same way."""
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=0.0, fused=True)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        losses(model.train(), answer(patient), patient.target)["loss"].backward()
        optimizer.step()

    return run


def prediction(model: SurvivalModel, answer: Answer, patient: PatientData) -> Callable[[], Tensor]:
    """A prediction, ready to be timed."""

    @torch.inference_mode()
    def run() -> Tensor:
        model.eval()
        return answer(patient).logits

    return run


def forget(model: nn.Module) -> None:
    """Make a method that keeps something of a patient see them for the first time."""
    keepers = [part for part in model.modules() if hasattr(part, "_forget")]
    if not keepers:
        raise SystemExit(f"No part of {type(model).__name__} has '_forget': it would be timed as at a second sight.")
    for part in keepers:
        part._forget()


def fastest(calls: dict[str, Callable[[], object]], before: Callable[[], None], repeats: int) -> dict[str, list[float]]:
    """Least seconds of each, on the processor and on the clock; the same dropout for all."""
    least = {name: [float("inf")] * 2 for name in calls}
    began = time.process_time()
    while repeats > 0 or time.process_time() - began < SECONDS:
        for name, call in calls.items():
            before()
            torch.manual_seed(0)
            start = time.process_time(), time.perf_counter()
            call()
            taken = time.process_time() - start[0], time.perf_counter() - start[1]
            least[name] = [min(pair) for pair in zip(least[name], taken, strict=True)]
        repeats -= 1
    return least


def extra_megabytes(call: Callable[[], object]) -> float:
    """Peak memory of a run beyond what stood before it; Adam's moments and the libraries' buffers are there already."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # freed memory goes back, so that taking it again counts
    with peak_memory() as measured:
        call()
    return float("nan") if measured.megabytes is None else measured.megabytes


def race(case: Case, n: int, repeats: int, *, fast: bool) -> list[str]:
    """The cells of a row of the table."""
    made, answers = contenders(case)
    patient = made_patient(n)
    before = (lambda: forget(made["ours"])) if case.anew else (lambda: None)
    with fast_matmul(fast):
        steps = {name: step(model, answers[name], patient) for name, model in made.items()}
        taught = fastest(steps, before, repeats)
        memory = []
        for call in steps.values():
            before()
            memory.append(f"{extra_megabytes(call):.0f}")
        judge = {name: prediction(model, answers[name], patient) for name, model in made.items()}
        judged = fastest(judge, before, repeats)
    apart = _largest(*(call() for call in judge.values()))
    milliseconds = [f"{1000 * taught[name][0]:.4g}" for name in ("plain", "ours")]
    ratios = [f"{times['plain'][clock] / times['ours'][clock]:.2f}" for times in (taught, judged) for clock in (0, 1)]
    return [
        *milliseconds,
        *(f"{cpu} ({wall})" for cpu, wall in zip(ratios[::2], ratios[1::2], strict=True)),
        ", ".join(memory),
        f"{apart:.0e}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", nargs="*", help=f"of {', '.join(dict.fromkeys(c.method for c in CASES.values()))}")
    parser.add_argument("--tiles", nargs="*", type=int, default=[1000, 4000, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fast", action="store_true", help="let both take training.fast_matmul's kernels")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print("| method | N | plain, ms | ours, ms | step × (clock) | prediction × (clock) | MB: plain, ours | apart |")
    print("|---|---|---|---|---|---|---|---|")
    most = 0.0
    for title, case in CASES.items():
        if arguments.method and case.method not in arguments.method:
            continue
        with_tiles = models[case.method].slides is not Use.NEVER
        far = differences(case, CHECKED if with_tiles else 0)
        if not far < CLOSE:
            raise SystemExit(f"{title}: plain and ours are {far:.1e} apart in float64. Nothing of it was timed.")
        most = max(most, far)
        for n in arguments.tiles if with_tiles else [0]:
            cells = race(case, n, arguments.repeats, fast=arguments.fast)
            note = f"{title} (same)" if case.same else title
            print("|", " | ".join([note, f"{n:,}" if n else "–", *cells]), "|", flush=True)
    print(f"\nLogits, loss and gradient in float64: at most {most:.0e} apart.")
    print(f"{time.process_time() / 60:.1f} minutes of processor time.")


if __name__ == "__main__":
    main()
