"""Raw expression becomes one row a patient; what was read, done and left out adds up and is written beside it."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.conversion import Recipe
from slidesurv.genomics.expression import read_expression
from slidesurv.genomics.gdc import read_sheet
from slidesurv.genomics.genes import read_gene_list
from slidesurv.genomics.kinds import Kind
from slidesurv.genomics.prepare import prepare_gdc, prepare_table
from slidesurv.genomics.prepared import write_prepared
from star_files import gene_heads, star_text, write_star

SHARED = Path(__file__).parents[2].parent / "shared"
GOLDEN = Path(os.environ.get("SLIDESURV_GOLDEN_BULKRNABERT") or SHARED / "golden/bulkrnabert")
DATA = Path(os.environ.get("SLIDESURV_DATA") or SHARED / "data") / "tcga/common"
HEADS = gene_heads(200, twins=[9])
IDS = tuple(f"ENSG{number:011d}" for number in range(200) if number != 9)


@pytest.fixture
def folder(tmp_path):
    """Three patients; one also has normal tissue, one a second vial."""
    for seed, sample in enumerate(["0001-01A", "0001-11A", "0002-01B", "0002-01A", "0003-06A"]):
        name = f"TCGA-06-{sample}"
        write_star(tmp_path / "gdc" / f"f{seed}" / f"{name}.rna_seq.augmented_star_gene_counts.tsv", HEADS, seed=seed)
    return tmp_path / "gdc"


def column(folder, name, what):
    path = next(folder.glob(f"*/{name}.*"))
    table = pd.read_csv(path, sep="\t", comment="#", float_precision="round_trip").set_index("gene_id")
    values = table.loc[[head.split("\t")[0] for head in HEADS if "PAR" not in head], what]
    return values.to_numpy(np.float64)


@pytest.mark.skipif(not (GOLDEN / "gdc").is_dir(), reason=f"no golden files in '{GOLDEN}'")
def test_golden_gdc_files_become_the_table_of_the_authors_program():
    expected = pd.read_csv(GOLDEN / "gdc_expected.csv", float_precision="round_trip").set_index("identifier")
    recipe = Recipe(genes=read_gene_list(GOLDEN / "gene_ids.txt"), max_missing=1.0)
    table = prepare_gdc(GOLDEN / "gdc", recipe).table
    assert table.genes == tuple(expected.columns)
    assert table.ids == tuple(sorted(expected.index))
    assert np.array_equal(table.values, expected.loc[list(table.ids)].to_numpy(np.float64))


@pytest.mark.skipif(not DATA.exists(), reason=f"no real tables in '{DATA}': set SLIDESURV_DATA")
def test_real_samples_keep_their_values_and_order_on_the_way_through_a_file(tmp_path):
    genes = read_gene_list(DATA / "bulkrnabert_common_gene_id.txt")
    path = DATA / "bulkrnabert_tcga_sample_tpm_4x19062.csv.gz"
    prepared = prepare_table(path, Recipe(genes=genes))
    record = write_prepared(tmp_path, prepared)
    table = read_expression(tmp_path / "expression.csv.gz")
    raw = pd.read_csv(path, float_precision="round_trip").set_index("identifier")
    assert table.ids == ("TCGA-06-0187", "TCGA-06-0744", "TCGA-06-2559", "TCGA-27-2521")
    assert table.genes == genes
    assert np.array_equal(table.values, raw.loc[[f"{patient}-01A" for patient in table.ids], list(genes)].to_numpy())
    assert (record["values"]["found"], record["genes"]["missing"]) == ("tpm", [])


def test_a_folder_becomes_one_row_a_patient_and_the_counts_add_up(folder):
    prepared = prepare_gdc(folder, Recipe())
    assert prepared.table.ids == ("TCGA-06-0001", "TCGA-06-0002", "TCGA-06-0003")
    assert prepared.table.genes == IDS
    for patient, sample in zip(prepared.table.ids, ("0001-01A", "0002-01A", "0003-06A"), strict=True):
        values = column(folder, f"TCGA-06-{sample}", "tpm_unstranded")
        assert np.array_equal(prepared.table.rows([patient])[0], values)
    samples = prepared.facts["samples"]
    assert samples == {
        "found": 5,
        "kept": 3,
        "kept_by_tissue": {"metastasis": 1, "primary tumour": 2},
        "dropped": {"another sample of the patient is preferred": 1, "normal tissue": 1},
    }
    assert len(prepared.dropped) == samples["found"] - samples["kept"]


def test_only_the_files_of_samples_that_are_kept_are_read(folder):
    told = []
    next(folder.glob("*/*-11A.*")).write_text("torn")
    prepare_gdc(folder, Recipe(), report=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)


@pytest.mark.parametrize(
    ("kind", "stated", "expected"),
    [
        (Kind.COUNTS, None, lambda f, s: column(f, s, "unstranded")),
        (Kind.FPKM, None, lambda f, s: column(f, s, "fpkm_unstranded")),
        (Kind.LOG2_TPM, None, lambda f, s: np.log2(column(f, s, "tpm_unstranded") + 1)),
        (None, None, lambda f, s: column(f, s, "tpm_unstranded")),
        (
            Kind.TPM,
            Kind.FPKM,
            lambda f, s: column(f, s, "fpkm_unstranded") / column(f, s, "fpkm_unstranded").sum() * 1e6,
        ),
    ],
)
def test_what_is_wanted_decides_the_column(folder, kind, stated, expected):
    prepared = prepare_gdc(folder, Recipe(kind=kind), stated=stated)
    assert prepared.table.rows(["TCGA-06-0001"])[0] == pytest.approx(expected(folder, "TCGA-06-0001-01A"), rel=1e-12)
    assert prepared.facts["values"]["written"] == str(kind or Kind.TPM)


def test_tpm_are_made_of_counts_with_lengths(folder):
    lengths = {gene: 500.0 + 7 * number for number, gene in enumerate(IDS)}
    prepared = prepare_gdc(folder, Recipe(lengths=lengths, genes=IDS[5:1:-1]), stated=Kind.COUNTS)
    rates = column(folder, "TCGA-06-0001-01A", "unstranded") / np.array(list(lengths.values()))
    expected = (rates / rates.sum() * 1e6)[5:1:-1]
    assert prepared.table.rows(["TCGA-06-0001"])[0] == pytest.approx(expected)
    assert "TPM = counts / length, as shares of a million over only 199 genes with a length" in prepared.facts["rules"]
    with pytest.raises(DataError, match=r"'gdc' has the column 'unstranded', said to be counts.*--lengths"):
        prepare_gdc(folder, Recipe(), stated=Kind.COUNTS)


def test_a_list_of_symbols_takes_the_names_of_the_files(folder):
    prepared = prepare_gdc(folder, Recipe(genes=("GENE3", "GENE1")))
    expected = column(folder, "TCGA-06-0001-01A", "tpm_unstranded")[[3, 1]]
    assert np.array_equal(prepared.table.rows(["TCGA-06-0001"])[0], expected)
    assert prepare_gdc(folder, Recipe(), symbols=True).table.genes[8:10] == ("GENE8", "GENE10")


def test_a_file_that_lacks_genes_is_filled_up_to_the_limit_and_left_out_beyond(folder):
    write_star(next(folder.glob("*/*0003-06A.*")), HEADS[:-30], seed=9)
    prepared = prepare_gdc(folder, Recipe())
    assert prepared.table.ids == ("TCGA-06-0001", "TCGA-06-0002")
    assert prepared.facts["samples"]["dropped"]["could not be used"] == 1
    failed = next(drop for drop in prepared.dropped if drop.failed)
    assert "lacks 30 of 199 wanted genes (15.1%, at most 10.0%)" in failed.reason
    assert str(folder.parent) not in failed.reason
    filled = prepare_gdc(folder, Recipe(max_missing=0.2))
    assert filled.table.rows(["TCGA-06-0003"])[0, -30:].tolist() == [0.0] * 30
    assert filled.facts["genes"]["missing"] == list(IDS[-30:])
    assert filled.facts["genes"]["missing_share"] == pytest.approx(30 / 199)


def test_the_genes_of_most_files_are_taken_and_a_torn_first_file_does_not_decide(folder):
    first = next(folder.glob("*/*0001-01A.*"))
    write_star(first, HEADS[:150], seed=9)
    assert prepare_gdc(folder, Recipe()).table.genes == IDS
    first.write_text("torn")
    prepared = prepare_gdc(folder, Recipe())
    assert prepared.table.genes == IDS
    assert [drop.patient for drop in prepared.dropped if drop.failed] == ["TCGA-06-0001"]


def test_files_named_by_uuid_need_their_sheet(tmp_path):
    names = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(2)]
    for seed, name in enumerate(names):
        write_star(tmp_path / "gdc" / name / f"{name[:-1]}f.rna_seq.augmented_star_gene_counts.tsv", HEADS, seed=seed)
    with pytest.raises(DataError, match="--samples"):
        prepare_gdc(tmp_path / "gdc", Recipe())
    text = "File ID\tFile Name\tCase ID\tSample ID\tSample Type\n"
    text += f"{names[0]}\tx.tsv\tTCGA-06-0001\tTCGA-06-0001-01A\tPrimary Tumor\n"
    (tmp_path / "sheet.tsv").write_text(text)
    prepared = prepare_gdc(tmp_path / "gdc", Recipe(), sheet=read_sheet(tmp_path / "sheet.tsv"))
    assert prepared.table.ids == ("TCGA-06-0001",)
    assert prepared.facts["samples"]["dropped"] == {"not in the sample sheet": 1}


def test_nothing_left_is_an_error_that_says_why(tmp_path):
    write_star(tmp_path / "a" / "TCGA-06-0001-11A.rna_seq.tsv", HEADS, seed=1)
    with pytest.raises(DataError, match=r"No sample of .* is left: 1 × normal tissue"):
        prepare_gdc(tmp_path, Recipe())
    (tmp_path / "a" / "TCGA-06-0001-11A.rna_seq.tsv").rename(tmp_path / "a" / "P1.tsv")
    (tmp_path / "a" / "P1.tsv").write_text("torn")
    for genes in (None, IDS):
        with pytest.raises(DataError, match=r"None of 1 samples of .* can be used. The first: .*P1.tsv'"):
            prepare_gdc(tmp_path, Recipe(genes=genes))


def test_gdc_files_are_not_said_to_hold_logarithms(folder):
    with pytest.raises(ConfigError, match="hold 'tpm', 'counts', 'fpkm', not 'log2-tpm'"):
        prepare_gdc(folder, Recipe(), stated=Kind.LOG2_TPM)


def counts_table(path, samples):
    counts = np.random.default_rng(0).integers(0, 5000, (len(samples), 40))
    pd.DataFrame(counts, index=samples, columns=[f"{gene}.3" for gene in IDS[:40]]).to_csv(path)
    return counts


def test_a_table_is_told_refused_and_converted_when_the_user_says_how(tmp_path):
    counts = counts_table(tmp_path / "t.csv", ["TCGA-06-0002-01A", "TCGA-06-0001-01A", "TCGA-06-0001-11A"])
    with pytest.raises(DataError, match=r"'t\.csv' has 13 to 4,986.*counts of reads, but TPM are wanted.*--lengths"):
        prepare_table(tmp_path / "t.csv", Recipe())
    prepared = prepare_table(tmp_path / "t.csv", Recipe(kind=Kind.COUNTS))
    assert prepared.table.ids == ("TCGA-06-0001", "TCGA-06-0002")
    assert prepared.table.values.tolist() == counts[[1, 0]].tolist()  # noqa: PD011
    assert [drop.reason for drop in prepared.dropped] == ["normal tissue"]
    made = prepare_table(tmp_path / "t.csv", Recipe(lengths=dict.fromkeys(IDS[:40], 1000.0)))
    assert made.table.values.sum(1).tolist() == pytest.approx([1e6, 1e6])  # noqa: PD011


def test_a_sample_of_a_table_without_reads_is_left_out_with_the_reason(tmp_path):
    text = "id,TP53,EGFR\nP1,10,20\nP2,0,0\n"
    (tmp_path / "t.csv").write_text(text)
    prepared = prepare_table(tmp_path / "t.csv", Recipe(lengths={"TP53": 1.0, "EGFR": 1.0}))
    assert prepared.table.ids == ("P1",)
    assert [(drop.patient, drop.failed) for drop in prepared.dropped] == [("P2", True)]
    assert "no reads at all" in prepared.dropped[0].reason


def test_a_folder_that_is_a_file_is_refused(folder, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"Cannot write to .*out"):
        write_prepared(tmp_path / "out", prepare_gdc(folder, Recipe()))


def test_a_statement_about_a_table_is_checked_before_it_is_believed(tmp_path):
    counts_table(tmp_path / "t.csv", ["P1", "P2"])
    kept = prepare_table(tmp_path / "t.csv", Recipe(kind=None), stated=Kind.ZSCORES)
    assert kept.facts["values"] | {"look": ""} == {
        "found": "z-scores", "stated": True, "look": "", "written": "z-scores"
    }  # fmt: skip
    with pytest.raises(DataError, match=r"said to hold log2\(TPM \+ 1\), which it cannot"):
        prepare_table(tmp_path / "t.csv", Recipe(), stated=Kind.LOG2_TPM)


def test_samples_of_a_table_are_found_in_the_sheet(tmp_path):
    counts_table(tmp_path / "t.csv", ["file-1", "file-2"])
    rows = "file-1\tTCGA-06-0001\tTCGA-06-0001-01A\nfile-2\tTCGA-06-0001\tTCGA-06-0001-01B\n"
    (tmp_path / "sheet.tsv").write_text("File ID\tCase ID\tSample ID\n" + rows)
    sheet = read_sheet(tmp_path / "sheet.tsv")
    prepared = prepare_table(tmp_path / "t.csv", Recipe(kind=Kind.COUNTS), sheet=sheet)
    assert (prepared.table.ids, prepared.samples[0].origin) == (("TCGA-06-0001",), "file-1")


def test_what_is_written_tells_everything_and_twice_the_same(folder, tmp_path):
    prepared = prepare_gdc(folder, Recipe(genes=(*IDS[:50], "ENSG99999999999")))
    (tmp_path / "genes.txt").write_text("x")
    record = write_prepared(tmp_path / "out", prepared, inputs={"genes": tmp_path / "genes.txt"})
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(written) == {"expression.csv.gz", "samples.csv", "dropped.csv", "prepare.json"}
    assert json.loads(written["prepare.json"]) == record
    assert record["table"]["sha256"] == hashlib.sha256(written["expression.csv.gz"]).hexdigest()
    assert record["inputs"] == {"genes": {"name": "genes.txt", "sha256": hashlib.sha256(b"x").hexdigest()}}
    assert record["genes"]["missing"] == ["ENSG99999999999"]
    assert str(tmp_path) not in written["prepare.json"].decode()
    table = read_expression(tmp_path / "out" / "expression.csv.gz")
    assert np.array_equal(table.values, prepared.table.values)
    dropped = pd.read_csv(tmp_path / "out" / "dropped.csv")
    assert dropped["reason"].tolist() == ["normal tissue", dropped["reason"][1]]
    assert dropped["sample"].tolist() == ["TCGA-06-0001-11A", "TCGA-06-0002-01B"]
    samples = pd.read_csv(tmp_path / "out" / "samples.csv")
    assert samples["patient_id"].tolist() == list(table.ids)
    write_prepared(tmp_path / "out", prepared, inputs={"genes": tmp_path / "genes.txt"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == written


def test_an_old_account_does_not_survive_a_write_that_fails(folder, tmp_path, monkeypatch):
    prepared = prepare_gdc(folder, Recipe())
    write_prepared(tmp_path, prepared)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slidesurv.genomics.expression._write_text", full)
    with pytest.raises(DataError, match="No space left"):
        write_prepared(tmp_path, prepared)
    assert not (tmp_path / "prepare.json").exists()
    assert not list(tmp_path.glob(".*"))


def test_an_unknown_format_is_refused_before_anything_is_written(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"Did you mean 'csv.gz'"):
        write_prepared(tmp_path / "out", prepare_gdc(folder, Recipe()), form="csv.g")
    assert not (tmp_path / "out").exists()


def test_a_sample_without_a_cell_is_left_out_with_the_reason(folder):
    text = star_text(HEADS, np.ones(200, np.int64), np.ones(200)).replace("\t1.0000\t", "\t\t", 1)
    next(folder.glob("*/*0003-06A.*")).write_text(text)
    prepared = prepare_gdc(folder, Recipe())
    assert "1 cells in column 'tpm_unstranded'" in next(drop.reason for drop in prepared.dropped if drop.failed)
