"""Sampling in one pass, and k-means against scikit-learn and against data that break a careless version."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from slidesurv.errors import DataError
from slidesurv.selection import prototypes
from slidesurv.selection.lloyd import lloyd
from slidesurv.selection.prototypes import first_tiles, fit_prototypes, sample_tiles
from slidesurv.types import Bag


def bags(features, *sizes):
    """Share tiles out among patients: an iterator, so that a second pass would find nothing."""
    for number, tiles in enumerate(features.split(list(sizes))):
        n = len(tiles)
        yield Bag(f"P{number}", tiles, torch.zeros(n, 2), torch.zeros(n, dtype=torch.int64))


def numbered(n):
    """(n, 3) tiles that know their place."""
    return torch.arange(n)[:, None].expand(n, 3).float()


def inertia(tiles, means):
    return (torch.cdist(tiles, means).amin(1) ** 2).mean().item()


def clusters(n, dim=8, seed=0, spread=0.1):
    """Tiles around five corners, and the corners."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.eye(dim)[:5] * 10
    around = corners[torch.randint(5, (n,), generator=generator)]
    return around + spread * torch.randn(n, dim, generator=generator), corners


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8), limit=st.integers(1, 120), seed=st.integers(0, 99))
def test_a_sample_has_different_tiles_in_order_however_they_are_shared_out(sizes, limit, seed):
    total = sum(sizes) + 1
    sample = sample_tiles(bags(numbered(total), 1, *sizes), limit=limit, seed=seed)
    assert len(sample) == min(limit, total)
    assert (sample[:, 0].diff() > 0).all()
    assert torch.equal(sample, sample_tiles(bags(numbered(total), total), limit=limit, seed=seed))


def test_a_sample_is_uniform_over_tiles_not_bags():
    times = torch.zeros(40)
    for seed in range(3000):
        times[sample_tiles(bags(numbered(40), 1, 4, 35), limit=10, seed=seed)[:, 0].long()] += 1
    assert times == pytest.approx(torch.full((40,), 3000 * 10 / 40), rel=0.15)  # 4 standard deviations are 0.13


