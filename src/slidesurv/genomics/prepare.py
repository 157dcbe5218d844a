"""From a folder of the GDC or a table of anybody to one table: a row for each patient, a column for each gene."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.files import sha256
from slidesurv.genomics.barcodes import Dropped, Sample, choose, read_sample, refuse_uuids
from slidesurv.genomics.conversion import Recipe, Route, require_way
from slidesurv.genomics.gdc import SampleSheet, find_samples, read_files
from slidesurv.genomics.genes import naming
from slidesurv.genomics.kinds import Kind, Look, inspect, refuse_contradiction
from slidesurv.genomics.matrices import Matrix, read_matrix
from slidesurv.genomics.prepared import Prepared, join, reasons
from slidesurv.genomics.star import Genes, StarReader

__all__ = ["prepare_gdc", "prepare_table"]

Array = NDArray[np.float64]

COLUMNS = {Kind.TPM: "tpm_unstranded", Kind.COUNTS: "unstranded", Kind.FPKM: "fpkm_unstranded"}
PROBED = 5  # files whose genes are compared where no list is given


def prepare_gdc(
    folder: Path,
    recipe: Recipe,
    *,
    sheet: SampleSheet | None = None,
    column: str | None = None,
    stated: Kind | None = None,
    symbols: bool | None = None,
    primary_only: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Make a table of STAR counts files.

    Args:
        folder: as ``gdc-client download`` fills it.
        recipe: what is wanted. Without a list of genes the table has those that most of the first files have.
        sheet: whose the files are; None takes patients from the names of the files.
        column: of the files; None takes the one of ``stated``, else of what is wanted.
        stated: `Kind.COUNTS` or `Kind.FPKM` make TPM of these, instead of taking the TPM of the GDC.
        symbols: name genes by symbol instead of Ensembl id; None does as the list of genes does.
        primary_only: leave out patients without a primary tumour.
        report: called with how many files are read, and of how many.

    Raises:
        ConfigError: the files have no such column.
        DataError: no file can be read, or no sample fits.
    """
    column = column or _column(stated, recipe)
    look = Look(_kind(column), f"the column '{column}'", stated=True)
    require_way(look, recipe, where=f"'{folder.name}'")
    samples, dropped = find_samples(folder, sheet)
    refuse_uuids(samples)
    kept, unfit = choose(samples, primary_only=primary_only)
    _require_some(kept, [*dropped, *unfit], folder)
    files = _Files(column, look, symbols=_by_symbol(recipe) if symbols is None else symbols)
    files.recipe = recipe if recipe.genes else replace(recipe, genes=files.common_genes(folder, kept, recipe))
    rows, broken = read_files(folder, kept, files.read, files.row, report)
    _require_some(rows, [*dropped, *unfit, *broken], folder)
    source = {"name": folder.name, "files": len(samples), "column": column}
    return join(rows, list(files.routes.values()), look, dropped=[*dropped, *unfit, *broken], source=source)


class _Files:
    """Reads counts files as rows of the table; files of one gene model go one route."""

    def __init__(self, column: str, look: Look, *, symbols: bool) -> None:
        self._reader, self._look, self._symbols = StarReader(column), look, symbols
        self.recipe = Recipe()
        self.routes: dict[Genes, Route] = {}

    def read(self, path: Path) -> tuple[Genes, Array]:
        """Read one file, from any thread."""
        return self._reader.read(path)

    def row(self, path: Path, content: tuple[Genes, Array]) -> Array:
        """Make (G,) values of the table of what was read of a file."""
        genes, values = content
        if genes not in self.routes:
            self.routes[genes] = Route(self._names(genes), self._look, self.recipe, where=f"'{path}'")
        return self.routes[genes](values)

    def _names(self, genes: Genes) -> tuple[str | None, ...]:
        return genes.symbols if self._symbols else genes.ids

    def common_genes(self, folder: Path, samples: Iterable[Sample], recipe: Recipe) -> tuple[str, ...]:
        """Find the genes that most of the first files have; of as many files, the longer list."""
        found: Counter[Genes] = Counter()
        failures = []
        for sample in samples:
            try:
                found[self._reader.read(folder / sample.origin)[0]] += 1
            except DataError as error:
                failures.append(str(error))
            if found.total() == PROBED:
                break
        if not found:
            raise DataError(f"None of {len(failures)} samples of '{folder}' can be used. The first: {failures[0]}")
        most = max(found, key=lambda genes: (found[genes], len(genes.ids)))
        names = dict.fromkeys(name for name in self._names(most) if name is not None)
        return tuple(name for name in names if not recipe.lengths or name in recipe.lengths)


