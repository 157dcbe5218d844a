"""What a method rebuilt of the genomes of a fold's test patients, carried back to genes where that can be done.

::

    <slug>/seed<s>/fold<k>/rebuilt.safetensors  rebuilt and truth, each (B, D_g); ids and view in the metadata
                           bundle/              what the fold fitted: which genes an embedding is made of

Which number can be followed from patient to patient? A reconstruction that a divergence teaches is known through its
softmax alone: a constant may be added to it, another one for every patient, and nothing changes. So both embeddings
each have their own mean subtracted, patient by patient. That is the logarithm of the softmax but for another such
constant, and unlike it linear: components go back to genes, and genes into pathways. Gene groups are taught by their
values and stay as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from slidesurv.errors import DataError
from slidesurv.files import read_json
from slidesurv.genomics.groups import GeneGroups
from slidesurv.genomics.views import PrincipalComponents
from slidesurv.report.run import Numbers

__all__ = ["Columns", "Names", "Rebuilt", "lacking", "read_rebuilt"]

TABLES, SETTINGS, FITTED = "rebuilt.safetensors", "bundle/config.json", "bundle/preprocess.safetensors"

Names = tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Columns:
    """Genes, pathways or dimensions of the same B patients, as they are and as they were rebuilt.

    Attributes:
        names: of G columns.
        rebuilt: (B, G).
        truth: (B, G).
    """

    names: Names
    rebuilt: Numbers
    truth: Numbers

    def means(self, members: Mapping[str, Names]) -> Self:
        """The mean of the columns of each group that has any here."""
        place = {name: column for column, name in enumerate(self.names)}
        found = {group: [place[name] for name in names if name in place] for group, names in members.items()}
        found = {group: columns for group, columns in found.items() if columns}
        rebuilt, truth = (
            np.array([table[:, columns].mean(1) for columns in found.values()]).reshape(-1, len(table)).T
            for table in (self.rebuilt, self.truth)
        )
        return type(self)(tuple(found), rebuilt, truth)


@dataclass(frozen=True, eq=False, slots=True)
class Rebuilt:
    """The test patients of one fold who have a true profile, in order of their ids.

    Attributes:
        patients: (B,) ids.
        kind: "gene", or "dimension" of an embedding that was given ready-made.
        width: D_g, of how many numbers of a patient the columns are made.
        columns: genes in standard deviations of the training patients, or dimensions.
        pathways: the mean of the genes of each group of the experiment; of none where there are no groups or genes.
    """

    patients: Names
    kind: str
    width: int
    columns: Columns
    pathways: Columns


def lacking(place: Path) -> str:
    """Say what the folder of a fold lacks to be judged gene by gene; "" when nothing."""
    if not (place / TABLES).exists():
        return "no rebuilt profiles were kept: the run is of an earlier version, or no test patient has a profile"
    if not all((place / name).exists() for name in (SETTINGS, FITTED)):
        return "the bundle is gone, and with it what the embedding is made of"
    return ""


def read_rebuilt(place: Path) -> Rebuilt:
    """Read the folder of a fold that lacks nothing.

    Raises:
        DataError: a file is broken, or a value is not finite.
    """
    try:
        patients, view, tables = _read_tables(place / TABLES)
        fitted = _Fitted.read(place)
        columns = Columns(fitted.names(view), *(fitted.values(view, table) for table in tables))
    except (SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"Cannot tell what was rebuilt in '{place}': {error}. Delete this folder and run the same command again."
        ) from error
    kind = "dimension" if view == "embedding" and fitted.table else "gene"
    pathways = columns.means({} if kind == "dimension" else fitted.pathways)
    return Rebuilt(patients, kind, tables[0].shape[1], columns, pathways)


def _read_tables(path: Path) -> tuple[Names, str, list[Numbers]]:
    """Ids, the view, and what was rebuilt and is true, with the patients in order of their ids."""
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["about"])
        tables = [file.get_tensor(name).astype(np.float64) for name in ("rebuilt", "truth")]
    order = np.argsort(about["patients"])
    if bad := sum(int((~np.isfinite(table)).sum()) for table in tables):
        raise ValueError(f"{bad} values are not finite")
    return tuple(np.array(about["patients"])[order].tolist()), about["view"], [table[order] for table in tables]


@dataclass(frozen=True, eq=False, slots=True)
class _Fitted:
    """What the columns of a view of the genome are, from the fold's bundle.

    Attributes:
        genes: G names of the expression.
        table: width of a ready-made embedding; 0 when it is made of the expression.
        chosen: places of the genes that are the embedding; none when it is made otherwise.
        components: makes the embedding otherwise; None when it is not.
        groups: of genes; None without.
    """

    genes: Names
    table: int
    chosen: tuple[int, ...]
    components: PrincipalComponents | None
    groups: GeneGroups | None

    @classmethod
    def read(cls, place: Path) -> Self:
        settings: Mapping[str, Any] = read_json(place / SETTINGS)["preprocessing"]
        parts: dict[str, dict[str, NDArray[Any]]] = {}
        for name, tensor in load_file(place / FITTED).items():
            part, key = name.split(".")
            parts.setdefault(part, {})[key] = tensor
        components, groups = parts.get("components"), parts.get("groups")
        return cls(
            tuple(settings["genes"]),
            int(settings["table"]),
            tuple(settings["chosen"]),
            PrincipalComponents.from_state(components) if components else None,
            GeneGroups.from_state(settings["groups"], groups) if groups else None,
        )

    @property
    def pathways(self) -> dict[str, Names]:
        """The genes of each group."""
        if self.groups is None:
            return {}
        return {
            name: tuple(self.genes[place] for place in places)
            for name, places in zip(self.groups.names, self.groups.columns, strict=True)
        }

    def names(self, view: str) -> Names:
        """Of the columns that `values` gives."""
        if view == "groups":
            return tuple(dict.fromkeys(gene for genes in self.pathways.values() for gene in genes))
        if self.table:
            return tuple(f"dimension {number}" for number in range(self.table))
        return self.genes if self.components is not None else tuple(self.genes[place] for place in self.chosen)

    def values(self, view: str, table: Numbers) -> Numbers:
        """(B, D_g) as the model gives it → (B, G); a gene of several groups is the mean of them."""
        if view == "groups":
            return self._once(table)
        centred: Numbers = table - table.mean(1, keepdims=True)
        if self.table or self.components is None:
            return centred
        constant = self.components.standardise.scale == 0  # their share of a component is a rounding error
        return centred * self.components.scale @ np.where(constant, 0.0, self.components.components)

    def _once(self, table: Numbers) -> Numbers:
        place = {name: column for column, name in enumerate(self.names("groups"))}
        columns = [place[gene] for genes in self.pathways.values() for gene in genes]
        sums = np.zeros((len(place), len(table)))
        np.add.at(sums, columns, table.T)
        return (sums / np.bincount(columns)[:, None]).T
