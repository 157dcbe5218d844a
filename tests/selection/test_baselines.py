"""The selections that Algorithm 1 is compared with."""

import torch

from slidesurv.selection.baselines import select_all, select_cluster, select_random


def test_all_tiles_are_taken_in_order():
    assert select_all(4).tolist() == [0, 1, 2, 3]


def test_random_tiles_are_different_and_follow_the_generator():
    draws = [select_random(1000, 100, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert len(draws[0].unique()) == 100
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_random_tiles_of_a_small_bag_are_the_bag():
    assert select_random(5, 5, torch.Generator()).tolist() == [0, 1, 2, 3, 4]


def test_cluster_takes_the_nearest_and_the_farthest_half():
    prototypes = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    features = torch.tensor([[0.0, 5.0], [10.0, 1.0], [5.0, 0.0], [0.0, 2.0], [13.0, 0.0]])  # 5, 1, 5, 2, 3 away
    assert select_cluster(features, prototypes, 4).tolist() == [1, 3, 0, 2]
    assert select_cluster(features, prototypes, 3).tolist() == [1, 0, 2]


def test_cluster_takes_a_small_bag_whole():
    assert select_cluster(torch.rand(3, 2), torch.rand(2, 2), 3).tolist() == [0, 1, 2]


def test_cluster_measures_small_distances_far_from_the_origin():
    features = 1e4 + torch.linspace(1, 0, 50)[:, None].expand(50, 8)
    assert select_cluster(features, torch.full((1, 8), 1e4), 2).tolist() == [49, 0]
