"""One person under two names is found, by id, by slide and by features, and weighed by what the folds do with them."""

import h5py
import numpy as np
import pytest

from slidesurv.cohorts.leaks import Finding, conclude, examine
from slidesurv.cohorts.splits import kfold
from slidesurv.slides.store import FeatureStore
from slidesurv.types import Cohort, Patient, Split


def make_cohort(*names: str, slides: dict[str, tuple[str, ...]] | None = None) -> Cohort:
    own = slides or {}
    patients = tuple(Patient(i, own.get(i, ()), 1.0 + n, n % 2 == 0, site="A") for n, i in enumerate(names))
    return Cohort("made", patients)


def told(findings: list[Finding], kind: str) -> str:
    return " ".join(finding.text for finding in findings if finding.kind == kind)


APART = [Split(("P0", "P1"), ("P2",), ("P0-b", "P3")), Split(("P0-b", "P3"), (), ("P0", "P1", "P2"))]
TOGETHER = [Split(("P0", "P0-b"), (), ("P1", "P2", "P3"))]


@pytest.mark.parametrize(
    "pair",
    [("TCGA-05-4249", "TCGA-05-4249-01A"), ("TCGA-05-4249-01A", "TCGA-05-4249-06A"), ("P0", "P0-b"), ("x", "x.2")],
)
def test_two_ids_of_one_person_on_both_sides_are_a_leak(pair):
    one, other = pair
    cohort = make_cohort(one, "P7", other, "P8")
    leaks = examine(cohort, [Split((one, "P7"), (), (other, "P8"))])
    assert leaks[0].kind == "leak"
    assert "1 of 1 pairs of patients that are one person by their ids are on both sides of fold 0" in leaks[0].text
    assert f"{one} = {other}" in leaks[0].text


@pytest.mark.parametrize(
    "pair", [("TCGA-05-4249", "TCGA-05-42490"), ("P1", "P10"), ("S-1", "S-2"), ("TCGA-05-4249", "x")]
)
def test_ids_that_look_alike_are_two_persons(pair):
    findings = examine(make_cohort(*pair), [Split((pair[0],), (), (pair[1],))])
    assert told(findings, "leak") == ""


def test_a_person_who_tunes_and_judges_is_a_leak_and_one_on_one_side_a_warning():
    cohort = make_cohort("P0", "P0-b", "P1", "P2", "P3")
    assert "both sides of fold 0, 1: 'P0 = P0-b'" in told(examine(cohort, APART), "leak")
    tunes = [Split(("P1", "P2"), ("P0",), ("P0-b", "P3"))]
    assert "both sides of fold 0" in told(examine(cohort, tunes), "leak")
    findings = examine(cohort, TOGETHER)
    assert told(findings, "leak") == ""
    assert "count twice: 'P0 = P0-b'. They are never on both sides" in told(findings, "warning")


def test_a_slide_that_bears_the_barcode_of_another_patient_is_found():
    names = ("TCGA-05-4249", "TCGA-05-4250")
    swapped = {names[0]: ("TCGA-05-4250-01Z-00-DX1",), names[1]: ("TCGA-05-4250-01Z-00-DX2",)}
    findings = examine(make_cohort(*names, slides=swapped), [Split(names[:1], (), names[1:])])
    assert "a slide of the one bears the barcode of the other" in told(findings, "leak")
    right = {name: (f"{name}-01Z-00-DX1",) for name in names}
    assert told(examine(make_cohort(*names, slides=right), [Split(names[:1], (), names[1:])]), "leak") == ""


def write_slides(folder, contents: dict[str, np.ndarray]) -> FeatureStore:
    for slide, features in contents.items():
        with h5py.File(folder / f"{slide}.h5", "w") as file:
            file.update(features=features, coords=np.zeros((len(features), 2), int))
            file["features"].attrs["name"] = slide  # so that the files differ, though the features do not
    return FeatureStore(folder)


def test_the_same_features_under_two_patients_are_a_leak_and_under_one_a_warning(tmp_path):
    random = np.random.default_rng(0)
    names = ("P0", "P1", "P2", "P3")
    features = {f"{name}-{k}": random.normal(size=(5, 3)) for name in names for k in "ab"}
    features["P3-a"] = features["P0-b"]
    features["P1-b"] = features["P1-a"]
    features["P2-b"] = features["P2-a"] + 1e-6  # nearly is not the same
    slides = {name: (f"{name}-a", f"{name}-b") for name in names}
    findings = examine(
        make_cohort(*names, slides=slides), [Split(names[:2], (), names[2:])], write_slides(tmp_path, features)
    )
    assert "have a slide with the same features are on both sides of fold 0: 'P0 = P3'" in told(findings, "leak")
    assert "1 pairs of slides of one patient have the same features, and count twice: 'P1-a = P1-b'" in told(
        findings, "warning"
    )
    assert "The features of 8 slides were compared" in told(findings, "note")


def test_who_is_not_judged_or_stands_nowhere_is_counted():
    findings = examine(make_cohort("a", "b", "c", "d"), [Split(("a",), ("b",), ("c",))])
    assert "1 of 4 patients stand in no part of any fold: 'd'" in told(findings, "warning")
    assert "2 of 4 patients teach or tune and are never judged" in told(findings, "note")
    repeated = kfold(make_cohort(*"abcdefghijkl"), folds=2, repeats=3)
    assert "6 folds are 3 repeats" in told(examine(make_cohort(*"abcdefghijkl"), repeated), "note")


def test_the_verdict_is_one_sentence_and_leaks_come_first():
    leak, warning, note = (Finding(kind, "x") for kind in ("leak", "warning", "note"))
    assert conclude([note, leak, warning]).startswith("Verdict: 1 leak. Mend")
    assert conclude([warning, warning, note]).startswith("Verdict: no leak, 2 warnings.")
    assert conclude([note]) == "Verdict: no leak and nothing to warn of."
    kinds = [finding.kind for finding in examine(make_cohort("P0", "P0-b", "P1", "P2", "P3"), APART)]
    assert kinds == sorted(kinds, key=("leak", "warning", "note").index)