def test_a_sample_follows_its_seed():
    first, again, other = (sample_tiles(bags(numbered(90), 50, 40), limit=30, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_sample_is_float32_and_leaves_the_bags_alone():
    features = numbered(20).half()
    sample = sample_tiles(bags(features, 20), limit=20)
    sample += 1
    assert sample.dtype == torch.float32
    assert torch.equal(features, numbered(20).half())


def test_first_tiles_are_an_equal_share_of_each_bag():
    taken = first_tiles(bags(numbered(30), 10, 2, 18), limit=11)[:, 0].tolist()
    assert taken == [0, 1, 2, 3, 10, 11, 12, 13, 14, 15]  # ceil(11 / 3) = 4 of each, all of the small one


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=40), limit=st.integers(1, 100))
def test_first_tiles_in_one_pass_are_those_of_two(sizes, limit):
    share = -(-limit // len(sizes))
    expected = torch.cat([bag.features[:share] for bag in bags(numbered(sum(sizes)), *sizes)])
    assert torch.equal(first_tiles(bags(numbered(sum(sizes)), *sizes), limit=limit), expected)


@pytest.mark.parametrize("take", [sample_tiles, first_tiles])
@pytest.mark.parametrize("sizes", [(), (0,)])
def test_no_tiles_at_all_is_said(take, sizes):
    with pytest.raises(DataError, match="have no tiles"):
        take(bags(torch.empty(sum(sizes), 3), *sizes))


def test_prototypes_find_separate_clusters():
    tiles, corners = clusters(5000)
    found = fit_prototypes(tiles, count=5)
    distances = torch.cdist(found.means, corners)
    assert distances.argmin(1).sort().values.tolist() == [0, 1, 2, 3, 4]
    assert distances.amin(1).max() < 0.03
    torch.testing.assert_close(found.variance, torch.full((8,), 0.01), rtol=0.1, atol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prototypes_are_as_good_as_scikit_learns(seed):
    low = torch.randn(6, 32, generator=torch.Generator().manual_seed(9))
    tiles = (torch.randn(6000, 6, generator=torch.Generator().manual_seed(seed)) @ low).exp().clamp(max=5)
    peer = min((KMeans(16, random_state=k).fit(tiles.numpy()) for k in range(3)), key=lambda fit: fit.inertia_)
    assert inertia(tiles, fit_prototypes(tiles).means) <= 1.01 * peer.inertia_ / len(tiles)


def test_the_variance_is_that_within_clusters():
    tiles, _ = clusters(700, spread=3)
    found = fit_prototypes(tiles, count=3)
    nearest = found.means[torch.cdist(tiles, found.means).argmin(1)]
    torch.testing.assert_close(found.variance, ((tiles - nearest) ** 2).mean(0), rtol=0.02, atol=0)


def test_prototypes_see_tiles_beyond_the_subsamples(monkeypatch):
    monkeypatch.setattr(prototypes, "FUNNEL", ((30, 5, 4), (50, 1, 4)))
    tiles, _ = clusters(4000, spread=2)
    means = fit_prototypes(tiles, count=5).means
    labels = torch.cdist(tiles, means).argmin(1)
    centres = torch.stack([tiles[labels == k].mean(0) for k in range(5)])
    assert (centres - means).norm(dim=1).max() < 0.4  # 800 tiles a cluster; 10 alone would be 1.8 off


def test_prototypes_follow_their_seed():
    tiles, _ = clusters(900, spread=3)
    first, again, other = (fit_prototypes(tiles, count=7, seed=seed).means for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rare_tiles_that_the_subsample_misses_are_found_where_there_are_few_kinds(monkeypatch):
    monkeypatch.setattr(prototypes, "FUNNEL", ((20, 5, 4),))
    tiles = torch.tensor([[0.0, 0], [5, 0], [0, 9]]).repeat_interleave(torch.tensor([5000, 2, 1]), dim=0)
    means = fit_prototypes(tiles, count=3).means
    assert sorted(means.tolist()) == [[0, 0], [0, 9], [5, 0]]


def test_as_many_prototypes_as_kinds_of_tiles_are_those_kinds():
    kinds = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    found = fit_prototypes(kinds.repeat(50, 1), count=6)
    assert torch.cdist(kinds, found.means).amin(1).max() < 1e-6
    assert found.variance.max() < 1e-12


def test_fewer_kinds_of_tiles_than_prototypes_are_refused():
    with pytest.raises(DataError, match="have 3 different tiles, too few for 16 prototypes"):
        fit_prototypes(torch.eye(3).repeat(100, 1))


def test_no_tiles_are_too_few_for_any_prototype():
    with pytest.raises(DataError, match="have 0 different tiles"):
        fit_prototypes(torch.empty(0, 3), count=1)


@pytest.mark.parametrize("offset", [0, 1e4])
def test_clusters_are_found_far_from_the_origin(offset):
    tiles, corners = clusters(2000)
    found = fit_prototypes(tiles + offset, count=5)
    assert torch.cdist(corners + offset, found.means, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max() < 0.1


def test_a_cluster_that_loses_every_tile_takes_the_farthest():
    tiles = torch.tensor([[0.0], [1], [2], [30]])
    means, labels = lloyd(tiles, torch.tensor([[1.0], [1000.0]]), passes=5)
    assert sorted(means[:, 0].tolist()) == [1, 30]
    assert labels.tolist() == [0, 0, 0, 1]


def test_one_prototype_is_the_mean():
    tiles, _ = clusters(3000)
    found = fit_prototypes(tiles, count=1)
    torch.testing.assert_close(found.means[0], tiles.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.variance, tiles.var(0, correction=0), rtol=1e-3, atol=1e-3)
