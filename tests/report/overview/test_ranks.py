"""Ranks over cohorts: words and a picture that say the same."""

from xml.etree import ElementTree

import numpy as np
import pytest

from slidesurv.report.overview.ranks import critical_difference, rank, ranking_words
from slidesurv.survival.comparison import friedman

LABELS = ("A", "B", "C", "D")
SCORES = np.array([[0.5] * 12, [0.7] * 12, [0.6] * 11 + [0.65], [0.4, 0.55] * 6])  # (K, C)


def test_the_best_stands_first_with_its_mean_rank() -> None:
    ranking = rank(LABELS, SCORES)
    assert ranking.labels == ("B", "C", "A", "D")
    assert ranking.ranks == (1, 2, 3.5, 3.5)
    assert ranking.test.p == friedman(SCORES.T).p


def test_runs_that_cannot_be_told_apart_are_places_in_the_order_of_ranks() -> None:
    ranking = rank(LABELS, SCORES)
    assert ranking.alike == ((0, 1), (2, 3))  # the critical difference is 1.35
    for first, last in ranking.alike:
        assert ranking.ranks[last] - ranking.ranks[first] <= ranking.test.critical


@pytest.mark.parametrize("scores", [SCORES[:1], SCORES[:, :1]])
def test_one_method_or_one_cohort_is_not_ranked(scores: np.ndarray) -> None:
    assert rank(LABELS[: len(scores)], scores) is None


def test_a_cohort_that_lacks_a_score_is_left_out_and_told() -> None:
    torn = SCORES.copy()
    torn[1, 3] = np.nan
    ranking = rank(LABELS, torn)
    assert ranking.ranks == rank(LABELS, np.delete(SCORES, 3, axis=1)).ranks
    assert "1 of 12 cohorts lack a score of some method and are left out. Mean ranks" in ranking_words(ranking)
    torn[1, 1:] = np.nan
    assert rank(LABELS, torn) is None


def test_words_warn_of_few_cohorts_and_of_ties_everywhere() -> None:
    assert "roughly" not in ranking_words(rank(LABELS, SCORES))
    assert "p = 0.029, roughly, for so few cohorts" in ranking_words(rank(LABELS, [[4] * 3, [3] * 3, [2] * 3, [1] * 3]))
    tied = ranking_words(rank(LABELS[:2], [[0.5, 0.5]] * 2))
    assert tied.startswith("Friedman's test cannot be made: all methods tie on every cohort.")


def test_the_picture_names_methods_from_the_best_and_says_how_wide_the_critical_difference_is() -> None:
    picture = critical_difference(rank(LABELS, SCORES), "OPTIMISTIC")
    root = ElementTree.fromstring(picture.svg)
    words = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [word for word in words if word in LABELS] == ["B", "C", "A", "D"]
    assert "critical difference 1.35" in words
    assert any("OPTIMISTIC" in word for word in words) and picture.caption.endswith("OPTIMISTIC")
    assert "Mean ranks, 1 is the best: B 1.00, C 2.00, A 3.50, D 3.50" in root.get("aria-label", "")
    wide = critical_difference(rank(LABELS[:2], SCORES[:2, :2]))
    assert "wider than the axis" in wide.svg
