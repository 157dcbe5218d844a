"""What GDC holds becomes a manifest, a sample sheet and a cohort that the rest of the house reads."""

import os
import sys
from pathlib import Path

import pytest

from cohorts.gdc_server import serving
from slidesurv.cohorts.clinical import read_manifest
from slidesurv.cohorts.endpoints import read_endpoints
from slidesurv.cohorts.gdc import find_holdings
from slidesurv.cohorts.holdings import write_holdings
from slidesurv.cohorts.inventory import read_gdc_manifest
from slidesurv.cohorts.web import Web
from slidesurv.errors import ConfigError, DataError, MissingExtra
from slidesurv.files import read_csv, read_json

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
TABLE_S1 = DATA / "tcga/common/TCGA-CDR-SupplementalTableS1.xlsx"


def case(patient: str, **words):
    return {"submitter_id": patient, "case_id": patient.lower(), "project": {"project_id": "TCGA-BLCA"}, **words}


@pytest.fixture
def service():
    """Three patients: one dead with two slides, one alive with a slide and counts, one without any file."""
    with serving() as service:
        service.hits["cases"] = [
            case(
                "TCGA-2F-A9KO",
                demographic={"vital_status": "Dead", "days_to_death": 323, "gender": "male", "race": "white"},
                diagnoses=[
                    {"days_to_last_follow_up": 90, "age_at_diagnosis": 9000, "diagnosis_is_primary_disease": "false"},
                    {"age_at_diagnosis": 23323, "ajcc_pathologic_stage": "Stage III", "tumor_grade": "High Grade",
                     "diagnosis_is_primary_disease": "true"},
                ],
                tissue_source_site={"code": "2F"},
            ),
            case(
                "TCGA-2F-A9KQ",
                demographic={"vital_status": "Alive"},
                diagnoses=[{"days_to_last_follow_up": 200}, {"days_to_last_follow_up": None}],
                follow_ups=[{"days_to_follow_up": 2886}, {"days_to_follow_up": 10}],
            ),
            case("TCGA-2F-A9KR", demographic={"vital_status": "Not Reported"}),
        ]  # fmt: skip
        service.slide("TCGA-2F-A9KO-01Z-00-DX2.B.svs", b"two", patient="TCGA-2F-A9KO")
        service.slide("TCGA-2F-A9KO-01Z-00-DX1.A.svs", b"one", patient="TCGA-2F-A9KO")
        service.slide("TCGA-2F-A9KQ-01Z-00-DX1.C.svs", b"three", patient="TCGA-2F-A9KQ")
        service.counts("f1.rna_seq.augmented_star_gene_counts.tsv", b"counts", patient="TCGA-2F-A9KQ")
        yield service


def held(service, folder: Path, *projects: str, kinds=("slides", "expression")):
    with Web(service.url, attempts=3, pause=0.001) as web:
        found = find_holdings(web, projects or ("TCGA-BLCA",), kinds)
    write_holdings(folder, found)
    return found


def test_the_manifest_lists_what_was_asked_for_and_is_read_again(service, tmp_path):
    service.add("frozen.svs", b"x", data_type="Slide Image", experimental_strategy="Tissue Slide")
    service.slide("secret.svs", b"x")["access"] = "controlled"
    service.slide("other.svs", b"x")["cases"][0]["project"]["project_id"] = "TCGA-LUAD"
    service.add("f2.tsv", b"x", data_type="Gene Expression Quantification", analysis={"workflow_type": "HTSeq"})
    held(service, tmp_path)
    entries = read_gdc_manifest(tmp_path / "gdc_manifest.txt")
    listed = {hit["file_id"]: hit for hit in service.hits["files"][:4]}
    assert {entry.id for entry in entries} == set(listed)
    for entry in entries:
        hit = listed[entry.id]
        assert (entry.name, entry.md5, entry.size) == (hit["file_name"], hit["md5sum"], hit["file_size"])


