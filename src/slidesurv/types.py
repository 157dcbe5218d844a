"""The words that both halves of the house speak.

Letters in shapes: N tiles, D tile feature, B patients, T time bins, G genes, D_g genomic embedding.
Nothing here imports torch: tables and reports start without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from slidesurv.errors import DataError, listing

if TYPE_CHECKING:
    from torch import Tensor, device

__all__ = [
    "Bag",
    "Cohort",
    "Genomics",
    "ModelOutput",
    "Patient",
    "PatientData",
    "Sizes",
    "Split",
    "SurvivalTarget",
    "TimeBins",
    "Use",
]


class Use(Enum):
    """When a model sees a modality: the "Patho." and "Geno." columns of the paper's Table I."""

    NEVER = "never"
    TRAINING = "training"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Bag:
    """All tiles of all slides of one patient.

    Attributes:
        patient: whose tiles these are; random choices about the bag are seeded with it.
        features: (N, D) tile features.
        coords: (N, 2) top-left corner of each tile, in level-0 pixels.
        slide: (N,) which of the patient's slides each tile lies on, from 0.
    """

    patient: str
    features: Tensor
    coords: Tensor
    slide: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, tiles: Tensor) -> Bag:
        """Keep the tiles of an index (M,) or a mask (N,)."""
        return replace(self, features=self.features[tiles], coords=self.coords[tiles], slide=self.slide[tiles])

    def to(self, device: device) -> Bag:
        """The same bag with its tensors on a device."""
        return replace(
            self, features=self.features.to(device), coords=self.coords.to(device), slide=self.slide.to(device)
        )


@dataclass(frozen=True, slots=True)
class Genomics:
    """Three views of one patient's genome; a model reads one. A view that was not made is None.

    Attributes:
        groups: the values (G_k,) of each functional gene group.
        embedding: (D_g,) a summary of the expression, such as BulkRNABert's or principal components.
        expression: (G,) scaled expression.
    """

    groups: tuple[Tensor, ...] | None = None
    embedding: Tensor | None = None
    expression: Tensor | None = None

    def to(self, device: device) -> Genomics:
        """The same views with their tensors on a device."""
        return Genomics(
            None if self.groups is None else tuple(group.to(device) for group in self.groups),
            None if self.embedding is None else self.embedding.to(device),
            None if self.expression is None else self.expression.to(device),
        )


@dataclass(frozen=True, slots=True)
class SurvivalTarget:
    """Follow-up of B patients.

    Attributes:
        time: (B,) months to death or to the last time seen alive.
        event: (B,) bool, True = death seen.
        bin: (B,) int64 time bin of ``time``, in [0, T).
    """

    time: Tensor
    event: Tensor
    bin: Tensor

    def to(self, device: device) -> SurvivalTarget:
        """The same follow-up with its tensors on a device."""
        return SurvivalTarget(self.time.to(device), self.event.to(device), self.bin.to(device))


@dataclass(frozen=True, slots=True)
class PatientData:
    """What the data half hands to the model half for one patient."""

    id: str
    bag: Bag
    genomics: Genomics | None
    target: SurvivalTarget

    def to(self, device: device) -> PatientData:
        """The same patient with every tensor on a device."""
        genomics = None if self.genomics is None else self.genomics.to(device)
        return PatientData(self.id, self.bag.to(device), genomics, self.target.to(device))


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as the cohort table knows them; no tensors.

    Attributes:
        slides: the patient's slides, in table order.
        time: months to death or last contact.
        event: True = death seen.
        site: where the tissue came from ("" when not known).
        covariates: age, sex, stage … by name; None where missing.
    """

    id: str
    slides: tuple[str, ...]
    time: float
    event: bool
    site: str = ""
    covariates: Mapping[str, float | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """Patients in table order, each once.

    Attributes:
        dropped: (patient id, reason) of those in the table who were left out; a subset remembers them.
    """

    name: str
    patients: tuple[Patient, ...]
    dropped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.patients)

    def __iter__(self) -> Iterator[Patient]:
        return iter(self.patients)

    def __getitem__(self, patient_id: str) -> Patient:
        try:
            return self._by_id[patient_id]
        except KeyError:
            raise DataError(
                f"Cohort '{self.name}' has no patient '{patient_id}'; it has {listing(self.ids, most=3) or 'nobody'}. "
                "Name patients as its table does."
            ) from None

    @cached_property
    def _by_id(self) -> dict[str, Patient]:
        return {patient.id: patient for patient in self.patients}

    @property
    def ids(self) -> tuple[str, ...]:
        """Patient ids in table order."""
        return tuple(patient.id for patient in self.patients)

    @property
    def slides(self) -> tuple[str, ...]:
        """Every slide of every patient."""
        return tuple(slide for patient in self.patients for slide in patient.slides)

    def subset(self, ids: Iterable[str]) -> Cohort:
        """Keep the named patients, in table order.

        Raises:
            DataError: an id is not in the cohort.
        """
        wanted = set(ids)
        if strangers := wanted - set(self.ids):
            raise DataError(
                f"Cohort '{self.name}' has no patients {listing(sorted(strangers))}. Name patients as its table does."
            )
        return replace(self, patients=tuple(patient for patient in self.patients if patient.id in wanted))


@dataclass(frozen=True, slots=True)
class Split:
    """One fold: who teaches, who tunes, who judges.

    Raises:
        DataError: a patient stands in two parts, or twice in one.
    """

    train: tuple[str, ...]
    tune: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        everyone = (*self.train, *self.tune, *self.test)
        if len(everyone) != len(set(everyone)):
            seen: set[str] = set()
            twice = [patient for patient in everyone if patient in seen or seen.add(patient)]  # type: ignore[func-returns-value]
            raise DataError(
                f"{len(twice)} patients stand in more than one part of a split: {listing(twice)}. "
                "Every patient belongs to exactly one of train, tune and test."
            )


@dataclass(frozen=True, slots=True)
class TimeBins:
    """The discrete time scale of a model.

    Attributes:
        edges: T+1 increasing months; bin k is [edges[k], edges[k+1]).
    """

    edges: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.edges) - 1


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the data dictates to a model.

    Attributes:
        tile: D, width of a tile feature.
        bins: T, time bins.
        embedding: D_g, width of the genomic embedding; 0 when there is none.
        expression: G, genes; 0 when there is no expression.
        groups: G_k, genes of each functional group.
    """

    tile: int
    bins: int
    embedding: int = 0
    expression: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a model says about one patient.

    Attributes:
        logits: (T,) hazard scores, before the sigmoid.
        attention: (N,) weight of each tile, sums to one; None when the model has no such thing.
        branches: (K, T) logits of extra streams taught by the same follow-up.
        reconstruction: the view of the genome that the model is taught by, as it rebuilds it from the slide: the
            embedding (D_g,), or the gene groups end to end.
        losses: the model's own training losses by name, each ().
        bin_losses: (T,) own losses that depend on when the patient died, one value for each bin; only the bin of a
            death is taught, so that a model never sees a label.
    """

    logits: Tensor
    attention: Tensor | None = None
    branches: Tensor | None = None
    reconstruction: Tensor | None = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    bin_losses: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def hazards(self) -> Tensor:
        """(T,) probability of dying in bin t, given alive at its start."""
        return self.logits.sigmoid()

    @property
    def survival(self) -> Tensor:
        """(T,) probability of being alive at the end of bin t; never rises."""
        return (-self.logits).sigmoid().cumprod(-1)

    @property
    def risk(self) -> Tensor:
        """() minus the sum of the survival curve, in (-T, 0); a larger value means an earlier death."""
        return -self.survival.sum(-1)
