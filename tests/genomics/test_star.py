"""Counts files are read to the last digit, whichever way they go, or the cell that stops it is named."""

import gzip
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics import star
from slidesurv.genomics.star import COLUMNS, StarReader
from star_files import COMMENT, HEADER, SUMMARY, gene_heads, star_text, write_star


def by_pandas(path, column):
    table = pd.read_csv(path, sep="\t", comment="#", float_precision="round_trip")
    table = table[table["gene_name"].notna()]
    return table[column].to_numpy(np.float64)


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_is_what_pandas_reads_on_the_first_file_and_on_the_next(tmp_path, column, monkeypatch):
    heads = gene_heads(300, twins=[7])
    for seed in range(3):
        write_star(tmp_path / f"{seed}.tsv", heads, seed=seed)
    reader = StarReader(column)
    reader.read(tmp_path / "0.tsv")
    monkeypatch.setattr(star, "_read_slowly", None)  # the next ones must not need it
    for seed in (1, 2):
        genes, values = reader.read(tmp_path / f"{seed}.tsv")
        assert np.array_equal(values, by_pandas(tmp_path / f"{seed}.tsv", column))
    assert genes.ids[:2] == ("ENSG00000000000", "ENSG00000000001")
    assert (genes.ids[7], genes.symbols[7], genes.symbols[8]) == (None, None, "GENE8")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.decimals(0, 10**9, places=4), min_size=2, max_size=5))
def test_decimals_of_any_size_are_read_to_the_last_digit(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("star") / "f.tsv"
    values = np.array([float(number) for number in numbers])
    path.write_text(star_text(gene_heads(len(numbers)), np.zeros(len(numbers), np.int64), values), encoding="utf-8")
    reader = StarReader("tpm_unstranded")
    first, again = reader.read(path)[1], reader.read(path)[1]
    assert first.tolist() == again.tolist() == [float(f"{value:.4f}") for value in values]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace(SUMMARY, ""),
        lambda text: text.replace(SUMMARY, "") + SUMMARY,
        lambda text: text.replace(COMMENT, ""),
        lambda text: text.replace(COMMENT, "# a\n# b\n"),
        lambda text: text.replace("\t2.5000\t", "\t2.5\t"),
        lambda text: text.replace("\t2.5000\t", "\t25e-1\t"),
        lambda text: text.replace("GENE1\t", "G" * 4000 + "\t"),
    ],
)
def test_a_file_that_looks_otherwise_has_the_same_values(tmp_path, change):
    plain = star_text(gene_heads(3), np.array([1, 2, 3]), np.array([0.1, 2.5, 1e5]))
    (tmp_path / "plain.tsv").write_text(plain, encoding="utf-8")
    (tmp_path / "other.tsv").write_bytes(change(plain).encode())
    assert change(plain) != plain
    reader = StarReader("tpm_unstranded")
    for name in ("plain", "other", "plain", "other"):
        genes, values = reader.read(tmp_path / f"{name}.tsv")
        assert values.tolist() == [0.1, 2.5, 1e5]
        assert len(genes.ids) == 3


