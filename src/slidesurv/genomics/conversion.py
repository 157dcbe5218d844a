"""From the values of a source to the table that is wanted: one row in, one row out, so samples come one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.genomics.genes import naming, repeated
from slidesurv.genomics.kinds import LOGARITHMS, Kind, Look, refusal

__all__ = ["Recipe", "Route", "require_way"]

Array = NDArray[np.float64]
Step = Callable[[Array], Array]

# Here a zero says that a gene is not read at all, so a gene that the source does not have may be filled with it.
ADDABLE = (Kind.TPM, Kind.COUNTS, Kind.FPKM, Kind.ESTIMATES)
FILLABLE = (*ADDABLE, Kind.LOG2_TPM)
FROM_TPM = (Kind.TPM, Kind.LOG2_TPM)
TRANSCRIPTOME = 10_000  # genes; TPM are shares of all that are read, which is worth a word where they are fewer


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a table shall hold.

    Attributes:
        kind: TPM, log2(TPM + 1), counts or FPKM; None keeps what the source has.
        genes: G names in the order of the columns; None takes the source's genes.
        lengths: bases of each gene, to make TPM of counts; empty where there are none.
        max_missing: share of the genes, in [0, 1], that a source may lack.
        sum_twice: add up the columns of a gene that comes twice, instead of refusing.

    Raises:
        ConfigError: max_missing is no share.
    """

    kind: Kind | None = Kind.TPM
    genes: tuple[str, ...] | None = None
    lengths: Mapping[str, float] = field(default_factory=dict)
    max_missing: float = 0.1
    sum_twice: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.max_missing <= 1:
            raise ConfigError(f"max_missing is {self.max_missing}: give a share from 0 to 1.")


def require_way(look: Look, recipe: Recipe, *, where: str) -> None:
    """Make sure that values can become what is wanted.

    Counts become TPM where lengths are given; a logarithm or FPKM only where somebody says that it is one.

    Raises:
        DataError: they cannot; says what they look like and which command fits them.
    """
    wanted = recipe.kind or look.kind
    if look.kind is wanted:
        return
    ways = {Kind.TPM}
    ways |= {Kind.COUNTS} if recipe.lengths else set()
    ways |= {Kind.FPKM, *LOGARITHMS} if look.stated else set()
    if wanted not in FROM_TPM or look.kind not in ways:
        raise refusal(look, wanted, where=where)


