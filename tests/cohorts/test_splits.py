"""Splits are fair, whole, reproducible and cannot be altered unseen."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesurv.cohorts.audit import AUDIT_COLUMNS, audit, verdict
from slidesurv.cohorts.clinical import read_manifest
from slidesurv.cohorts.imports import read_mcat
from slidesurv.cohorts.splits import (
    carve_tune,
    kfold,
    left_out,
    read_mcat_splits,
    read_splits,
    rounds,
    write_splits,
)
from slidesurv.errors import ConfigError, DataError
from slidesurv.types import Cohort, Patient, Split

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")


def make_cohort(patients: int = 40, deaths: int = 20, *, seed: int = 0, sites: int = 4) -> Cohort:
    random = np.random.default_rng(seed)
    died = random.permutation(np.arange(patients) < deaths)
    return Cohort(
        "made",
        tuple(
            Patient(f"P{n}", (f"P{n}-a", f"P{n}-b"), float(random.uniform(1, 100)), bool(died[n]), site=f"S{n % sites}")
            for n in range(patients)
        ),
    )


def write_files(folder: Path, *files: dict[str, list[str]]) -> Path:
    """As MCAT writes them: an index without a name, and the shorter column filled with nothing."""
    for number, columns in enumerate(files):
        length = max(map(len, columns.values()))
        rows = [[column[row] if row < len(column) else "" for column in columns.values()] for row in range(length)]
        lines = [",".join(["", *columns]), *(f"{row},{','.join(cells)}" for row, cells in enumerate(rows))]
        (folder / f"splits_{number}.csv").write_text("\n".join(lines) + "\n")
    return folder


@given(st.integers(12, 60), st.integers(0, 2**32), st.data())
def test_every_stratum_is_divided_to_within_one_patient(patients, seed, data):
    folds = data.draw(st.integers(2, 5))
    deaths = data.draw(st.integers(2 * folds, patients))
    cohort = make_cohort(patients, deaths, seed=seed % 1000)
    tests = [split.test for split in kfold(cohort, folds=folds, seed=seed, tune=0)]
    assert sorted(patient for test in tests for patient in test) == sorted(cohort.ids)
    times = np.array([p.time for p in cohort if p.event])
    late = {p.id: p.time >= np.quantile(times, 0.75) for p in cohort}
    for chosen in (
        lambda p: True,
        lambda p: p.event,
        lambda p: p.event and late[p.id],
        lambda p: not p.event and late[p.id],
    ):
        counts = [sum(chosen(cohort[patient]) for patient in test) for test in tests]
        assert max(counts) - min(counts) <= 1


@given(st.floats(0.1, 0.5), st.integers(0, 1000))
def test_the_tuning_part_has_its_share_of_patients_and_of_deaths(tune, seed):
    cohort = make_cohort(60, 30)
    rest, taken = carve_tune(cohort, tune=tune, seed=seed)
    assert sorted([*rest, *taken]) == sorted(cohort.ids) and len(taken) == round(60 * tune)
    assert abs(sum(cohort[patient].event for patient in taken) - 30 * tune) <= 2


def test_the_same_seed_gives_the_same_splits_and_another_seed_others():
    cohort = make_cohort()
    assert kfold(cohort, seed=3) == kfold(cohort, seed=3) != kfold(cohort, seed=4)


def test_folds_do_not_share_one_pattern_of_tuning_patients():
    splits = kfold(make_cohort(), seed=0)
    assert len({split.tune for split in splits}) == len(splits)
    assert all(split.train and split.tune and split.test for split in splits)


def test_more_repeats_leave_the_first_folds_as_they_are_and_judge_everybody_once_each():
    cohort = make_cohort()
    splits = kfold(cohort, folds=4, repeats=3)
    assert splits[:4] == kfold(cohort, folds=4)
    assert rounds(splits) == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)
    for repeat in range(3):
        judged = [patient for split in splits[4 * repeat : 4 * repeat + 4] for patient in split.test]
        assert sorted(judged) == sorted(cohort.ids)
    assert len({split.test for split in splits}) == 12


@pytest.mark.parametrize(
    ("deaths", "message"),
    [
        (9, "has 9 deaths, too few for 5 folds with 2 each: set folds to 4 or fewer"),
        (3, "has 3 deaths, too few for 5 folds with 2 each: no cross-validation is possible"),
        (0, "has 0 deaths, too few for 5 folds with 2 each: no cross-validation is possible"),
    ],
)
def test_too_few_deaths_are_refused_with_what_is_possible(deaths, message):
    with pytest.raises(DataError, match=message):
        kfold(make_cohort(40, deaths))


def test_choices_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="folds is 1"):
        kfold(make_cohort(), folds=1)
    with pytest.raises(ConfigError, match="folds is 41, but cohort 'made' has 40 patients"):
        kfold(make_cohort(40, 40), folds=41)
    for tune in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="tune is"):
            carve_tune(make_cohort(), tune=tune, seed=0)


@pytest.mark.parametrize("deaths", [0, 1, 40])
def test_a_tuning_part_without_deaths_is_refused(deaths):
    cohort = make_cohort(40, deaths)
    if deaths == 40:
        assert len(carve_tune(cohort, tune=0.1, seed=0)[1]) == 4
        return
    with pytest.raises(DataError, match=f"Taking 4 of 40 training patients .{deaths} deaths. for tuning"):
        carve_tune(cohort, tune=0.1, seed=0)


def test_mcats_val_is_our_test_and_tuning_comes_from_its_train(tmp_path):
    cohort = make_cohort(20, 20)
    halves = cohort.ids[:12], cohort.ids[12:]
    write_files(tmp_path, {"train": halves[0], "val": halves[1]}, {"train": halves[1], "val": halves[0]})
    first, second = read_mcat_splits(tmp_path, cohort, tune=0.25, seed=1)
    assert set(first.test) == set(halves[1]) and {*first.train, *first.tune} == set(halves[0]) and len(first.tune) == 3
    assert set(second.test) == set(halves[0]) and len(second.tune) == 2
    assert read_mcat_splits(tmp_path, cohort, tune=0.25, seed=1)[0] == first
    assert read_mcat_splits(tmp_path, cohort, tune=0.25, seed=2)[0].tune != first.tune
    assert read_mcat_splits(tmp_path, cohort, tune=0)[0].tune == ()


def test_clams_slide_ids_become_patients_and_its_val_is_our_tuning_part(tmp_path):
    cohort = make_cohort(6, 6)
    slides = [[f"{slide}.svs" for slide in patient.slides] for patient in cohort]
    parts = {"train": slides[0] + slides[1] + slides[2], "val": slides[3], "test": slides[4] + slides[5]}
    turned = {"train": slides[4] + slides[5], "val": [], "test": slides[0] + slides[1] + slides[2] + slides[3]}
    split, _ = read_mcat_splits(write_files(tmp_path, parts, turned), cohort, tune=0)
    assert split == Split(("P0", "P1", "P2"), ("P3",), ("P4", "P5"))


def test_clams_tuning_part_teaches_when_the_protocol_has_none(tmp_path):
    cohort = make_cohort(6, 6)
    parts = {"train": ["P0", "P1", "P2"], "val": ["P3"], "test": ["P4", "P5"]}
    turned = {"train": ["P4", "P5"], "val": [], "test": ["P0", "P1", "P2", "P3"]}
    first, second = read_mcat_splits(write_files(tmp_path, parts, turned), cohort, tune=0.5, merge_tune=True)
    assert first == Split(("P0", "P1", "P2", "P3"), (), ("P4", "P5"))
    assert second == Split(("P4", "P5"), (), ("P0", "P1", "P2", "P3"))  # and none is carved


def test_a_tuning_part_of_written_splits_teaches_when_asked(tmp_path):
    cohort = make_cohort()
    splits = kfold(cohort)
    write_splits(tmp_path / "splits.json", splits, origin="kfold")
    merged = read_splits(tmp_path / "splits.json", cohort, merge_tune=True)
    assert [(split.train, split.tune, split.test) for split in merged] == [
        (split.train + split.tune, (), split.test) for split in splits
    ]


def test_one_patients_slides_in_two_parts_are_refused(tmp_path):
    cohort = make_cohort(3, 3)
    write_files(tmp_path, {"train": ["P0-a", "P1-a"], "val": [], "test": ["P0-b", "P2-a"]})
    with pytest.raises(DataError, match="1 patients stand in more than one part of a split: 'P0'"):
        read_mcat_splits(tmp_path, cohort)


def test_ids_of_others_are_left_out_and_logged(tmp_path, caplog):
    cohort = make_cohort(4, 4)
    folder = write_files(
        tmp_path, {"train": ["P0", "P1", "X"], "val": ["P2", "P3", "Y"]}, {"train": ["P2", "P3"], "val": ["P0", "P1"]}
    )
    with caplog.at_level(logging.WARNING):
        assert read_mcat_splits(folder, cohort, tune=0)[0] == Split(("P0", "P1"), (), ("P2", "P3"))
    assert "2 ids are not in cohort 'made' and were left out: 'X', 'Y'" in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([{"train": ["P0"], "val": ["P1", "P2"]}], "1 of 4 patients of cohort 'made' are in no part .*: 'P3'"),
        (
            [{"train": ["P0", "P1"], "val": ["P2", "P3"]}],
            "2 of 4 patients are not in exactly one test part .*: 'P0', 'P1'",
        ),
        ([{"train": ["P0", "P1"], "val": ["P2", "P3"]}] * 3, "4 of 4 patients are not in exactly one test part"),
        ([{"train": ["P0", "P1"], "valid": ["P2", "P3"]}], "Expected 'train', 'val'"),
        ([], "has no files 'splits_0.csv'"),
    ],
)
def test_files_that_do_not_cross_validate_the_cohort_are_refused(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        read_mcat_splits(write_files(tmp_path, *files), make_cohort(4, 4), tune=0)


def test_folds_come_in_the_order_of_their_numbers_and_other_files_are_ignored(tmp_path):
    cohort = make_cohort(11, 11)
    files = [{"train": [p for p in cohort.ids if p != own], "val": [own]} for own in cohort.ids]
    write_files(tmp_path, *files)
    (tmp_path / "splits_0_bool.csv").write_text("x\n")
    assert [split.test for split in read_mcat_splits(tmp_path, cohort, tune=0)] == [(own,) for own in cohort.ids]


def test_written_splits_are_read_again(tmp_path):
    cohort = make_cohort()
    splits = kfold(cohort)
    write_splits(tmp_path / "splits.json", splits, origin="kfold")
    assert read_splits(tmp_path / "splits.json", cohort) == splits
    assert json.loads((tmp_path / "splits.json").read_text())["origin"] == "kfold"


def test_a_patient_moved_in_the_file_is_noticed(tmp_path):
    cohort, path = make_cohort(), tmp_path / "splits.json"
    write_splits(path, kfold(cohort), origin="kfold")
    content = json.loads(path.read_text())
    fold = content["splits"][0]
    fold["train"].append(fold["test"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not what was written: its sha256 does not fit"):
        read_splits(path, cohort)


@pytest.mark.parametrize("content", ["[]", "{}", '{"splits": []}', "{"])
def test_a_file_that_holds_no_splits_is_refused(tmp_path, content):
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(DataError, match=r"splits\.json"):
        read_splits(tmp_path / "splits.json", make_cohort())


def test_splits_serve_a_part_of_their_cohort_but_not_a_larger_one(tmp_path):
    cohort, path = make_cohort(), tmp_path / "splits.json"
    write_splits(path, kfold(cohort), origin="kfold")
    part = cohort.subset(cohort.ids[:30])
    assert {patient for split in read_splits(path, part) for patient in split.test} == set(part.ids)
    with pytest.raises(DataError, match="5 of 45 patients of cohort 'made' are in no part"):
        read_splits(path, make_cohort(45))


def test_repeated_folds_are_written_and_read(tmp_path):
    cohort = make_cohort()
    splits = kfold(cohort, repeats=2)
    write_splits(tmp_path / "splits.json", splits, origin="kfold")
    assert read_splits(tmp_path / "splits.json", cohort) == splits


def test_patients_left_out_on_purpose_stay_out_and_others_are_missed(tmp_path):
    cohort, path = make_cohort(6, 6), tmp_path / "splits.json"
    splits = [Split(("P0", "P1"), ("P2",), ("P3", "P4"))]
    assert left_out(cohort, splits) == ("P5",)
    write_splits(path, splits, origin="group", left_out=left_out(cohort, splits))
    assert list(read_splits(path, cohort)) == splits
    with pytest.raises(DataError, match=r"1 of 6 patients of cohort 'made' are in no part .*: 'P6'"):
        read_splits(path, make_cohort(7, 7))
    with pytest.raises(DataError, match=r"Folds '0' of .* have nobody of cohort 'made' to teach or to judge"):
        read_splits(path, cohort.subset(["P0", "P1", "P2"]))


def test_the_audit_counts_what_a_hand_counts():
    patients = [
        ("a", 2.0, True, "X"),
        ("b", 4.0, False, "Y"),
        ("c", 9.0, True, "X"),
        ("d", 1.0, False, "Z"),
        ("e", 3.0, True, ""),
    ]
    cohort = Cohort("c", tuple(Patient(i, (), t, e, site=s) for i, t, e, s in patients))
    train, tune, test = audit(cohort, [Split(("a", "b"), ("c",), ("d", "e"))])
    assert tuple(train) == AUDIT_COLUMNS and list(train.values()) == [0, "train", 2, 1, "0 0 0 1", 3.0, 2, None, None]
    assert list(tune.values()) == [0, "tune", 1, 1, "0 0 0 1", 9.0, 1, 1, 1.0]
    assert list(test.values()) == [0, "test", 2, 1, "0 0 0 1", 2.0, 1, 0, 0.0]


def test_the_audit_counts_deaths_by_the_bins_of_training():
    time = {f"P{n}": float(n + 1) for n in range(8)}
    cohort = Cohort("c", tuple(Patient(name, (), months, name != "P7") for name, months in time.items()))
    train, _, test = audit(cohort, [Split(("P0", "P1", "P2", "P3"), (), ("P4", "P5", "P6", "P7"))])
    assert (train["events_by_bin"], test["events_by_bin"]) == ("1 1 1 1", "0 0 0 3")  # training's edges, not the test's
    (nobody, *_) = audit(cohort, [Split(("P7",), (), ("P0",))])
    assert nobody["events_by_bin"] is None


def test_the_verdict_warns_of_shared_sites_and_of_few_deaths():
    cohort = make_cohort(40, 20, sites=1)
    said = " ".join(verdict(audit(cohort, kfold(cohort))))
    assert "5 folds with 4 deaths in the test part." in said
    assert "Fewer than 10 deaths judge fold 0, 1, 2, 3, 4" in said
    assert "100 % of test patients come from a site that training has too." in said and "site-only baseline" in said


def test_the_verdict_is_content_with_separate_sites_and_says_when_sites_are_unknown():
    site = {"P0": "A", "P1": "A", "P2": "B", "P3": "B"}
    splits = [Split(("P0", "P1"), (), ("P2", "P3")), Split(("P2", "P3"), (), ("P0", "P1"))]
    known = Cohort("c", tuple(Patient(i, (), 1.0, True, site=s) for i, s in site.items()))
    unknown = Cohort("c", tuple(Patient(i, (), 1.0, True) for i in site))
    assert "site-only" not in " ".join(verdict(audit(known, splits)))
    assert "No site is known" in verdict(audit(unknown, splits))[-1]


def test_real_splits_of_luad_cross_validate_both_cohorts_made_of_it():
    tables, tokens = DATA / "tcga/luad", DATA / "cohorts/hif_tokens/luad"
    if not (tables.is_dir() and tokens.is_dir()):
        pytest.skip(f"real data: '{DATA}' is not here; set SLIDESURV_DATA")
    whole, _ = read_mcat(tables / "porpoise_mutsig_tcga_luad_all_clean.csv.zip", name="luad")
    splits = read_mcat_splits(tables / "splits_5foldcv", whole, tune=0)
    assert [len(split.test) for split in splits] == [91, 91, 91, 90, 90]
    part = read_manifest(tokens / "cohort.csv", name="luad")
    restricted = read_mcat_splits(tables / "splits_5foldcv", part, tune=0)
    assert [set(r.test) for r in restricted] == [set(s.test) & set(part.ids) for s in splits]
    shares = [row["shared_share"] for row in audit(whole, splits) if row["part"] == "test"]
    assert min(shares) > 0.9  # the published folds share their sites
