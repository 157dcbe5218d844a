"""A cohort table is read without guessing, or what is wrong with it is said."""

import gzip
import logging
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

from slidesurv.cohorts.clinical import describe, read_manifest, read_slides
from slidesurv.cohorts.columns import EventRule, slide_name
from slidesurv.errors import ConfigError, DataError, MissingExtra

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
HEADER = "patient_id,slide_id,time_months,event"


def write(folder: Path, *lines: str, name: str = "cohort.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_our_manifest_is_read_with_slides_in_table_order(tmp_path):
    path = write(tmp_path, f"{HEADER},site,age,stage", "P2,b.svs,5.5,1,X,61,II", "P1,a,7,0,Y,,", "P2,a2,5.5,1,X,61,II")
    cohort = read_manifest(path, name="c")
    assert cohort.ids == ("P2", "P1") and cohort["P2"].slides == ("b", "a2")
    assert (cohort["P2"].time, cohort["P2"].event, cohort["P2"].site) == (5.5, True, "X")
    assert cohort["P2"].covariates == {"age": 61.0, "stage": "II"}
    assert cohort["P1"].covariates == {"age": None, "stage": None} and cohort["P1"].event is False


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("packed", [False, True])
def test_separators_marks_line_ends_and_gzip_change_nothing(tmp_path, separator, packed):
    text = "\ufeff" + "\r\n".join([HEADER, "P1,s1,5,1", "", "P2,s2,6,0", ""]).replace(",", separator)
    path = tmp_path / ("cohort.csv.gz" if packed else "cohort.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert [(p.id, p.slides, p.time, p.event) for p in read_manifest(path, name="c")] == [
        ("P1", ("s1",), 5.0, True),
        ("P2", ("s2",), 6.0, False),
    ]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("case_id,slide_id,survival_months,censorship", "P,s.svs,12.0,0.0"),
        ("case_id,SLIDE,os_survival_days,os_censorship", "P,s,365.25,0"),
        ("PATIENT,wsi,time_years,event", "P,folder\\deep/s.tiff,1,1"),
        ("submitter_id,FILENAME,time_months,event", "P,s.h5,12,1"),
    ],
)
def test_the_fields_spellings_mean_the_same_patient(tmp_path, header, row):
    (patient,) = read_manifest(write(tmp_path, header, row), name="c")
    assert (patient.id, patient.slides, patient.event) == ("P", ("s",), True)
    assert patient.time == pytest.approx(12)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("PT_0007vs.svs", "PT_0007vs"), ("s.SVS", "s"), ("a.b.svs", "a.b"), ("s.svs.h5", "s.svs"), ("svs", "svs")],
)
def test_only_one_whole_suffix_is_taken_off_a_slide(name, stem):
    assert slide_name(name) == stem


@pytest.mark.parametrize("words", [("1", "2"), ("Dead", "Alive"), ("True", "False"), ("deceased", "")])
def test_events_in_other_words_are_asked_for_and_the_words_are_shown(tmp_path, words):
    path = write(tmp_path, "patient_id,time_months,vital_status", f"P1,5,{words[0]}", f"P2,5,{words[1]}")
    with pytest.raises(DataError, match=f"'{words[0]}' in 1 rows.*event_column = \"vital_status\", dead = "):
        read_manifest(path, name="c")
    rule = EventRule("vital_status", dead=(words[0].upper(),), alive=(words[1],))
    assert [patient.event for patient in read_manifest(path, name="c", event=rule)] == [True, False]


def test_a_column_called_event_with_other_values_is_not_guessed(tmp_path):
    path = write(tmp_path, HEADER, "P1,s1,5,1", "P2,s2,5,2")
    with pytest.raises(DataError, match=r"not certain which patients died. Column 'event' holds '1' in 1 rows, '2'"):
        read_manifest(path, name="c")


def test_two_columns_that_tell_of_death_are_not_guessed_between(tmp_path):
    path = write(tmp_path, "patient_id,time_months,event,censorship", "P1,5,1,1")
    with pytest.raises(DataError, match=r"Column 'event' holds.*Column 'censorship' holds"):
        read_manifest(path, name="c")
    rule = EventRule("censorship", dead=("0",), alive=("1",))
    assert read_manifest(path, name="c", event=rule)["P1"].event is False


