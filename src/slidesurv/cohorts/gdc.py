"""What the Genomic Data Commons holds of a project: slides, expression, and who the patients are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slidesurv import __version__
from slidesurv.cohorts.web import Web
from slidesurv.errors import ConfigError, DataError, listing, unknown
from slidesurv.files import check_id

__all__ = ["CLINICAL", "GDC", "KINDS", "Clinical", "HeldFile", "Holdings", "find_holdings"]

GDC = "https://api.gdc.cancer.gov"
PAGE = 1000  # hits of one answer
KINDS = {
    "slides": {"data_type": "Slide Image", "experimental_strategy": "Diagnostic Slide"},
    "expression": {"data_type": "Gene Expression Quantification", "analysis.workflow_type": "STAR - Counts"},
}
FILE_FIELDS = (
    *("file_id", "file_name", "md5sum", "file_size", "data_category", "data_type"),
    *("cases.submitter_id", "cases.project.project_id", "cases.samples.submitter_id", "cases.samples.sample_type"),
)
CASE_FIELDS = (
    *("submitter_id", "project.project_id", "tissue_source_site.code"),
    *(f"demographic.{name}" for name in ("vital_status", "days_to_death", "gender", "sex_at_birth", "race")),
    *("diagnoses.days_to_last_follow_up", "diagnoses.age_at_diagnosis", "diagnoses.diagnosis_is_primary_disease"),
    *("diagnoses.ajcc_pathologic_stage", "diagnoses.tumor_grade", "follow_ups.days_to_follow_up"),
)
ORDER = {"files": "file_id:asc", "cases": "case_id:asc"}  # so that no page repeats or misses one
MD5 = re.compile("[0-9a-f]{32}")
CLINICAL = ("patient_id", "project", "time_days", "event", "site", "age", "sex", "race", "stage", "grade")

Clinical = dict[str, Any]  # a row of CLINICAL


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One file.

    Attributes:
        kind: of `KINDS`.
        md5: of its bytes, 32 hexadecimal digits.
        size: bytes.
        category, type: GDC's words.
        patient: submitter id of the case.
        sample: barcode.
        sample_type: "Primary Tumor" …
    """

    kind: str
    id: str
    name: str
    md5: str
    size: int
    category: str
    type: str
    project: str
    patient: str
    sample: str
    sample_type: str


@dataclass(frozen=True, slots=True)
class Holdings:
    """What was found.

    Attributes:
        files: usable ones, by kind and id.
        failures: file_id, file_name and reason of those that are not.
        normal: how many samples of normal tissue were left out.
        patients: by id; ``time_days`` and ``event`` are None where they are not known.
        origin: where all this comes from.
    """

    files: tuple[HeldFile, ...]
    failures: tuple[dict[str, str], ...]
    normal: int
    patients: tuple[Clinical, ...]
    origin: dict[str, Any]

    def with_follow_up(self, known: Mapping[str, tuple[float | None, int | None]], *, source: str) -> Holdings:
        """Put other follow-up in the place of GDC's.

        Args:
            known: days and event (1 = it happened) by patient; who is not among them has none.
            source: what it is, for `origin`.
        """
        patients = []
        for patient in self.patients:
            days, event = known.get(patient["patient_id"], (None, None))
            patients.append({**patient, "time_days": days, "event": event})
        return replace(self, patients=tuple(patients), origin=self.origin | {"follow_up": source})


def find_holdings(web: Web, projects: Sequence[str], kinds: Collection[str] = tuple(KINDS)) -> Holdings:
    """Ask for the open files and the patients of projects.

    Args:
        web: GDC's API.
        projects: such as "TCGA-BLCA".
        kinds: of `KINDS`.

    Raises:
        ConfigError: a kind or a project is not known.
        DataError: there are no open files, or the service does not answer as it should.
    """
    if strange := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(unknown("kind of file", strange[0], KINDS))
    patients = [_clinical(hit) for hit in _hits(web, "cases", {"project.project_id": projects}, CASE_FIELDS)]
    _require_projects(web, projects, {patient["project"] for patient in patients})
    files, failures = [], []
    for kind in sorted(kinds):
        asked = {"cases.project.project_id": projects, "access": ["open"], **{k: [v] for k, v in KINDS[kind].items()}}
        for hit in _hits(web, "files", asked, FILE_FIELDS):
            try:
                files.append(_held_file(kind, hit))
            except DataError as error:
                told = {key: str(hit.get(key, "")) for key in ("file_id", "file_name")}
                failures.append({**told, "reason": str(error)})
    tumour = tuple(file for file in files if "normal" not in file.sample_type.casefold())
    if not tumour:
        raise DataError(f"GDC has no usable open files of {listing(kinds)} for {listing(projects)}. Ask for others.")
    by_id = sorted(patients, key=lambda patient: str(patient["patient_id"]))
    origin = _origin(web) | {"projects": sorted(projects), "kinds": sorted(kinds)}
    return Holdings(tumour, tuple(failures), len(files) - len(tumour), tuple(by_id), origin)


