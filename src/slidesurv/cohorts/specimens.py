"""A made-up cohort as slides: the truth of `slidesurv.cohorts.synthetic`, painted.

Where the programme is strong a slide has more tumour, and the nuclei of its tumour are larger, darker and denser. The
other tissue types look as different from patient to patient, their shares differ, and so do the amounts of both
stains, the size of the piece, and all that is drawn at random when a slide is painted.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slidesurv.cohorts.planted import Planted, amounts, write_patients
from slidesurv.engine import Outcome, Task, run
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_json, write_json
from slidesurv.seeds import seed_for
from slidesurv.slides.synthetic import Specimen, write_slide

__all__ = ["SlideTruth", "write_specimens"]

# How much of each tissue type a slide has, as concentrations of a Dirichlet distribution; the first type tells z.
MIXTURE = {"tumour": 4.0, "stroma": 4.0, "lymphocytes": 2.0, "necrosis": 1.0, "fat": 2.0, "gland": 2.0}
GROWTH = 0.5  # added to the logarithm of the first type's concentration, a standard deviation of its amount
STRENGTH = 0.25  # a standard deviation: two of them lead from the middle to either look of a type
STAIN = 0.1  # standard deviation of the amount of each stain
COVERAGE = (0.45, 0.7)  # least and most


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideTruth(Planted):
    """What is planted, in patients as in `Planted` and in their slides.

    Attributes:
        side: of a slide, pixels of 0.5 µm.
    """

    side: int = 2560


DEFAULT = SlideTruth()


def write_specimens(
    folder: Path,
    truth: SlideTruth = DEFAULT,
    *,
    seed: int = 0,
    workers: int = 1,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Write ``cohort.csv``, ``slides/*.tiff``, ``expression.csv`` and ``planted.json``, or what is left of them.

    Args:
        folder: made if it is not there.
        truth: what to plant.
        seed: the same seed gives the same bytes.
        workers: processes that paint.
        report: called with the outcome of each slide.

    Raises:
        ConfigError: the folder holds another made-up cohort.
        DataError: a slide cannot be written.
    """
    text = f"{truth.words}the tumour of the slides: there is more of it, and its nuclei are larger, darker and denser"
    about = {"text": text, "seed": seed, "truth": asdict(truth)}
    _refuse_another(folder / "planted.json", about)
    random = np.random.default_rng(seed)
    programme = write_patients(folder, truth, random)
    write_json(folder / "planted.json", {**about, "programme": programme})
    tasks = [
        _task(folder / "slides" / f"{patient}-01.tiff", _specimen(z, truth, random), truth.side, seed)
        for patient, z in programme.items()
    ]
    for outcome in run(tasks, workers=workers, report=report):
        if outcome.status == "failed":
            raise DataError(outcome.reason)


def _refuse_another(path: Path, about: dict[str, Any]) -> None:
    """What is there is gone on with, so that it must be a part of the same cohort."""
    if not path.exists():
        return
    before = read_json(path)
    if {key: before.get(key) for key in about} != about:
        raise ConfigError(
            f"'{path.parent}' holds a made-up cohort of another seed or truth: {before.get('text')}. Give another "
            "folder, or remove it to start anew."
        )


def _specimen(programme: float, truth: SlideTruth, random: np.random.Generator) -> Specimen:
    """What lies on the slide of a patient."""
    amount = amounts(programme, len(MIXTURE), truth, random)
    concentration = np.array(list(MIXTURE.values()))
    concentration[0] *= np.exp(GROWTH * amount[0])
    mixture = random.dirichlet(concentration)
    haematoxylin, eosin = random.normal(1, STAIN, 2).tolist()
    return Specimen(
        mixture=dict(zip(MIXTURE, mixture.tolist(), strict=True)),
        strength=dict(zip(MIXTURE, (0.5 + STRENGTH * amount).tolist(), strict=True)),
        stain=(haematoxylin, eosin),
        coverage=random.uniform(*COVERAGE),
    )


def _task(path: Path, specimen: Specimen, side: int, seed: int) -> Task:
    return Task(path.stem, _paint, (path, specimen, side, seed_for("specimen", seed, path.stem)), path)


def _paint(path: Path, specimen: Specimen, side: int, seed: int) -> None:
    write_slide(path, specimen, size=(side, side), seed=seed)
