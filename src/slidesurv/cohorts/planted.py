"""The patients of a made-up cohort: a programme of genes that drives the hazard, follow-up, expression.

What a slide shows of the programme is planted elsewhere: in features by `slidesurv.cohorts.synthetic`, in pixels by
`slidesurv.cohorts.specimens`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidesurv.files import write_csv

__all__ = ["Planted", "amounts", "write_patients"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What is planted in patients.

    Attributes:
        patients: B.
        genes: G, of which each programme moves a tenth.
        programmes: beside the prognostic one.
        effect: log hazard ratio of one standard deviation of the programme z; 0 plants nothing.
        visible: how far the look that tells z follows it, in [0, 1].
        survival: mean months to death at z = 0.
        follow_up: months; patients are last seen at a time uniform up to twice this.
    """

    patients: int = 80
    genes: int = 300
    programmes: int = 4
    effect: float = 1.2
    visible: float = 0.95
    survival: float = 36.0
    follow_up: float = 5.0

    @property
    def words(self) -> str:
        """The beginning of a sentence for the report."""
        return (
            f"one gene programme moves {self.genes // 10} of {self.genes} genes, multiplies the hazard by "
            f"{np.exp(self.effect):.1f} per standard deviation, and shows in "
        )


def write_patients(folder: Path, planted: Planted, random: np.random.Generator) -> dict[str, float]:
    """Write ``cohort.csv``, one slide a patient, and ``expression.csv``.

    Args:
        folder: made if it is not there.
        planted: what is planted.
        random: the same state gives the same bytes.

    Returns:
        The programme z ~ N(0, 1) of each patient; a larger value is a larger hazard.
    """
    ids = [f"SYN-{number:04d}" for number in range(planted.patients)]
    z = random.standard_normal(planted.patients)
    time, event = _follow_up(z, planted, random)
    rows = [
        {"patient_id": i, "slide_id": f"{i}-01", "time_months": round(t, 3), "event": int(e), "site": f"S{n % 7}"}
        for n, (i, t, e) in enumerate(zip(ids, time.tolist(), event.tolist(), strict=True))
    ]
    write_csv(folder / "cohort.csv", rows, ["patient_id", "slide_id", "time_months", "event", "site"])
    _write_expression(folder / "expression.csv", ids, z, planted, random)
    return dict(zip(ids, z.tolist(), strict=True))


def amounts(programme: float, types: int, planted: Planted, random: np.random.Generator) -> Floats:
    """How far the look of each tissue type is from its mean in one patient.

    Args:
        programme: z of the patient.
        types: number of tissue types.
        planted: how far the look of the first follows z.
        random: draws the others.

    Returns:
        (types,) standard deviations.
    """
    amount = random.standard_normal(types)
    amount[0] = planted.visible * programme + np.sqrt(1 - planted.visible**2) * amount[0]
    return amount


def _follow_up(z: Floats, planted: Planted, random: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """Exponential deaths with hazard exp(effect · z), uniform censoring."""
    death = random.exponential(planted.survival * np.exp(-planted.effect * z))
    censored = random.uniform(0.2, 2, len(z)) * planted.follow_up
    return np.minimum(death, censored) + 0.1, death <= censored


def _write_expression(path: Path, ids: list[str], z: Floats, planted: Planted, random: np.random.Generator) -> None:
    """Genes = programmes times loadings, plus noise; each programme loads on a tenth of the genes."""
    programmes = np.column_stack([z, random.standard_normal((len(z), planted.programmes)) * 0.4])  # (B, 1 + programmes)
    block = planted.genes // 10
    loadings = np.zeros((programmes.shape[1], planted.genes))
    for place, row in enumerate(loadings):
        row[place * block : (place + 1) * block] = random.choice([-1, 1], block) * random.uniform(0.7, 1.3, block)
    values = programmes @ loadings + random.standard_normal((len(z), planted.genes)) * 0.7
    genes = [f"GENE{number:03d}" for number in range(planted.genes)]
    rows = [{"patient_id": i, **dict(zip(genes, v, strict=True))} for i, v in zip(ids, values.round(4), strict=True)]
    write_csv(path, rows, ["patient_id", *genes])