def test_a_table_without_any_event_says_which_columns_it_has(tmp_path):
    with pytest.raises(DataError, match="no column 'event', and none that looks like one; it has 'patient_id', 'time"):
        read_manifest(write(tmp_path, "patient_id,time_months", "P1,5"), name="c")


def test_one_word_cannot_mean_both():
    with pytest.raises(ConfigError, match="'1' cannot mean both dead and alive in column 'x'"):
        EventRule("x", dead=("1", "2"), alive=("1.0",))


def test_a_time_without_a_unit_is_asked_for(tmp_path):
    path = write(tmp_path, "patient_id,time,event", "P1,365.25,1")
    with pytest.raises(DataError, match=r"Column 'time' does not tell its unit. Set .*time_unit"):
        read_manifest(path, name="c")
    assert read_manifest(path, name="c", time_unit="days")["P1"].time == pytest.approx(12)
    with pytest.raises(ConfigError, match="Unknown time unit 'weeks'"):
        read_manifest(path, name="c", time_unit="weeks")


def test_a_unit_against_the_columns_name_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'time_months' is in months by its name, but time_unit is 'days'"):
        read_manifest(write(tmp_path, HEADER, "P1,s,5,1"), name="c", time_unit="days")


def test_two_times_are_not_guessed_between(tmp_path):
    path = write(tmp_path, "patient_id,survival_months,survival_months_dss,event", "P1,5,6,1")
    with pytest.raises(
        DataError, match="2 columns can be the follow-up time: 'survival_months', 'survival_months_dss'"
    ):
        read_manifest(path, name="c")
    assert read_manifest(path, name="c", columns={"time": "survival_months_dss"})["P1"].time == 6


def test_a_chosen_column_that_is_not_there_is_named_with_the_nearest(tmp_path):
    path = write(tmp_path, "who,time_months,event", "P1,5,1")
    with pytest.raises(DataError, match="No column names the patient; the table has 'who'"):
        read_manifest(path, name="c")
    with pytest.raises(DataError, match=r"Unknown column 'whom'. Did you mean 'who'"):
        read_manifest(path, name="c", columns={"patient_id": "whom"})
    assert read_manifest(path, name="c", columns={"patient_id": "who"}).ids == ("P1",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["P1,s1,5,1", "P1,s2,6,1"], r"1 patients with two follow-ups: 's1 \(rows 2 and 3\)'"),
        (["P1,s1,5,1", "P1,s2,5,0"], "1 patients with two follow-ups"),
        (["P1,s1,5,1", "P2,s1,6,1"], r"1 slides that stand there twice: 's1 \(rows 2 and 3\)'"),
        (["P1,s1,5,1", "P1,s1,5,1"], "1 slides that stand there twice"),
        (["P1,x.svs,5,1", "P1,x.tif,5,1"], "1 slides that stand there twice"),
        (["P1,s1,5,1", "P2,S1,6,1"], "1 slides that stand there twice"),
        (["P1,s1,5,1", "p1,s2,6,1"], "1 patient ids that differ only in case"),
        (["P1,,5,1", "P1,,5,1"], "1 patients that stand there twice"),
        (["P1,s1,5,1,X", "P1,s2,5,1,Y"], r"1 patients with two sites: 's1 \(rows 2 and 3\)'"),
    ],
)
def test_contradictions_are_listed_with_their_rows(tmp_path, rows, message):
    header = f"{HEADER},site" if rows[0].count(",") == 4 else HEADER
    with pytest.raises(DataError, match=message):
        read_manifest(write(tmp_path, header, *rows), name="c")


def test_a_site_named_in_one_row_is_the_patients(tmp_path):
    path = write(tmp_path, f"{HEADER},site", "TCGA-05-4249,s1,5,1,", "TCGA-05-4249,s2,5,1,Bonn", "TCGA-05-4250,s3,5,1,")
    assert [patient.site for patient in read_manifest(path, name="c")] == ["Bonn", "05"]


