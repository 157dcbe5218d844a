"""Names of genes: Ensembl ids without their versions, or symbols; lists and lengths of genes, as users give them."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from slidesurv.errors import DataError, listing
from slidesurv.files import is_number, separator
from slidesurv.genomics.cells import opened

__all__ = ["NOT_GENES", "ensembl", "naming", "plain", "read_gene_list", "read_lengths"]

ENSEMBL = re.compile(r"(ENS[A-Z]*G\d+)(?:\.\d+(?:_\d+)?)?(_PAR_Y)?", re.ASCII)
TRANSCRIPT = re.compile(r"ENS[A-Z]*T\d+(?:\.\d+)?", re.ASCII)
NOT_GENES = ("identifier", "cohort", "survival_time", "event")  # what published tables keep beside the genes


def ensembl(name: str) -> bool:
    """Say whether a name is an Ensembl gene id, with a version or without."""
    return ENSEMBL.fullmatch(name) is not None


def plain(name: str) -> str | None:
    """Take the version off an Ensembl id; other names stay as they are.

    Returns:
        None for the twin of a gene on the Y chromosome's pseudo-autosomal region, ``ENSG….20_PAR_Y``.
    """
    match = ENSEMBL.fullmatch(name)
    if match is None:
        return name
    return None if match[2] else match[1]


def naming(names: Sequence[str]) -> str:
    """Say in words how most of the names name genes."""
    return Counter(map(_naming, names)).most_common(1)[0][0] if names else "no genes"


def _naming(name: str) -> str:
    if ensembl(name):
        return "Ensembl ids"
    if TRANSCRIPT.fullmatch(name):
        return "Ensembl transcripts"
    return "numbers (Entrez?)" if name.isdecimal() else "symbols"


def read_gene_list(path: Path) -> tuple[str, ...]:
    """Read which genes are wanted, in their order.

    Args:
        path: one name a line; or a table with a column for each gene, whose header is taken. Plain or ``.gz``.

    Raises:
        DataError: the file cannot be read, or a gene stands there twice.
    """
    try:
        with opened(path) as stream:
            lines = stream.read().decode("utf-8-sig").splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the list of genes '{path}': {error}. Expected one gene a line.") from error
    cells = next(csv.reader(lines[:1], delimiter=separator(lines[0])), []) if lines else []
    names = [name.strip() for name in (cells if len(cells) > 1 else lines)]
    genes = [gene for name in names if name and name not in NOT_GENES and (gene := plain(name)) is not None]
    if not genes:
        raise DataError(f"The list of genes '{path}' is empty. Write one gene a line.")
    if twice := repeated(genes):
        raise DataError(f"{len(twice)} genes of '{path}' stand there twice: {listing(twice)}. Keep one line of each.")
    return tuple(genes)


def repeated(names: Iterable[str]) -> list[str]:
    """Names that come more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def read_lengths(path: Path) -> dict[str, float]:
    """Read the length of each gene.

    Args:
        path: a table; the first column names the gene, the column ``length`` (else the second) has bases of its exons.

    Raises:
        DataError: the file cannot be read, a length is no positive number, or a gene has two.
    """
    try:
        with opened(path) as stream:
            lines = stream.read().decode("utf-8-sig").splitlines()
        header, *rows = csv.reader(lines, delimiter=separator(lines[0] if lines else ""), strict=True)
        column = header.index("length") if "length" in header else 1
        cells = [(plain(row[0].strip()), row[column].strip()) for row in rows if row]
    except (OSError, EOFError, ValueError, IndexError, csv.Error) as error:
        raise DataError(
            f"Cannot read the lengths of genes in '{path}': {error}. Expected a header, then gene and length."
        ) from error
    genes = [(gene, length) for gene, length in cells if gene is not None]
    if wrong := [gene for gene, length in genes if not is_number(length) or not 0 < float(length) < float("inf")]:
        raise DataError(f"{len(wrong)} genes of '{path}' have no positive length: {listing(wrong)}. Give it in bases.")
    if twice := repeated(gene for gene, _ in genes):
        raise DataError(f"{len(twice)} genes of '{path}' have two lengths: {listing(twice)}. Keep one row of each.")
    return {gene: float(length) for gene, length in genes}