def _origin(web: Web) -> dict[str, Any]:
    status = web.ask("status")
    release = status.get("data_release") if isinstance(status, dict) else None
    return {"base_url": web.base_url, "data_release": release, "follow_up": "GDC", "slidesurv": __version__}


def _hits(web: Web, path: str, asked: Mapping[str, Sequence[str]], fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every hit of a question, page by page."""
    terms = [{"op": "in", "content": {"field": field, "value": list(values)}} for field, values in asked.items()]
    filters = {"op": "and", "content": terms}
    body = {"filters": filters, "fields": ",".join(fields), "size": PAGE, "sort": ORDER[path]}
    start, total = 0, 1
    while start < total:
        hits, total = _page(web, path, {**body, "from": start})
        if not hits and start < total:
            raise DataError(f"'{web.base_url}' gave {start} of {total} {path} and then none. Run the command again.")
        yield from hits
        start += len(hits)


def _page(web: Web, path: str, body: Mapping[str, Any] | None = None) -> tuple[list[dict[str, Any]], int]:
    """The hits of one answer, and how many there are in all."""
    answer = web.ask(path, body)
    try:
        return list(answer["data"]["hits"]), int(answer["data"]["pagination"]["total"])
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"'{web.base_url}' answered '{path}' in another shape than GDC does. Check --base-url."
        ) from None


def _require_projects(web: Web, projects: Sequence[str], found: Collection[str]) -> None:
    if absent := [project for project in projects if project not in found]:
        hits, _ = _page(web, f"projects?fields=project_id&size={PAGE}")
        raise ConfigError(unknown("project", absent[0], (str(hit.get("project_id")) for hit in hits)))


def _held_file(kind: str, hit: Mapping[str, Any]) -> HeldFile:
    """Understand one hit.

    Raises:
        DataError: something is missing, or the file belongs to several patients.
    """
    cases, size, md5 = hit.get("cases") or [], hit.get("file_size"), str(hit.get("md5sum"))
    if len(cases) != 1:
        raise DataError(f"It belongs to {len(cases)} patients, not to one.")
    if not isinstance(size, int) or not MD5.fullmatch(md5):
        raise DataError(f"GDC gives its size as {size!r} and its md5 as {md5!r}: it could not be checked.")
    sample = (cases[0].get("samples") or [{}])[0]
    return HeldFile(
        kind=kind,
        id=check_id(str(hit.get("file_id")), what="file id"),
        name=check_id(str(hit.get("file_name")), what="file name"),
        md5=md5,
        size=size,
        category=str(hit.get("data_category", "")),
        type=str(hit.get("data_type", "")),
        project=str((cases[0].get("project") or {}).get("project_id", "")),
        patient=check_id(str(cases[0].get("submitter_id")), what="patient id"),
        sample=str(sample.get("submitter_id", "")),
        sample_type=str(sample.get("sample_type", "")),
    )


def _last_seen(hit: Mapping[str, Any]) -> float | None:
    """Days to the last visit of a patient; None where no visit is recorded."""
    days = [diagnosis.get("days_to_last_follow_up") for diagnosis in hit.get("diagnoses") or []]
    days += [visit.get("days_to_follow_up") for visit in hit.get("follow_ups") or []]
    return max((day for day in days if isinstance(day, int | float)), default=None)


def _clinical(hit: Mapping[str, Any]) -> Clinical:
    """One patient: time in days to death or to the last time seen alive, age in years."""
    person, diagnoses = hit.get("demographic") or {}, hit.get("diagnoses") or [{}]
    primary = [diagnosis for diagnosis in diagnoses if str(diagnosis.get("diagnosis_is_primary_disease")) == "true"]
    main = (primary or diagnoses)[0]
    event = {"dead": 1, "alive": 0}.get(str(person.get("vital_status")).casefold())
    days = {1: person.get("days_to_death"), 0: _last_seen(hit)}
    age = main.get("age_at_diagnosis")  # days
    return {
        "patient_id": check_id(str(hit.get("submitter_id")), what="patient id"),
        "project": (hit.get("project") or {}).get("project_id"),
        "time_days": None if event is None else days[event],
        "event": event,
        "site": (hit.get("tissue_source_site") or {}).get("code"),
        "age": round(age / 365.25, 2) if isinstance(age, int | float) else None,
        "sex": person.get("gender") or person.get("sex_at_birth"),
        "race": person.get("race"),
        "stage": main.get("ajcc_pathologic_stage"),
        "grade": main.get("tumor_grade"),
    }
