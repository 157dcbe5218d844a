"""New patients judge: they are followed to their death, and what befalls the training patients does not befall them."""

from dataclasses import replace

import numpy as np
import pytest

from slidesurv.cohorts import holdout
from slidesurv.cohorts.clinical import read_manifest
from slidesurv.cohorts.holdout import write_holdout
from slidesurv.cohorts.planted import write_patients
from slidesurv.cohorts.splits import read_splits
from slidesurv.cohorts.synthetic import Truth
from slidesurv.errors import ConfigError
from slidesurv.files import read_csv, read_json

TRUTH = Truth(patients=40, tiles=(1, 2), width=2, genes=10)


def followed(folder, truth=TRUTH, **choices) -> tuple[np.ndarray, np.ndarray]:
    """Write a cohort with 20 judges; give time and event of everybody."""
    write_holdout(folder, truth, judges=20, seed=3, **choices)
    rows = read_csv(folder / "cohort.csv")
    return np.array([float(row["time_months"]) for row in rows]), np.array([row["event"] == "1" for row in rows])


def test_the_first_patients_teach_and_the_new_ones_judge(tmp_path):
    followed(tmp_path)
    cohort = read_manifest(tmp_path / "cohort.csv", name="made-up")
    (split,) = read_splits(tmp_path / "splits.json", cohort)
    assert (split.train, split.tune, split.test) == (cohort.ids[:40], (), cohort.ids[40:])


def test_those_who_judge_are_followed_to_their_death_or_for_a_hundred_years(tmp_path):
    time, event = followed(tmp_path)
    assert 0 < event[:40].mean() < 0.5 and time[:40].max() <= 2 * TRUTH.follow_up + 0.1
    assert event[40:].sum() == 19  # the last would die later
    assert time[40:].max() == time[40:][~event[40:]].item() == 1200


def test_training_patients_are_censored_as_a_planted_cohort_is(tmp_path, monkeypatch):
    def without_tiles(folder, truth, *, seed):
        write_patients(folder, truth, np.random.default_rng(seed))

    monkeypatch.setattr(holdout, "write_synthetic", without_tiles)
    truth = replace(TRUTH, patients=3000)
    write_holdout(tmp_path / "holdout", truth, judges=1)
    without_tiles(tmp_path / "planted", truth, seed=1)
    here, there = (read_csv(tmp_path / name / "cohort.csv") for name in ("holdout", "planted"))
    for column, near in (("event", 0.03), ("time_months", 0.25)):
        means = [np.mean([float(row[column]) for row in rows]) for rows in (here[:3000], there)]
        assert means[0] == pytest.approx(means[1], abs=near)


def test_longer_follow_up_sees_more_of_the_same_deaths_and_changes_no_judge(tmp_path):
    time, event = followed(tmp_path / "short")
    longer, more = followed(tmp_path / "long", replace(TRUTH, follow_up=50.0))
    assert (more | ~event).all() and more.sum() > event.sum()
    assert (longer[event] == time[event]).all() and (longer[40:] == time[40:]).all()


def test_mistakes_pass_follow_up_around_among_those_who_teach(tmp_path):
    time, event = followed(tmp_path / "right")
    quarter, _ = followed(tmp_path / "quarter", mislabelled=0.25)
    half, wrong_event = followed(tmp_path / "half", mislabelled=0.5)
    moved = [set(np.flatnonzero(wrong != time)) for wrong in (quarter, half)]
    assert [len(places) for places in moved] == [10, 20]
    assert moved[0] < moved[1] < set(range(40))
    assert sorted(zip(half, wrong_event, strict=True)) == sorted(zip(time, event, strict=True))


def test_mistakes_leave_tiles_genomes_and_the_programme_alone(tmp_path):
    for name, share in (("right", 0.0), ("wrong", 1.0)):
        followed(tmp_path / name, mislabelled=share)
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    assert (right / "expression.csv").read_bytes() == (wrong / "expression.csv").read_bytes()
    assert read_json(right / "planted.json") == read_json(wrong / "planted.json")
    assert (right / "features/SYN-0007-01.h5").read_bytes() == (wrong / "features/SYN-0007-01.h5").read_bytes()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_mistakes_is_a_share(tmp_path, share):
    with pytest.raises(ConfigError, match=f"mislabelled is {share}: it is a share"):
        write_holdout(tmp_path, TRUTH, judges=20, mislabelled=share)
