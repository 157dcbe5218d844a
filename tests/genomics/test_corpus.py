"""Who is left out changes nothing; bins and guesses come from those who teach."""

import numpy as np
import pytest

from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.corpus import Corpus, keep, leave_out, make_corpus
from slidesurv.genomics.expression import Expression
from slidesurv.genomics.tokens import QuantileBins, TPMBins

GENES = tuple(f"G{k}" for k in range(7))


def table(patients: int = 40, *, tpm: bool = False) -> Expression:
    random = np.random.default_rng(0)
    values = random.gamma(0.5, 4000, (patients, 7)).round(4) if tpm else random.standard_normal((patients, 7))
    return Expression(tuple(f"P{k:02}" for k in range(patients)), GENES, values)


def test_five_in_a_hundred_are_held_out_and_nobody_is_in_both_parts():
    corpus = make_corpus(table())
    assert (len(corpus.teachers), len(corpus.watchers)) == (38, 2)
    assert {*corpus.teachers, *corpus.watchers} == set(table().ids)
    assert corpus.taught.shape == (38, 7) and corpus.watched.shape == (2, 7)
    assert make_corpus(table(), seed=1).watchers != corpus.watchers


def test_quantile_bins_are_fitted_on_those_who_teach_alone():
    given = table()
    corpus = make_corpus(given, count=8)
    assert np.array_equal(corpus.bins.edges, QuantileBins.fit(given.rows(corpus.teachers), count=8).edges)
    assert np.array_equal(corpus.taught, corpus.bins(given.rows(corpus.teachers)))
    assert np.array_equal(corpus.watched, corpus.bins(given.rows(corpus.watchers)))
    given.values[[given.ids.index(patient) for patient in corpus.watchers]] = 1e6
    poisoned = make_corpus(given, count=8)
    assert np.array_equal(poisoned.bins.edges, corpus.bins.edges)
    assert np.array_equal(poisoned.taught, corpus.taught)
    assert (poisoned.watched == 7).all()


def test_the_papers_rule_takes_its_top_from_those_who_teach_and_the_top_is_the_last_bin():
    given = table(tpm=True)
    corpus = make_corpus(given)
    top = given.rows(corpus.teachers).max()
    assert corpus.bins == TPMBins(count=64, factor=float(np.log10(top + 1)))
    assert corpus.taught.max() == 63
    given.values[[given.ids.index(patient) for patient in corpus.watchers], 0] = top * 2
    poisoned = make_corpus(given)
    assert poisoned.bins == corpus.bins and (poisoned.watched[:, 0] == 63).all()


@pytest.mark.parametrize(
    ("bins", "tpm", "kind"),
    [("auto", True, TPMBins), ("auto", False, QuantileBins), ("quantiles", True, QuantileBins), ("tpm", True, TPMBins)],
)
def test_the_rule_is_told_from_the_values_or_taken_as_asked(bins, tpm, kind):
    assert isinstance(make_corpus(table(tpm=tpm), bins=bins).bins, kind)


@pytest.mark.parametrize("bins", ["tpm", TPMBins(count=64, factor=5.5)])
def test_values_that_are_no_tpm_are_refused_by_the_papers_rule(bins):
    with pytest.raises(DataError, match=r"table of those who teach has .*z-scores"):
        make_corpus(table(), bins=bins)


@pytest.mark.parametrize("bins", [TPMBins(count=32, factor=4.5), QuantileBins(np.array([10.0, 1000.0]))])
def test_bins_that_are_fitted_already_are_kept(bins):
    assert make_corpus(table(tpm=True), bins=bins).bins is bins


def test_the_order_of_rows_changes_nothing():
    given, turn = table(), np.random.default_rng(1).permutation(40)
    turned = Expression(tuple(given.ids[row] for row in turn), GENES, given.values[turn])
    one, other = make_corpus(given), make_corpus(turned)
    assert one.teachers == other.teachers and np.array_equal(one.taught, other.taught)


def test_guesses_are_each_genes_shares_of_bins_with_two_patients_more_like_all_genes():
    taught, watched = np.array([[0, 1], [0, 1], [1, 1]], np.int16), np.array([[0, 0]], np.int16)
    corpus = Corpus(("A", "B"), QuantileBins(np.array([0.0])), ("P0", "P1", "P2"), ("P3",), taught, watched)
    # bins 0 and 1 were seen 2 and 4 times: the two patients more have them as 3 to 5
    np.testing.assert_allclose(np.exp(corpus.log_frequencies()), [[2.75 / 5, 2.25 / 5], [0.75 / 5, 4.25 / 5]])


def test_patients_are_kept_or_left_out_by_name():
    given = table(4)
    assert keep(given, ["P02", "P00", "absent"]).ids == ("P00", "P02")
    assert leave_out(given, ["P02", "absent"]).ids == ("P00", "P01", "P03")
    assert np.array_equal(leave_out(given, ["P02"]).values, given.values[[0, 1, 3]])


def test_names_that_fit_no_row_leave_nobody_out_and_are_refused():
    with pytest.raises(DataError, match=r"None of 2 patients has a row.*'P00', 'P01'.*Name patients as the table does"):
        leave_out(table(2), ["P00-01A", "P01-01A"])
    with pytest.raises(DataError, match="All 2 patients of the table are left out"):
        leave_out(table(2), ["P00", "P01"])


@pytest.mark.parametrize(
    ("patients", "choices", "error", "message"),
    [
        (40, {"held_out": 0.0}, ConfigError, "held_out is 0.0"),
        (40, {"held_out": 1.0}, ConfigError, "held_out is 1.0"),
        (40, {"count": 1}, ConfigError, "1 bins cannot be used"),
        (2, {}, DataError, "2 patients, 1 of them held out, leave 1 to teach"),
    ],
)
def test_what_cannot_be_done_is_refused(patients, choices, error, message):
    with pytest.raises(error, match=message):
        make_corpus(table(patients), **choices)