def test_a_packed_file_is_read(tmp_path):
    text = star_text(gene_heads(2), np.array([1, 2]), np.array([0.1, 2.5]))
    (tmp_path / "f.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert StarReader("tpm_unstranded").read(tmp_path / "f.tsv.gz")[1].tolist() == [0.1, 2.5]


def test_files_of_one_gene_model_share_their_genes_and_others_do_not(tmp_path):
    heads = gene_heads(20)
    write_star(tmp_path / "a.tsv", heads, seed=1)
    write_star(tmp_path / "b.tsv", heads, seed=2)
    write_star(tmp_path / "c.tsv", [*heads[:5], heads[5].replace("GENE5", "GENEX"), *heads[6:]], seed=2)
    (tmp_path / "d.tsv").write_bytes((tmp_path / "a.tsv").read_bytes().replace(b"\n", b"\r\n"))
    reader = StarReader("tpm_unstranded")
    first, second, third, slow = (reader.read(tmp_path / f"{name}.tsv")[0] for name in "abcd")
    assert first is second is slow
    assert third is not first
    assert third.symbols[5] == "GENEX"


@pytest.mark.parametrize("cell", ["", "NA", "nan", "-1.0000", "inf", "1,5000", "1_0"])
def test_a_cell_that_is_no_number_is_named_by_its_gene(tmp_path, cell):
    text = star_text(gene_heads(3), np.array([1, 2, 3]), np.array([1.0, 2.5, 3.0]))
    (tmp_path / "good.tsv").write_text(text, encoding="utf-8")
    (tmp_path / "bad.tsv").write_text(text.replace("\t2.5000\t", f"\t{cell}\t"), encoding="utf-8")
    reader = StarReader("tpm_unstranded")
    reader.read(tmp_path / "good.tsv")
    with pytest.raises(DataError, match=rf"1 cells in column 'tpm_unstranded'.*'{cell}' of gene 'ENSG00000000001\.2'"):
        reader.read(tmp_path / "bad.tsv")


def test_an_empty_count_is_no_zero(tmp_path):
    text = star_text(gene_heads(3), np.array([11, 22, 33]), np.array([1.0, 2.5, 3.0]))
    (tmp_path / "good.tsv").write_text(text, encoding="utf-8")
    (tmp_path / "bad.tsv").write_text(text.replace("\t22\t", "\t\t"), encoding="utf-8")
    reader = StarReader("unstranded")
    reader.read(tmp_path / "good.tsv")
    with pytest.raises(DataError, match="1 cells in column 'unstranded'"):
        reader.read(tmp_path / "bad.tsv")


def test_a_file_that_ends_inside_a_row_is_refused(tmp_path):
    text = star_text(gene_heads(3), np.array([1, 2, 3]), np.array([1.0, 2.5, 3.0]))
    (tmp_path / "cut.tsv").write_text(text[: text.rindex("3.0000")], encoding="utf-8")
    with pytest.raises(DataError, match="Download the file again"):
        StarReader("tpm_unstranded").read(tmp_path / "cut.tsv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no row for any gene"),
        ((COMMENT + HEADER + SUMMARY).encode(), "no row for any gene"),
        (b"<html><body>Forbidden</body></html>\n", "no STAR counts file.*'<html>"),
        (b"ENSG00000000003.10\t125\n", "no STAR counts file"),
        (HEADER.replace("tpm_unstranded", "tpm").encode(), "'tpm_unstranded' are needed"),
        (HEADER.encode() + b"\xff\xfe" * 20 + b"\n", "Cannot read .*Download"),
    ],
)
def test_what_is_no_counts_file_is_refused(tmp_path, content, message):
    (tmp_path / "f.tsv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        StarReader("tpm_unstranded").read(tmp_path / "f.tsv")


def test_damaged_and_absent_files_are_refused(tmp_path):
    (tmp_path / "f.tsv.gz").write_bytes(gzip.compress(b"gene_id" * 1000)[:40])
    for name in ("f.tsv.gz", "absent.tsv"):
        with pytest.raises(DataError, match=f"Cannot read .*{name}"):
            StarReader("tpm_unstranded").read(tmp_path / name)


def test_an_unknown_column_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'tpm_unstranded'"):
        StarReader("tpm_unstrand")


def test_threads_take_the_same_genes_for_the_same(tmp_path):
    heads = gene_heads(3000, twins=[7])
    for seed in range(8):
        write_star(tmp_path / f"{seed}.tsv", heads, seed=seed)
    reader = StarReader("tpm_unstranded")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(reader.read, [tmp_path / f"{seed}.tsv" for seed in range(8)]))
    assert len({id(genes) for genes, _ in read}) == 1
    for seed, (_, values) in enumerate(read):
        assert np.array_equal(values, by_pandas(tmp_path / f"{seed}.tsv", "tpm_unstranded"))
