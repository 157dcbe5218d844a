"""Is the genome rebuilt gene by gene, and more of it than by chance?

Reconstruction skill asks how near a whole profile is. This asks of each gene, or pathway, whether it was rebuilt higher
in the patients in whom it is. What many genes may show by chance is told by the same reconstructions, laid beside the
profiles of other patients.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slidesurv.errors import DataError
from slidesurv.report.estimate import Estimate
from slidesurv.report.genome.agreement import Agreement, Follows, Joined, agree
from slidesurv.report.genome.rebuilt import Rebuilt, lacking, read_rebuilt
from slidesurv.report.run import Method, Numbers
from slidesurv.survival.resampling import interval

__all__ = ["GRID", "LEVEL", "GeneByGene", "judge_genes"]

LEVEL = 0.05
LEAST = 5  # test patients of a fold with a profile
GRID = np.linspace(0, 1, 101)  # shares of the genes at which the picture is drawn


@dataclass(frozen=True, eq=False, slots=True)
class GeneByGene:
    """How the columns of a reconstruction follow the true ones.

    Attributes:
        kind: "gene", or "dimension" of an embedding that was given ready-made.
        width: of how many numbers of a patient all columns are made.
        each: by falling correlation; none when nothing could be judged.
        pathways: likewise; none without gene groups.
        median: of the correlations of ``each``.
        share: of ``each`` that are above 0 at the level of 0.05, one-sided.
        chance: the same with shuffled patients: mean, and between which values 95 % of the shuffles lie.
        p: of the share, by the shuffles.
        adjusted_share: of ``each`` after Benjamini and Hochberg at the level of 0.05.
        curve: (101,) correlations from the smallest to the largest.
        band: (2, 101) between which 95 % of the shuffles lie.
        note: why nothing was judged, or what was left out.
    """

    kind: str = "gene"
    width: int = 0
    each: tuple[Follows, ...] = ()
    pathways: tuple[Follows, ...] = ()
    median: float = math.nan
    share: float = math.nan
    chance: Estimate = field(default_factory=Estimate)
    p: float = math.nan
    adjusted_share: float = math.nan
    curve: Numbers = field(default_factory=lambda: np.full(len(GRID), np.nan))
    band: Numbers = field(default_factory=lambda: np.full((2, len(GRID)), np.nan))
    note: str = ""


def judge_genes(folder: Path, method: Method, *, shuffles: int = 99, seed: int = 0) -> GeneByGene | None:
    """Correlate what was rebuilt with what is true, in every complete fold.

    A patient whom several folds judge counts in the first. Of several seeds the mean is taken, and their number makes
    no interval narrower.

    Args:
        folder: of the run.
        method: of the run.
        shuffles: how often the patients of each fold are shuffled, all columns and seeds together.
        seed: of the shuffles.

    Returns:
        None when the method rebuilds nothing.

    Raises:
        DataError: a file is broken, or the seeds of a fold hold different patients or columns.
    """
    places = {
        fold: [folder / method.slug / f"seed{number}" / f"fold{fold}" for number in method.seeds]
        for fold in method.complete
    }
    reasons = {fold: next(filter(None, map(lacking, here)), "") for fold, here in places.items()}
    whole = {fold: here for fold, here in places.items() if not reasons[fold]}
    if not whole and not any(result.reconstruction for result in method.results.values()):
        return None
    parts = list(_parts(whole, shuffles, seed))
    why = next(filter(None, reasons.values()), f"no fold has {LEAST} test patients with a profile")
    if not parts:
        return GeneByGene(note=why if places else "no fold was finished for every seed")
    only = f"judged on folds {', '.join(str(part.fold) for part in parts)} only: "
    return _sum_up(parts, only + why if len(parts) < len(places) else "")


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """One fold."""

    fold: int
    kind: str
    width: int
    columns: Agreement
    pathways: Agreement


def _parts(places: Mapping[int, Sequence[Path]], shuffles: int, seed: int) -> Iterator[_Part]:
    seen: set[str] = set()
    for fold, here in places.items():
        seeds = [read_rebuilt(place) for place in here]
        first = seeds[0]
        _require_alike(seeds, here)
        rows = np.array([row for row, patient in enumerate(first.patients) if patient not in seen], np.int64)
        if len(rows) >= LEAST:
            seen.update(first.patients)
            random = np.random.default_rng([seed, fold])
            orders = [np.arange(len(rows)), *(random.permutation(len(rows)) for _ in range(shuffles))]
            columns = agree([each.columns for each in seeds], rows, orders)
            yield _Part(fold, first.kind, first.width, columns, agree([each.pathways for each in seeds], rows, orders))


def _require_alike(seeds: Sequence[Rebuilt], places: Sequence[Path]) -> None:
    """Refuse seeds of one fold that cannot be laid beside each other, row by row and column by column."""
    for each, place in zip(seeds, places, strict=True):
        if (each.patients, each.columns.names) != (seeds[0].patients, seeds[0].columns.names):
            raise DataError(
                f"'{place}' was rebuilt for other patients or columns than '{places[0]}'; all seeds of a fold must "
                "have the same. Delete both folders and run the same command again."
            )


def _sum_up(parts: Sequence[_Part], note: str) -> GeneByGene:
    joined, pathways = (Joined.of(each) for each in ([p.columns for p in parts], [p.pathways for p in parts]))
    flat = len({name for part in parts for name in part.columns.names}) - len(joined.names)
    some = f"{flat:,} {parts[0].kind}s have one value in all patients of every fold and are left out" if flat else ""
    note = "; ".join(filter(None, (note, some)))
    if not joined.names:
        return GeneByGene(parts[0].kind, parts[0].width, note=note)
    each, shares = joined.follows(), (joined.p < LEVEL).mean(1)  # (1 + R,)
    curves = np.quantile(np.tanh(joined.z), GRID, axis=1)  # (101, 1 + R)
    return GeneByGene(
        kind=parts[0].kind,
        width=parts[0].width,
        each=each,
        pathways=pathways.follows(),
        median=float(np.median([row.correlation.value for row in each])),
        share=float(shares[0]),
        chance=Estimate(float(shares[1:].mean()), *interval(shares[1:])),
        p=(1 + np.count_nonzero(shares[1:] >= shares[0])) / len(shares),
        adjusted_share=float(np.mean([row.adjusted < LEVEL for row in each])),
        curve=curves[:, 0],
        band=np.quantile(curves[:, 1:], (0.025, 0.975), axis=1),
        note=note,
    )
