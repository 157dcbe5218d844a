"""A made-up cohort whose truth is known: what the genes do, how much of it the tiles show, and who dies early.

Each patient has a programme z ~ N(0, 1). Its genes rise and fall with z; the look of one tissue type changes with it;
the hazard is exp(effect · z). Beside it stand weaker programmes that the genes show and survival ignores, other
tissue types whose look varies as much from patient to patient, and a stain that shifts all tiles of a patient. So a
method that reads genes finds the truth easily, a method that reads tiles must find one look among many, and a method
that reads tiles but was taught by genes has been told where to look. Follow-up is short: few deaths teach survival,
every genome teaches z.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidesurv.files import write_csv, write_json
from slidesurv.slides.store import write_features

__all__ = ["Truth", "write_synthetic"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is planted.

    Attributes:
        patients: B.
        tiles: least and most tiles of a slide.
        width: D of a tile feature.
        genes: G, of which each programme moves a tenth.
        programmes: beside the prognostic one.
        tissues: tissue types; the look of the first tells z.
        effect: log hazard ratio of one standard deviation of z; 0 plants nothing.
        visible: how far that look follows z, in [0, 1].
        survival: mean months to death at z = 0.
        follow_up: months; patients are last seen at a time uniform up to twice this.
    """

    patients: int = 80
    tiles: tuple[int, int] = (50, 120)
    width: int = 64
    genes: int = 300
    programmes: int = 4
    tissues: int = 8
    effect: float = 1.2
    visible: float = 0.95
    survival: float = 36.0
    follow_up: float = 5.0


DEFAULT = Truth()


def write_synthetic(folder: Path, truth: Truth = DEFAULT, *, seed: int = 0) -> None:
    """Write ``cohort.csv``, ``features/``, ``expression.csv`` and ``planted.json``.

    Args:
        folder: made if it is not there.
        truth: what to plant.
        seed: the same seed gives the same bytes.
    """
    random = np.random.default_rng(seed)
    ids = [f"SYN-{number:04d}" for number in range(truth.patients)]
    z = random.standard_normal(truth.patients)
    time, event = _follow_up(z, truth, random)
    rows = [
        {"patient_id": i, "slide_id": f"{i}-01", "time_months": round(t, 3), "event": int(e), "site": f"S{n % 7}"}
        for n, (i, t, e) in enumerate(zip(ids, time.tolist(), event.tolist(), strict=True))
    ]
    write_csv(folder / "cohort.csv", rows, ["patient_id", "slide_id", "time_months", "event", "site"])
    _write_expression(folder / "expression.csv", ids, z, truth, random)
    looks = random.gamma(1.0, 1.0, (truth.tissues, truth.width))  # (tissues, D) what each type looks like
    changes = random.normal(0, 0.6, (truth.tissues, truth.width))  # (tissues, D) and how that varies
    for patient, programme in zip(ids, z, strict=True):
        features, coords = _slide(programme, looks, changes, truth, random)
        path = folder / "features" / f"{patient}-01.h5"
        write_features(path, features, coords, encoder="synthetic")
    text = (
        f"one gene programme moves {truth.genes // 10} of {truth.genes} genes, multiplies the hazard by "
        f"{np.exp(truth.effect):.1f} per standard deviation, and shows in the look of one of "
        f"{truth.tissues} tissue types"
    )
    write_json(folder / "planted.json", {"text": text, "programme": dict(zip(ids, z.tolist(), strict=True))})


def _follow_up(z: Floats, truth: Truth, random: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """Exponential deaths with hazard exp(effect · z), uniform censoring."""
    death = random.exponential(truth.survival * np.exp(-truth.effect * z))
    censored = random.uniform(0.2, 2, len(z)) * truth.follow_up
    return np.minimum(death, censored) + 0.1, death <= censored


def _write_expression(path: Path, ids: list[str], z: Floats, truth: Truth, random: np.random.Generator) -> None:
    """Genes = programmes times loadings, plus noise; each programme loads on a tenth of the genes."""
    programmes = np.column_stack([z, random.standard_normal((len(z), truth.programmes)) * 0.4])  # (B, 1 + programmes)
    block = truth.genes // 10
    loadings = np.zeros((programmes.shape[1], truth.genes))
    for place, row in enumerate(loadings):
        row[place * block : (place + 1) * block] = random.choice([-1, 1], block) * random.uniform(0.7, 1.3, block)
    values = programmes @ loadings + random.standard_normal((len(z), truth.genes)) * 0.7
    genes = [f"GENE{number:03d}" for number in range(truth.genes)]
    rows = [{"patient_id": i, **dict(zip(genes, v, strict=True))} for i, v in zip(ids, values.round(4), strict=True)]
    write_csv(path, rows, ["patient_id", *genes])


def _slide(
    programme: float, looks: Floats, changes: Floats, truth: Truth, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(N, D) features and (N, 2) coordinates of one slide, tissue types in stripes."""
    amount = random.standard_normal((truth.tissues, 1))  # of each tissue's change, in this patient
    amount[0] = truth.visible * programme + np.sqrt(1 - truth.visible**2) * amount[0]
    stain = random.normal(1, 0.1, truth.width)
    tissue = (looks + amount * changes) * stain  # (tissues, D)
    n = int(random.integers(*truth.tiles, endpoint=True))
    types = np.sort(random.choice(truth.tissues, n, p=random.dirichlet(np.full(truth.tissues, 3.0))))
    features = np.maximum(tissue[types] + random.normal(0, 0.35, (n, truth.width)), 0)
    side = int(np.ceil(np.sqrt(n)))
    coords = np.column_stack([np.arange(n) // side, np.arange(n) % side]) * 512
    return features.astype(np.float32), coords.astype(np.int64)
