"""Gene groups: which columns they find, in which order, and what is said when they find none."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesurv.cohorts.imports import read_mcat_genomics
from slidesurv.errors import DataError
from slidesurv.genomics.groups import GeneGroups, read_signatures

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
SIGNATURES = DATA / "tcga/common/signatures_6groups.csv"
SIZES = {
    "blca": (94, 334, 521, 468, 1496, 479),
    "luad": (89, 334, 534, 471, 1510, 482),
    "ucec": (3, 24, 21, 22, 65, 15),  # copy numbers alone: the public table has no expression
}
SYMBOLS = st.text("ABC", min_size=1, max_size=2)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_columns_of_a_group_are_sorted_by_their_whole_name():
    genes = ("TP53_rnaseq", "MYC_rnaseq", "TP53_cnv", "KRAS_mut", "MYC_cnv", "EGFR_rnaseq")
    groups = GeneGroups.match({"a": ["TP53", "MYC"], "b": ["KRAS", "TP53"]}, genes)
    named = [[genes[place] for place in group] for group in groups.columns]
    assert named == [["MYC_cnv", "MYC_rnaseq", "TP53_cnv", "TP53_rnaseq"], ["KRAS_mut", "TP53_cnv", "TP53_rnaseq"]]
    assert groups.names == ("a", "b")
    assert groups.sizes == (4, 3)


def test_a_gene_feeds_several_groups_and_the_last_column_is_not_lost():
    groups = GeneGroups.match({"a": ["ZXDC"], "b": ["ZXDC", "AATF"]}, ["AATF_rnaseq", "ZXDC_rnaseq"])
    assert groups.columns == ((1,), (0, 1))


def test_bare_symbols_are_columns_and_other_endings_are_not():
    groups = GeneGroups.match({"a": ["TP53"]}, ["TP53", "TP53_protein", "TP53B"])
    assert groups.columns == ((0,),)


@given(st.dictionaries(SYMBOLS, st.lists(SYMBOLS, min_size=1), min_size=1), st.sets(SYMBOLS, min_size=1))
def test_every_group_has_exactly_its_genes_of_the_table(signatures, symbols):
    genes = sorted(f"{symbol}_rnaseq" for symbol in symbols)
    expected = {name: {f"{gene}_rnaseq" for gene in members} & set(genes) for name, members in signatures.items()}
    if not all(expected.values()):
        with pytest.raises(DataError, match="no gene in the table"):
            GeneGroups.match(signatures, genes)
        return
    groups = GeneGroups.match(signatures, genes)
    assert {n: {genes[p] for p in c} for n, c in zip(groups.names, groups.columns, strict=True)} == expected


def test_groups_without_a_gene_are_named_or_left_out(caplog):
    signatures = {"a": ["TP53"], "kinases": ["AAK1"], "markers": ["CD4"]}
    with pytest.raises(DataError, match=r"2 of 3 groups have no gene in the table.*'TP53'.*'kinases', 'markers'.*drop"):
        GeneGroups.match(signatures, ["TP53"])
    with caplog.at_level(logging.WARNING):
        groups = GeneGroups.match(signatures, ["TP53"], empty="drop")
    assert (groups.names, groups.columns) == (("a",), ((0,),))
    assert "'kinases', 'markers'. They were left out" in caplog.text
    with pytest.raises(DataError, match="2 of 2 groups"):
        GeneGroups.match({"a": ["X"], "b": ["Y"]}, ["TP53"], empty="drop")


def test_values_are_parted_by_group():
    groups = GeneGroups(("a", "b"), ((2, 0), (1, 2)))
    one, other = groups(np.array([[10.0, 11.0, 12.0], [20.0, 21.0, 22.0]]))
    assert one.tolist() == [[12, 10], [22, 20]]
    assert other.tolist() == [[11, 12], [21, 22]]


def test_only_what_was_kept_stays_in_its_order():
    groups = GeneGroups(("a", "b"), ((2, 0, 3), (1, 2)))
    assert groups.within([3, 2]).columns == ((2, 3), (2,))
    with pytest.raises(DataError, match="1 of 2 groups have no gene among the 1 that were kept: 'a'"):
        groups.within([1])
    assert groups.within([1], empty="drop") == GeneGroups(("b",), ((1,),))


def test_groups_rebuilt_from_their_state_are_the_same():
    groups = GeneGroups(("with.dot", "b"), ((2, 0, 3), (1,)))
    assert GeneGroups.from_state(list(groups.names), groups.state()) == groups


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_has_a_column_a_group_of_any_length(tmp_path, mark, end):
    path = write(tmp_path / "s.csv", mark + end.join(["Oncogenes,Kinases", "ABL1,AAK1", "MYC,", " ABL1 ", ""]))
    assert read_signatures(path) == {"Oncogenes": ("ABL1", "MYC"), "Kinases": ("AAK1",)}


def test_a_gmt_file_has_a_line_a_group(tmp_path):
    path = write(tmp_path / "h.gmt", "HYPOXIA\thttp://where\tATF3\tPGK1\nAPOPTOSIS\t\tIL1B\t\n\n")
    assert read_signatures(path) == {"HYPOXIA": ("ATF3", "PGK1"), "APOPTOSIS": ("IL1B",)}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.csv", "A,A\nX,Y\n", "Group 2 of .*'A', stands there twice"),
        ("s.csv", ",A\n0,Y\n", "Group 1 of .*has no name"),
        ("s.csv", "A,B\nX,\n", "Group 2 of .*'B', has no gene"),
        ("s.csv", "", "has no groups"),
        ("h.gmt", "A\tx\tTP53\nB,x,TP53\n", "Lines '2' of .*do not have name, description and genes"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path, name, text, words):
    with pytest.raises(DataError, match=words):
        read_signatures(write(tmp_path / name, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read the gene groups '.*nowhere\.csv'"):
        read_signatures(tmp_path / "nowhere.csv")
    (tmp_path / "utf16.csv").write_text("A,B\nX,Y\n", encoding="utf-16")
    with pytest.raises(DataError, match="as UTF-8"):
        read_signatures(tmp_path / "utf16.csv")


@pytest.mark.parametrize("cohort", SIZES)
def test_sizes_on_the_real_tables_are_the_published_ones(cohort):
    table = DATA / f"tcga/{cohort}/mcat_sig_tcga_{cohort}_all_clean.csv.zip"
    if not table.exists() or not SIGNATURES.exists():
        pytest.skip(f"real data: '{table}' is not here; set SLIDESURV_DATA")
    expression = read_mcat_genomics(table, suffixes=("_rnaseq", "_cnv", "_mut"))
    groups = GeneGroups.match(read_signatures(SIGNATURES), expression.genes)
    assert groups.sizes == SIZES[cohort]
    if cohort != "ucec":
        assert expression.genes[-1] == "ZXDC_rnaseq"  # which the published loader takes for a label
        assert len(expression.genes) - 1 in groups.columns[4]


def test_real_hallmarks_group_real_expression():
    table, hallmarks = DATA / "cohorts/hif_tokens/luad/rna.csv.gz", DATA / "tcga/common/hallmarks_signatures.csv"
    if not table.exists() or not hallmarks.exists():
        pytest.skip(f"real data: '{table}' is not here; set SLIDESURV_DATA")
    import gzip

    with gzip.open(table, "rt") as lines:
        genes = lines.readline().strip().split(",")[1:]
    groups = GeneGroups.match(read_signatures(hallmarks), genes)
    assert len(groups.names) == 50
    assert min(groups.sizes) > 0
