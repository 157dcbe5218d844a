"""What a paper prints, read and matched with a cohort."""

import math

from slidesurv.report.overview.printed import Printed, cohort_named, read_printed


def test_a_printed_value_has_its_spread_where_there_is_one():
    assert str(Printed(0.671, 0.027)) == "0.671 ± 0.027"
    assert str(Printed(0.605)) == "0.605"


def test_only_the_tables_that_are_asked_for_are_read(tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text("table,row,cohort,mean,sd\nTable I,SNN,BLCA,0.583,0.021\nTable IX,SNN,BRCA,0.608,\n")
    assert read_printed(path, ["Table I"]) == {("SNN", "BLCA"): Printed(0.583, 0.021)}
    assert math.isnan(read_printed(path, ["Table IX"])["SNN", "BRCA"].sd)


def test_a_cohort_is_known_by_the_first_text_that_names_it():
    cohorts = ["BLCA", "LUAD", "LUAD"]
    assert cohort_named(["tcga-luad, tokens", "blca"], cohorts) == "LUAD"
    assert cohort_named(["lung", "my-BLCA"], cohorts) == "BLCA"
    assert cohort_named(["lung"], cohorts) is None