class Route:
    """How rows of one source become rows of the table.

    Args:
        genes: of the source, without versions; None for a column that is left out.
        look: what its values are.
        recipe: what is wanted.
        where: the source, for messages.

    Attributes:
        genes: of the table.
        kind: of the table's values.
        missing: genes that are wanted and that the source does not have.
        fills: they are 0 in the table, which says that they are not read; else they are left out of it.
        notes: what is done, in words.

    Raises:
        DataError: the values cannot become what is wanted, too many genes are missing, or one comes twice.
    """

    def __init__(self, genes: Sequence[str | None], look: Look, recipe: Recipe, *, where: str) -> None:
        require_way(look, recipe, where=where)
        self.kind = recipe.kind or look.kind
        self.notes: list[str] = []
        places = [place for place, gene in enumerate(genes) if gene is not None]
        if look.kind is Kind.COUNTS and self.kind in FROM_TPM:
            places = self._with_lengths(genes, places, recipe, where)
        self._places = np.array(places, dtype=np.int64)
        named = [str(genes[place]) for place in places]
        self._first = self._to_tpm(look.kind, named, recipe)
        self._logs = self.kind is Kind.LOG2_TPM and look.kind is not Kind.LOG2_TPM
        self.notes.extend(["log2(TPM + 1)"] if self._logs else [])
        self._select(named, recipe, where)

    def __call__(self, values: Array) -> Array:
        """Convert and pick (…, G) values of the source."""
        linear = self._first(values[..., self._places])
        table = linear[..., self._columns]
        table[..., self._absent] = 0.0
        for column, other in self._further:
            table[..., column] += linear[..., other]
        return np.log2(table + 1) if self._logs else table

    def _with_lengths(self, genes: Sequence[str | None], places: list[int], recipe: Recipe, where: str) -> list[int]:
        """Keep the genes that have a length."""
        bare = [str(genes[place]) for place in places if genes[place] not in recipe.lengths]
        share = len(bare) / max(len(places), 1)
        if share > recipe.max_missing:
            raise DataError(
                f"{len(bare):,} of {len(places):,} genes of {where} have no length ({share:.1%}, at most "
                f"{recipe.max_missing:.1%}): {listing(bare)}. Take the lengths of the annotation that the reads were "
                "counted with, or raise --max-missing."
            )
        known = [place for place in places if genes[place] in recipe.lengths]
        self.notes.append(f"TPM = counts / length, {_shares(len(known))} with a length")
        return known

    def _to_tpm(self, found: Kind, genes: list[str], recipe: Recipe) -> Step:
        """What makes TPM of all genes of a row, before some are picked."""
        if found is self.kind or found is Kind.TPM:
            return _same
        if found in LOGARITHMS:
            base, small = LOGARITHMS[found]
            self.notes.append(f"TPM = {base:.4g}^x - {small:g}")
            return _take_back(base, small)
        if found is Kind.COUNTS:
            return _per_million(np.array([recipe.lengths[gene] for gene in genes]))
        self.notes.append(f"TPM = FPKM, {_shares(len(genes))}")
        return _per_million(np.ones(len(genes)))

    def _select(self, genes: list[str], recipe: Recipe, where: str) -> None:
        """Find the column of each wanted gene."""
        column: dict[str, int] = {}
        for place, gene in enumerate(genes):
            column.setdefault(gene, place)
        wanted = recipe.genes if recipe.genes is not None else tuple(column)
        self.missing = tuple(gene for gene in wanted if gene not in column)
        self._refuse_missing(genes, wanted, recipe, where)
        self.fills = self.kind in FILLABLE
        self.genes = wanted if self.fills else tuple(gene for gene in wanted if gene in column)
        self._columns = np.array([column.get(gene, 0) for gene in self.genes], dtype=np.int64)
        self._absent = np.array([gene not in column for gene in self.genes], dtype=np.bool_)
        if self.missing:
            self.notes.append("missing genes are 0" if self.fills else "missing genes are left out")
        self._further = self._twice(genes, column, recipe, where)

    def _refuse_missing(self, genes: list[str], wanted: tuple[str, ...], recipe: Recipe, where: str) -> None:
        share = len(self.missing) / max(len(wanted), 1)
        if len(self.missing) == len(wanted):
            raise DataError(
                f"{where} has none of the {len(wanted):,} wanted genes ({listing(wanted, most=2)}: {naming(wanted)}); "
                f"its own are {listing(genes, most=2)}: {naming(genes)}. Name both alike."
            )
        if share > recipe.max_missing:
            raise DataError(
                f"{where} lacks {len(self.missing):,} of {len(wanted):,} wanted genes ({share:.1%}, at most "
                f"{recipe.max_missing:.1%}): {listing(self.missing)}. Give a source of the whole transcriptome, or "
                "raise --max-missing."
            )

    def _twice(self, genes: list[str], column: dict[str, int], recipe: Recipe, where: str) -> list[tuple[int, int]]:
        """Find the further columns of genes that come twice: (column of the table, column of the source)."""
        target = {gene: number for number, gene in enumerate(self.genes)}
        again = [place for place, gene in enumerate(genes) if gene in target and column[gene] != place]
        if not again:
            return []
        twice = repeated(gene for gene in genes if gene in target)
        addable = self.kind in ADDABLE or self._logs
        if not recipe.sum_twice or not addable:
            remedy = "add them up with --sum-twice" if addable else "keep one column of each"
            raise DataError(f"{len(twice)} genes of {where} come twice: {listing(twice)}. Mend the table, or {remedy}.")
        self.notes.append(f"{len(twice)} genes that come twice are added up")
        return [(target[genes[place]], place) for place in again]


def _shares(genes: int) -> str:
    few = "only " if genes < TRANSCRIPTOME else ""
    return f"as shares of a million over {few}{genes:,} genes"


def _same(values: Array) -> Array:
    return values


def _take_back(base: float, small: float) -> Step:
    return lambda values: np.maximum(base**values - small, 0.0)  # rounding may leave a little less than nothing


def _per_million(lengths: Array) -> Step:
    def step(values: Array) -> Array:
        rates = values / lengths
        total = rates.sum(-1, keepdims=True)
        if not (total > 0).all():
            raise DataError("The sample has no reads at all, so no shares of a million. Leave it out.")
        return rates / total * 1e6

    return step
