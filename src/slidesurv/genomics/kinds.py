"""What the values of an expression table are, told by their range and sums; what fits a use, and what to do if not."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError, unknown

__all__ = ["LOGARITHMS", "Kind", "Look", "inspect", "read_kind", "refusal", "refuse_contradiction", "require"]

Array = NDArray[np.float64]


class Kind(StrEnum):
    """What values of expression are."""

    TPM = "tpm"
    COUNTS = "counts"
    FPKM = "fpkm"
    LOG2_TPM = "log2-tpm"
    LN_TPM = "ln-tpm"
    LOG10_TPM = "log10-tpm"
    XENA = "log2-tpm-0.001"
    LOG = "log"
    ESTIMATES = "estimates"
    CALLS = "calls"
    ZSCORES = "z-scores"


LOGARITHMS = {
    Kind.LOG2_TPM: (2.0, 1.0),
    Kind.LN_TPM: (math.e, 1.0),
    Kind.LOG10_TPM: (10.0, 1.0),
    Kind.XENA: (2.0, 1e-3),
}
STATED = (Kind.TPM, Kind.COUNTS, Kind.FPKM, *LOGARITHMS, Kind.ZSCORES)
NAMES = {
    Kind.TPM: "TPM",
    Kind.COUNTS: "counts of reads",
    Kind.FPKM: "FPKM",
    Kind.LOG2_TPM: "log2(TPM + 1)",
    Kind.LN_TPM: "ln(TPM + 1)",
    Kind.LOG10_TPM: "log10(TPM + 1)",
    Kind.XENA: "log2(TPM + 0.001)",
    Kind.LOG: "a logarithm, of what their sums do not tell",
    Kind.ESTIMATES: "expected or normalised counts",
    Kind.CALLS: "calls of mutations or copy numbers",
    Kind.ZSCORES: "z-scores or other centred values",
}
MILLION = 1e6  # what TPM of all genes sum to
SLACK = 0.02  # of rounding, and of genes that came in later
ROUNDING = 1e-3  # of logarithms, as published
LOG_MOST = 25.0  # log2 of 34 million: no logarithm of a library is larger, and one gene of a library nearly always is
CALLS_MOST = 4  # mutated or not, or copies gained and lost
WHOLE = 40_000  # genes of a whole annotation; GENCODE has about 60,000


@dataclass(frozen=True, slots=True)
class Look:
    """What values look like.

    Attributes:
        kind: the best reading of them.
        words: the numbers that say so.
        stated: the user or the file itself says so.
    """

    kind: Kind
    words: str
    stated: bool = False

    def __str__(self) -> str:
        return f"{self.words}, {'said to be' if self.stated else 'which looks like'} {NAMES[self.kind]}"


def read_kind(word: str) -> Kind:
    """Take what the user says the values are.

    Raises:
        ConfigError: the word is not known; names those that are.
    """
    if word not in STATED:
        raise ConfigError(unknown("kind of values", word, STATED))
    return Kind(word)


def inspect(values: Array) -> Look:
    """Tell from range and sums what values are.

    TPM of all genes sum to a million in every sample, so do their logarithms once taken back. TPM of part of the genes
    sum to less, as FPKM may: with fewer than 40,000 genes such values are taken for TPM. Values from 0 to 25 are taken
    for a logarithm, though a small panel of rarely read genes may have such TPM.

    Args:
        values: (B, G) finite numbers, one sample a row.
    """
    lowest, highest = float(values.min()), float(values.max())
    whole = bool((values == np.round(values)).all())
    if whole and max(highest, -lowest) <= CALLS_MOST:
        kind = Kind.CALLS
    elif highest <= LOG_MOST and not whole and (lowest >= 0 or _is_low_logarithm(values, lowest)):
        kind = _logarithm(values)
    elif lowest < 0:
        kind = Kind.ZSCORES
    else:
        kind = Kind.COUNTS if whole else _linear(values)
    return Look(kind, _words(values, lowest, highest, kind))


def _is_low_logarithm(values: Array, lowest: float) -> bool:
    """Say whether values that go below zero are a logarithm: few do, or several genes share the lowest, log(small)."""
    genes = int((values == lowest).any(0).sum())
    return bool((values < 0).mean() < 0.15) or genes >= max(2, 0.01 * values.shape[1])


def _logarithm(values: Array) -> Kind:
    below = bool((values < 0).any())  # so log(0 + 1) it is not
    sums = {kind: _sums_taken_back(values, kind) for kind, (_, small) in LOGARITHMS.items() if (small < 1) == below}
    return next((kind for kind, total in sums.items() if _is_million(total).all()), Kind.LOG)


def _sums_taken_back(values: Array, kind: Kind) -> Array:
    base, small = LOGARITHMS[kind]
    with np.errstate(over="ignore"):
        return (base**values - small).sum(1)


def _linear(values: Array) -> Kind:
    sums = values.sum(1)
    if _is_million(sums).all():
        return Kind.TPM
    if sums.max() > MILLION * (1 + SLACK):
        return Kind.ESTIMATES
    return Kind.FPKM if values.shape[1] >= WHOLE else Kind.TPM


def _is_million(sums: Array) -> NDArray[np.bool_]:
    return np.abs(sums - MILLION) <= MILLION * SLACK


def _words(values: Array, lowest: float, highest: float, kind: Kind) -> str:
    base, small = LOGARITHMS.get(kind, (2.0, 1.0))
    logs = kind is Kind.LOG or kind in LOGARITHMS
    sums = (base**values - small).sum(1) if logs else values.sum(1)
    what = f"{base:.3g}^x - {small:g} sums" if logs else "the values sum"
    share = f"{(values < 0).mean():.2%} below zero" if lowest < 0 else f"{(values == 0).mean():.2%} zeros"
    return (
        f"{lowest:,.6g} to {highest:,.6g}, {share}; over {values.shape[1]:,} genes {what} to "
        f"{sums.min():,.0f} to {sums.max():,.0f} in a sample"
    )


def refuse_contradiction(values: Array, stated: Kind, *, where: str) -> None:
    """Make sure that values can be what the user says they are.

    Raises:
        DataError: they cannot: a negative count, TPM that sum to more than a million.
    """
    if not _is_possible(values, stated):
        raise DataError(
            f"{where} is said to hold {NAMES[stated]}, which it cannot: it has {inspect(values)}. "
            "Say what it holds with --from, or leave --from out to have it told from the values."
        )


def _is_possible(values: Array, kind: Kind) -> bool:
    if kind is Kind.ZSCORES:
        return True
    base, small = LOGARITHMS.get(kind, (math.e, 1.0))
    if values.min() < math.log(small, base) - ROUNDING:
        return False
    if kind is not Kind.TPM and kind not in LOGARITHMS:
        return True
    sums = values.sum(1) if kind is Kind.TPM else _sums_taken_back(values, kind)
    return bool((sums <= MILLION * (1 + SLACK)).all())


def require(values: Array, wanted: Kind, *, where: str) -> None:
    """Make sure that a table has what a use needs.

    Args:
        values: (B, G) finite numbers, one sample a row.
        wanted: `Kind.TPM`, `Kind.LOG2_TPM`, `Kind.COUNTS` or `Kind.FPKM`.
        where: the table, for the message.

    Raises:
        DataError: says what the values look like and which command fits them.
    """
    look = inspect(values)
    if look.kind is not wanted:
        raise refusal(look, wanted, where=where)


def refusal(look: Look, wanted: Kind, *, where: str) -> DataError:
    """Say that values are not what is wanted, what they look like, and what to do."""
    return DataError(f"{where} has {look}, but {NAMES[wanted]} are wanted. {_remedy(look.kind, wanted)}")


def _remedy(found: Kind, wanted: Kind) -> str:
    command = f"'slidesurv rna prepare … --values {wanted}"
    if found is Kind.ZSCORES or found is Kind.CALLS:
        return (
            "They cannot be turned back. 'slidesurv rna prepare … --values as-is' keeps them, for models that scale "
            f"genes themselves; for {NAMES[wanted]} prepare the STAR counts of the GDC."
        )
    if wanted in (Kind.COUNTS, Kind.FPKM):
        return f"They cannot be made of these: prepare the STAR counts of the GDC with {command}'."
    if found in (Kind.COUNTS, Kind.ESTIMATES):
        return f"With the lengths of the genes {command} --from counts --lengths LENGTHS.csv' makes them."
    if found is Kind.LOG:
        return f"If you know what they are, say it: {command} --from {' or '.join(LOGARITHMS)}'."
    unless = " If they are TPM of part of the genes, say --from tpm." if found is Kind.FPKM else ""
    return f"{command} --from {found}' makes them of these.{unless}"
