"""Genes that differ between patients who died early and patients who lived long; given training patients alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ttest_ind_from_stats

from slidesurv.errors import DataError, MissingExtra
from slidesurv.genomics.views import Standardise

__all__ = ["Screening", "deseq2", "divide", "welch"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Screening:
    """A test of each gene, and what is significant.

    Attributes:
        method: "welch" compares means of any scale; "deseq2" models counts of reads.
        p_value: in (0, 1]; genes below it are kept. Welch's are taken gene by gene, DESeq2's are adjusted for the
            number of genes (Benjamini and Hochberg).
    """

    method: Literal["welch", "deseq2"] = "welch"
    p_value: float = 0.05

    def __call__(self, values: NDArray[np.floating], time: ArrayLike, event: ArrayLike) -> NDArray[np.int64]:
        """Find the differential genes.

        Args:
            values: (B, G) expression of training patients; counts of reads for "deseq2".
            time: (B,) months of follow-up.
            event: (B,) True = death seen.

        Returns:
            Places of the genes in the table, rising; at least one.

        Raises:
            DataError: too few patients died early or lived long, or no gene differs.
            MissingExtra: "deseq2" without pydeseq2.
        """
        early, late = divide(time, event)
        known = early | late
        test = {"welch": welch, "deseq2": deseq2}[self.method]
        found = test(values[known], early[known])
        kept = np.flatnonzero(found < self.p_value)  # NaN, of a gene that never varies, is not below
        if len(kept) == 0:
            least = np.nanmin(found, initial=np.inf)
            raise DataError(
                f"No gene of {len(found)} differs between {early.sum()} patients who died early and {late.sum()} who "
                f"lived long: the smallest p is {least:.2g}, not below {self.p_value:g}. Set a larger "
                "[genomics] p_value, or another embedding."
            )
        return kept


def divide(time: ArrayLike, event: ArrayLike) -> tuple[Mask, Mask]:
    """Part patients at the median time of the deaths.

    Args:
        time: (B,) months of follow-up.
        event: (B,) True = death seen.

    Returns:
        (B,) died before it, and (B,) known to be alive then. Who was last seen alive before it is in neither.

    Raises:
        DataError: fewer than two patients are in one of them.

    Source:
        Wang et al., G-HANet (2024): deaths in the first two of four time bins, against everyone in the last two.
    Differs:
        Every patient counts once; the published program draws them with replacement. The boundary is that of its bins,
        taken from the deaths given whatever the number of bins.
    """
    times, deaths = np.asarray(time, np.float64), np.asarray(event, np.bool_)
    middle = np.median(times[deaths]) if deaths.any() else np.inf
    early, late = deaths & (times < middle), times >= middle
    if min(early.sum(), late.sum()) < 2:
        raise DataError(
            f"{early.sum()} training patients died early and {late.sum()} lived long: a test of genes needs two of "
            "each. Give more patients, or another [genomics] embedding."
        )
    return early, late


def welch(values: NDArray[np.floating], early: Mask) -> Array:
    """Compare the means of two groups of patients, gene by gene, without assuming that they vary alike.

    Args:
        values: (B, G).
        early: (B,) who is in the first group.

    Returns:
        (G,) two-sided p, small = the means differ; NaN for a gene that never varies.

    Source:
        Welch, Biometrika 1947.
    """
    scaled = Standardise.fit(values)(values)  # a constant gene becomes exactly 0, so that rounding is no difference
    one, other = scaled[early], scaled[~early]
    found = ttest_ind_from_stats(
        *(one.mean(0), one.std(0, ddof=1), len(one)),
        *(other.mean(0), other.std(0, ddof=1), len(other)),
        equal_var=False,
    )
    return np.asarray(found.pvalue)


def deseq2(counts: NDArray[np.floating], early: Mask) -> Array:
    """Compare counts of reads of two groups of patients by negative binomial models, gene by gene.

    Args:
        counts: (B, G) whole numbers, not normalised.
        early: (B,) who is in the first group.

    Returns:
        (G,) p, adjusted for the number of genes; NaN for a gene without reads, or too few to ever be significant.

    Raises:
        DataError: the values are no counts.
        MissingExtra: pydeseq2 is not installed.

    Source:
        Love, Huber and Anders, Genome Biology 2014, as in pydeseq2 (Muzellec et al., Bioinformatics 2023).
    """
    if (counts < 0).any() or (counts != np.round(counts)).any():
        raise DataError(
            f"Counts of reads are whole numbers from 0, but the table has values from {counts.min():g} to "
            f'{counts.max():g}, some with decimals. Give raw counts as [genomics] counts, or set screening = "welch".'
        )
    try:
        from pydeseq2.dds import DeseqDataSet
        from pydeseq2.default_inference import DefaultInference
        from pydeseq2.ds import DeseqStats
    except ImportError as error:
        raise MissingExtra(
            "DESeq2 needs pydeseq2: 'pip install slidesurv[differential]', or set [genomics] screening = \"welch\"."
        ) from error
    patients = [f"P{number}" for number in range(len(counts))]
    table = pd.DataFrame(counts.astype(np.int64), index=patients)
    table.columns = table.columns.map(str)
    survival = pd.DataFrame({"survival": np.where(early, "early", "late")}, index=patients)
    inference = DefaultInference(n_cpus=1)  # folds run beside each other already
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about genes whose dispersion did not converge: their p says so
        data = DeseqDataSet(counts=table, metadata=survival, design="~survival", inference=inference, quiet=True)
        data.deseq2()
        tested = DeseqStats(data, contrast=["survival", "early", "late"], inference=inference, quiet=True)
        tested.summary()
    return tested.results_df["padj"].to_numpy(np.float64)
