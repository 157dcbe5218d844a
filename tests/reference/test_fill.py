"""The fill rule against the sums that its authors print."""

import pytest
import torch
from torch import nn

from reference.fill import bag, fill, prototypes, signed, tensor, uniform
from reference.golden import golden


@pytest.mark.parametrize("key", golden()["hash_check"])
def test_golden_the_hash_starts_as_printed(key):
    expected = golden()["hash_check"][key]
    assert uniform(int(key.removeprefix("k=")), len(expected)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("model", golden()["tensor_orders"])
def test_golden_every_weight_has_its_printed_first_value_and_sum(model):
    for order in golden()["tensor_orders"][model]:
        weight = tensor(order["k"], order["shape"], gain=order["name"].endswith(".g"))
        assert weight.flatten()[0].item() == pytest.approx(order["first"], abs=1e-9)
        assert weight.sum().item() == pytest.approx(order["sum"], abs=1e-6)


def test_golden_inputs_have_their_printed_first_value_and_sum():
    inputs = golden()["inputs"]
    for n, expected in inputs["bag"]["sum"].items():
        assert bag(int(n)).sum().item() == pytest.approx(expected, abs=1e-5)
    for count, expected in inputs["prototypes"]["sum"].items():
        assert prototypes(int(count)).sum().item() == pytest.approx(expected, abs=1e-6)
    assert signed(2000, 256).sum().item() == pytest.approx(inputs["E_G"]["sum"], abs=1e-6)


def test_a_small_bag_is_the_start_of_a_large_one():
    assert torch.equal(bag(300)[:50], bag(50))


def test_a_module_is_filled_in_the_order_given_and_knows_its_gains():
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).double()
    fill(module, ["1.weight", "0.weight", "0.bias", "1.bias"])
    assert torch.equal(module[1].weight, 1 + 0.1 * signed(0, 2))
    assert torch.equal(module[0].weight, signed(1, 2, 3))  # fan_in 3: a factor of one
    assert torch.equal(module[0].bias, 0.1 * signed(2, 2))
    assert torch.equal(module[1].bias, 0.1 * signed(3, 2))