def _column(stated: Kind | None, recipe: Recipe) -> str:
    if stated not in (None, *COLUMNS):
        raise ConfigError(
            f"STAR counts of the GDC hold {listing(COLUMNS)}, not '{stated}'. Leave --from out, or use one."
        )
    return COLUMNS.get(stated or recipe.kind or Kind.TPM, COLUMNS[Kind.TPM])  # logarithms are made of TPM


def _kind(column: str) -> Kind:
    if column.startswith("tpm"):
        return Kind.TPM
    return Kind.FPKM if column.startswith("fpkm") else Kind.COUNTS


def _by_symbol(recipe: Recipe) -> bool:
    return recipe.genes is not None and naming(recipe.genes) != "Ensembl ids"


def prepare_table(
    path: Path,
    recipe: Recipe,
    *,
    sheet: SampleSheet | None = None,
    rows: str = "auto",
    stated: Kind | None = None,
    primary_only: bool = False,
) -> Prepared:
    """Make a table of a table of samples.

    Args:
        path: as for `slidesurv.genomics.matrices.read_matrix`.
        recipe: what is wanted.
        sheet: whose the samples are; None takes patients from their names.
        rows: "samples", "genes" or "auto".
        stated: what the values are; None has it told from them.
        primary_only: leave out patients without a primary tumour.

    Raises:
        DataError: the table cannot be used, its values do not fit what is wanted, or no sample fits.
    """
    matrix = read_matrix(path, rows=rows, genes=recipe.genes)
    look = _look(matrix.values, stated, where=f"'{path.name}'")
    route = Route(matrix.genes, look, recipe, where=f"'{path.name}'")
    samples = [_sample(name, sheet) for name in matrix.samples]
    refuse_uuids(samples)
    kept, dropped = choose(samples, primary_only=primary_only)
    vectors, broken = _convert(matrix, kept, route)
    _require_some(vectors, [*dropped, *broken], path)
    source = {"name": path.name, "sha256": sha256(path)}
    return join(vectors, [route], look, dropped=[*dropped, *broken], source=source, notes=matrix.notes)


def _convert(
    matrix: Matrix, samples: Sequence[Sample], route: Route
) -> tuple[list[tuple[Sample, Array]], list[Dropped]]:
    """Take the rows of samples on the route, one in memory at a time."""
    place = {name: number for number, name in enumerate(matrix.samples)}
    vectors, broken = [], []
    for sample in samples:
        try:
            vectors.append((sample, route(matrix.values[place[sample.origin]])))
        except DataError as error:
            broken.append(Dropped(sample.name, sample.patient, str(error), sample.origin, failed=True))
    return vectors, broken


def _look(values: Array, stated: Kind | None, *, where: str) -> Look:
    if stated is None:
        return inspect(values)
    refuse_contradiction(values, stated, where=where)
    return replace(inspect(values), kind=stated, stated=True)


def _sample(name: str, sheet: SampleSheet | None) -> Sample:
    found = sheet.find(name) if sheet else None
    return replace(found, origin=name) if found else read_sample(name, origin=name)


def _require_some(kept: Sequence[object], dropped: Sequence[Dropped], source: Path) -> None:
    if kept:
        return
    if broken := [drop.reason for drop in dropped if drop.failed]:
        raise DataError(f"None of {len(broken)} samples of '{source}' can be used. The first: {broken[0]}")
    counts = ", ".join(f"{count} × {reason}" for reason, count in reasons(dropped).most_common(3))
    raise DataError(f"No sample of '{source}' is left: {counts}. Give tumour samples of patients.")
