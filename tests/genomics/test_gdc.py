"""A folder as gdc-client leaves it, and the sample sheet: whose file is whose, and what becomes of the others."""

import os
from threading import Event, get_ident
from time import sleep

import numpy as np
import pytest

from slidesurv.errors import DataError
from slidesurv.genomics import gdc
from slidesurv.genomics.barcodes import Tissue
from slidesurv.genomics.gdc import find_samples, read_files, read_sheet

OLD = "File ID\tFile Name\tData Category\tData Type\tProject ID\tCase ID\tSample ID\tSample Type\n"
NEW = "File ID\tFile Name\tData Type\tCase ID\tSample ID\tTissue Type\tTumor Descriptor\tSpecimen Type\n"
FOLDERS = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(8)]


def old_row(number, sample, tissue="Primary Tumor", data="Gene Expression Quantification"):
    case = ", ".join(name[:12] for name in sample.split(", "))
    cells = [FOLDERS[number], f"f{number}.gene_counts.tsv", "Transcriptome Profiling", data, "TCGA-GBM", case, sample]
    return "\t".join([*cells, tissue]) + "\n"


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_files_are_found_in_their_folders_and_everything_else_is_told(tmp_path):
    write(tmp_path / "a" / "P1.rna_seq.augmented_star_gene_counts.tsv")
    write(tmp_path / "a" / "annotations.tsv")
    write(tmp_path / "a" / "logs" / "x.parcel")
    write(tmp_path / "b" / "P2.tsv.gz")
    write(tmp_path / "c" / "P3.rna_seq.tsv.partial")
    write(tmp_path / "d" / "annotations.txt")
    write(tmp_path / "P4.augmented_star_gene_counts.tsv")
    write(tmp_path / "P5.augmented_star_gene_counts.tsv.partial")
    write(tmp_path / "gdc_sample_sheet.2024-01-01.tsv")
    write(tmp_path / "MANIFEST.txt")
    samples, dropped = find_samples(tmp_path, None)
    assert [(sample.patient, sample.origin) for sample in samples] == [
        ("P4", "P4.augmented_star_gene_counts.tsv"),
        ("P1", "a/P1.rna_seq.augmented_star_gene_counts.tsv"),
        ("P2", "b/P2.tsv.gz"),
    ]
    assert [(drop.name, drop.reason, drop.failed) for drop in dropped] == [
        ("P5", "the download has not ended", True),
        ("P3", "the download has not ended", True),
        ("d", "no table of counts in its folder", False),
    ]


def test_the_sheet_says_whose_the_files_are(tmp_path):
    rows = [old_row(0, "TCGA-06-0001-01A"), old_row(1, "TCGA-06-0001-11A", "Solid Tissue Normal")]
    rows += [old_row(2, "TCGA-06-0002-01A"), old_row(3, "TCGA-06-0003-01A", data="Slide Image")]
    sheet = read_sheet(write(tmp_path / "sheet.tsv", OLD + "".join(rows)))
    for number in (0, 1, 5):
        write(tmp_path / "gdc" / FOLDERS[number] / f"f{number}.gene_counts.tsv")
    samples, dropped = find_samples(tmp_path / "gdc", sheet)
    assert [(s.name, s.patient, s.tissue) for s in samples] == [
        ("TCGA-06-0001-01A", "TCGA-06-0001", Tissue.PRIMARY),
        ("TCGA-06-0001-11A", "TCGA-06-0001", Tissue.NORMAL),
    ]
    assert [(drop.name, drop.reason) for drop in dropped] == [
        ("f5", "not in the sample sheet"),
        ("TCGA-06-0002-01A", "in the sample sheet, but has no file"),
    ]


def test_new_sheets_and_other_programmes_are_read(tmp_path):
    rows = [f"{FOLDERS[0]}\tf0.tsv\tGene Expression Quantification\tC3L-00004\tC3L-00004-01\tTumor\tPrimary\tSolid\n"]
    rows += [f"{FOLDERS[1]}\tf1.tsv\tGene Expression Quantification\tC3L-4\tC3L-4-06\tNormal\tNot Applicable\tSolid\n"]
    sheet = read_sheet(write(tmp_path / "sheet.tsv", NEW + "".join(rows)))
    first, second = sheet.find(FOLDERS[0]), sheet.find("f1.tsv")
    assert (first.patient, first.tissue) == ("C3L-00004", Tissue.PRIMARY)
    assert (second.patient, second.tissue) == ("C3L-4", Tissue.NORMAL)
    assert sheet.find("C3L-00004-01") is first
    assert sheet.find("", "other") is None


