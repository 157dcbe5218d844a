"""Encoders of gene groups: one network a group."""

import torch

from slidesurv.nn.snn import GroupEncoder


def test_each_group_becomes_one_token():
    module = GroupEncoder((3, 5), (16, 8))
    assert module([torch.rand(3), torch.rand(5)]).shape == (2, 8)


def test_a_token_depends_on_its_own_group_alone():
    module = GroupEncoder((3, 5), (16, 8)).eval()
    shared = torch.rand(3)
    one, other = (module([shared, torch.rand(5)]) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def test_it_has_one_layer_a_width():
    module = GroupEncoder((3, 5), (16, 16, 8))
    expected = (3 + 5 + 2) * 16 + 2 * (17 * 16 + 17 * 8)
    assert sum(parameter.numel() for parameter in module.parameters()) == expected
