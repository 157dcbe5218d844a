"""Everything that is fitted on the training patients before a model sees them, in one object that travels with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slidesurv.errors import DataError, listing
from slidesurv.genomics.groups import GeneGroups
from slidesurv.genomics.views import PrincipalComponents, Standardise
from slidesurv.seeds import seed_for
from slidesurv.survival.bins import assign
from slidesurv.types import Bag, Genomics, Sizes, SurvivalTarget, TimeBins

__all__ = ["Preprocessing"]

Row = NDArray[np.float64]

PARTS = ("features", "expression", "components", "groups")  # what has tensors in a bundle


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Scales, components, chosen genes and time bins of one fold.

    Attributes:
        bins: time bins T.
        tile: D; 0 when no slides are read.
        features: scale of tile features; None leaves them as they are.
        genes: G names, in the order of the expression; empty when there is none.
        expression: scale of the expression; None when there is none.
        components: makes the genomic embedding out of the expression; None when it is not made so.
        chosen: places of the genes whose scaled expression is the genomic embedding; empty when it is not made so.
        groups: parts the scaled expression into gene groups; None when there are none.
        table: width of a ready-made genomic embedding, which is taken as it is; 0 when there is none.
        max_tiles: larger bags are represented by a random subset of so many tiles, the same every time; 0 takes all.
        seed: of these subsets.
    """

    bins: TimeBins
    tile: int = 0
    features: Standardise | None = None
    genes: tuple[str, ...] = ()
    expression: Standardise | None = None
    components: PrincipalComponents | None = None
    chosen: tuple[int, ...] = ()
    groups: GeneGroups | None = None
    table: int = 0
    max_tiles: int = 0
    seed: int = 0

    @property
    def sizes(self) -> Sizes:
        """What the data dictates to a model."""
        return Sizes(
            tile=self.tile,
            bins=len(self.bins),
            embedding=len(self.components.scale) if self.components else len(self.chosen) or self.table,
            expression=len(self.genes),
            groups=self.groups.sizes if self.groups else (),
        )

    def bag(self, bag: Bag) -> Bag:
        """Scale a bag as it was read, or the patient's subset of it.

        Raises:
            DataError: its features are not as wide as those that were fitted.
        """
        if bag.features.shape[1] != self.tile:
            raise DataError(
                f"The features of patient '{bag.patient}' have width {bag.features.shape[1]}, but {self.tile} "
                "was fitted. Use features of the same encoder."
            )
        if self.max_tiles and len(bag) > self.max_tiles:
            random = np.random.default_rng(seed_for("tiles", self.seed, bag.patient))
            bag = bag[torch.from_numpy(np.sort(random.permutation(len(bag))[: self.max_tiles]))]
        if self.features is None:
            return bag
        centred = bag.features - _float32(self.features.mean)
        return replace(bag, features=centred.mul_(_float32(self.features.factor)))

    def genomics(self, expression: Row | None, embedding: Row | None) -> Genomics | None:
        """Make the views of one patient.

        Args:
            expression: (G,) as in the table; None when the patient has none.
            embedding: (D_g,) ready-made; None when the patient has none.

        Returns:
            None when no view can be made.
        """
        ready = _float32(embedding) if embedding is not None and self.table else None
        if expression is None or self.expression is None:
            return None if ready is None else Genomics(embedding=ready)
        scaled = self.expression(expression)  # (G,)
        made = None
        if self.components is not None:
            made = _float32(self.components(expression))
        elif self.chosen:
            made = _float32(scaled[list(self.chosen)])
        groups = tuple(map(_float32, self.groups(scaled))) if self.groups is not None else None
        return Genomics(groups, made if ready is None else ready, _float32(scaled))

    def target(self, time: float, event: bool) -> SurvivalTarget:
        """Put one patient's follow-up into the bins; every tensor is (1,)."""
        bins = torch.from_numpy(assign(self.bins, [time]))
        return SurvivalTarget(torch.tensor([time], dtype=torch.float32), torch.tensor([event]), bins)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Take everything but the bins apart, for a bundle: tensors, and settings as JSON has them."""
        fitted = (self.features, self.expression, self.components, self.groups)
        tensors = {
            f"{name}.{key}": torch.from_numpy(np.ascontiguousarray(array))
            for name, part in zip(PARTS, fitted, strict=True)
            if part is not None
            for key, array in part.state().items()
        }
        settings = {key: getattr(self, key) for key in ("tile", "table", "max_tiles", "seed")}
        lists = {"genes": self.genes, "chosen": self.chosen, "groups": self.groups.names if self.groups else ()}
        return tensors, {**settings, **{key: list(values) for key, values in lists.items()}}

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], edges: Sequence[float]
    ) -> Preprocessing:
        """Rebuild from `state` and the edges of the bins.

        Raises:
            DataError: something is missing or does not fit together.
        """
        parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        try:
            for name, tensor in tensors.items():
                part, key = name.split(".")
                parts[part][key] = tensor.numpy()
            fitted = cls(
                bins=TimeBins(tuple(edges)),
                tile=int(settings["tile"]),
                features=Standardise.from_state(parts["features"]) if parts["features"] else None,
                genes=tuple(settings["genes"]),
                expression=Standardise.from_state(parts["expression"]) if parts["expression"] else None,
                components=PrincipalComponents.from_state(parts["components"]) if parts["components"] else None,
                chosen=tuple(map(int, settings.get("chosen", ()))),  # bundles of 0.1 have neither
                groups=GeneGroups.from_state(settings["groups"], parts["groups"]) if settings.get("groups") else None,
                table=int(settings["table"]),
                max_tiles=int(settings["max_tiles"]),
                seed=int(settings["seed"]),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"The preprocessing in this bundle is incomplete: {error}. Copy the bundle again."
            ) from error
        fitted._require_widths()
        return fitted

    def _require_widths(self) -> None:
        lists = (self.chosen, *(self.groups.columns if self.groups else ()))
        if beyond := [place for places in lists for place in places if not 0 <= place < len(self.genes)]:
            raise DataError(
                f"The preprocessing in this bundle has {len(self.genes)} genes, but takes {listing(beyond)} of them. "
                "Copy the bundle again."
            )
        components = self.components.standardise if self.components else None
        for scale, width in (
            (self.features, self.tile),
            (self.expression, len(self.genes)),
            (components, len(self.genes)),
        ):
            if scale is not None and not len(scale.mean) == len(scale.scale) == width:
                raise DataError(
                    f"The preprocessing in this bundle has {len(scale.mean)} columns where {width} are used."
                )


def _float32(values: Row) -> Tensor:
    return torch.from_numpy(values).to(torch.float32)
