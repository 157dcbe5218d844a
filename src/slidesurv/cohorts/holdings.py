"""What the Genomic Data Commons holds of a project, as files.

::

    <folder>/
      gdc_manifest.txt        what to download, as gdc-client reads it
      gdc_sample_sheet.tsv    which file is whose, as the data portal writes it
      clinical.csv            a row a patient
      cohort.csv              a row a slide, with follow-up: [cohort] table
      gdc.json                where all this comes from
      gdc_failures.csv        files that cannot be used, if any
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slidesurv.cohorts.columns import slide_name
from slidesurv.cohorts.gdc import CLINICAL, Holdings
from slidesurv.files import write_csv, write_json, write_text

__all__ = ["write_holdings"]

SHEET = ("File ID", "File Name", "Data Category", "Data Type", "Project ID", "Case ID", "Sample ID", "Sample Type")


def write_holdings(folder: Path, found: Holdings) -> int:
    """Write everything that the head of this module lists.

    Args:
        folder: made if it is not there.
        found: what to write.

    Returns:
        How many patients of ``cohort.csv`` have no follow-up.
    """
    files = found.files
    wanted = [(file.id, file.name, file.md5, file.size, "released") for file in files]
    _write_tabs(folder / "gdc_manifest.txt", ("id", "filename", "md5", "size", "state"), wanted)
    owned = [(f.id, f.name, f.category, f.type, f.project, f.patient, f.sample, f.sample_type) for f in files]
    _write_tabs(folder / "gdc_sample_sheet.tsv", SHEET, owned)
    write_csv(folder / "clinical.csv", found.patients, CLINICAL)
    cohort = _cohort(found)
    write_csv(folder / "cohort.csv", cohort, ("patient_id", "slide_id", *CLINICAL[1:]))
    write_json(folder / "gdc.json", found.origin)
    failures = folder / "gdc_failures.csv"
    failures.unlink(missing_ok=True)  # of an earlier manifest
    if found.failures:
        write_csv(failures, found.failures, ("file_id", "file_name", "reason"))
    return len({row["patient_id"] for row in cohort if row["time_days"] is None or row["event"] is None})


def _cohort(found: Holdings) -> list[dict[str, Any]]:
    """A row a slide; a row a patient who has any file, where no slides were asked for."""
    slides: dict[str, list[str]] = {file.patient: [] for file in found.files}
    for file in found.files:
        if file.kind == "slides":
            slides[file.patient].append(slide_name(file.name))
    without = [] if "slides" in found.origin["kinds"] else [""]
    return [
        {**patient, "slide_id": slide}
        for patient in found.patients
        if patient["patient_id"] in slides
        for slide in sorted(slides[patient["patient_id"]]) or without
    ]


def _write_tabs(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [[" ".join(str(cell).split()) for cell in row] for row in (header, *rows)]  # a cell has no tab, no line end
    write_text(path, "".join("\t".join(row) + "\n" for row in cells))
