"""One fold: what was fitted on its training patients, and every patient seen through it."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slidesurv.cohorts.dataset import Dataset, FoldView
from slidesurv.cohorts.preprocessing import Preprocessing
from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.genomics.groups import GeneGroups
from slidesurv.genomics.screening import Screening
from slidesurv.genomics.views import PrincipalComponents, Standardise
from slidesurv.survival.bins import fit_bins
from slidesurv.types import Bag, PatientData, Sizes, Split, TimeBins

__all__ = ["Embedding", "Fold", "fit_fold"]

log = logging.getLogger(__name__)

Embedding = Literal["none", "table", "pca", "expression", "differential"]
WELCH = Screening()
NEEDS = {"none": "", "table": "embeddings"}  # the expression, for all others


@dataclass(frozen=True, slots=True)
class Fold:
    """A dataset as one fold's model sees it.

    Attributes:
        dataset: everybody.
        split: who stands where.
        preprocessing: fitted on ``split.train``.
    """

    dataset: Dataset
    split: Split
    preprocessing: Preprocessing

    @property
    def bins(self) -> TimeBins:
        """The model's time bins."""
        return self.preprocessing.bins

    @property
    def sizes(self) -> Sizes:
        """What the data dictates to the model."""
        return self.preprocessing.sizes

    def patient(self, patient: str) -> PatientData:
        """Everything about one patient, in float32: scaled tiles, genomics or None, follow-up as (1,) tensors."""
        known, fitted = self.dataset.cohort[patient], self.preprocessing
        genomics = fitted.genomics(self.dataset.expression_of(patient), self.dataset.embedding_of(patient))
        bag = fitted.bag(self.dataset.bag(patient))
        return PatientData(patient, bag, genomics, fitted.target(known.time, known.event))

    def training_bags(self) -> Iterator[Bag]:
        """The scaled bags of the training patients, one in memory at a time; nobody else's can be reached here."""
        return map(self.preprocessing.bag, FoldView(self.dataset, self.split).bags())


def fit_fold(
    dataset: Dataset,
    split: Split,
    *,
    n_bins: int = 4,
    bins_from: Literal["train", "cohort"] = "train",
    standardise_features: bool = False,
    embedding: Embedding = "none",
    components: int = 64,
    whiten: bool = False,
    groups: GeneGroups | None = None,
    screening: Screening = WELCH,
    screen_groups: bool = False,
    empty_groups: Literal["error", "drop"] = "error",
    max_tiles: int | None = None,
    seed: int = 0,
) -> Fold:
    """Fit scales, components, differential genes and time bins on the training patients.

    Args:
        dataset: everybody.
        split: whose ``train`` is fitted on.
        n_bins: T.
        bins_from: "cohort" takes the bins from all patients, as most published programs do: the test patients'
            follow-up then shapes what the model learns, so use it only to repeat a published protocol.
        standardise_features: scale tile features, all training tiles counting alike.
        embedding: the genomic embedding: the dataset's table as it is, principal components of the expression, the
            scaled expression itself, that of its differential genes, or none.
        components: D_g of the principal components, or as many as the training patients allow.
        whiten: give each component a standard deviation of 1 on the training patients, not the first alone.
        groups: gene groups of the expression.
        screening: how differential genes are found.
        screen_groups: keep only differential genes in the groups.
        empty_groups: what to do about groups that have none: refuse, or leave them out.
        max_tiles: look at a fixed random subset of larger bags.
        seed: of these subsets.

    Raises:
        ConfigError: the embedding needs a table that the dataset has not.
        DataError: too few training deaths for the bins, no differential gene, or none in a group.
        MissingExtra: the screening needs a library that is not installed.
    """
    needed = NEEDS.get(embedding, "expression")
    if needed and getattr(dataset, needed) is None:
        raise ConfigError(f"embedding = '{embedding}' needs a table: set [cohort] {needed}, or embedding = 'none'.")
    view = FoldView(dataset, split)
    told = view.cohort if bins_from == "train" else dataset.cohort
    expression = view.expression() if dataset.expression is not None else None
    genes = dataset.expression.genes if dataset.expression is not None else ()
    found = _screen(view, screening, genes) if embedding == "differential" or screen_groups else ()
    fitted = Preprocessing(
        bins=fit_bins([p.time for p in told], [p.event for p in told], n_bins=n_bins),
        tile=dataset.tile,
        genes=genes,
        expression=None if expression is None else Standardise.fit(expression),
        components=_components(expression, components, whiten) if embedding == "pca" else None,
        chosen={"expression": tuple(range(len(genes))), "differential": found}.get(embedding, ()),
        groups=groups.within(found, empty=empty_groups) if groups is not None and screen_groups else groups,
        table=len(dataset.embeddings.genes) if embedding == "table" and dataset.embeddings is not None else 0,
        max_tiles=max_tiles or 0,
        seed=seed,
    )
    if standardise_features:  # on the tiles that the model will see
        seen = (fitted.bag(bag).features.numpy() for bag in view.bags())
        fitted = replace(fitted, features=Standardise.fit_parts(seen))
    return Fold(dataset, split, fitted)


def _screen(view: FoldView, screening: Screening, genes: Sequence[str]) -> tuple[int, ...]:
    """Places in the expression of the genes that differ between training patients who died early and lived long.

    Raises:
        DataError: none of them is in the expression, for screenings of another table.
    """
    table = view.measured("counts" if screening.method == "deseq2" else "expression")
    told = [(patient.time, patient.event) for patient in table.patients]
    found = {table.genes[place] for place in screening(table.values, *zip(*told, strict=True))}
    places = tuple(place for place, gene in enumerate(genes) if gene in found)
    if not places:
        raise DataError(
            f"None of {len(found)} differential genes ({listing(sorted(found), most=3)}) is a column of the expression "
            f"({listing(genes, most=3)}). Name genes in [genomics] counts as there."
        )
    return places


def _components(expression: NDArray[np.float64] | None, wanted: int, whiten: bool) -> PrincipalComponents | None:
    if expression is None:
        return None
    most = min(len(expression) - 1, expression.shape[1])
    if wanted > most:
        log.warning("%d training patients with %d genes allow %d components.", *expression.shape, most)
    return PrincipalComponents.fit(expression, components=min(wanted, most), whiten=whiten)