def test_the_sample_sheet_has_the_columns_of_the_data_portal(service, tmp_path):
    held(service, tmp_path, kinds=["expression"])
    header, row = (line.split("\t") for line in (tmp_path / "gdc_sample_sheet.tsv").read_text().splitlines())
    assert header == [
        "File ID", "File Name", "Data Category", "Data Type", "Project ID", "Case ID", "Sample ID", "Sample Type"
    ]  # fmt: skip
    assert row[3:] == [
        "Gene Expression Quantification", "TCGA-BLCA", "TCGA-2F-A9KQ", "TCGA-2F-A9KQ-01A", "Primary Tumor"
    ]  # fmt: skip


def test_the_cohort_is_read_as_it_is(service, tmp_path):
    held(service, tmp_path)
    cohort = read_manifest(tmp_path / "cohort.csv", name="blca")
    dead, alive = cohort.patients
    assert dead.slides == ("TCGA-2F-A9KO-01Z-00-DX1.A", "TCGA-2F-A9KO-01Z-00-DX2.B")
    assert (dead.event, alive.event) == (True, False)
    assert dead.time == pytest.approx(323 * 12 / 365.25)
    assert alive.time == pytest.approx(2886 * 12 / 365.25)  # the last visit of all
    assert (dead.site, alive.site) == ("2F", "2F")  # of the table, and of the barcode
    expected = {"age": 63.85, "sex": "male", "stage": "Stage III", "grade": "High Grade"}
    assert {name: dead.covariates[name] for name in expected} == expected


def test_clinical_has_everyone_and_the_cohort_who_has_slides(service, tmp_path):
    held(service, tmp_path)
    assert [row["patient_id"] for row in read_csv(tmp_path / "clinical.csv")] == [
        "TCGA-2F-A9KO", "TCGA-2F-A9KQ", "TCGA-2F-A9KR"
    ]  # fmt: skip
    assert {row["patient_id"] for row in read_csv(tmp_path / "cohort.csv")} == {"TCGA-2F-A9KO", "TCGA-2F-A9KQ"}
    held(service, tmp_path, kinds=["expression"])
    rows = read_csv(tmp_path / "cohort.csv")
    assert [(row["patient_id"], row["slide_id"]) for row in rows] == [("TCGA-2F-A9KQ", "")]


def test_normal_tissue_is_left_out_and_counted(service, tmp_path):
    service.counts("normal.tsv", b"x", patient="TCGA-2F-A9KQ", sample_type="Solid Tissue Normal")
    found = held(service, tmp_path)
    assert found.normal == 1
    assert "normal.tsv" not in (tmp_path / "gdc_manifest.txt").read_text()


def test_files_that_cannot_be_used_are_named_with_the_reason(service, tmp_path):
    service.slide("two.svs", b"x")["cases"].append({"submitter_id": "TCGA-XX-0001"})
    service.slide("unchecked.svs", b"x")["md5sum"] = None
    service.slide("escapes.svs", b"x")["file_name"] = "../../escapes.svs"
    found = held(service, tmp_path)
    assert len(found.files) == 4
    reasons = {row["file_name"]: row["reason"] for row in read_csv(tmp_path / "gdc_failures.csv")}
    assert "belongs to 2 patients" in reasons["two.svs"]
    assert "could not be checked" in reasons["unchecked.svs"]
    assert "The file name is '../../escapes.svs'" in reasons["../../escapes.svs"]
    del service.hits["files"][4:]
    held(service, tmp_path)
    assert not (tmp_path / "gdc_failures.csv").exists()


def test_pages_are_turned_to_the_last(service, tmp_path):
    whole = held(service, tmp_path)
    for page in (1, 2):
        service.page = page
        assert held(service, tmp_path).files == whole.files
    assert len({file.id for file in whole.files}) == 4


def test_a_page_that_is_missing_is_an_error(service, tmp_path):
    service.page = 2
    find = service.find
    service.find = lambda path, question: find(path, question | {"size": 0} if question["from"] else question)
    with pytest.raises(DataError, match="gave 2 of 3 cases and then none"):
        held(service, tmp_path)


def test_where_it_comes_from_is_written_down(service, tmp_path):
    held(service, tmp_path)
    origin = read_json(tmp_path / "gdc.json")
    assert origin["data_release"] == "Data Release 43.0"
    assert origin["projects"] == ["TCGA-BLCA"]
    assert origin["follow_up"] == "GDC"