def test_a_sample_id_of_two_files_finds_neither(tmp_path):
    text = OLD + old_row(0, "TCGA-06-0001-01A") + old_row(1, "TCGA-06-0001-01A")
    sheet = read_sheet(write(tmp_path / "sheet.tsv", text))
    assert sheet.find("TCGA-06-0001-01A") is None
    assert sheet.find(FOLDERS[1]).patient == "TCGA-06-0001"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OLD + old_row(0, "TCGA-06-0001-01A") + old_row(0, "TCGA-06-0002-01A"), "lists file '00000000-.* for"),
        (OLD + old_row(0, "TCGA-06-0001-01A") + old_row(0, "TCGA-06-0001-11A", "Solid Tissue Normal"), "lists file"),
        (OLD + old_row(0, "TCGA-06-0001-01A, TCGA-06-0002-01A"), "one file for 'TCGA-06-0001-01A', 'TCGA-06-0002"),
        (OLD + old_row(0, "TCGA-06-0001-01A", "Solid Tissue Normal"), "Mend the sheet"),
        ("id\tname\n1\t2\n", "no sample sheet: it lacks 'case_id', 'file_id', 'sample_id'"),
        ("", "lacks 'any row'"),
        (OLD, "lacks 'any row'"),
    ],
)
def test_a_sheet_that_contradicts_itself_or_is_none_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_sheet(write(tmp_path / "sheet.tsv", text))


def test_a_sheet_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "sheet.tsv").write_bytes(OLD.encode("utf-16"))
    for name in ("sheet.tsv", "absent.tsv"):
        with pytest.raises(DataError, match="Cannot read the sample sheet"):
            read_sheet(tmp_path / name)


def test_an_empty_or_absent_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no STAR counts files"):
        find_samples(tmp_path, None)
    with pytest.raises(DataError, match="Cannot read the folder"):
        find_samples(tmp_path / "absent", None)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    outside = write(tmp_path / "outside" / "P1.gene_counts.tsv")
    (tmp_path / "gdc" / "a").mkdir(parents=True)
    (tmp_path / "gdc" / "a" / "P1.gene_counts.tsv").symlink_to(outside)
    with pytest.raises(DataError, match="leads out of"):
        find_samples(tmp_path / "gdc", None)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b").symlink_to(outside.parent)
    with pytest.raises(DataError, match="leads out of"):
        find_samples(tmp_path / "other", None)


def test_a_pipe_is_not_opened(tmp_path):
    write(tmp_path / "a" / "P1.gene_counts.tsv")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "P2.gene_counts.tsv")
    samples, dropped = find_samples(tmp_path, None)
    assert [sample.patient for sample in samples] == ["P1"]
    assert [drop.name for drop in dropped] == ["b"]


def test_a_file_that_cannot_be_used_does_not_stop_the_others(tmp_path):
    for patient in ("P1", "P2", "P3"):
        write(tmp_path / f"{patient}.gene_counts.tsv")
    samples, _ = find_samples(tmp_path, None)
    told = []

    def read(path):
        if "P2" in path.name:
            raise DataError(f"'{path}' is torn. Download it again.")
        return 1.0

    def take(path, value):
        if "P3" in path.name:
            raise DataError(f"'{path}' lacks genes.")
        return np.array([value])

    rows, dropped = read_files(tmp_path, samples, read, take, lambda done, total: told.append((done, total)))
    assert [(sample.patient, row.tolist()) for sample, row in rows] == [("P1", [1.0])]
    assert [(drop.patient, drop.reason, drop.failed) for drop in dropped] == [
        ("P2", "'P2.gene_counts.tsv' is torn. Download it again.", True),
        ("P3", "'P3.gene_counts.tsv' lacks genes.", True),
    ]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_files_are_read_side_by_side_and_taken_in_their_order_by_one_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(gdc.os, "cpu_count", lambda: 2)
    for patient in ("P1", "P2", "P3"):
        write(tmp_path / f"{patient}.gene_counts.tsv")
    samples, _ = find_samples(tmp_path, None)
    second, threads = Event(), set()

    def read(path):
        second.wait(10) if "P1" in path.name else second.set()  # the first ends after the second has begun
        threads.add(get_ident())
        return path.name

    def take(path, name):
        assert second.is_set()
        assert name == path.name
        assert get_ident() not in threads
        return np.array([float(name[1])])

    rows, dropped = read_files(tmp_path, samples, read, take, lambda done, total: None)
    assert [row.item() for _, row in rows] == [1.0, 2.0, 3.0]
    assert not dropped
    assert len(threads) == 2


def test_a_bug_while_reading_ends_it_without_reading_the_rest(tmp_path):
    for number in range(200):
        write(tmp_path / f"P{number:03d}.gene_counts.tsv")
    samples, _ = find_samples(tmp_path, None)
    begun = []

    def read(path):
        begun.append(path)
        sleep(0.01)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_files(tmp_path, samples, read, lambda path, value: value, lambda done, total: None)
    assert len(begun) < 100
