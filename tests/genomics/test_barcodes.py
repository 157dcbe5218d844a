"""A barcode tells patient and tissue, and one sample of each patient is kept, by the stated rule."""

from itertools import permutations

import pytest

from slidesurv.errors import DataError
from slidesurv.genomics.barcodes import Tissue, choose, names_sample, read_sample, refuse_uuids

UUID = "0a1b2c3d-0000-4000-8000-00000000abcd"


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("TCGA-06-2559", Tissue.UNTOLD),
        ("TCGA-06-2559-01", Tissue.PRIMARY),
        ("TCGA-06-2559-01A", Tissue.PRIMARY),
        ("TCGA-06-2559-02A", Tissue.RECURRENCE),
        ("TCGA-AB-2803-03A-01T-0734-13", Tissue.PRIMARY),
        ("TCGA-06-2559-05A", Tissue.NEW_PRIMARY),
        ("TCGA-06-2559-06A-11R-A12B-07", Tissue.METASTASIS),
        ("TCGA-06-2559-10A", Tissue.NORMAL),
        ("TCGA-06-2559-11A-01R-1849-01", Tissue.NORMAL),
        ("TCGA-06-2559-14", Tissue.NORMAL),
        ("TCGA-06-2559-20A", Tissue.OTHER),
        ("TCGA-06-2559-50A", Tissue.MODEL),
        ("TCGA-06-2559-61A", Tissue.MODEL),
        ("TCGA-06-2559-77A", Tissue.OTHER),
    ],
)
def test_a_barcode_tells_patient_and_tissue(name, tissue):
    for spelling in (name, name.replace("-", "."), name.lower(), f" {name} "):
        sample = read_sample(spelling)
        assert (sample.name, sample.patient, sample.tissue) == (name, name[:12], tissue)


@pytest.mark.parametrize(
    ("words", "tissue"),
    [
        ("Primary Tumor", Tissue.PRIMARY),
        ("Primary Blood Derived Cancer - Bone Marrow", Tissue.PRIMARY),
        ("Tumor Primary Solid Tissue", Tissue.PRIMARY),
        ("Additional - New Primary", Tissue.NEW_PRIMARY),
        ("Additional Metastatic", Tissue.METASTASIS),
        ("Recurrent Tumor", Tissue.RECURRENCE),
        ("Tumor Recurrence Solid Tissue", Tissue.RECURRENCE),
        ("Solid Tissue Normal", Tissue.NORMAL),
        ("Normal Not Applicable Solid Tissue", Tissue.NORMAL),
        ("Cell Lines", Tissue.MODEL),
        ("Control Analyte", Tissue.OTHER),
        ("Something New", Tissue.OTHER),
        ("Tumor Not Reported", Tissue.UNTOLD),
        (" -- ", Tissue.UNTOLD),
    ],
)
def test_words_of_a_sheet_tell_the_tissue_of_samples_without_a_barcode(words, tissue):
    sample = read_sample("C3L-00004-01", patient="C3L-00004", words=words)
    assert (sample.patient, sample.tissue) == ("C3L-00004", tissue)


@pytest.mark.parametrize(
    ("patient", "words"), [("TCGA-06-0001", "Primary Tumor"), ("TCGA-06-2559", "Solid Tissue Normal")]
)
def test_a_sheet_that_contradicts_the_barcode_is_refused(patient, words):
    with pytest.raises(DataError, match="'TCGA-06-2559-01A' is primary tumour of 'TCGA-06-2559' by its barcode"):
        read_sample("TCGA-06-2559-01A", patient=patient, words=words)


def test_names_that_are_no_barcodes_are_patients_if_they_are_safe():
    assert read_sample("PT_0007").patient == "PT_0007"
    for name in ("../etc/x", "", "-1", "CON"):
        with pytest.raises(DataError, match="patient id"):
            read_sample(name)


def test_the_rule_keeps_the_same_sample_in_whatever_order_they_come():
    falling = [
        "TCGA-06-2559-01A-01R-2000-07",
        "TCGA-06-2559-01A-01R-1849-01",
        "TCGA-06-2559-01A-02R-2000-07",
        "TCGA-06-2559-01B-01R-2000-07",
        "TCGA-06-2559-05A-01R-2000-07",
        "TCGA-06-2559-06A-01R-2000-07",
        "TCGA-06-2559-02A-01R-2000-07",
        "TCGA-06-2559",
        "TCGA-06-2559-11A-01R-2000-07",
    ]
    for first in range(len(falling) - 1):
        left = falling[first : first + 4]
        for order in permutations(left):
            kept, dropped = choose(map(read_sample, order))
            assert [sample.name for sample in kept] == [left[0]]
            assert len(dropped) == len(left) - 1


def test_what_is_left_out_is_told_with_the_reason():
    names = ["TCGA-06-2559-11A", "TCGA-06-2559-01B", "TCGA-06-2559-01A", "TCGA-06-0001-11A", "TCGA-06-0002-06A"]
    kept, dropped = choose(map(read_sample, names))
    assert [sample.name for sample in kept] == ["TCGA-06-0002-06A", "TCGA-06-2559-01A"]
    assert [(drop.name, drop.reason) for drop in dropped] == [
        ("TCGA-06-0001-11A", "normal tissue"),
        ("TCGA-06-2559-01B", "another sample of the patient is preferred: TCGA-06-2559-01A"),
        ("TCGA-06-2559-11A", "normal tissue"),
    ]
    assert not any(drop.failed for drop in dropped)


def test_primary_only_leaves_out_patients_without_one():
    kept, dropped = choose(map(read_sample, ["TCGA-06-0002-06A", "TCGA-06-0003-05A", "P1"]), primary_only=True)
    assert [sample.patient for sample in kept] == ["TCGA-06-0003"]
    assert [drop.reason for drop in dropped] == ["no primary tumour: tissue not told", "no primary tumour: metastasis"]


def test_files_named_by_uuid_ask_for_the_sample_sheet():
    with pytest.raises(DataError, match=r"1 of 2 samples are named by file.*--samples"):
        refuse_uuids([read_sample(UUID), read_sample("TCGA-06-2559-01A")])
    refuse_uuids([read_sample(UUID, patient="TCGA-06-2559")])


def test_names_that_only_samples_have():
    assert names_sample("TCGA-06-2559-01A") and names_sample("TCGA.06.2559.01A") and names_sample(UUID)
    assert not names_sample("TP53") and not names_sample("ENSG00000000003")