@pytest.mark.parametrize("fault", ["busy", "error", "cut"])
def test_a_question_that_fails_is_asked_again(service, tmp_path, fault):
    service.faults["files"].extend([fault, fault])
    assert len(held(service, tmp_path).files) == 4


@pytest.mark.parametrize(("fault", "words"), [("short", "with no JSON"), ("html", "with no JSON: b'<!DOCTYPE")])
def test_an_answer_that_is_something_else_is_quoted(service, tmp_path, fault, words):
    service.faults["files"].append(fault)
    with pytest.raises(DataError, match=words):
        held(service, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_answer_of_another_shape_is_refused(service, tmp_path):
    service.find = lambda path, question: {"hits": []}
    with pytest.raises(DataError, match=r"answered 'cases' in another shape than GDC does.*--base-url"):
        held(service, tmp_path)


def test_an_unknown_project_meets_the_nearest_one(service, tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown project 'TCGA-BLAC'. Did you mean 'TCGA-BLCA'\?"):
        held(service, tmp_path, "TCGA-BLCA", "TCGA-BLAC")


def test_an_unknown_kind_is_refused_before_anything_is_asked(service, tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown kind of file 'slide'. Did you mean 'slides'"):
        held(service, tmp_path, kinds=["slide"])
    assert service.asked == []


def test_a_project_without_open_files_is_an_error(service, tmp_path):
    for hit in service.hits["files"]:
        hit["access"] = "controlled"
    with pytest.raises(DataError, match="no usable open files of 'slides', 'expression' for 'TCGA-BLCA'"):
        held(service, tmp_path)


def test_endpoints_take_the_place_of_gdcs_follow_up(service, tmp_path):
    (tmp_path / "s1.csv").write_text(
        ",bcr_patient_barcode,OS,OS.time,PFI,PFI.time\n1,TCGA-2F-A9KO,1,323,1,100\n2,TCGA-2F-A9KQ,0,2886,0.0,#N/A\n"
    )
    with Web(service.url) as web:
        found = find_holdings(web, ["TCGA-BLCA"])
    known = read_endpoints(tmp_path / "s1.csv", "PFI")
    untold = write_holdings(tmp_path, found.with_follow_up(known, source="PFI of TCGA-CDR"))
    rows = {row["patient_id"]: (row["time_days"], row["event"]) for row in read_csv(tmp_path / "clinical.csv")}
    assert rows == {"TCGA-2F-A9KO": ("100.0", "1"), "TCGA-2F-A9KQ": ("", "0"), "TCGA-2F-A9KR": ("", "")}
    assert untold == 1
    assert read_json(tmp_path / "gdc.json")["follow_up"] == "PFI of TCGA-CDR"


def test_endpoints_of_another_name_or_table_are_refused(tmp_path):
    (tmp_path / "s1.csv").write_text("bcr_patient_barcode,OS,OS.time\nTCGA-2F-A9KO,1,323\n")
    with pytest.raises(ConfigError, match="Unknown endpoint 'RFS'"):
        read_endpoints(tmp_path / "s1.csv", "RFS")
    with pytest.raises(DataError, match=r"has no columns 'PFI', 'PFI.time'"):
        read_endpoints(tmp_path / "s1.csv", "PFI")


def test_a_spreadsheet_without_openpyxl_names_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "s1.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtra, match=r"pip install openpyxl.*as CSV"):
        read_endpoints(tmp_path / "s1.xlsx", "OS")


@pytest.mark.filterwarnings("ignore:Unknown extension:UserWarning")
def test_the_real_table_s1_has_its_endpoints():
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    if not TABLE_S1.exists():
        pytest.skip(f"real data: '{TABLE_S1}' is not here; set SLIDESURV_DATA")
    known = read_endpoints(TABLE_S1, "OS")
    assert len(known) == 11160
    assert known["TCGA-OR-A5J1"] == (1355.0, 1)
    assert sum(event == 1 for _, event in known.values()) == 3622
