"""Values become what is wanted by the definition of TPM, for all genes of the source before some are picked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.conversion import Recipe, Route
from slidesurv.genomics.kinds import LOGARITHMS, Kind, Look

GENES = ("A", "B", "C", "D")
LENGTHS = {"A": 1000.0, "B": 2000.0, "C": 500.0, "D": 4000.0}


def route(found, recipe, genes=GENES, *, stated=True):
    return Route(genes, Look(found, "values", stated=stated), recipe, where="'t.csv'")


def test_tpm_of_counts_are_shares_of_reads_per_base():
    counts = np.array([[10.0, 20.0, 5.0, 0.0], [0.0, 0.0, 1.0, 8.0]])
    made = route(Kind.COUNTS, Recipe(lengths=LENGTHS))(counts)
    assert made.tolist() == pytest.approx(np.array([[1e6 / 3] * 3 + [0], [0, 0, 5e5, 5e5]]))


def test_shares_are_taken_over_all_genes_not_over_those_wanted():
    counts = np.array([10.0, 20.0, 5.0, 0.0])
    whole = route(Kind.COUNTS, Recipe(lengths=LENGTHS))
    part = route(Kind.COUNTS, Recipe(lengths=LENGTHS, genes=("C", "A")))
    assert part(counts).tolist() == pytest.approx([1e6 / 3, 1e6 / 3])
    assert "over only 4 genes" in part.notes[0]
    assert whole.kind is Kind.TPM


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 1e6), min_size=4, max_size=4), st.floats(0.1, 1e4))
def test_tpm_of_fpkm_sum_to_a_million_whatever_the_depth(fpkm, depth):
    convert = route(Kind.FPKM, Recipe())
    made = convert(np.array(fpkm))
    assert made.sum() == pytest.approx(1e6)
    assert convert(np.array(fpkm) * depth) == pytest.approx(made)


@pytest.mark.parametrize("kind", list(LOGARITHMS))
@pytest.mark.parametrize("wanted", [Kind.TPM, Kind.LOG2_TPM])
def test_logarithms_are_taken_back_and_never_below_zero(kind, wanted):
    base, small = LOGARITHMS[kind]
    tpm = np.array([[0.0, 1.0, 30.5, 9e5]])
    logs = np.log(tpm + small) / np.log(base)
    made = route(kind, Recipe(kind=wanted))(logs - 1e-12)
    expected = tpm if wanted is Kind.TPM else np.log2(tpm + 1)
    assert made == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert ((made[0, 1:] > 0).all() and (made >= 0).all()) or kind is wanted


def test_columns_come_in_the_order_wanted_and_missing_genes_are_zero():
    recipe = Recipe(genes=("C", "X", "A"), max_missing=0.5)
    made = route(Kind.TPM, recipe)
    assert made(np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [3.0, 0.0, 1.0]
    assert (made.genes, made.missing, made.notes) == (("C", "X", "A"), ("X",), ["missing genes are 0"])
    logs = route(Kind.TPM, replace(recipe, kind=Kind.LOG2_TPM))
    assert logs(np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [2.0, 0.0, 1.0]


def test_where_zero_does_not_mean_unread_missing_genes_are_left_out():
    made = route(Kind.ZSCORES, Recipe(kind=None, genes=("C", "X", "A"), max_missing=0.5))
    assert (made.genes, made.missing) == (("C", "A"), ("X",))
    assert made(np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [3.0, 1.0]


def test_the_source_is_not_changed():
    values = np.array([[1.0, 2.0, 3.0, 4.0]])
    made = route(Kind.TPM, Recipe())(values)
    made[:] = -1
    assert values.tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_too_many_missing_genes_are_refused_with_their_share():
    with pytest.raises(DataError, match=r"lacks 1 of 3 wanted genes \(33\.3%, at most 10\.0%\): 'X'.*--max-missing"):
        route(Kind.TPM, Recipe(genes=("C", "X", "A")))
    with pytest.raises(DataError, match=r"1 of 4 genes of .* have no length \(25\.0%"):
        route(Kind.COUNTS, Recipe(lengths=dict.fromkeys("ABC", 1.0)))


def test_genes_named_otherwise_are_refused_with_both_namings():
    with pytest.raises(DataError, match=r"none of the 1 wanted genes \('ENSG1': Ensembl ids\); its own are .*symbols"):
        route(Kind.TPM, Recipe(genes=("ENSG1",), max_missing=1.0))


def test_genes_that_come_twice_are_refused_or_added_up():
    genes = ("A", "B", "A", "D", "D")
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    with pytest.raises(DataError, match=r"1 genes of 't\.csv' come twice: 'A'.*--sum-twice"):
        route(Kind.TPM, Recipe(genes=("A", "B")), genes)
    assert route(Kind.TPM, Recipe(genes=("B",)), genes)(values).tolist() == [2.0]
    assert route(Kind.TPM, Recipe(genes=("B", "A"), sum_twice=True), genes)(values).tolist() == [2.0, 5.0]
    made = route(Kind.TPM, Recipe(kind=Kind.LOG2_TPM, sum_twice=True), genes)
    assert (made.genes, made(values).tolist()) == (("A", "B", "D"), np.log2([6.0, 3.0, 25.0]).tolist())


@pytest.mark.parametrize("kind", [Kind.LOG2_TPM, Kind.ZSCORES])
def test_values_that_do_not_add_up_are_not_added(kind):
    with pytest.raises(DataError, match=r"come twice.*keep one column of each"):
        route(kind, Recipe(kind=None, sum_twice=True), ("A", "A"))


def test_twins_are_left_out():
    made = route(Kind.TPM, Recipe(), ("A", None, "C"))
    assert (made.genes, made(np.array([1.0, 999.0, 3.0])).tolist()) == (("A", "C"), [1.0, 3.0])


@pytest.mark.parametrize("kind", [Kind.FPKM, Kind.LOG2_TPM])
def test_what_only_looks_so_is_not_converted_until_somebody_says_so(kind):
    with pytest.raises(DataError, match=f"--from {kind}'"):
        route(kind, Recipe(), stated=False)
    route(kind, Recipe(), stated=True)


@pytest.mark.parametrize("kind", [Kind.COUNTS, Kind.ESTIMATES, Kind.ZSCORES, Kind.CALLS, Kind.LOG])
def test_what_cannot_become_tpm_is_refused(kind):
    with pytest.raises(DataError, match="but TPM are wanted"):
        route(kind, Recipe())


def test_a_sample_without_reads_is_refused():
    with pytest.raises(DataError, match="no reads at all"):
        route(Kind.COUNTS, Recipe(lengths=LENGTHS))(np.zeros((1, 4)))


def test_a_limit_that_is_no_share_is_refused():
    with pytest.raises(ConfigError, match="max_missing is 30"):
        Recipe(max_missing=30)
