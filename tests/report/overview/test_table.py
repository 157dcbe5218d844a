"""Methods over cohorts: means, paired differences, and what is left out."""

import csv
import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from slidesurv.files import read_json, write_json
from slidesurv.report.overview.files import markdown, write_overview
from slidesurv.report.overview.judged import judge
from slidesurv.report.overview.table import overview
from slidesurv.report.read import read_run
from slidesurv.report.run import Method, Run
from slidesurv.survival.comparison import detectable


@pytest.fixture
def two(made):
    folders = [made(name) for name in ("one", "two")]
    for folder in folders:
        facts = read_json(folder / "run.json")
        write_json(folder / "run.json", facts | {"experiment": folder.name, "cohort": {"name": folder.name}})
    return folders


def test_the_mean_is_that_of_the_cohorts_and_its_interval_is_narrower(two):
    table = overview([read_run(folder) for folder in two])
    assert table.cohorts == ("one", "two")
    poor = next(line for line in table.lines if line.slug == "poor")
    assert poor.mean.value == pytest.approx(np.mean([cohort.value for cohort in poor.cohorts]))
    assert poor.mean.high - poor.mean.low < poor.cohorts[0].high - poor.cohorts[0].low


def test_the_reference_is_the_best_that_predicts_from_slides_alone(two):
    table = overview([read_run(folder) for folder in two])
    assert table.best == "Taught"
    good, poor = table.lines
    assert np.isnan(good.difference.value)
    assert poor.difference.value == pytest.approx(poor.mean.value - good.mean.value)
    assert poor.difference.high < 0


def test_a_method_that_reads_genes_at_prediction_is_no_reference(two):
    for folder in two:
        facts = read_json(folder / "run.json")
        facts["methods"][0]["genomics"] = "always"
        write_json(folder / "run.json", facts)
    assert overview([read_run(folder) for folder in two]).best == "Plain"


def test_a_method_that_reads_the_clinical_table_is_no_reference(two):
    for folder in two:
        facts = read_json(folder / "run.json")
        (folder / facts["methods"][0]["slug"]).rename(folder / "good-with-clinical")
        facts["methods"][0]["slug"] = "good-with-clinical"
        write_json(folder / "run.json", facts)
    assert overview([read_run(folder) for folder in two]).best == "Plain"


def test_a_method_that_one_cohort_lacks_has_no_mean_and_says_so(two):
    facts = read_json(two[1] / "run.json")
    write_json(two[1] / "run.json", facts | {"methods": facts["methods"][:1]})
    table = overview([read_run(folder) for folder in two])
    poor = next(line for line in table.lines if line.slug == "poor")
    assert np.isnan(poor.mean.value)
    text = markdown(table)
    assert "Plain: complete in 1 of 2 cohorts" in text
    assert "| — |" in text


def deathless(run: Run) -> Run:
    """The run, had nobody died in its test folds."""

    def alive(method: Method) -> Method:
        results = {at: replace(each, event=np.zeros_like(each.event)) for at, each in method.results.items()}
        return replace(method, results=results)

    return replace(run, experiment="deathless", cohort={"name": "deathless"}, methods=tuple(map(alive, run.methods)))


def test_a_cohort_without_deaths_has_no_c_index_and_says_why_once_for_all(two):
    runs = [read_run(folder) for folder in two]
    table = overview([*runs, deathless(runs[0])])
    reason = "no pair can be compared: 0 deaths among 60 test patients"
    for line in table.lines:
        assert line.cohorts[2].note == reason
        assert line.mean.note == f"undefined in deathless: {reason}"
    assert f"- All methods: undefined in deathless: {reason}.\n" in markdown(table)
    assert "complete in" not in markdown(table)


def test_a_cohort_without_any_c_index_is_left_out_of_the_ranks_and_named(two):
    runs = [read_run(folder) for folder in two]
    table = overview([*runs, deathless(runs[0])])
    assert table.ranking.labels == ("Taught", "Plain") and table.ranking.test.cohorts.tolist() == [0, 1]
    told = "for so few cohorts; 1 of 3 cohorts lack a score of some method and are left out. Mean ranks"
    assert told in markdown(table)
    assert overview([runs[0], deathless(runs[0])]).ranking is None


def test_a_reference_without_a_mean_says_so_beside_the_difference(two):
    runs = [read_run(folder) for folder in two]
    short = replace(runs[1], methods=runs[1].methods[:1])
    table = overview([runs[0], short], reference="poor")
    assert table.lines[0].difference.note == "Plain is complete in 1 of 2 cohorts"
    assert "- Taught: no difference: Plain is complete in 1 of 2 cohorts.\n" in markdown(table)


