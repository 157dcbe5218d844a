"""Groups of genes with one function or pathway, by a file that the user gives."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import DataError, listing
from slidesurv.files import separator

__all__ = ["GeneGroups", "read_signatures"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]
Empty = Literal["error", "drop"]

ENDINGS = ("", "_cnv", "_mut", "_rnaseq")  # of a gene's columns; tables with expression alone have bare symbols
LARGEST = 50_000_000  # bytes; all of MSigDB is smaller


def read_signatures(path: Path) -> dict[str, tuple[str, ...]]:
    """Read which genes each group has.

    Args:
        path: ``.gmt`` as MSigDB ships it: a line a group, with name, description and genes, parted by tabs. Anything
            else is a table with a column a group and its name in the header, as the MCAT family's ``signatures.csv``.

    Returns:
        The genes of each group, each once; groups and genes in the order of the file.

    Raises:
        DataError: the file cannot be read, or a group has no name, no gene, or the name of another.
    """
    lines = _read_lines(path)
    named = _gmt(lines, path) if path.suffix == ".gmt" else _table(lines)
    signatures: dict[str, tuple[str, ...]] = {}
    for name, cells in named:
        genes = tuple(dict.fromkeys(gene for cell in cells if (gene := cell.strip())))
        if not name or not genes or name in signatures:
            wrong = "has no name" if not name else "stands there twice" if name in signatures else "has no gene"
            raise DataError(f"Group {len(signatures) + 1} of '{path}', '{name}', {wrong}. Mend the file.")
        signatures[name] = genes
    if not signatures:
        raise DataError(f"'{path}' has no groups. Give a GMT file, or a table with a column a group.")
    return signatures


@dataclass(frozen=True, slots=True)
class GeneGroups:
    """Which columns of a table of genes each group reads. A column may stand in several groups.

    Attributes:
        names: of K groups, in the order of their file.
        columns: for each group its G_k places in the table, by rising name of the column.
    """

    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]

    @classmethod
    def match(
        cls, signatures: Mapping[str, Iterable[str]], genes: Sequence[str], *, empty: Empty = "error"
    ) -> GeneGroups:
        """Find the groups' columns in a table.

        Args:
            signatures: symbols of the genes of each group.
            genes: G names of columns: symbols, with or without the endings ``_cnv``, ``_mut`` and ``_rnaseq``.
            empty: what to do about groups without a column: refuse, or leave them out and log.

        Raises:
            DataError: names the groups without a column.

        Source:
            The input of MCAT (Chen et al., ICCV 2021) and its descendants.
        Differs:
            Columns are found by name; the published loader counts, and loses the last one of the table.
        """
        places = {gene: place for place, gene in enumerate(genes)}
        found = {
            name: sorted({gene + ending for gene in members for ending in ENDINGS} & places.keys())
            for name, members in signatures.items()
        }
        columns = tuple(tuple(places[column] for column in group) for group in found.values())
        where = f"in the table, whose columns are called {listing(genes, most=3)}"
        return cls(tuple(found), columns)._without_empty(empty, where)

    def within(self, kept: Iterable[int], *, empty: Empty = "error") -> GeneGroups:
        """Keep in each group the columns that are among those given, such as differential genes.

        Raises:
            DataError: names the groups that have none of them.
        """
        wanted = set(kept)
        columns = tuple(tuple(place for place in group if place in wanted) for group in self.columns)
        return GeneGroups(self.names, columns)._without_empty(empty, f"among the {len(wanted)} that were kept")

    def _without_empty(self, empty: Empty, where: str) -> GeneGroups:
        bare = [name for name, columns in zip(self.names, self.columns, strict=True) if not columns]
        said = f"{len(bare)} of {len(self.names)} groups have no gene {where}: {listing(bare)}."
        if len(bare) == len(self.names) or (bare and empty == "error"):
            raise DataError(f'{said} Name genes as the table does, or set [genomics] empty_groups = "drop".')
        if bare:
            log.warning("%s They were left out.", said)
        filled = [(name, columns) for name, columns in zip(self.names, self.columns, strict=True) if columns]
        return GeneGroups(tuple(name for name, _ in filled), tuple(columns for _, columns in filled))

    @property
    def sizes(self) -> tuple[int, ...]:
        """G_k, genes of each group."""
        return tuple(map(len, self.columns))

    def __call__(self, values: Array) -> tuple[Array, ...]:
        """Part values (..., G) into the values (..., G_k) of each group."""
        return tuple(values[..., list(columns)] for columns in self.columns)

    def state(self) -> dict[str, NDArray[np.int64]]:
        """The places by number of the group, for a bundle."""
        return {str(number): np.asarray(columns, np.int64) for number, columns in enumerate(self.columns)}

    @classmethod
    def from_state(cls, names: Sequence[str], state: Mapping[str, NDArray[np.int64]]) -> GeneGroups:
        """Rebuild from `state` and the groups' names."""
        return cls(tuple(names), tuple(tuple(state[str(number)].tolist()) for number in range(len(names))))


def _read_lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"'{path}' is larger than {LARGEST // 10**6} MB: that is no file of gene groups.")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the gene groups '{path}': {error}. Give a GMT or CSV file, as UTF-8.") from error
    return [line for line in lines if line.strip()]


def _gmt(lines: Sequence[str], path: Path) -> list[tuple[str, Sequence[str]]]:
    cells = [line.split("\t") for line in lines]
    if short := [number for number, row in enumerate(cells, start=1) if len(row) < 3]:
        raise DataError(
            f"Lines {listing(short)} of '{path}' do not have name, description and genes, parted by tabs. "
            "Save it as GMT, or, if it is a table with a column a group, as .csv."
        )
    return [(row[0].strip(), row[2:]) for row in cells]


def _table(lines: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    if not lines:
        return []
    header, *rows = csv.reader(lines, delimiter=separator(lines[0]))
    columns = zip_longest(header, *rows, fillvalue="")  # shorter groups end in cells that are empty or not there
    return [(column[0].strip(), column[1:]) for column in columns]
