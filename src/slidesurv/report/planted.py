"""A synthetic cohort carries a truth. Did a method find it?"""

import math

import numpy as np
from scipy.stats import rankdata

from slidesurv.report.drawing import BLUE, Picture, canvas, style, svg, wrapped
from slidesurv.report.estimate import Estimate
from slidesurv.report.run import Method, Numbers, Run

__all__ = ["find", "picture"]


def find(run: Run, method: Method) -> Estimate:
    """Correlate risk with the planted programme.

    Returns:
        Spearman's correlation over the test patients of the complete folds. A larger value means that the risk
        follows the programme more closely; an interval above 0 means it was found.

    Source:
        The interval is Bonett and Wright's, Psychometrika 2000: tanh(atanh ρ ± 1.96 √((1 + ρ²/2) / (n − 3))).
    """
    planted, place = _pairs(run, method)
    if len(planted) < 5:
        return Estimate(note=f"only {len(planted)} test patients with a planted value")
    if np.ptp(planted) == 0 or np.ptp(place) == 0:
        return Estimate(note="the risk or the programme is the same for every patient")
    rho = float(np.corrcoef(rankdata(planted), rankdata(place))[0, 1])
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(planted) - 3))
    centre = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, rho)))
    return Estimate(rho, math.tanh(centre - half), math.tanh(centre + half))


def _pairs(run: Run, method: Method) -> tuple[Numbers, Numbers]:
    """The planted value of each test patient, and the place of their risk inside their fold, in (0, 1).

    Raw risks of different folds have different scales, so that only their order inside a fold is used.
    """
    if not method.complete:
        return np.empty(0), np.empty(0)
    rank = method.mean(lambda result: rankdata(result.risk))  # halves before the division: ties stay ties
    place = (rank - 0.5) / method.mean(lambda result: np.full(len(result.risk), len(result.risk)))
    first, _ = method.people()
    patients = method.pool(lambda result: np.array(result.patients))[0][first]
    planted = np.array([run.programme.get(patient, math.nan) for patient in patients], dtype=float)
    known = np.isfinite(planted)
    return planted[known], place[known]


def picture(run: Run, method: Method, name: str) -> Picture:
    """Draw risk against the planted programme, one dot a test patient."""
    planted, place = _pairs(run, method)
    found = find(run, method)
    caption = f"Spearman's correlation {found}{f': {found.note}' if found.note else ''}. {run.stamp}"
    if not len(planted):
        return Picture("", f"{method.label}: nothing to draw, {found.note}.")
    with style():
        figure, (axes,) = canvas(4.2, 3.1)
        axes.scatter(planted, place, s=14, color=BLUE, alpha=0.7, linewidths=0)
        axes.set(xlabel="planted programme", ylabel="risk, place inside the fold", title=wrapped(run.titled(method)))
        axes.set_ylim(0, 1)
        return Picture(svg(figure, name=name, alt=f"{method.label}: risk against the planted programme"), caption)
