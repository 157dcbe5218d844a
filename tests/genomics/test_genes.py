"""Genes lose their versions and twins; lists and lengths are read, or refused by name."""

import gzip

import pytest

from slidesurv.errors import DataError
from slidesurv.genomics.genes import ensembl, naming, plain, read_gene_list, read_lengths


@pytest.mark.parametrize(
    ("name", "gene"),
    [
        ("ENSG00000002586.20", "ENSG00000002586"),
        ("ENSG00000002586", "ENSG00000002586"),
        ("ENSG00000223972.5_2", "ENSG00000223972"),
        ("ENSMUSG00000000001.4", "ENSMUSG00000000001"),
        ("ENSG00000002586.20_PAR_Y", None),
        ("TP53", "TP53"),
        ("AC012.1", "AC012.1"),
    ],
)
def test_versions_and_twins(name, gene):
    assert plain(name) == gene


def test_most_names_say_how_genes_are_named():
    assert naming(["ENSG00000000003.1", "ENSG00000000005", "TP53"]) == "Ensembl ids"
    assert naming(["TP53", "EGFR", "7157"]) == "symbols"
    assert naming(["7157", "1956"]) == "numbers (Entrez?)"
    assert naming(["ENST00000269305.9"]) == "Ensembl transcripts"
    assert naming([]) == "no genes"
    assert not ensembl("ENST00000269305")


def test_a_list_keeps_its_order_without_versions_and_blank_lines(tmp_path):
    (tmp_path / "genes.txt").write_bytes(b"\xef\xbb\xbfENSG00000000005.6\r\n\r\n TP53 \nENSG00000000003\n")
    assert read_gene_list(tmp_path / "genes.txt") == ("ENSG00000000005", "TP53", "ENSG00000000003")


def test_the_header_of_a_table_is_a_list(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"EGFR,TP53,identifier,survival_time\n1,2,P1,9\n"))
    assert read_gene_list(tmp_path / "t.csv.gz") == ("EGFR", "TP53")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"TP53\nEGFR\nTP53\n", "1 genes of .* stand there twice: 'TP53'"),
        (b"ENSG00000000003.1\nENSG00000000003.2\n", "twice: 'ENSG00000000003'"),
        (b"\xff\xfeT\x00", "Cannot read the list"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path, content, message):
    (tmp_path / "genes.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_gene_list(tmp_path / "genes.txt")


def test_lengths_are_read_by_the_name_of_their_column_or_as_the_second(tmp_path):
    (tmp_path / "a.tsv").write_text("gene\tsymbol\tlength\nENSG00000000003.15\tTSPAN6\t4536\n")
    (tmp_path / "b.csv").write_text("gene,bases\nTP53,2512.5\n\nENSG00000002586.1_PAR_Y,1\nENSG00000002586.1,2\n")
    assert read_lengths(tmp_path / "a.tsv") == {"ENSG00000000003": 4536.0}
    assert read_lengths(tmp_path / "b.csv") == {"TP53": 2512.5, "ENSG00000002586": 2.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,length\nTP53,0\n", "1 genes .* no positive length: 'TP53'"),
        ("gene,length\nTP53,2.5kb\n", "no positive length"),
        ("gene,length\nTP53,inf\n", "no positive length"),
        ("gene,length\nTP53,1\nTP53,2\n", "two lengths: 'TP53'"),
        ("gene\nTP53\n", "Cannot read the lengths"),
        ("", "Cannot read the lengths"),
    ],
)
def test_lengths_that_cannot_be_are_refused(tmp_path, text, message):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_lengths(tmp_path / "l.csv")
