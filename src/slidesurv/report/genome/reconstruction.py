"""Genomic reconstruction: does the slide tell more of the profile than the average patient does, and is that used?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slidesurv.report.estimate import Estimate
from slidesurv.report.jury import Jury
from slidesurv.report.run import FoldResult, Method, Numbers
from slidesurv.survival.comparison import difference
from slidesurv.survival.discrimination import harrell_c
from slidesurv.survival.resampling import interval

__all__ = ["Ablation", "Reconstruction", "ablate", "judge"]


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """How well a method rebuilds the genomic profile G of a test patient as R.

    Attributes:
        skill: 1 − ΣKL(R‖G) / ΣKL(mean‖G). A larger value means a better reconstruction: 1 is perfect, 0 no better
            than the mean profile of the training patients, below 0 worse.
        rank: median over patients of the place of their own G among all test patients' by KL, as a share in (0, 1).
            A smaller value is better; 0.5 is chance.
        entropy_share: mean entropy of G as a share of the most that its width allows. Near 1 the profile is flat, so
            that any flat reconstruction is near to it.
        folds: the skill of each fold of the run.
        patients: test patients with a profile.
    """

    skill: Estimate
    rank: Estimate
    entropy_share: Estimate
    folds: tuple[Estimate, ...]
    patients: int


@dataclass(frozen=True, slots=True)
class Ablation:
    """How well a method orders patients when its reconstruction is taken away.

    Attributes:
        reconstruction: what stands in its place: "zeroed", or "shuffled" between test patients.
        index: the pooled C-index then.
        lost: the method's own pooled C-index minus that. A larger value means that the reconstruction is used more.
    """

    reconstruction: str
    index: Estimate
    lost: Estimate


def judge(method: Method, folds: int, *, resamples: int = 2000, seed: int = 0) -> Reconstruction | None:
    """Judge the reconstructions of the complete folds; a patient's values are first averaged over seeds.

    Args:
        method: of a run.
        folds: how many the run has.
        resamples: bootstrap resamples of patients.
        seed: of the resampling.

    Returns:
        None when the method reconstructs nothing.
    """
    if not any(result.reconstruction for result in method.results.values()):
        return None
    complete = [result for (_, fold), result in method.results.items() if fold in method.complete]
    values = _by_patient(complete)
    skill, rank = _estimate(values, resamples, seed)
    by_fold = tuple(_fold_skill(method, fold) for fold in range(folds))
    return Reconstruction(skill, rank, _entropy_share(complete), by_fold, len(values))


def _entropy_share(results: Sequence[FoldResult]) -> Estimate:
    shares = [r.reconstruction["entropy_share"] for r in results if "entropy_share" in r.reconstruction]
    return Estimate(float(np.concatenate(shares).mean())) if shares else Estimate(note="not measured")


def ablate(jury: Jury, method: Method) -> list[Ablation]:
    """Compare a method with itself without its reconstruction, on the same resamples of the same patients.

    Args:
        jury: of the run.
        method: of the run.

    Returns:
        Nothing when it was not asked without.
    """
    results = [method.results[seed, fold] for seed in method.seeds for fold in method.complete]
    names = results[0].risk_without if results else ()
    return [_ablation(jury, method, name) for name in names if all(name in result.risk_without for result in results)]


def _ablation(jury: Jury, method: Method, name: str) -> Ablation:
    without = jury.ask(method, harrell_c, lambda result: result.risk_without[name])
    return Ablation(name, Estimate.of(without), Estimate.of(difference(jury.index(method), without)))


def _by_patient(results: Sequence[FoldResult]) -> Numbers:
    """KL, KL of the mean profile, and place, averaged over seeds: (B, 3)."""
    rows: dict[str, list[list[float]]] = {}
    for table in (result.reconstruction for result in results if result.reconstruction):
        place = (table["rank"] - 0.5) / table["candidates"]
        for patient, *values in zip(table["patient_id"], table["kl"], table["kl_mean"], place, strict=True):
            rows.setdefault(patient, []).append(values)
    return np.array([np.mean(values, axis=0) for values in rows.values()]).reshape(-1, 3)


def _estimate(values: Numbers, resamples: int, seed: int) -> tuple[Estimate, Estimate]:
    patients = len(values)
    if not patients or not values[:, 1].sum() > 0:
        reason = "the training mean equals every profile" if patients else "no finished fold has a profile"
        return Estimate(note=reason), Estimate(note=reason)
    drawn = np.random.default_rng(seed).integers(patients, size=(resamples, patients))
    kl, kl_mean, place = values[drawn].transpose(2, 0, 1)  # (3, resamples, B)
    skill = interval(1 - kl.sum(1) / kl_mean.sum(1))
    rank = interval(np.median(place, axis=1))
    return Estimate(_skill(values), *skill), Estimate(float(np.median(values[:, 2])), *rank)


def _skill(values: Numbers) -> float:
    kl, kl_mean, _ = values.sum(0)
    return float(1 - kl / kl_mean) if kl_mean > 0 else math.nan


def _fold_skill(method: Method, fold: int) -> Estimate:
    if fold not in method.complete:
        return Estimate(note="not finished")
    return Estimate(_skill(_by_patient([method.results[seed, fold] for seed in method.seeds])))
