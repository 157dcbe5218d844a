"""Which patient a sample is of, where it was taken, and which of a patient's samples is kept.

The rule, in this order: a primary tumour before a further primary, a metastasis, a recurrence and a sample of untold
tissue; then the first vial, the first portion, the latest plate, and the first name. Normal tissue, cell lines,
xenografts and controls are never kept.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from slidesurv.errors import DataError, listing
from slidesurv.files import check_id

__all__ = ["Dropped", "Sample", "Tissue", "choose", "names_sample", "read_sample", "refuse_uuids"]

BARCODE = re.compile(
    r"(TCGA-\w{2}-\w{4})(?:-(\d{2})([A-Z]?)(?:-(\d{2})[A-Z]?(?:-(\w{4})(?:-\d{2})?)?)?)?", re.ASCII | re.IGNORECASE
)
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Tissue(StrEnum):
    """Where a sample was taken, the most wanted first."""

    PRIMARY = "primary tumour"
    NEW_PRIMARY = "additional new primary"
    METASTASIS = "metastasis"
    RECURRENCE = "recurrent tumour"
    UNTOLD = "tissue not told"
    NORMAL = "normal tissue"
    MODEL = "cell line or xenograft"
    OTHER = "control or unknown type of sample"


REFUSED = (Tissue.NORMAL, Tissue.MODEL, Tissue.OTHER)
PREFERENCE = {tissue: rank for rank, tissue in enumerate(Tissue)}
# TCGA's code tables: sample types 10 to 19 are normal, 08 and 50 to 61 are cells and xenografts.
CODES = {
    **dict.fromkeys(("01", "03", "09"), Tissue.PRIMARY),
    **dict.fromkeys(("02", "04", "40"), Tissue.RECURRENCE),
    "05": Tissue.NEW_PRIMARY,
    **dict.fromkeys(("06", "07"), Tissue.METASTASIS),
    **dict.fromkeys((f"1{digit}" for digit in range(10)), Tissue.NORMAL),
    **dict.fromkeys(("08", "50", "60", "61"), Tissue.MODEL),
}
# What sample sheets write; the first that is found counts.
WORDS = (
    (r"\bnormal\b|peritumor", Tissue.NORMAL),
    (r"cell line|xenograft|organoid|neoplasms? cultured", Tissue.MODEL),
    (r"control", Tissue.OTHER),
    (r"new primary", Tissue.NEW_PRIMARY),
    (r"metasta", Tissue.METASTASIS),
    (r"recurren|post-treatment", Tissue.RECURRENCE),
    (r"primary", Tissue.PRIMARY),
    (r"^[\s\-']*$|\btumor\b|not (?:reported|applicable)", Tissue.UNTOLD),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of one patient.

    Attributes:
        name: its barcode, or what its table calls it.
        tissue: where it was taken.
        aliquot: vial, portion and plate, in the order in which they are preferred.
        origin: its file inside a folder, or its name in a table.
    """

    name: str
    patient: str
    tissue: Tissue
    aliquot: tuple[str, str, int] = ("", "", 0)
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A sample that was left out.

    Attributes:
        patient: "" where it is not known.
        failed: its file could not be used; otherwise a rule left it out.
    """

    name: str
    patient: str
    reason: str
    origin: str = ""
    failed: bool = False


def names_sample(name: str) -> bool:
    """Say whether a name is one that only samples have: a TCGA barcode, or a UUID."""
    return any(pattern.fullmatch(name.strip().replace(".", "-")) for pattern in (BARCODE, UUID))


def read_sample(name: str, *, patient: str = "", words: str = "", origin: str = "") -> Sample:
    """Understand the name of a sample.

    Args:
        name: a TCGA barcode of any length, with '-' or R's '.', or any other name, which then is the patient's.
        patient: whose it is, where a sample sheet says so.
        words: what the sheet says of the tissue, such as "Primary Tumor".
        origin: where its values are.

    Raises:
        DataError: sheet and barcode contradict each other, or the patient's id is no safe file name.
    """
    match = BARCODE.fullmatch(name.strip()) or BARCODE.fullmatch(name.strip().replace(".", "-"))
    if match is None:
        return Sample(name, check_id(patient or name, what="patient id"), _tissue(words), origin=origin)
    own, code, vial, portion, plate = (part.upper() for part in match.groups(default=""))
    told = CODES.get(code, Tissue.OTHER) if code else Tissue.UNTOLD
    said = _tissue(words)
    if (patient and patient != own) or (Tissue.UNTOLD not in (told, said) and (told in REFUSED) != (said in REFUSED)):
        raise DataError(
            f"Sample '{name}' is {told} of '{own}' by its barcode, but the sample sheet has {said} of '{patient}'. "
            "Mend the sheet."
        )
    aliquot = (vial, portion, -int(plate, 36) if plate else 0)
    return Sample(match[0].upper(), own, said if told is Tissue.UNTOLD else told, aliquot, origin)


def _tissue(words: str) -> Tissue:
    return next((tissue for pattern, tissue in WORDS if re.search(pattern, words, re.IGNORECASE)), Tissue.OTHER)


def choose(samples: Iterable[Sample], *, primary_only: bool = False) -> tuple[list[Sample], list[Dropped]]:
    """Keep one sample of each patient, by the rule at the head of this module.

    Args:
        samples: in any order.
        primary_only: leave out patients who have no primary tumour or further primary among their samples.

    Returns:
        The samples kept, by patient; and the others with the reason.
    """
    kept: dict[str, Sample] = {}
    dropped = []
    for sample in sorted(samples, key=_preference):
        if reason := _unfit(sample, primary_only=primary_only) or _second(sample, kept):
            dropped.append(Dropped(sample.name, sample.patient, reason, sample.origin))
        else:
            kept[sample.patient] = sample
    return [kept[patient] for patient in sorted(kept)], sorted(dropped, key=lambda drop: (drop.patient, drop.name))


def _preference(sample: Sample) -> tuple[int, tuple[str, str, int], str, str]:
    return PREFERENCE[sample.tissue], sample.aliquot, sample.name, sample.origin


def _unfit(sample: Sample, *, primary_only: bool) -> str:
    if sample.tissue in REFUSED:
        return str(sample.tissue)
    primary = sample.tissue in (Tissue.PRIMARY, Tissue.NEW_PRIMARY)
    return f"no primary tumour: {sample.tissue}" if primary_only and not primary else ""


def _second(sample: Sample, kept: dict[str, Sample]) -> str:
    rival = kept.get(sample.patient)
    return f"another sample of the patient is preferred: {rival.origin or rival.name}" if rival else ""


def refuse_uuids(samples: Sequence[Sample]) -> None:
    """Make sure that patients are known by name, not by the number of a file.

    Raises:
        DataError: a patient would be called by a UUID.
    """
    if strangers := [sample.patient for sample in samples if UUID.fullmatch(sample.patient)]:
        raise DataError(
            f"{len(strangers)} of {len(samples)} samples are named by file, not by patient: "
            f"{listing(strangers, most=3)}. Download the sample sheet of the same GDC cart and give it with --samples."
        )
