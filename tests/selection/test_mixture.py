"""MAP-EM against the golden vectors, its equations, and bags that break a careless version."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.fill import signed
from reference.golden import records
from slidesurv.errors import ConfigError, DataError
from slidesurv.selection.mixture import map_em

THREE = torch.tensor([[0.1, -0.2], [0.9, 1.1], [1.2, 0.8]], dtype=torch.float64)  # the tiles of p = d = 2, N = 3
TWO = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)  # and its prototypes


def fixture(config):
    """Tiles, prototypes and the fitted mixture of ``p=4 d=8 N=20 L=3 tau=10 eps=0.1``."""
    value = {name: float(number) for name, number in (pair.split("=") for pair in config.split())}
    p, d, n = (int(value[name]) for name in "pdN")
    tiles, prototypes = (THREE, TWO) if (p, d, n) == (2, 2, 3) else (signed(1102, n, d), signed(1103, p, d))
    steps, strength = int(value["L"]), value["tau"]
    return map_em(tiles, prototypes, value["eps"], iterations=steps, strength=strength, update=True)


def read(mixture, field):
    """The part of a mixture that a golden field names."""
    parts = {
        "responsibilities": mixture.responsibilities,
        "pi": mixture.weights,
        "mu": mixture.means,
        "Sigma": mixture.variances,
        "argmax": mixture.labels.double(),
        "logodds": mixture.log_odds,
        "allcat": torch.cat([mixture.weights, mixture.means.flatten(), mixture.variances.flatten()]),
    }
    return parts[field.split("_")[0]]


@pytest.mark.parametrize("record", records("block:MAP-EM"), ids=lambda r: f"{r['config']}-{r['field']}")
def test_golden_mixture(record):
    expected = torch.tensor(record["values"], dtype=torch.float64)
    torch.testing.assert_close(read(fixture(record["config"]), record["field"]), expected, rtol=0, atol=1e-9)


def plain(x, m, v, steps, strength):
    """The equations as printed, in float64: responsibilities of the last E-step."""
    weights, means, variances = torch.full((len(m),), 1 / len(m)).double(), m, torch.full_like(m, v)
    for _ in range(steps):
        density = torch.distributions.Normal(means, variances.sqrt()).log_prob(x[:, None]).sum(-1)
        gamma = (weights.log() + density).softmax(1)
        n = gamma.sum(0) + strength
        means = (gamma.T @ x + strength * m) / n[:, None]
        variances = (gamma.T @ x**2 + strength * (v + m**2)) / n[:, None] - means**2
        weights = n / n.sum()
    return gamma


@given(n=st.integers(1, 600), clusters=st.integers(1, 5), steps=st.integers(1, 4), strength=st.floats(0.1, 100))
def test_chunks_and_centring_change_nothing(n, clusters, steps, strength):
    x, m = signed(1, n, 6), signed(2, clusters, 6) + 3
    ours = map_em(x + 3, m, 0.1, iterations=steps, strength=strength).responsibilities
    torch.testing.assert_close(ours, plain(x + 3, m, 0.1, steps, strength), rtol=0, atol=1e-8)


def test_without_the_update_the_parameters_are_those_of_the_scores():
    mixture = map_em(THREE, TWO, 0.5, iterations=3)
    density = torch.distributions.Normal(mixture.means, mixture.variances.sqrt()).log_prob(THREE[:, None]).sum(-1)
    torch.testing.assert_close(mixture.log_joint, mixture.weights.log() + density)
    assert not torch.equal(mixture.means, map_em(THREE, TWO, 0.5, iterations=3, update=True).means)


def test_an_overwhelming_prior_keeps_the_prototypes():
    mixture = map_em(THREE, TWO, 0.1, strength=1e12, update=True)
    torch.testing.assert_close(mixture.means, TWO)
    torch.testing.assert_close(mixture.weights, torch.full((2,), 0.5).double())
    torch.testing.assert_close(mixture.variances, torch.full_like(TWO, 0.1))


def test_a_component_without_tiles_returns_its_prior():
    mixture = map_em(THREE, torch.cat([TWO, TWO[:1] + 1000]), 0.1, update=True)
    torch.testing.assert_close(mixture.means[2], torch.full((2,), 1000.0).double())
    torch.testing.assert_close(mixture.variances[2], torch.full((2,), 0.1).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(mixture.weights[2].item(), 10 / 33)


def test_a_variance_may_differ_between_features():
    assert map_em(THREE, TWO, torch.tensor([1e9, 0.1])).labels.tolist() == [0, 1, 1]
    near = torch.tensor([[0.1, 1.0]], dtype=torch.float64)  # near prototype 0 by the first, on 1 by the second feature
    assert map_em(near, TWO, torch.tensor([1e9, 0.1]), iterations=1).labels.item() == 1
    assert map_em(near, TWO, torch.tensor([0.1, 1e9]), iterations=1).labels.item() == 0


def test_log_odds_tell_apart_what_responsibilities_round_to_one():
    tiles = torch.tensor([[-9.0, -9.0], [-10.0, -10.0]], dtype=torch.float64)
    mixture = map_em(tiles, TWO, 0.1, iterations=1)
    assert mixture.responsibilities.amax(1).tolist() == [1, 1]
    near, far = mixture.log_odds.tolist()
    assert (near, far) == pytest.approx((190, 210))  # (|x - m_1|² - |x - m_0|²) / 2V


def test_log_odds_are_the_logit_of_the_largest_responsibility():
    mixture = map_em(signed(1102, 20, 8), signed(1103, 4, 8), 0.5)
    largest = mixture.responsibilities.amax(1)
    torch.testing.assert_close(mixture.log_odds, largest.logit(), rtol=1e-6, atol=1e-6)


def test_one_component_is_sure_of_everything():
    mixture = map_em(THREE, TWO[:1])
    assert mixture.log_odds.tolist() == [torch.inf] * 3
    assert mixture.responsibilities.tolist() == [[1], [1], [1]]


@pytest.mark.parametrize("n", [0, 1])
def test_an_empty_bag_and_a_single_tile_are_bags(n):
    mixture = map_em(THREE[:n], TWO, update=True)
    assert mixture.labels.tolist() == [0] * n
    assert mixture.log_odds.shape == (n,)
    assert mixture.weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-4, 1, 1e4])
@pytest.mark.parametrize("alike", [True, False])
def test_any_scale_and_identical_tiles_stay_finite(dtype, scale, alike):
    tiles = scale * (signed(1, 1, 16).expand(300, 16) if alike else signed(1, 300, 16))
    mixture = map_em(tiles, scale * signed(2, 4, 16), 0.0, strength=1e-3, update=True, dtype=dtype)
    assert all(part.isfinite().all() for part in (mixture.log_joint, mixture.means, mixture.weights))
    assert (mixture.variances >= 0.99e-8).all()


def test_float32_ranks_as_float64_does_but_for_hundredths():
    tiles, prototypes = signed(1, 500, 256), signed(2, 8, 256)
    double, single = (map_em(tiles, prototypes, dtype=dtype).log_odds for dtype in (torch.float64, torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-2)


def test_the_mixture_does_not_learn_and_leaves_the_tiles_alone():
    tiles = THREE.clone().requires_grad_()
    assert not map_em(tiles, TWO).log_joint.requires_grad
    assert torch.equal(tiles, THREE)


def test_features_of_another_encoder_are_refused():
    with pytest.raises(DataError, match=r"3 features and the prototypes 2\."):
        map_em(torch.zeros(5, 3), TWO)


@pytest.mark.parametrize("options", [{"iterations": 0}, {"strength": 0.0}])
def test_a_mixture_needs_iterations_and_a_prior(options):
    with pytest.raises(ConfigError, match="at least 1 iteration and a strength above 0"):
        map_em(THREE, TWO, **options)