def test_what_must_be_known_of_one_number_stands_below_the_table(clean_run):
    run = read_run(clean_run)
    flat = {at: replace(each, risk=np.zeros_like(each.risk)) for at, each in run.methods[1].results.items()}
    methods = run.methods[0], replace(run.methods[1], results=flat)
    assert "- Plain: made: all patients have one risk in 3 of 3 folds" in markdown(
        overview([replace(run, methods=methods)])
    )


def test_a_published_protocol_is_stamped_at_every_number(made):
    table = overview([read_run(made(protocol="paper"))])
    row = next(line for line in markdown(table).splitlines() if line.startswith("| Taught"))
    assert row.count("OPTIMISTIC") == 1


def test_methods_are_ranked_over_the_cohorts_that_have_them_all(two):
    ranking = overview([read_run(folder) for folder in two]).ranking
    assert ranking.labels == ("Taught", "Plain")
    assert ranking.ranks == (1, 2)
    assert "Friedman's test over 2 cohorts and 2 methods: p = 0.157, roughly, for so few cohorts." in markdown(
        overview([read_run(folder) for folder in two])
    )


def test_a_method_that_one_cohort_lacks_is_not_ranked_and_one_cohort_ranks_nothing(two):
    facts = read_json(two[1] / "run.json")
    write_json(two[1] / "run.json", facts | {"methods": facts["methods"][:1]})
    assert overview([read_run(folder) for folder in two]).ranking is None
    assert overview([read_run(two[0])]).ranking is None


def test_differences_are_adjusted_for_the_number_of_methods(two):
    table = overview([read_run(folder) for folder in two])
    good, poor = table.lines
    assert math.isnan(good.p)
    assert poor.p == 2 / 2001
    assert "The same, adjusted by Holm for 1: Plain (p &lt; 0.001)." in markdown(table)


def test_the_smallest_difference_that_can_be_found_is_told_for_the_median_method(two):
    runs = [read_run(folder) for folder in two]
    table = overview(runs)
    rows = judge(runs)
    assert table.detectable == detectable(rows["poor"].minus(rows["good"]).samples)
    assert f"finds a true one of {table.detectable:.3f} four times in five (the median over methods)" in markdown(table)
    alone = overview([replace(run, methods=run.methods[:1]) for run in runs])
    assert math.isnan(alone.detectable) and "four times in five" not in markdown(alone)


def test_the_page_and_the_picture_stand_beside_the_table_and_link_to_reports_that_are_there(two, tmp_path):
    (two[0] / "report.html").write_text("here")
    write_overview(overview([read_run(folder) for folder in two]), tmp_path)
    page = (tmp_path / "overview.html").read_text()
    assert '<th scope="col"><a href="one/report.html">one</a></th><th scope="col">two</th>' in page
    assert "<script" not in page and not re.search(r"url\((?!#)", page)
    picture = ElementTree.parse(tmp_path / "critical_difference.svg").getroot()
    assert "Mean ranks, 1 is the best: Taught 1.00, Plain 2.00" in picture.get("aria-label")
    assert "prefers-color-scheme: dark" in (tmp_path / "critical_difference.svg").read_text()
    assert (tmp_path / "overview.md").read_text().rstrip().endswith("(critical_difference.svg)")


def test_a_picture_of_ranks_does_not_outlive_them(two, tmp_path):
    runs = [read_run(folder) for folder in two]
    write_overview(overview(runs), tmp_path)
    assert (tmp_path / "critical_difference.svg").is_file()
    write_overview(overview(runs[:1]), tmp_path)
    assert not (tmp_path / "critical_difference.svg").exists()


def test_one_cohort_has_a_page_without_ranks(made, tmp_path):
    table = overview([read_run(made(label="<b>&"))])
    write_overview(table, tmp_path / "table")
    assert sorted(path.name for path in (tmp_path / "table").iterdir()) == [
        "overview.csv",
        "overview.html",
        "overview.md",
        "overview.tex",
    ]
    page = (tmp_path / "table/overview.html").read_text()
    assert "&lt;b&gt;&amp;" in page and "<b>" not in page
    assert "Ranks over cohorts" not in page


def test_the_csv_holds_what_the_table_shows(two, tmp_path):
    table = overview([read_run(folder) for folder in two])
    write_overview(table, tmp_path)
    with (tmp_path / "overview.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["slug"] for row in rows] == ["good", "poor"]
    assert float(rows[1]["mean"]) == pytest.approx(table.lines[1].mean.value)
    assert rows[0]["difference"] == ""
    assert float(rows[0]["seconds"]) == 1.5


def test_cohorts_that_are_called_alike_are_headed_by_their_experiments(clean_run: Path):
    run = read_run(clean_run)
    twins = [replace(run, experiment=name) for name in ("first", "second")]
    assert overview(twins).cohorts == ("first", "second")


def test_one_method_alone_is_compared_with_nothing(clean_run: Path):
    run = read_run(clean_run)
    text = markdown(overview([replace(run, methods=run.methods[:1])]))
    assert "highest figure" not in text and "Holm" not in text
