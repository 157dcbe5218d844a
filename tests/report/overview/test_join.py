"""Runs of one cohort with other settings, as one run."""

import numpy as np
import pytest

from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, read_json, write_csv, write_json
from slidesurv.report.jury import Jury
from slidesurv.report.overview.files import markdown
from slidesurv.report.overview.join import join, told_apart
from slidesurv.report.overview.printed import Printed
from slidesurv.report.overview.table import overview
from slidesurv.report.read import read_run


@pytest.fixture
def halves(made):
    """A run of two methods, and the same as two runs of one."""
    whole, *parts = (made(name) for name in ("whole", "first", "second"))
    for place, part in enumerate(parts):
        facts = read_json(part / "run.json")
        facts["methods"] = facts["methods"][place : place + 1]
        facts["settings"]["genomics"] = {"embedding": ["pca", "table"][place]}
        write_json(part / "run.json", facts)
    return whole, *parts


def test_joined_runs_are_compared_as_one_run_is(halves):
    whole, *parts = map(read_run, halves)
    joined = join(parts)
    assert [method.slug for method in joined.methods] == ["good", "poor"]
    one, other = (Jury(run).gap(*run.methods) for run in (whole, joined))
    assert np.array_equal(one.samples, other.samples)


def test_what_tells_runs_apart_is_said_and_no_setting_of_the_whole(halves):
    parts = [read_run(folder) for folder in halves[1:]]
    assert told_apart(parts) == ["genomics.embedding is 'pca' for Taught; 'table' for Plain."]
    assert "genomics.embedding" not in join(parts).settings and join(parts).settings["training.epochs"] == 6
    assert told_apart(parts[:1]) == [] and join(parts[:1]).settings == parts[0].settings


def test_failures_of_all_runs_are_kept(halves, made):
    facts = read_json(halves[1] / "run.json")
    write_json(halves[1] / "run.json", facts | {"failures": [{"name": "x, seed 0, fold 0", "reason": "Torn."}]})
    assert [failure.name for failure in join([read_run(part) for part in halves[1:]]).failures] == ["x, seed 0, fold 0"]


@pytest.mark.parametrize(("key", "value"), [("protocol", "paper"), ("folds", 2), ("seeds", [0])])
def test_other_folds_seeds_or_protocols_are_refused(halves, key, value):
    facts = read_json(halves[2] / "run.json")
    write_json(halves[2] / "run.json", facts | {key: value})
    with pytest.raises(DataError, match=f"Taught has {key} .*, but Plain .*give them the same cohort, folds"):
        join([read_run(part) for part in halves[1:]])


@pytest.mark.parametrize("split", ["test", "train"])
def test_other_people_in_a_fold_are_refused(halves, split):
    for seed in (0, 1):
        path = halves[2] / f"poor/seed{seed}/fold1/predictions.csv"
        rows = read_csv(path)
        next(row for row in rows if row["split"] == split)["time_months"] = "99"
        write_csv(path, rows, list(rows[0]))
    with pytest.raises(DataError, match="Fold 1 of Plain has other patients or follow-up than that of Taught"):
        join([read_run(part) for part in halves[1:]])


def test_a_method_that_stands_twice_is_refused(halves):
    run = read_run(halves[1])
    with pytest.raises(DataError, match="Several runs have a method 'good'"):
        join([run, run])


def test_a_named_reference_and_printed_values_stand_in_the_table(made):
    run = read_run(made(protocol="paper"))
    table = overview([run], reference="poor", printed={("poor", "made run"): Printed(0.6, 0.02)})
    assert (table.best, table.named) == ("Plain", True)
    text = markdown(table)
    assert "| Method | Patho. | Geno. | made | made, printed | Difference to Plain |" in text
    assert "Plain, which the others are compared with, was named before any of these numbers." in text
    taught, plain = (
        next(line for line in text.splitlines() if line.startswith(f"| {label}")) for label in ("Taught", "Plain")
    )
    assert taught.count("OPTIMISTIC") == 2 and "| — |" in taught
    assert "| 0.600 ± 0.020 |" in plain


def test_a_reference_that_is_not_there_is_refused(made):
    with pytest.raises(ConfigError, match=r"Unknown method 'por'\. Did you mean 'poor'"):
        overview([read_run(made())], reference="por")