def test_two_columns_for_the_patient_must_agree_in_every_row(tmp_path):
    header = "patient_id,case_id,slide_id,time_months,event"
    path = write(tmp_path, header, "P1,P1,s1,5,1", "P2,uuid-2,s2,5,1")
    for read in (lambda: read_manifest(path, name="c"), lambda: read_slides(path)):
        with pytest.raises(DataError, match=r"Columns 'patient_id' and 'case_id' could both .* differ in rows '3'\."):
            read()
    assert read_manifest(path, name="c", columns={"patient_id": "case_id"}).ids == ("P1", "uuid-2")
    path = write(tmp_path, header, "P1,P1 ,s1,5,1")
    assert read_manifest(path, name="c").ids == ("P1",)


def test_slides_without_patients_and_tables_without_rows_are_refused(tmp_path):
    for lines, message in ((("slide_id", "s"), "No column names the patient"), (("patient_id", "P"), "none for slides"),
                           (("patient_id,slide_id",), "has no rows. Give a row for each slide")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            read_slides(write(tmp_path, *lines))


@pytest.mark.parametrize("cell", ["5_0", "٣", "５", "0x10", "1e"])
def test_only_plain_numbers_are_times(tmp_path, cell):
    with pytest.raises(DataError, match=r"Row 2: 'time_months' is .*which is no number"):
        read_manifest(write(tmp_path, HEADER, f"P1,s1,{cell},1"), name="c")


def test_covariates_that_are_no_plain_numbers_stay_words(tmp_path):
    path = write(tmp_path, f"{HEADER},age,grade,stage,rna_id", "P1,s1,5,1,6_1,٣,2,0123")
    assert read_manifest(path, name="c")["P1"].covariates == {
        "age": "6_1", "grade": "٣", "stage": 2.0, "rna_id": "0123",
    }  # fmt: skip


@pytest.mark.parametrize("column", ["Event", "status_label"])
def test_columns_that_only_look_like_events_need_their_words(tmp_path, column):
    path = write(tmp_path, f"patient_id,time_months,{column}", "P1,5,1", "P2,5,0")
    with pytest.raises(DataError, match=rf"event_column = \"{column}\""):
        read_manifest(path, name="c")
    cohort = read_manifest(path, name="c", event=EventRule(column, dead=("1",), alive=("0",)))
    assert [patient.event for patient in cohort] == [True, False]


FRAME = pd.DataFrame(
    {"patient_id": ["007", "P2"], "slide_id": ["a.svs", None], "time_months": [0.1 + 0.2, 7], "event": [1, 0],
     "age": pd.array([60, None], dtype="Int64")}
)  # fmt: skip


def test_a_frame_from_parquet_is_read_as_the_same_table_in_text(tmp_path, monkeypatch):
    monkeypatch.setattr(pd, "read_parquet", lambda path, **choices: FRAME)
    first, second = read_manifest(tmp_path / "cohort.parquet", name="c")
    assert (first.id, first.slides, first.time, first.event) == ("007", ("a",), 0.1 + 0.2, True)
    assert second.slides == () and [first.covariates, second.covariates] == [{"age": 60.0}, {"age": None}]


def test_parquet_is_read_where_pyarrow_is_installed(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    FRAME.to_parquet(tmp_path / "cohort.parquet")
    assert read_manifest(tmp_path / "cohort.parquet", name="c")["007"].covariates == {"age": 60.0}
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"Cannot read '.*torn\.parquet' as Parquet"):
        read_manifest(tmp_path / "torn.parquet", name="c")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="'pip install pyarrow', or save the table as CSV"):
        read_manifest(tmp_path / "cohort.parquet", name="c")


@pytest.mark.parametrize(
    "name", ["../../etc/x", "/etc/x", "a\x01b", "CON", "x" * 300, "😀", "-x", "=HYPERLINK(1)", "<script>"]
)
def test_ids_that_are_no_file_names_are_refused_with_their_row(tmp_path, name):
    for row in (f"{name},s2,5,1", f"P2,{name},5,1"):
        with pytest.raises(DataError, match="in row 3 is"):
            read_manifest(write(tmp_path, HEADER, "P1,s1,5,1", row), name="c")


