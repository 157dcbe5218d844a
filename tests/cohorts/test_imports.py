"""MCAT's tables are read as they are, and the outcome in them never reaches the genomics."""

import os
import zipfile
from pathlib import Path

import pytest

from slidesurv.cohorts.imports import read_mcat, read_mcat_genomics
from slidesurv.errors import ConfigError, DataError

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
HEADER = (
    ",case_id,slide_id,site,is_female,oncotree_code,age,survival_months,train,A_mut,A_cnv,A_rnaseq,TP53,B_rnaseq,"
    "censorship"
)
ROWS = (
    "0,TCGA-05-0001,s1.svs,5,1.0,LUAD,60,10.5,1,1,-2,0.5,9,36893.0,0.0",
    "1,TCGA-05-0001,s2.svs,5,1.0,LUAD,60,10.5,1,1,-2,0.5,9,36893.0,0.0",
    "2,TCGA-2F-0002,s3.svs,2F,0.0,LUAD,,20.25,0,0,1,-1.0892732766665927,9,2.0,1.0",
)


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "tcga_luad_all_clean.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def pack(folder: Path, *members: tuple[str, str]) -> Path:
    path = folder / "packed.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return path


def real(name: str) -> Path:
    path = DATA / "tcga" / name
    if not path.exists():
        pytest.skip(f"real data: '{path}' is not here; set SLIDESURV_DATA")
    return path


def test_slides_become_patients_and_one_row_each_of_genomics(tmp_path):
    cohort, table = read_mcat(write(tmp_path, *ROWS), name="luad")
    assert cohort.ids == table.ids == ("TCGA-05-0001", "TCGA-2F-0002")
    assert cohort["TCGA-05-0001"].slides == ("s1", "s2")
    assert [(p.time, p.event, p.site) for p in cohort] == [(10.5, True, "05"), (20.25, False, "2F")]
    assert cohort["TCGA-2F-0002"].covariates == {"age": None, "is_female": 0.0, "oncotree_code": "LUAD"}
    assert table.genes == ("A_rnaseq", "B_rnaseq")
    assert table.values.tolist() == [[0.5, 10.0], [-1.0892732766665927, 2.0]]  # clipped at 10


def test_no_label_can_reach_the_genomics_whatever_the_order_of_columns(tmp_path):
    path = write(tmp_path, *ROWS)
    table = read_mcat_genomics(path, suffixes=("_rnaseq", "_cnv", "_mut"), clip=1e6)
    assert table.genes == ("A_mut", "A_cnv", "A_rnaseq", "B_rnaseq")
    assert table.values.tolist() == [[1, -2, 0.5, 36893], [0, 1, -1.0892732766665927, 2]]
    for label in ("censorship", "survival_months", "train", "age", ""):
        with pytest.raises(ConfigError, match="Genomic columns end in"):
            read_mcat_genomics(path, suffixes=("_rnaseq", label))


def test_a_table_without_the_wanted_genomics_still_is_a_cohort(tmp_path):
    path = write(tmp_path, "P1,s1,5,0,1", header="case_id,slide_id,survival_months,censorship,A_cnv")
    cohort, table = read_mcat(path, name="ucec")
    assert cohort.ids == ("P1",) and table is None
    assert read_mcat(path, name="ucec", suffixes=())[1] is None
    with pytest.raises(
        DataError, match=r"no column that ends in '_rnaseq'. Choose others of '_rnaseq', '_cnv', '_mut'"
    ):
        read_mcat_genomics(path)


def test_patients_without_usable_follow_up_are_refused_or_left_out(tmp_path):
    path = write(tmp_path, *ROWS[:2], ROWS[2].replace("20.25", "0"))
    with pytest.raises(DataError, match="1 patients have no usable follow-up"):
        read_mcat(path, name="luad")
    cohort, _ = read_mcat(path, name="luad", drop_invalid=True)
    assert cohort.ids == ("TCGA-05-0001",)
    assert cohort.dropped == (("TCGA-2F-0002", "with a time of zero or less"),)


def test_two_samples_of_one_patient_are_refused(tmp_path):
    with pytest.raises(DataError, match="1 patients have rows with different genomics: 'TCGA-05-0001'"):
        read_mcat(write(tmp_path, ROWS[0], ROWS[1].replace("36893.0", "3.0")), name="luad")


def test_a_hole_in_the_genomics_is_named(tmp_path):
    with pytest.raises(DataError, match=r"the first is '' for patient 'TCGA-2F-0002' in column 'B_rnaseq'"):
        read_mcat(write(tmp_path, *ROWS[:2], ROWS[2].replace(",2.0,", ",,")), name="luad")


def test_a_table_of_another_family_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no columns 'case_id', 'survival_months', 'censorship'.*Read it with"):
        read_mcat(write(tmp_path, "P1,s1", header="patient_id,slide_id"), name="x")


def test_a_member_that_points_out_of_the_archive_is_read_in_place(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = pack(inner, ("../dataset_csv/tcga_luad_all_clean.csv.zip", "\n".join([HEADER, *ROWS])))
    assert len(read_mcat(path, name="luad")[0]) == 2
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", "packed.csv.zip"]


def test_a_bomb_is_refused_before_it_is_opened(tmp_path):
    path = pack(tmp_path, ("x.csv", HEADER + "\n" + "0" * 10_000_000))
    with pytest.raises(DataError, match=r"would unpack from .* as no cohort table does"):
        read_mcat(path, name="luad")


def test_an_archive_of_several_tables_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds 2 files. Expected one table: 'a.csv', 'b.csv'"):
        read_mcat(pack(tmp_path, ("a.csv", HEADER), ("b.csv", HEADER)), name="luad")


def test_an_encrypted_archive_is_refused(tmp_path):
    path = pack(tmp_path, ("a.csv", "\n".join([HEADER, *ROWS])))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag in the member's and the central header
        content[content.find(mark) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is encrypted"):
        read_mcat(path, name="luad")


def test_a_damaged_archive_is_named(tmp_path):
    path = pack(tmp_path, ("a.csv", "\n".join([HEADER, *ROWS])))
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"Cannot read '.*packed\.csv\.zip'"):
        read_mcat(path, name="luad")


def test_the_real_luad_table_gives_genes_and_nothing_else():
    cohort, table = read_mcat(real("luad/mcat_sig_tcga_luad_all_clean.csv.zip"), name="luad")
    assert (len(cohort), sum(p.event for p in cohort), len({p.site for p in cohort})) == (453, 158, 33)
    assert table.ids == cohort.ids and len(table.genes) == 2812
    assert all(gene.endswith("_rnaseq") for gene in table.genes)
    assert max(abs(table.values.min()), table.values.max()) <= 10


@pytest.mark.parametrize(
    ("name", "patients", "deaths", "slides", "genes"),
    [("ucec/mcat_sig_tcga_ucec_all_clean.csv.zip", 480, 75, 539, 0),
     ("ucec/mcat_full_tcga_ucec_all_clean.csv.zip", 480, 75, 539, 0),
     ("blca/porpoise_mutsig_tcga_blca_all_clean.csv.zip", 373, 169, 437, 1554)],
)  # fmt: skip
def test_real_tables_have_the_counts_their_specification_states(name, patients, deaths, slides, genes):
    cohort, table = read_mcat(real(name), name="x")
    assert (len(cohort), sum(p.event for p in cohort), len(cohort.slides)) == (patients, deaths, slides)
    assert (len(table.genes) if table else 0) == genes
