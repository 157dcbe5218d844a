"""Scales and components do on fitted rows what they promise, and never make a NaN."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.decomposition import PCA

from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.views import PrincipalComponents, Standardise

matrices = arrays(np.float64, st.tuples(st.integers(2, 8), st.integers(1, 6)), elements=st.integers(-50, 50).map(float))


def spread(seed: int = 0, rows: int = 30, genes: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((rows, 3)) @ random.standard_normal((3, genes)) + random.standard_normal(
        (rows, genes)
    )


def test_a_hand_made_column_is_scaled_by_the_population_deviation():
    scale = Standardise.fit(np.array([[1.0], [3.0], [5.0]]))
    assert scale.mean.tolist() == [3.0] and scale.scale == pytest.approx([np.sqrt(8 / 3)])
    assert scale(np.array([3 + np.sqrt(8 / 3)])) == pytest.approx([1.0])


@given(matrices)
def test_fitted_rows_have_mean_zero_and_deviation_one_or_are_constant(values):
    scaled = Standardise.fit(values)(values)
    assert np.allclose(scaled.mean(0), 0, atol=1e-9)
    constant = np.ptp(values, 0) == 0
    assert np.allclose(scaled.std(0), np.where(constant, 0, 1))


@pytest.mark.parametrize("constant", [0.1, -1e-8, 1e12, 0.0])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_constant_column_becomes_zero_even_for_values_never_seen(constant, kind):
    scale = Standardise.fit(np.full((1001, 1), constant, kind))
    assert scale(np.array([[constant + 5.0]])).tolist() == [[0.0]]


def test_a_narrow_column_is_not_taken_for_a_constant():
    values = 1e6 + np.array([[0.0], [0.5], [1.0]], np.float32)
    assert Standardise.fit(values)(values)[:, 0] == pytest.approx([-1.2247, 0, 1.2247], abs=1e-3)


@given(matrices, st.data())
def test_rows_in_parts_fit_as_rows_at_once(values, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    whole, parts = Standardise.fit(values), Standardise.fit_parts(np.split(values, cuts))
    assert np.allclose(parts.mean, whole.mean, atol=1e-12) and np.allclose(parts.scale, whole.scale, atol=1e-9)


def test_nothing_to_fit_on_is_an_error():
    with pytest.raises(DataError, match="no rows to fit a scale on"):
        Standardise.fit_parts([np.zeros((0, 3))])


@pytest.mark.parametrize("whiten", [False, True])
def test_components_agree_with_scikit_learn_up_to_their_signs(whiten):
    values = spread()
    scaled = Standardise.fit(values)(values)
    expected = PCA(4, whiten=whiten, svd_solver="full").fit_transform(scaled)
    # scikit-learn divides by n - 1, we by n; and it leaves the first component its deviation
    expected *= np.sqrt(len(values) / (len(values) - 1)) if whiten else 1 / expected[:, 0].std()
    scores = PrincipalComponents.fit(values, components=4, whiten=whiten)(values)
    assert np.allclose(np.abs(scores), np.abs(expected))


def test_whitened_scores_have_deviation_one_and_do_not_correlate():
    values = spread()
    scores = PrincipalComponents.fit(values, components=5, whiten=True)(values)
    assert np.allclose(scores.T @ scores / len(values), np.eye(5))


def test_signs_do_not_depend_on_the_sign_of_the_data():
    values = spread()
    one, other = (PrincipalComponents.fit(v, components=3) for v in (values, -values))
    assert np.allclose(one.components, other.components)
    largest = np.abs(one.components).argmax(1)
    assert (one.components[np.arange(3), largest] > 0).all()


@pytest.mark.parametrize("whiten", [False, True])
def test_directions_without_variance_give_zero_and_never_nan(whiten):
    values = np.outer(np.arange(6.0), [1, 2, 3, 0])  # rank one, and a constant gene
    pca = PrincipalComponents.fit(values, components=3, whiten=whiten)
    assert np.allclose(pca(values)[:, 1:], 0) and pca(values)[:, 0].std() > 0.9
    if whiten:
        assert (pca(spread(genes=4))[:, 1:] == 0).all()


@pytest.mark.parametrize(("components", "most"), [(0, 5), (6, 5), (64, 5), (-1, 5)])
def test_more_components_than_patients_allow_are_refused_with_the_largest_number(components, most):
    with pytest.raises(ConfigError, match=f"components is {components}, but 6 training patients .* 1 to {most}"):
        PrincipalComponents.fit(spread(rows=6, genes=20), components=components)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.booleans())
def test_a_view_rebuilt_from_its_state_is_the_same_to_the_bit(seed, whiten):
    values = spread(seed)
    for view in (Standardise.fit(values), PrincipalComponents.fit(values, components=2, whiten=whiten)):
        assert (type(view).from_state(view.state())(values) == view(values)).all()