@pytest.mark.parametrize(
    ("time", "event", "reason"),
    [("0", "1", "zero or less"), ("-3", "1", "zero or less"), ("nan", "1", "finite time"), ("inf", "0", "finite time"),
     ("", "1", "finite time"), ("3650", "1", "more than 1200 months"), ("5", "", "without an event")],
)  # fmt: skip
def test_unusable_follow_up_is_refused_or_dropped_by_name(tmp_path, caplog, time, event, reason):
    path = write(tmp_path, HEADER, "P1,s1,5,1", f"P2,s2,{time},{event}")
    remedy = "add --set cohort.drop_invalid=true to the command"
    with pytest.raises(DataError, match=f"1 patients have no usable follow-up .1 .*{reason}.*: 'P2'.*{remedy}"):
        read_manifest(path, name="c")
    with caplog.at_level(logging.WARNING):
        cohort = read_manifest(path, name="c", drop_invalid=True)
    assert cohort.ids == ("P1",) and "'P2'. They were left out" in caplog.text
    ((dropped, why),) = cohort.dropped
    assert dropped == "P2" and reason in why


def test_all_who_were_dropped_are_handed_back_with_their_reasons(tmp_path):
    lost = [f"P{n},s{n},{'0' if n % 2 else ''},1" for n in range(1, 10)]
    cohort = read_manifest(write(tmp_path, HEADER, "P0,s0,5,1", *lost), name="c", drop_invalid=True)
    assert [patient for patient, _ in cohort.dropped] == [f"P{n}" for n in range(1, 10)]
    assert dict(cohort.dropped)["P1"] == "with a time of zero or less"
    assert dict(cohort.dropped)["P2"] == "without a finite time"
    assert describe(cohort)["dropped"] == 9 and describe(cohort)["patients"] == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER, 'P1,s1,"1,5",1'], "Row 2: 'time_months' is '1,5', which is no number. Write decimals with a point"),
        ([HEADER, "P1,s1,5"], "has 4 columns, but rows '2' do not"),
        ([f"{HEADER},event", "P1,s1,5,1,0"], "more than one column called 'event'"),
        ([HEADER], "has no rows"),
        ([HEADER, 'P1,"s1,5,1'], "a quote is not closed"),
    ],
)
def test_a_table_that_is_no_table_is_refused(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_manifest(write(tmp_path, *lines), name="c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER}\nP1,s1,5,1\n".encode("utf-16"), "is not UTF-8 text .UTF-16"),
        (f"{HEADER}\nP1,s\xe9,5,1\n".encode("latin-1"), "is not UTF-8 text"),
        (b"", "it is empty"),
    ],
)
def test_text_in_other_encodings_is_refused(tmp_path, content, message):
    (tmp_path / "cohort.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "cohort.csv", name="c")


def test_a_table_without_slides_makes_a_cohort_without_slides(tmp_path):
    cohort = read_manifest(write(tmp_path, "patient_id,time_months,event", "TCGA-3C-AAAU,5,1", "P2,6,0"), name="c")
    assert cohort.slides == ()
    assert [patient.site for patient in cohort] == ["3C", ""]  # from the barcode, when the table has no site


def test_a_cohort_is_summed_up(tmp_path):
    path = write(tmp_path, f"{HEADER},site", "P1,a,2,1,X", "P1,b,2,1,X", "P2,c,4,0,Y", "P3,d,8,0,", "P4,e,6,1,Y")
    assert describe(read_manifest(path, name="c")) == {
        "name": "c", "patients": 4, "slides": 5, "deaths": 2, "event_share": 0.5,
        "median_follow_up_months": 8.0, "sites": 2, "dropped": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("cohort", "patients", "deaths", "slides"), [("luad", 422, 148, 476), ("lusc", 386, 169, 417)])
def test_real_cohorts_have_the_counts_their_readme_states(cohort, patients, deaths, slides):
    path = DATA / f"cohorts/hif_tokens/{cohort}/cohort.csv"
    if not path.exists():
        pytest.skip(f"real data: '{path}' is not here; set SLIDESURV_DATA")
    facts = describe(read_manifest(path, name=cohort))
    assert (facts["patients"], facts["deaths"], facts["slides"]) == (patients, deaths, slides)
