"""Made-up STAR counts files, laid out as the GDC's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMMENT", "HEADER", "SUMMARY", "gene_heads", "star_text", "write_star"]

COMMENT = "# gene-model: GENCODE v36\n"
HEADER = (
    "gene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\t"
    "tpm_unstranded\tfpkm_unstranded\tfpkm_uq_unstranded\n"
)
SUMMARY = "".join(f"N_{what}\t\t\t12\t34\t56\n" for what in ("unmapped", "multimapping", "noFeature", "ambiguous"))


def gene_heads(genes: int, *, twins: Sequence[int] = ()) -> list[str]:
    """First three cells of each row; some rows are twins on the Y chromosome."""
    return [
        f"ENSG{number:011d}.{number % 17 + 1}{'_PAR_Y' if number in twins else ''}\tGENE{number}\tprotein_coding"
        for number in range(genes)
    ]


def star_text(heads: Sequence[str], counts: NDArray[np.int64], tpm: NDArray[np.float64]) -> str:
    """A whole file; FPKM are a third of TPM."""
    rows = [
        f"{head}\t{reads}\t{reads // 2}\t{reads - reads // 2}\t{value:.4f}\t{value / 3:.4f}\t{value / 4:.4f}\n"
        for head, reads, value in zip(heads, counts.tolist(), tpm.tolist(), strict=True)
    ]
    return COMMENT + HEADER + SUMMARY + "".join(rows)


def write_star(path: Path, heads: Sequence[str], *, seed: int) -> NDArray[np.float64]:
    """Write a file of random numbers and give its TPM (G,), as written."""
    random = np.random.default_rng(seed)
    counts = np.where(random.random(len(heads)) < 0.3, 0, random.lognormal(4, 2.5, len(heads))).astype(np.int64)
    rates = counts / random.lognormal(0.5, 0.8, len(heads))
    tpm = (rates / rates.sum() * 1e6).round(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(star_text(heads, counts, tpm), encoding="utf-8")
    return tpm
