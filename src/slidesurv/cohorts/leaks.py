"""Patients who teach and judge at once under two names: by their barcodes, their slides, or their features."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from slidesurv.cohorts.confounding import site_effect
from slidesurv.cohorts.splits import left_out, rounds
from slidesurv.errors import listing
from slidesurv.files import sha256
from slidesurv.slides.store import FeatureStore
from slidesurv.types import Cohort, Split

__all__ = ["Finding", "conclude", "examine"]

BARCODE = re.compile(r"(TCGA-\w\w-\w{4})(?![A-Za-z0-9])")
SEPARATOR = re.compile(r"[-_.]")

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader of the results must know.

    Attributes:
        kind: a "leak" makes results too good; a "warning" may; a "note" says what was looked at.
        text: a sentence.
    """

    kind: Literal["leak", "warning", "note"]
    text: str


def examine(cohort: Cohort, splits: Sequence[Split], store: FeatureStore | None = None) -> list[Finding]:
    """Look for what counts do not show: one patient on both sides, and a site that gives the outcome away.

    Args:
        cohort: everybody.
        splits: the folds.
        store: features; slides with as many tiles as another are read to their end and compared. None skips this.

    Returns:
        Leaks first.
    """
    found = [
        *_weigh(_one_person(cohort), splits, "are one person by their ids"),
        *_weigh(_foreign_slides(cohort), splits, "share a person: a slide of the one bears the barcode of the other"),
        *(_copies(cohort, splits, store) if store is not None else [Finding("note", "No features were looked at.")]),
        *_judged(cohort, splits),
        *_sites(cohort, splits),
    ]
    return sorted(found, key=lambda finding: ("leak", "warning", "note").index(finding.kind))


def conclude(findings: Iterable[Finding]) -> str:
    """The verdict in one sentence."""
    kinds = [finding.kind for finding in findings]
    leaks, warnings = kinds.count("leak"), kinds.count("warning")
    if leaks:
        return f"Verdict: {leaks} leak{'s' * (leaks > 1)}. Mend the table or the folds before anything is fitted."
    if warnings:
        return f"Verdict: no leak, {warnings} warning{'s' * (warnings > 1)}. Say so wherever results are shown."
    return "Verdict: no leak and nothing to warn of."


def _one_person(cohort: Cohort) -> list[Pair]:
    """Pairs of ids with one TCGA barcode, or of which one is the other's beginning: ``P1`` and ``P1-02``."""
    known, persons = set(cohort.ids), dict[str, list[str]]()
    for patient in cohort.ids:
        barcode = BARCODE.match(patient)
        persons.setdefault(barcode[1] if barcode else patient, []).append(patient)
    pairs = {pair for same in persons.values() for pair in combinations(same, 2)}
    for patient in cohort.ids:
        heads = (patient[: match.start()] for match in SEPARATOR.finditer(patient))
        pairs |= {(head, patient) for head in heads if head in known and (patient, head) not in pairs}
    return sorted(pairs)


def _foreign_slides(cohort: Cohort) -> list[Pair]:
    """Pairs of patients of whom one has a slide with the barcode of the other."""
    owner = {match[1]: patient for patient in cohort.ids if (match := BARCODE.match(patient))}
    found = [
        (patient.id, owner[match[1]])
        for patient in cohort
        for slide in patient.slides
        if (match := BARCODE.match(slide)) and match[1] in owner and owner[match[1]] != patient.id
    ]
    same = set(_one_person(cohort))
    return sorted({(one, other) for one, other in found if not {(one, other), (other, one)} & same})


def _copies(cohort: Cohort, splits: Sequence[Split], store: FeatureStore) -> list[Finding]:
    """Slides with the same features, tile by tile."""
    owners = [(patient.id, slide) for patient in cohort for slide in patient.slides if slide in store]
    shapes: dict[tuple[int, int], list[Pair]] = {}
    for owner in owners:
        header = store.header(owner[1])
        if header.tiles:
            shapes.setdefault((header.tiles, header.width), []).append(owner)
    contents: dict[str, list[Pair]] = {}
    for alike in (group for group in shapes.values() if len(group) > 1):
        for patient, slide in alike:
            features, _ = store.read(slide)
            contents.setdefault(sha256(features.numpy().tobytes()), []).append((patient, slide))
    same = [pair for group in contents.values() for pair in combinations(group, 2)]
    twice = [f"{one} = {other}" for (patient, one), (owner, other) in same if patient == owner]
    within = f"{len(twice)} pairs of slides of one patient have the same features, and count twice: {listing(twice)}."
    pairs = sorted({(patient, owner) for (patient, _), (owner, _) in same if patient != owner})
    return [
        *_weigh(pairs, splits, "have a slide with the same features"),
        *([Finding("warning", within)] if twice else []),
        Finding("note", f"The features of {len(owners)} slides were compared."),
    ]


def _weigh(pairs: Sequence[Pair], splits: Sequence[Split], what: str) -> list[Finding]:
    """A pair is a leak where one judges what the other has taught or tuned."""
    if not pairs:
        return []
    apart: dict[int, list[str]] = {}
    for number, split in enumerate(splits):
        judges, others = set(split.test), {*split.train, *split.tune}
        both = [f"{a} = {b}" for a, b in pairs if (a in judges and b in others) or (b in judges and a in others)]
        if both:
            apart[number] = both
    shown = listing(f"{one} = {other}" for one, other in pairs)
    if not apart:
        text = f"{len(pairs)} pairs of patients {what}, and count twice: {shown}."
        return [Finding("warning", f"{text} They are never on both sides of a fold.")]
    many = len({pair for both in apart.values() for pair in both})
    folds = ", ".join(map(str, apart))
    text = f"{many} of {len(pairs)} pairs of patients that {what} are on both sides of fold {folds}: {shown}."
    return [Finding("leak", text)]


def _judged(cohort: Cohort, splits: Sequence[Split]) -> list[Finding]:
    """How often patients are judged, where that is not once each."""
    repeats = rounds(splits)[-1] + 1
    judged = {patient for split in splits for patient in split.test}
    nowhere, found = left_out(cohort, splits), []
    if repeats > 1:
        text = f"{len(splits)} folds are {repeats} repeats: intervals must draw patients, not predictions."
        found.append(Finding("note", text))
    if nowhere:
        text = f"{len(nowhere)} of {len(cohort)} patients stand in no part of any fold: {listing(nowhere)}."
        found.append(Finding("warning", text))
    if never := len(cohort) - len(judged) - len(nowhere):
        found.append(Finding("note", f"{never} of {len(cohort)} patients teach or tune and are never judged."))
    return found


def _sites(cohort: Cohort, splits: Sequence[Split]) -> list[Finding]:
    effect = site_effect(cohort, splits)
    if effect is None:
        return [Finding("note", "Sites are not known, or too small to be compared: their effect was not tested.")]
    return [Finding("warning" if effect.misleads else "note", str(effect))]
