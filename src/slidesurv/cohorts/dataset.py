"""Patients with their slides and genomics: the only way in which models get data."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from slidesurv.errors import DataError, listing
from slidesurv.genomics.expression import Expression
from slidesurv.slides.store import FeatureStore
from slidesurv.types import Bag, Cohort, Split

__all__ = ["Dataset", "FoldView", "Measured"]

log = logging.getLogger(__name__)

Row = NDArray[np.float64]


class Dataset:
    """A cohort joined with its feature files and genomics; nothing in it is fitted.

    Args:
        cohort: the patients.
        store: their features; None when no model reads slides.
        expression: patients × genes; patients without a row have no genomics.
        embeddings: patients × D_g, ready-made.
        counts: patients × genes, counts of reads; differential genes may be found in them.
        missing: "error" refuses slides without features and patients without tiles; "drop" leaves them out, and logs.
        allow_mixed: accept features of several encoders or resolutions.
        cache_bytes: how much of the features a process keeps in memory.

    Attributes:
        cohort: the patients that can be used.

    Raises:
        DataError: features or genomics do not fit the cohort.
    """

    def __init__(
        self,
        cohort: Cohort,
        *,
        store: FeatureStore | None = None,
        expression: Expression | None = None,
        embeddings: Expression | None = None,
        counts: Expression | None = None,
        missing: Literal["error", "drop"] = "error",
        allow_mixed: bool = False,
        cache_bytes: int = 2 * 2**30,
    ) -> None:
        self.cohort = cohort if store is None else _with_features(cohort, store, missing, allow_mixed)
        self.store, self.expression, self.embeddings, self.counts = store, expression, embeddings, counts
        self._room = cache_bytes
        self._cache: dict[str, Bag] = {}
        for what, table in (("expression", expression), ("embeddings", embeddings), ("counts", counts)):
            if table is not None:
                _require_overlap(self.cohort, table, what)

    def keep_patients_with_genomics(self) -> None:
        """Leave out, and log, patients who have no row in a table of genomics."""
        tables = [table for table in (self.expression, self.embeddings) if table is not None]
        kept = [patient for patient in self.cohort.ids if all(patient in table for table in tables)]
        if len(kept) < len(self.cohort):
            log.warning("%d patients without genomics were left out.", len(self.cohort) - len(kept))
        left_out = tuple((patient, "no genomics") for patient in self.cohort.ids if patient not in set(kept))
        self.cohort = replace(self.cohort.subset(kept), dropped=(*self.cohort.dropped, *left_out))

    @property
    def tile(self) -> int:
        """D, width of a tile's features; 0 without slides."""
        return self.store.width_of(self.cohort.slides) if self.store is not None else 0

    @property
    def origin(self) -> str:
        """What the feature files say of encoder and resolution; "" without slides."""
        return self.store.header(self.cohort.slides[0]).origin if self.store is not None else ""

    def bag(self, patient: str) -> Bag:
        """All tiles of a patient, as they were read."""
        if patient in self._cache:
            return self._cache[patient]
        bag = self._read(patient)
        size = bag.features.nbytes + bag.coords.nbytes + bag.slide.nbytes
        # First come, first kept: epochs read everybody in turn, which empties a cache that drops the oldest.
        if size <= self._room:
            self._room -= size
            self._cache[patient] = bag
        return bag

    def _read(self, patient: str) -> Bag:
        slides = self.cohort[patient].slides
        if self.store is None:
            none = torch.zeros(0, dtype=torch.int64)
            return Bag(patient, torch.zeros(0, 0), none.reshape(0, 2), none)
        return self.store.bag(patient, slides)

    def expression_of(self, patient: str) -> Row | None:
        """(G,) expression as in the table; None when the patient has none."""
        return _row(self.expression, patient)

    def embedding_of(self, patient: str) -> Row | None:
        """(D_g,) ready-made embedding; None when the patient has none."""
        return _row(self.embeddings, patient)


class FoldView:
    """The training patients of one fold, and nobody else: whatever is fitted is given this.

    Args:
        dataset: everybody.
        split: of whom only ``train`` can be reached.

    Attributes:
        cohort: the training patients.
    """

    def __init__(self, dataset: Dataset, split: Split) -> None:
        self._dataset = dataset
        self.cohort = dataset.cohort.subset(split.train)

    def bag(self, patient: str) -> Bag:
        """All tiles of a training patient.

        Raises:
            DataError: the patient is not in training.
        """
        if patient not in self.cohort.ids:
            raise DataError(f"Patient '{patient}' is not in training: nothing may be fitted on them.")
        return self._dataset.bag(patient)

    def bags(self) -> Iterator[Bag]:
        """The bag of each training patient, in table order, one in memory at a time."""
        return map(self.bag, self.cohort.ids)

    def expression(self) -> Row:
        """(B, G) expression of the training patients who have one."""
        return self.measured("expression").values

    def measured(self, what: Literal["expression", "counts"]) -> "Measured":
        """A table of the training patients who have a row in it."""
        table: Expression | None = getattr(self._dataset, what)
        if table is None:
            section = {"expression": "cohort", "counts": "genomics"}[what]
            raise DataError(f"There is no table of {what} to fit on. Set [{section}] {what}.")
        patients = self.cohort.subset(patient for patient in self.cohort.ids if patient in table)
        return Measured(patients, table.genes, table.rows(patients.ids))


@dataclass(frozen=True, slots=True)
class Measured:
    """Patients and their rows of a table.

    Attributes:
        patients: B.
        genes: G names.
        values: (B, G).
    """

    patients: Cohort
    genes: tuple[str, ...]
    values: Row


def _row(table: Expression | None, patient: str) -> Row | None:
    return table.rows([patient])[0] if table is not None and patient in table else None


def _with_features(cohort: Cohort, store: FeatureStore, missing: str, allow_mixed: bool) -> Cohort:
    """Keep the patients and slides that have tiles."""
    without = set(store.missing(cohort.slides)) if missing == "drop" else set()
    kept = [replace(patient, slides=tuple(s for s in patient.slides if s not in without)) for patient in cohort]
    joined = replace(cohort, patients=tuple(kept))
    headers = store.check(joined.slides, cohort=cohort.name, allow_mixed=allow_mixed, values=False)
    bare = [patient.id for patient in joined if not any(headers[slide].tiles for slide in patient.slides)]
    found = f"{len(bare)} of {len(cohort)} patients of cohort '{cohort.name}' have no tiles: {listing(bare)}."
    if len(bare) == len(cohort) or (bare and missing == "error"):
        raise DataError(f'{found} Make features of them, or set [cohort] missing = "drop".')
    if bare or without:
        log.warning("%d slides without features and %d patients without tiles were left out.", len(without), len(bare))
    left_out = tuple((patient, "no tiles") for patient in bare)
    return replace(joined.subset(set(cohort.ids) - set(bare)), dropped=(*cohort.dropped, *left_out))


def _require_overlap(cohort: Cohort, table: Expression, what: str) -> None:
    known = sum(patient in table for patient in cohort.ids)
    if known == 0:
        turned = any(patient in table.genes for patient in cohort.ids)
        remedy = "Patients are its columns: transpose it." if turned else "Name its rows as the cohort does."
        raise DataError(
            f"No patient of cohort '{cohort.name}' ({listing(cohort.ids, most=3)}) is in the table of {what} "
            f"({listing(table.ids, most=3)}). {remedy}"
        )
    if known < len(cohort):
        log.warning("%d of %d patients of cohort '%s' have no %s.", len(cohort) - known, len(cohort), cohort.name, what)
