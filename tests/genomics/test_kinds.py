"""What values are is told from the values, and each refusal says what they look like and what to do."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.kinds import Kind, inspect, read_kind, refuse_contradiction, require

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data") / "tcga"
here = pytest.mark.skipif(not DATA.exists(), reason=f"no real tables in '{DATA}': set SLIDESURV_DATA")


def tpm(genes=2000, samples=4, seed=0):
    random = np.random.default_rng(seed)
    rates = np.where(random.random((samples, genes)) < 0.2, 0, random.lognormal(0, 2.5, (samples, genes)))
    return rates / rates.sum(1, keepdims=True) * 1e6


def made(kind):
    """Values of each kind, of one made-up cohort."""
    whole = tpm()
    return {
        Kind.TPM: whole,
        Kind.COUNTS: (whole * 40).round(),
        Kind.FPKM: tpm(45_000) * 0.4,
        Kind.LOG2_TPM: np.log2(whole + 1).round(4),
        Kind.LN_TPM: np.log1p(whole).round(5),
        Kind.LOG10_TPM: np.log10(whole + 1).round(5),
        Kind.XENA: np.log2(whole + 0.001).round(4),
        Kind.LOG: np.log2(whole[:, :600] + 1),
        Kind.ESTIMATES: whole * 40.1,
        Kind.CALLS: np.random.default_rng(0).integers(-2, 3, (5, 30)).astype(float),
        Kind.ZSCORES: (whole - whole.mean(0)) / np.maximum(whole.std(0), 1e-9),
    }[kind]


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_is_recognised_in_any_order_of_samples_and_genes(kind):
    values = made(kind)
    assert inspect(values).kind is kind
    assert inspect(values[::-1, ::-1]).kind is kind


def test_tpm_of_part_of_the_genes_are_tpm_and_one_sample_is_enough():
    assert inspect(tpm()[:, :700]).kind is Kind.TPM
    assert inspect(tpm()[:1]).kind is Kind.TPM


def test_one_sample_of_counts_among_tpm_is_not_overlooked():
    values = tpm()
    values[2] *= 37.3
    with pytest.raises(DataError, match="expected or normalised counts, but TPM are wanted"):
        require(values, Kind.TPM, where="'t.csv'")


def test_the_words_are_the_numbers_that_say_so():
    words = inspect(np.array([[0.0, 0.5, 999_999.5], [0.0, 250_000.0, 750_000.0]])).words
    assert words == "0 to 1e+06, 33.33% zeros; over 3 genes the values sum to 1,000,000 to 1,000,000 in a sample"


@pytest.mark.parametrize(
    ("kind", "wanted", "message"),
    [
        (Kind.ZSCORES, Kind.TPM, r"below zero.*z-scores.*TPM are wanted.*--values as-is.*STAR counts"),
        (Kind.COUNTS, Kind.TPM, r"counts of reads.*--values tpm --from counts --lengths"),
        (Kind.ESTIMATES, Kind.TPM, r"expected or normalised.*--lengths"),
        (Kind.FPKM, Kind.TPM, r"FPKM, but TPM are wanted.*--values tpm --from fpkm'"),
        (Kind.LOG2_TPM, Kind.TPM, r"log2\(TPM \+ 1\), but.*--values tpm --from log2-tpm'"),
        (Kind.LOG, Kind.LOG2_TPM, r"a logarithm.*--values log2-tpm --from log2-tpm or ln-tpm or log10-tpm or"),
        (Kind.XENA, Kind.LOG2_TPM, r"--values log2-tpm --from log2-tpm-0\.001'"),
        (Kind.TPM, Kind.COUNTS, r"looks like TPM, but counts of reads are wanted.*GDC.*--values counts'"),
        (Kind.CALLS, Kind.COUNTS, r"calls of mutations.*as-is"),
    ],
)
def test_a_refusal_says_what_the_values_look_like_and_which_command_fits(kind, wanted, message):
    with pytest.raises(DataError, match=message):
        require(made(kind), wanted, where="'t.csv'")


def test_what_fits_is_let_through():
    for kind in (Kind.TPM, Kind.LOG2_TPM, Kind.COUNTS, Kind.FPKM):
        require(made(kind), kind, where="'t.csv'")


@pytest.mark.parametrize("stated", [Kind.TPM, Kind.COUNTS, Kind.FPKM, Kind.LOG2_TPM, Kind.LOG10_TPM])
def test_a_statement_that_cannot_be_true_is_refused(stated):
    with pytest.raises(DataError, match=r"is said to hold .* which it cannot: it has .*z-scores"):
        refuse_contradiction(made(Kind.ZSCORES), stated, where="'t.csv'")


def test_a_statement_that_can_be_true_is_believed():
    refuse_contradiction(tpm()[:, :50], Kind.FPKM, where="'t.csv'")
    refuse_contradiction(np.log2(tpm()[:, :50] + 0.001).round(4), Kind.XENA, where="'t.csv'")
    refuse_contradiction(made(Kind.ZSCORES), Kind.ZSCORES, where="'t.csv'")


@settings(max_examples=50, deadline=None)
@given(st.floats(1.03, 1e6))
def test_tpm_that_sum_to_more_than_a_million_are_no_tpm(factor):
    with pytest.raises(DataError, match="said to hold TPM"):
        refuse_contradiction(tpm(50) * factor, Kind.TPM, where="'t.csv'")
    with pytest.raises(DataError, match="said to hold log2"):
        refuse_contradiction(np.log2(tpm(50) * factor + 1), Kind.LOG2_TPM, where="'t.csv'")


def test_a_kind_that_nobody_knows_is_refused_with_the_nearest():
    assert read_kind("log2-tpm") is Kind.LOG2_TPM
    with pytest.raises(ConfigError, match="Did you mean 'log2-tpm'"):
        read_kind("log2tpm")


@here
@pytest.mark.parametrize(
    ("name", "label", "kind"),
    [
        ("blca/survpath_xena_rna_log2tpm.csv.gz", 0, Kind.LOG),
        ("ucec/survpath_xena_rna_log2tpm.csv.gz", 0, Kind.LOG),
        ("common/cognoma_expr_50samples_16261genes.tsv.gz", 0, Kind.LOG),
        ("common/bulkrnabert_tcga_sample_tpm_4x19062.csv.gz", -1, Kind.TPM),
    ],
)
def test_real_tables_are_recognised(name, label, kind):
    table = pd.read_csv(DATA / name, sep="\t" if ".tsv" in name else ",")
    assert inspect(table.drop(columns=table.columns[label]).to_numpy(np.float64)).kind is kind


@here
@pytest.mark.parametrize(
    ("cohort", "suffix", "kind"),
    [("blca", "_rnaseq", Kind.ZSCORES), ("luad", "_rnaseq", Kind.ZSCORES), ("blca", "_mut", Kind.CALLS)],
)
def test_the_tables_of_the_field_are_z_scores_and_calls(cohort, suffix, kind):
    from slidesurv.cohorts.imports import read_mcat_genomics

    path = DATA / cohort / f"porpoise_mutsig_tcga_{cohort}_all_clean.csv.zip"
    assert inspect(read_mcat_genomics(path, suffixes=(suffix,), clip=np.inf).values).kind is kind
