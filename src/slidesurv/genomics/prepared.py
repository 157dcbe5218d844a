"""A table of expression ready for use, and the account of how it came about.

``prepare.json`` is written last: where it stands the table is complete, and its checksum says which table it speaks of.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidesurv import __version__
from slidesurv.errors import ConfigError, DataError, unknown
from slidesurv.files import sha256, write_csv, write_json
from slidesurv.genomics.barcodes import Dropped, Sample
from slidesurv.genomics.conversion import Route
from slidesurv.genomics.expression import Expression, write_expression
from slidesurv.genomics.kinds import Look

__all__ = ["FORMATS", "Prepared", "join", "reasons", "write_prepared"]

FORMATS = ("csv.gz", "csv", "parquet")
DONE = "prepare.json"
RULE = (
    "one sample a patient: primary tumour, then further primary, metastasis, recurrence, tissue not told; then the "
    "first vial, the first portion, the latest plate, the first name; never normal tissue, cell lines, xenografts or "
    "controls"
)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table and where it comes from.

    Attributes:
        table: patients × genes.
        samples: the sample of each patient, in the order of the rows.
        dropped: samples that were left out.
        facts: what was read and done, for ``prepare.json``.
    """

    table: Expression
    samples: tuple[Sample, ...]
    dropped: tuple[Dropped, ...]
    facts: Mapping[str, Any]


def join(
    rows: Sequence[tuple[Sample, Array]],
    routes: Sequence[Route],
    look: Look,
    *,
    dropped: Sequence[Dropped],
    source: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Prepared:
    """Make a table of rows, and say what it is.

    Args:
        rows: the sample and the values (G,) of each patient.
        routes: which the rows have gone; the missing genes of any of them are told.
        look: what the values were.
        dropped: samples that were left out.
        source: what was read, for ``prepare.json``.
        notes: what was done before, in words.
    """
    route = routes[0]
    samples = tuple(sample for sample, _ in rows)
    values = np.stack([row for _, row in rows])  # (B, G)
    table = Expression(tuple(sample.patient for sample in samples), route.genes, values)
    missing = list(dict.fromkeys(gene for route in routes for gene in route.missing))
    asked = len(route.genes) + (0 if route.fills else len(route.missing))
    facts = {
        "slidesurv": __version__,
        "source": dict(source),
        "values": {"found": str(look.kind), "stated": look.stated, "look": look.words, "written": str(route.kind)},
        "genes": {
            "asked": asked,
            "missing": missing,
            "missing_share": len(missing) / asked,
            "missing_are": "0" if route.fills else "left out",
        },
        "samples": {
            "found": len(samples) + len(dropped),
            "kept": len(samples),
            "kept_by_tissue": dict(sorted(Counter(str(sample.tissue) for sample in samples).items())),
            "dropped": dict(sorted(reasons(dropped).items())),
        },
        "rules": [RULE, *notes, *dict.fromkeys(note for route in routes for note in route.notes)],
    }
    return Prepared(table, samples, tuple(dropped), facts)


def write_prepared(
    folder: Path, prepared: Prepared, *, form: str = "csv.gz", inputs: Mapping[str, Path] = MappingProxyType({})
) -> dict[str, Any]:
    """Write ``expression.<form>``, ``samples.csv``, ``dropped.csv`` and, when these are complete, ``prepare.json``.

    Args:
        folder: may exist; these files are replaced.
        prepared: what is written.
        form: one of `FORMATS`; `slidesurv.genomics.expression.read_expression` reads each.
        inputs: lists and sheets that were used, by what they are; their names and checksums are kept.

    Returns:
        What is in ``prepare.json``.

    Raises:
        ConfigError: there is no such format.
        DataError: the disk refuses.
        MissingExtra: the format is Parquet and pyarrow is not installed.
    """
    if form not in FORMATS:
        raise ConfigError(unknown("format", form, FORMATS))
    path = folder / f"expression.{form}"
    _forget(folder / DONE)
    write_expression(path, prepared.table)
    _write_samples(folder, prepared)
    record = {
        **prepared.facts,
        "inputs": {what: {"name": given.name, "sha256": sha256(given)} for what, given in inputs.items()},
        "table": {
            "file": path.name,
            "sha256": sha256(path),
            "patients": len(prepared.table.ids),
            "genes": len(prepared.table.genes),
        },
    }
    write_json(folder / DONE, record)
    return record


def _forget(account: Path) -> None:
    """Remove the account of the table that is replaced."""
    try:
        account.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"Cannot write to '{account.parent}': {error.strerror}. Choose another folder.") from error


def _write_samples(folder: Path, prepared: Prepared) -> None:
    kept = [
        {"patient_id": sample.patient, "sample": sample.name, "tissue": str(sample.tissue), "origin": sample.origin}
        for sample in prepared.samples
    ]
    write_csv(folder / "samples.csv", kept, ["patient_id", "sample", "tissue", "origin"])
    dropped = [
        {"patient_id": drop.patient, "sample": drop.name, "origin": drop.origin, "reason": drop.reason}
        for drop in prepared.dropped
    ]
    write_csv(folder / "dropped.csv", dropped, ["patient_id", "sample", "origin", "reason"])


def reasons(dropped: Sequence[Dropped]) -> Counter[str]:
    """Count reasons without what is special to a sample."""
    return Counter("could not be used" if drop.failed else drop.reason.split(":")[0] for drop in dropped)
