"""`slidesurv rna prepare`: one command from raw files to a table that an experiment reads."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from slidesurv.cli.rna import rna
from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.expression import read_expression
from star_files import gene_heads, write_star

HEADS = gene_heads(60)


def run(*words):
    result = CliRunner().invoke(rna, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(["TCGA-06-0001-01A", "TCGA-06-0001-11A", "TCGA-06-0002-01A"]):
        write_star(tmp_path / "gdc" / name / f"{name}.rna_seq.augmented_star_gene_counts.tsv", HEADS, seed=seed)
    return tmp_path / "gdc"


def test_a_folder_becomes_a_table_and_the_way_is_told_on_stderr(folder, tmp_path):
    result = run("prepare", folder, "-o", tmp_path / "rna")
    assert result.exit_code == 0
    assert "dropped: normal tissue" in result.stdout
    assert "[2/2] files" in result.stderr and "Wrote" in result.stderr
    assert "Wrote" not in result.stdout
    assert read_expression(tmp_path / "rna" / "expression.csv.gz").ids == ("TCGA-06-0001", "TCGA-06-0002")


def test_json_is_the_account(folder, tmp_path):
    result = run("prepare", folder, "-o", tmp_path / "rna", "--json", "--values", "log2-tpm", "--format", "csv")
    assert json.loads(result.stdout) == json.loads((tmp_path / "rna" / "prepare.json").read_text())
    assert json.loads(result.stdout)["values"]["written"] == "log2-tpm"
    assert (tmp_path / "rna" / "expression.csv").exists()


def test_files_that_cannot_be_used_are_exit_3_and_the_others_are_there(folder, tmp_path):
    next(folder.glob("*-0002-*/*")).write_text("torn")
    result = run("prepare", folder, "-o", tmp_path / "rna")
    assert result.exit_code == 3
    assert "1 samples could not be used" in result.stderr
    assert read_expression(tmp_path / "rna" / "expression.csv.gz").ids == ("TCGA-06-0001",)


def test_every_option_reaches_the_table(folder, tmp_path):
    (tmp_path / "genes.txt").write_text("ENSG00000000003\nENSG00000000001\nENSG99999999999\n")
    (tmp_path / "lengths.csv").write_text("gene,length\n" + "".join(f"ENSG{n:011d},1000\n" for n in range(60)))
    (tmp_path / "sheet.tsv").write_text(
        "File ID\tCase ID\tSample ID\n"
        "TCGA-06-0001-01A\tTCGA-06-0001\tTCGA-06-0001-02A\nTCGA-06-0002-01A\tTCGA-06-0002\tTCGA-06-0002-01A\n"
    )
    words = ["--genes", tmp_path / "genes.txt", "--max-missing", "0.5", "--from", "counts"]
    words += ["--lengths", tmp_path / "lengths.csv", "--samples", tmp_path / "sheet.tsv", "--primary-only"]
    result = run("prepare", folder, "-o", tmp_path / "rna", "--json", *words)
    record = json.loads(result.stdout)
    table = read_expression(tmp_path / "rna" / "expression.csv.gz")
    assert table.genes == ("ENSG00000000003", "ENSG00000000001", "ENSG99999999999")
    assert table.ids == ("TCGA-06-0002",)
    assert table.values[0, 2] == 0
    assert set(record["inputs"]) == {"genes", "samples", "lengths"}
    assert record["source"]["column"] == "unstranded"


def test_a_table_is_prepared_with_its_own_options(tmp_path):
    (tmp_path / "t.csv").write_text("gene,S1,S2\nX1,1.5,-3\nX1,2.5,4\nX2,0.25,1\n")
    options = ["--rows", "genes", "--values", "as-is"]
    with pytest.raises(DataError, match=r"1 genes .* come twice: 'X1'"):
        run("prepare", tmp_path / "t.csv", "-o", tmp_path / "rna", *options)
    (tmp_path / "t.csv").write_text("gene,S1,S2\nX1,100.5,3\nX1,2.5,4\nX2,0.25,1\n")
    run("prepare", tmp_path / "t.csv", "-o", tmp_path / "rna", *options, "--sum-twice")
    assert np.array_equal(read_expression(tmp_path / "rna" / "expression.csv.gz").values, [[103.0, 0.25], [7.0, 1.0]])


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["absent", "-o", "out"], DataError, "There is no 'absent'"),
        (["gdc", "-o", "out", "--values", "tmp"], ConfigError, "Did you mean 'tpm'"),
        (["gdc", "-o", "out", "--from", "log2tpm"], ConfigError, "Did you mean 'log2-tpm'"),
        (["gdc", "-o", "out", "--format", "xlsx"], ConfigError, "Unknown format"),
        (["gdc", "-o", "out", "--names", "symbols"], ConfigError, "Did you mean 'symbol'"),
        (["gdc", "-o", "out", "--rows", "genes"], ConfigError, "leave --rows out"),
        (["gdc", "-o", "out", "--column", "tpm"], ConfigError, "Unknown column"),
        (["t.csv", "-o", "out", "--column", "tpm_unstranded"], ConfigError, "'t.csv' is one table"),
        (["t.csv", "-o", "out"], DataError, "z-scores.*--values as-is"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(folder, tmp_path, monkeypatch, words, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("id,TP53,EGFR,MYC\nP1,-1.5,0.3,0.9\nP2,1.5,-0.3,-40.5\n")
    with pytest.raises(error, match=message):
        run("prepare", *words)
    assert not (tmp_path / "out").exists()


def test_the_help_has_an_example():
    assert "Example: slidesurv rna prepare" in run("prepare", "--help").output
