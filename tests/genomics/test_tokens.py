"""Tokens are those of the authors' program, to the last id, whatever stands beside an edge."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn

from reference.bulkrnabert import arrays, config, folder
from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.expression import read_expression
from slidesurv.genomics.genes import read_gene_list
from slidesurv.genomics.tokens import QuantileBins, TPMBins

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
TCGA, GTEX = 5.547176906585117, 5.873553674586928


def small_bins(**changes) -> TPMBins:
    said = config("small")
    settings = {
        "count": said["n_expressions_bins"],
        "factor": said["normalization_factor"],
        "log": said["use_log_normalization"],
        "relative": said["use_max_normalization"],
    }
    return TPMBins(**settings | changes)


@pytest.fixture(scope="module")
def tcga():
    """Four real samples, and the list of genes."""
    common = DATA / "tcga/common"
    if not common.exists():
        pytest.skip(f"real data: '{common}' is not here; set SLIDESURV_DATA")
    table = read_expression(common / "bulkrnabert_tcga_sample_tpm_4x19062.csv.gz")
    assert table.genes == read_gene_list(common / "bulkrnabert_common_gene_id.txt")
    return table.values


def golden_tpm() -> np.ndarray:
    table = read_expression(folder() / "tpm_small.csv")
    assert table.genes == read_gene_list(folder() / "gene_ids.txt")
    return table.values


def test_golden_tokens_of_a_table():
    tpm, bins, golden = golden_tpm(), small_bins(), arrays()
    np.testing.assert_allclose(small_bins(relative=False).normalise(tpm), golden["tpm_log10p1"], rtol=1e-14)
    np.testing.assert_allclose(bins.normalise(tpm), golden["tpm_normalised"], rtol=1e-14)
    assert (bins(tpm) == golden["tpm_token_ids"]).all()
    assert bins(tpm).max() == bins.count  # the top of the corpus, an id without a row


def test_golden_tokens_with_another_factor_and_with_edges_up_to_it():
    tpm, golden = golden_tpm(), arrays()
    other = TPMBins(count=64, factor=GTEX)
    assert (other(tpm) == golden["tpm_token_ids_gtex_encode_factor_64bins"]).all()
    spread = small_bins(relative=False)
    np.testing.assert_allclose(spread.edges, golden["bin_edges_no_max_normalisation"], rtol=1e-14)
    assert (spread(tpm) == golden["tpm_token_ids_no_max_normalisation"]).all()


def test_golden_edges_and_what_stands_one_ulp_beside_them():
    golden = arrays()
    bins = TPMBins(count=len(golden["bin_edges"]), factor=1.0, log=False)
    np.testing.assert_allclose(bins.edges, golden["bin_edges"], rtol=1e-14)
    assert (bins(golden["edge_values"]) == golden["edge_token_ids"]).all()


def test_golden_float32_would_give_other_tokens():
    logs = np.log10(golden_tpm().astype(np.float32) + np.float32(1))
    hasty = np.digitize(logs / np.float32(small_bins().factor), small_bins().edges.astype(np.float32))
    assert (np.where(logs == 0, 0, hasty) != arrays()["tpm_token_ids"]).any()


def test_golden_vocabulary_calls_a_bin_by_its_number():
    words, bins = json.loads((folder() / "vocab.json").read_text()), small_bins()
    assert {word: number for word, number in words.items() if word.isdecimal()} == {
        str(number): number for number in range(bins.count)
    }
    assert words["<pad>"] == bins(np.array([1e9]))[0]


@pytest.mark.parametrize(
    ("factor", "most", "sums", "digest"),
    [
        (
            TCGA,
            [46, 46, 45, 47],
            [224067, 203626, 207990, 195552],
            "bdda3925186fa213d4320bcd2747dbb4512631b8616b77dc7c00f81dafb7b6f0",
        ),
        (
            GTEX,
            [43, 44, 42, 45],
            [212099, 192809, 196865, 185176],
            "c36da7f73854adb2740af6f93a2328cec8ccaedd4963aa8a75fb6f6b63b9331f",
        ),
    ],
)
def test_real_samples_of_tcga_have_the_checksums_of_the_specification(tcga, factor, most, sums, digest):
    ids = TPMBins(count=64, factor=factor)(tcga)
    assert (ids.max(1).tolist(), ids.sum(1).tolist()) == (most, sums)
    assert (ids == 0).sum(1).tolist() == [1828, 2141, 1913, 1852]
    assert hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest() == digest


VALUES = {0.0: 0, 1e-9: 1, 1 / 63: 2, 0.5: 32, 62 / 63: 63, 1.0: 64, -3.0: 0, float("inf"): 64, float("nan"): 64}


def test_each_kind_of_value_has_the_token_of_the_specification():
    assert TPMBins(count=64, factor=1.0, log=False)(np.array([*VALUES])).tolist() == [*VALUES.values()]


def test_each_kind_of_tpm_has_the_token_of_the_specification():
    tpm = np.array([0.0, -0.0, 1e-17, 1e-12, 10**0.5 - 1, 9.0, 1e4, np.inf])
    assert TPMBins(count=64, factor=1.0)(tpm).tolist() == [0, 0, 0, 1, 32, 64, 64, 64]


@given(drawn(np.float64, 12, elements=st.floats(0, 1e7)))
def test_more_expression_never_has_a_smaller_token_and_the_values_stay_as_they_are(tpm):
    bins, ordered = TPMBins(count=64, factor=TCGA), np.sort(tpm)
    before = ordered.copy()
    first = bins(ordered)
    assert (np.diff(first) >= 0).all()
    assert (bins(ordered) == first).all()  # the authors' program divides in place
    assert (ordered == before).all()


def test_integers_are_read_as_numbers():
    assert (TPMBins(count=64, factor=TCGA)(np.array([0, 1, 1000])) == TPMBins(64, TCGA)(np.array([0.0, 1, 1000]))).all()


def test_quantile_bins_hold_equally_many_of_the_fitted_values():
    values = np.random.default_rng(0).standard_normal((50, 64))
    ids = QuantileBins.fit(values, count=16)(values)
    assert np.bincount(ids.ravel(), minlength=16).tolist() == [200] * 16


@given(drawn(np.float64, (4, 5), elements=st.integers(-3, 3).map(float)), st.integers(2, 20))
def test_quantile_bins_keep_the_order_of_values_and_are_open_at_both_ends(values, count):
    bins = QuantileBins.fit(values, count=count)
    ids = bins(np.array([-1e30, *np.sort(values.ravel()), 1e30]))
    assert (np.diff(ids) >= 0).all() and ids[0] == 0 and ids[-1] == count - 1 == bins.count - 1


def test_quantile_bins_rebuilt_from_their_state_are_the_same():
    values = np.random.default_rng(1).standard_normal((7, 9))
    bins = QuantileBins.fit(values, count=8)
    assert (QuantileBins.from_state(bins.state())(values) == bins(values)).all()


def test_quantile_bins_are_not_fitted_on_nothing_or_on_gaps():
    with pytest.raises(ConfigError, match="1 bins cannot tell values apart"):
        QuantileBins.fit(np.ones((2, 2)), count=1)
    with pytest.raises(DataError, match="on 0 values"):
        QuantileBins.fit(np.ones((0, 2)))
    with pytest.raises(DataError, match="on 2 values, 1 of them not finite"):
        QuantileBins.fit(np.array([[1.0, np.nan]]))
