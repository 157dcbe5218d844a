"""A made-up cohort whose truth is known: what the genes do, how much of it the tiles show, and who dies early.

Each patient has a programme z ~ N(0, 1). Its genes rise and fall with z; the look of one tissue type changes with it;
the hazard is exp(effect · z). Beside it stand weaker programmes that the genes show and survival ignores, other
tissue types whose look varies as much from patient to patient, and a stain that shifts all tiles of a patient. So a
method that reads genes finds the truth easily, a method that reads tiles must find one look among many, and a method
that reads tiles but was taught by genes has been told where to look. Follow-up is short: few deaths teach survival,
every genome teaches z.

Tiles are features here, drawn without a pixel; `slidesurv.cohorts.specimens` paints the same truth.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidesurv.cohorts.planted import Planted, amounts, write_patients
from slidesurv.files import write_json
from slidesurv.slides.store import write_features

__all__ = ["Truth", "write_synthetic"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth(Planted):
    """What is planted, in patients as in `Planted` and in their tiles.

    Attributes:
        tiles: least and most tiles of a slide.
        width: D of a tile feature.
        tissues: tissue types; the look of the first tells z.
    """

    tiles: tuple[int, int] = (50, 120)
    width: int = 64
    tissues: int = 8


DEFAULT = Truth()


def write_synthetic(folder: Path, truth: Truth = DEFAULT, *, seed: int = 0) -> None:
    """Write ``cohort.csv``, ``features/``, ``expression.csv`` and ``planted.json``.

    Args:
        folder: made if it is not there.
        truth: what to plant.
        seed: the same seed gives the same bytes.
    """
    random = np.random.default_rng(seed)
    programme = write_patients(folder, truth, random)
    looks = random.gamma(1.0, 1.0, (truth.tissues, truth.width))  # (tissues, D) what each type looks like
    changes = random.normal(0, 0.6, (truth.tissues, truth.width))  # (tissues, D) and how that varies
    for patient, z in programme.items():
        features, coords = _slide(z, looks, changes, truth, random)
        path = folder / "features" / f"{patient}-01.h5"
        write_features(path, features, coords, encoder="synthetic")
    text = f"{truth.words}the look of one of {truth.tissues} tissue types"
    write_json(folder / "planted.json", {"text": text, "programme": programme})


def _slide(
    programme: float, looks: Floats, changes: Floats, truth: Truth, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(N, D) features and (N, 2) coordinates of one slide, tissue types in stripes."""
    amount = amounts(programme, truth.tissues, truth, random)  # (tissues,) of each tissue's change, in this patient
    stain = random.normal(1, 0.1, truth.width)
    tissue = (looks + amount[:, None] * changes) * stain  # (tissues, D)
    n = int(random.integers(*truth.tiles, endpoint=True))
    types = np.sort(random.choice(truth.tissues, n, p=random.dirichlet(np.full(truth.tissues, 3.0))))
    features = np.maximum(tissue[types] + random.normal(0, 0.35, (n, truth.width)), 0)
    side = int(np.ceil(np.sqrt(n)))
    coords = np.column_stack([np.arange(n) // side, np.arange(n) % side]) * 512
    return features.astype(np.float32), coords.astype(np.int64)
