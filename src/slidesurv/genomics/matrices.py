"""Tables of many samples, with genes as columns or as rows, in whatever format: brought to samples × genes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from slidesurv.errors import ConfigError, DataError, listing, unknown
from slidesurv.genomics.barcodes import names_sample
from slidesurv.genomics.cells import read_cells
from slidesurv.genomics.expression import numbers
from slidesurv.genomics.genes import NOT_GENES, ensembl, naming, plain, repeated

__all__ = ["Matrix", "read_matrix"]

TEXT = (".csv", ".tsv", ".txt", ".parquet")
# What tables of genes keep beside the samples, in any spelling.
ANNOTATIONS = {"gene", "gene_id", "gene_name", "gene_type", "gene_symbol", "hugo_symbol", "entrez_gene_id", "symbol",
               "description", "chromosome", "chr", "start", "end", "strand", "length"}  # fmt: skip
FAMILIAR = {"TP53", "EGFR", "MYC", "KRAS", "PTEN", "ACTB", "GAPDH", "BRCA1", "VEGFA", "CDKN2A", "RB1", "PIK3CA"}
MOST_CELLS = 2 * 10**9  # a table in memory has 8 bytes a cell


@dataclass(frozen=True, slots=True)
class Matrix:
    """Samples × genes, as their file has them.

    Attributes:
        samples: S names.
        genes: G names without versions; None for the twin of a gene on the Y chromosome.
        values: (S, G) finite numbers.
        notes: what was done, in words.
    """

    samples: tuple[str, ...]
    genes: tuple[str | None, ...]
    values: NDArray[np.float64]
    notes: tuple[str, ...]


def read_matrix(path: Path, *, rows: str = "auto", genes: Sequence[str] | None = None) -> Matrix:
    """Read a table of expression.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt``, plain or ``.gz``; ``.parquet``; or ``.h5ad``, whose X is read.
        rows: "samples" or "genes" are the rows; "auto" tells by their names: Ensembl ids, barcodes, wanted or
            familiar genes.
        genes: wanted names, which help to tell.

    Raises:
        ConfigError: rows is none of these.
        DataError: the table cannot be read, it is not clear where the genes are, or a cell is no finite number.
        MissingExtra: the table is Parquet and pyarrow is not installed.
    """
    if rows not in ("auto", "samples", "genes"):
        raise ConfigError(unknown("meaning of rows", rows, ("auto", "samples", "genes")))
    cells = _read(path)
    turned = rows == "genes" or (rows == "auto" and _genes_are_rows(cells, set(genes or ()), path))
    notes = ["genes were rows"] if turned else []
    table = _genes_alone(_samples_alone(cells, notes).T if turned else cells, notes)
    samples = tuple(map(str, table.index))
    if twice := repeated(samples):
        raise DataError(f"{len(twice)} samples of '{path}' stand there twice: {listing(twice)}. Keep one of each.")
    named = tuple(map(plain, table.columns))
    if twins := named.count(None):
        notes.append(f"{twins} twins on the Y chromosome (_PAR_Y) are left out")
    return Matrix(samples, named, numbers(table, samples, where=f"'{path}'"), tuple(notes))


def _read(path: Path) -> pd.DataFrame:
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if path.suffix == ".h5ad":
        return _read_h5ad(path)
    if kind not in TEXT or (kind == ".parquet" and kind != path.suffix):
        raise DataError(
            f"'{path.name}' ends in '{path.suffix}': tables of expression are {listing((*TEXT, '.h5ad'))}, text also "
            "as '.gz'. Save it as one of these; nothing that could run a program is opened."
        )
    cells = read_cells(path)
    if cells.empty:
        raise DataError(f"'{path}' has a header but no rows. Give a table with values.")
    return cells


def _genes_are_rows(cells: pd.DataFrame, wanted: set[str], path: Path) -> bool:
    """Tell where the genes are: the first evidence that speaks for one side alone."""
    rows, columns = [set(map(str, names)) for names in (cells.index, cells.columns)]
    for evidence in (wanted, None, FAMILIAR):
        here, there = (_shares(names, evidence) for names in (rows, columns))
        if (here > 0) != (there > 0):
            return here > 0
    known_rows, known_columns = (sum(map(names_sample, names)) > len(names) / 2 for names in (rows, columns))
    if known_rows != known_columns:
        return known_columns
    raise DataError(
        f"It is not clear whether genes are the rows of '{path}' ({listing(cells.index, most=3)}) or its columns "
        f"({listing(cells.columns, most=3)}). Say what the rows are: --rows genes or --rows samples."
    )


def _shares(names: set[str], evidence: set[str] | None) -> int:
    """Count the names that are known genes, or Ensembl ids."""
    if evidence is None:
        return sum(map(ensembl, names))
    return len({plain(name) for name in names} & evidence)


def _samples_alone(cells: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Leave out columns that tell of the genes, such as their symbols."""
    strangers = [str(name).casefold() in ANNOTATIONS for name in cells.columns]
    return _left_out(cells, strangers, "no samples", notes)


def _genes_alone(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Leave out columns that tell of the patients or of reads without a gene; among Ensembl ids all other names."""
    names = list(map(str, table.columns))
    ids = naming(names) == "Ensembl ids"
    return _left_out(table, [name in NOT_GENES or (ids and not ensembl(name)) for name in names], "no genes", notes)


def _left_out(table: pd.DataFrame, strangers: list[bool], what: str, notes: list[str]) -> pd.DataFrame:
    if not any(strangers):
        return table
    notes.append(f"{what}, left out: {listing(table.columns[strangers])}")
    return table.loc[:, ~np.array(strangers)]


def _read_h5ad(path: Path) -> pd.DataFrame:
    """Read X, the names of obs and of var; nothing else of the file is touched."""
    try:
        with h5py.File(path, "r") as file:
            samples, genes = (_names(file[part], path) for part in ("obs", "var"))
            _refuse_size(len(samples), len(genes), path)
            values = _dense(file["X"], (len(samples), len(genes)))
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"Cannot read '{path}' as h5ad: {error}. Write it with anndata 0.7 or newer, or save X as CSV."
        ) from error
    return pd.DataFrame(values, index=pd.Index(samples, dtype=object), columns=pd.Index(genes, dtype=object))


def _names(part: h5py.Group, path: Path) -> list[str]:
    if not isinstance(part, h5py.Group):
        raise DataError(f"'{path}' is of anndata before 0.7. Read and write it with a newer one, or save X as CSV.")
    return [str(name) for name in part[part.attrs["_index"]].asstr()[:]]


def _refuse_size(samples: int, genes: int, path: Path) -> None:
    if samples * genes > MOST_CELLS or not samples * genes:
        raise DataError(
            f"'{path}' has {samples:,} × {genes:,} cells; 1 to {MOST_CELLS:,} can be read. Give bulk samples, in parts."
        )


def _dense(x: h5py.Group | h5py.Dataset, shape: tuple[int, int]) -> NDArray[np.float64]:
    if isinstance(x, h5py.Dataset):
        if x.shape != shape:
            raise ValueError(f"X is {x.shape}, but obs and var have {shape} names")
        return np.asarray(x[:], np.float64)
    kind = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}[x.attrs["encoding-type"]]
    values = kind((x["data"][:], x["indices"][:], x["indptr"][:]), shape=shape)
    values.check_format(full_check=True)  # indices outside the shape would be written outside the array
    return values.toarray().astype(np.float64)
