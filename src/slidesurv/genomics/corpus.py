"""Who teaches an encoder and who is held out to watch it: patients as bins, and what can be guessed without one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.genomics.expression import Expression
from slidesurv.genomics.kinds import Kind, inspect, require
from slidesurv.genomics.tokens import QuantileBins, TPMBins
from slidesurv.seeds import seed_for

__all__ = ["Corpus", "keep", "leave_out", "make_corpus"]

Ids = NDArray[np.int16]
Array = NDArray[np.float64]
Rule = Literal["auto", "tpm", "quantiles"]


@dataclass(frozen=True)
class Corpus:
    """Patients of one gene list, as bins.

    Attributes:
        genes: G, in the order of the tokens.
        bins: fitted on the patients who teach alone.
        teachers: B patients, sorted.
        watchers: B' patients who are held out, sorted.
        taught: (B, G) bins of the teachers, in [0, V).
        watched: (B', G) bins of the watchers.
    """

    genes: tuple[str, ...]
    bins: TPMBins | QuantileBins
    teachers: tuple[str, ...]
    watchers: tuple[str, ...]
    taught: Ids
    watched: Ids

    def log_frequencies(self) -> Array:
        """(G, V) logarithm of each gene's share of every bin among the teachers: the best guess without an encoder.

        V patients more, spread over the bins as all genes together are, keep a bin that nobody was seen in possible.
        """
        n_bins, n_genes = self.bins.count, len(self.genes)
        counts = np.zeros((n_genes, n_bins))
        for row in self.taught:
            counts[np.arange(n_genes), row] += 1
        overall = counts.sum(0) + 1
        counts += n_bins * overall / overall.sum()
        return np.log(counts / counts.sum(1, keepdims=True))


def keep(table: Expression, patients: Iterable[str]) -> Expression:
    """The rows of patients, of those who have one.

    Raises:
        DataError: none of them has a row.
    """
    wanted = set(patients)
    ids = [patient for patient in table.ids if patient in wanted]
    if not ids:
        raise DataError(
            f"None of {len(wanted)} patients has a row in the table: {listing(sorted(wanted))}, where the table has "
            f"{listing(table.ids, most=3)}. Name patients as the table does."
        )
    return Expression(tuple(ids), table.genes, table.rows(ids))


def leave_out(table: Expression, patients: Iterable[str]) -> Expression:
    """The rows of all others.

    Raises:
        DataError: none of the patients has a row, so that nobody would be left out; or nobody else has one.
    """
    unwanted = set(keep(table, patients).ids)
    if len(unwanted) == len(table.ids):
        raise DataError(f"All {len(unwanted)} patients of the table are left out. Leave some to teach.")
    return keep(table, set(table.ids) - unwanted)


def make_corpus(
    table: Expression,
    *,
    bins: Rule | TPMBins | QuantileBins = "auto",
    count: int = 64,
    held_out: float = 0.05,
    seed: int = 0,
) -> Corpus:
    """Hold patients out, fit bins on the others, and turn all into bins.

    The order of the rows changes nothing.

    Args:
        table: patients who may be seen; see `leave_out` and `keep`.
        bins: "tpm" is the paper's rule, its top the largest value of the teachers; "quantiles" suits other values;
            "auto" takes the former if the teachers' values look like TPM. Or bins that are fitted already.
        count: V, if bins are to be fitted.
        held_out: share of the patients to hold out, in (0, 1); at least one is.
        seed: of whom.

    Raises:
        ConfigError: the share or the number of bins cannot be.
        DataError: there are fewer than three patients, or "tpm" is asked for and the values are not TPM.
    """
    if not 0 < held_out < 1:
        raise ConfigError(f"held_out is {held_out}: a share above 0 and below 1, such as 0.05, is needed.")
    if not 2 <= count <= np.iinfo(np.int16).max:
        raise ConfigError(f"{count} bins cannot be used: give 2 or more, such as 64.")
    drawn = sorted(table.ids, key=lambda patient: seed_for("held out", seed, patient))
    cut = max(1, round(held_out * len(drawn)))
    watchers, teachers = sorted(drawn[:cut]), sorted(drawn[cut:])
    if len(teachers) < 2:
        raise DataError(
            f"{len(table.ids)} patients, {cut} of them held out, leave {len(teachers)} to teach, but two or more are "
            "needed. Give more patients, or hold fewer out."
        )
    values = table.rows(teachers)
    fitted, others = _fit(values, bins, count), table.rows(watchers)
    return Corpus(table.genes, fitted, tuple(teachers), tuple(watchers), _ids(fitted, values), _ids(fitted, others))


def _fit(values: Array, bins: Rule | TPMBins | QuantileBins, count: int) -> TPMBins | QuantileBins:
    if isinstance(bins, QuantileBins):
        return bins
    if bins == "quantiles" or (bins == "auto" and inspect(values).kind is not Kind.TPM):
        return QuantileBins.fit(values, count=count)
    require(values, Kind.TPM, where="The table of those who teach")
    return bins if isinstance(bins, TPMBins) else TPMBins(count, factor=float(np.log10(values.max() + 1)))


def _ids(bins: TPMBins | QuantileBins, values: Array) -> Ids:
    """(B, G) bins; what is past the top counts as the last."""
    return np.stack([bins(row).clip(max=bins.count - 1).astype(np.int16) for row in values])
