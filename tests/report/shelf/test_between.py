"""Two runs side by side: what differs, whether it is fair, and the paired difference."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from slidesurv.files import read_csv, write_csv
from slidesurv.report.jury import Jury
from slidesurv.report.read import read_run
from slidesurv.report.shelf.between import lay_beside
from slidesurv.survival.comparison import bootstrap_p

Made = Callable[..., Path]
HASHES = {"splits": "5", "features": "f", "tables": "7"}
CODE = {"version": "0.1.0", "commit": "released", "sha256": "c"}


def amend(folder: Path, **facts: object) -> Path:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return folder


def swap(folder: Path) -> Path:
    """Give each method the folds of the other: "good" is then as bad as "poor" was."""
    for one, other in (("good", "aside"), ("poor", "good"), ("aside", "poor")):
        (folder / one).rename(folder / other)
    return folder


def test_settings_and_choices_that_differ_are_named_by_dotted_keys(made: Made) -> None:
    first = amend(made("a"), settings={"name": "a", "training": {"epochs": 6, "l1": 0.0}, "data_sha256": "x"})
    second = amend(made("b"), settings={"name": "b", "training": {"epochs": 9, "l1": 0.0}, "search": {"trials": 3}})
    methods = json.loads((second / "run.json").read_text())["methods"]
    methods[0]["choices"] = {"dim": 16, "weights": "/home/someone/weights.bin", "ese": {"prompts": 4}}
    amend(second, methods=methods)
    told = {setting.key: (setting.first, setting.second) for setting in lay_beside(first, second).settings}
    assert told == {
        "name": ("a", "b"),
        "training.epochs": (6, 9),
        "search.trials": (None, 3),
        "models.good.dim": (8, 16),
        "models.good.ese.prompts": (None, 4),
    }


def test_the_difference_is_that_of_the_jury_and_turns_its_sign_with_the_runs(made: Made) -> None:
    first, second = made("a"), swap(made("b"))
    between, turned = lay_beside(first, second), lay_beside(second, first)
    run = read_run(first)
    expected = Jury(run).gap(run.methods[1], run.methods[0])
    gap = between.gaps[0]
    assert (gap.slug, gap.folds) == ("good", (0, 1, 2))
    assert gap.difference.value == pytest.approx(expected.value)
    assert (gap.difference.low, gap.difference.high) == pytest.approx(expected.interval)
    assert gap.difference.high < 0
    assert gap.p == pytest.approx(2 * bootstrap_p(expected.samples))  # Holm over two methods
    assert turned.gaps[0].difference.value == pytest.approx(-gap.difference.value)
    assert [index.value for index in gap.indices] == [index.value for index in reversed(turned.gaps[0].indices)]


def test_a_fold_with_other_patients_is_left_out_and_with_none_the_reason_is_told(made: Made) -> None:
    first, second = made("a"), made("b")
    for fold in range(3):
        for path in second.glob(f"*/seed*/fold{fold}/predictions.csv"):
            rows = read_csv(path)
            next(row for row in rows if row["split"] == "test")["time_months"] = "1.5"
            write_csv(path, rows, list(rows[0]))
        gap = lay_beside(first, second).gaps[0]
        assert len(gap.folds) == 2 - fold
    assert gap.difference.note == "no fold of both judges the same patients with the same follow-up"
    assert str(gap.difference) == "—"


def test_a_fold_that_other_follow_up_taught_is_compared(made: Made) -> None:
    first, second = made("a"), made("b")
    for path in second.glob("*/seed*/fold0/predictions.csv"):
        rows = read_csv(path)
        next(row for row in rows if row["split"] == "train")["time_months"] = "1.5"
        write_csv(path, rows, list(rows[0]))
    one, other = (read_run(folder).methods[0].results[0, 0] for folder in (first, second))
    assert one.same_patients(other) and not one.same_patients(other, training=True)
    assert lay_beside(first, second).gaps[0].folds == (0, 1, 2)


def test_methods_of_one_run_alone_are_named(made: Made) -> None:
    first, second = made("a"), made("b")
    methods = json.loads((second / "run.json").read_text())["methods"]
    amend(second, methods=[methods[0] | {"label": "Renamed", "slug": "poor"}])
    between = lay_beside(first, second)
    assert [gap.slug for gap in between.gaps] == ["poor"]
    assert between.alone == (("Taught",), ())


def test_it_is_fair_where_all_is_recorded_and_the_same(made: Made) -> None:
    runs = [amend(made(name), hashes=HASHES, code=CODE) for name in ("a", "b")]
    between = lay_beside(*runs)
    assert between.same == dict.fromkeys(("splits", "features", "tables", "code"), True)
    assert between.verdict == "Fair: splits, features, tables and code are the same."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hashes": HASHES | {"features": None}}, "Not fair: the runs have other features."),
        ({"hashes": HASHES | {"splits": "9"}, "code": CODE | {"sha256": "d"}}, "have other splits and code."),
        ({"code": None}, "Not known to be fair: code was not recorded."),
        ({"hashes": None}, "splits, features and tables were not recorded."),
        ({"settings": {"search": {"trials": 3}}}, "Not fair: the runs searched"),
        ({"protocol": "paper"}, "Not fair: one run chose its epochs on the test folds"),
    ],
)
def test_what_makes_it_unfair_is_named(made: Made, change: dict[str, object], words: str) -> None:
    first, second = (amend(made(name), hashes=HASHES, code=CODE) for name in ("a", "b"))
    assert words in lay_beside(first, amend(second, **change)).verdict


def test_folds_are_the_same_when_the_same_people_stand_in_them_whatever_made_them(made: Made) -> None:
    folds = [{"train": ["P00"], "tune": [], "test": ["P01"]}]
    first, second = (amend(made(name), hashes=HASHES | {"splits": name}, code=CODE) for name in ("a", "b"))
    for folder, origin in ((first, "kfold"), (second, "file")):
        (folder / "splits.json").write_text(json.dumps({"origin": origin, "splits": folds, "sha256": origin}))
    assert lay_beside(first, second).same["splits"] is True
    (second / "splits.json").write_text(json.dumps({"origin": "file", "splits": folds * 2, "sha256": "x"}))
    assert lay_beside(first, second).same["splits"] is False


def test_runs_of_an_earlier_version_share_their_data_when_the_one_hash_says_so(made: Made) -> None:
    settings = {"data_sha256": "x"}
    between = lay_beside(*(amend(made(name), settings=settings) for name in ("a", "b")))
    assert between.same == {"splits": True, "features": True, "tables": True, "code": None}


def test_the_stamp_of_one_run_marks_every_difference(made: Made) -> None:
    assert lay_beside(made("a"), made("b", protocol="paper")).stamp == "OPTIMISTIC"
