"""What every model promises: one patient in, one output out, and a word on what it may see."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field
from torch import Tensor, nn

from slidesurv.errors import DataError
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = [
    "HARNESS",
    "Dropout",
    "Paper",
    "SurvivalModel",
    "Weight",
    "Width",
    "need_embedding",
    "need_expression",
    "need_groups",
]

View = TypeVar("View")

HARNESS: Mapping[str, Any] = MappingProxyType(
    {
        "optimizer": "adam",
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "schedule": "constant",
        "epochs": 20,
        "accumulate": 32,
        "sampler": "weighted",
        "event_weight": 0.0,
    }
)
"""The recipe of MCAT's program (Chen et al., ICCV 2021), which many later methods train in."""

Width = Annotated[int, Field(gt=0, multiple_of=8)]  # eight heads share it
Dropout = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a method comes from.

    Attributes:
        key: BibTeX key.
        venue: journal or conference, as it should be printed.
        licence: a note on the authors' own program, which this one is not taken from.
    """

    key: str
    title: str
    authors: str
    venue: str
    year: int
    url: str = ""
    licence: str = ""

    def bibtex(self) -> str:
        """The entry for a bibliography."""
        fields = {"title": self.title, "author": self.authors, "booktitle": self.venue, "year": self.year}
        fields |= {"url": self.url} if self.url else {}
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        return f"@inproceedings{{{self.key},\n{body}}}"


class SurvivalModel(nn.Module, ABC):
    """A method of Table I.

    A subclass is final, says in ``slides`` and ``genomics`` what it may see, and never sees a label. Its constructor
    takes the sizes that the data dictates first and every choice as a keyword.

    Attributes:
        slides: whether tiles are shown.
        genomics: whether genomics are shown, and when; a choice may narrow it for one instance.
        view: which view of the genome it reads, a field of `Genomics`; None for a model that reads none.
        loss_weights: weight of each entry of `ModelOutput.losses`; one that is not named counts once.
        paper: for the tables and ``slidesurv cite``.
        presets: named sets of the constructor's keywords.
        native: the recipe of its authors, as keys of ``[training]``; the unified recipe is the paper's.
        explains: set it to have the attention of models that must compute it for that alone.
    """

    slides: ClassVar[Use]
    genomics: Use
    view: ClassVar[Literal["groups", "embedding", "expression"] | None] = None
    paper: ClassVar[Paper]
    loss_weights: Mapping[str, float] = MappingProxyType({})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    native: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    explains: bool = False

    @abstractmethod
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()

    def prepare(self, bags: Iterable[Bag], *, seed: int = 0) -> None:
        """Fit what is fitted before training, such as prototypes, on the bags of training patients.

        Args:
            bags: read once, in order; the caller promises that no test patient is among them.
            seed: of every random choice made here.
        """

    @abstractmethod
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        """Judge one patient.

        Args:
            bag: all tiles of the patient; empty when ``slides`` is `Use.NEVER`.
            genomics: None when the class, the mode or the patient has none to show.
        """

    def rejudge(self, bag: Bag, reconstruction: Tensor) -> ModelOutput | None:
        """Judge a patient with another reconstruction (D_g,) in the place of the model's own; None if it has none."""
        return None

    def diagnose(self, bag: Bag) -> Mapping[str, float]:
        """Numbers that tell whether the model's own mechanism works on this bag; none by default."""
        return {}


def need_groups(bag: Bag, genomics: Genomics | None) -> tuple[Tensor, ...]:
    """Give the patient's gene groups, each (G_k,), to a model that cannot judge without them.

    Raises:
        DataError: names the patient who has none.
    """
    return _need(bag, None if genomics is None else genomics.groups, "gene groups")


def need_embedding(bag: Bag, genomics: Genomics | None) -> Tensor:
    """Give the patient's genomic embedding (D_g,); raises as `need_groups` does."""
    return _need(bag, None if genomics is None else genomics.embedding, "genomic embedding")


def need_expression(bag: Bag, genomics: Genomics | None) -> Tensor:
    """Give the patient's expression (G,); raises as `need_groups` does."""
    return _need(bag, None if genomics is None else genomics.expression, "expression")


def _need(bag: Bag, view: View | None, what: str) -> View:
    if view is not None:
        return view
    raise DataError(
        f"Patient '{bag.patient}' has no {what}, which this model needs for every prediction. "
        'Set [genomics] missing = "drop", or give the patient a row in the table.'
    )
