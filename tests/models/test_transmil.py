"""TransMIL: its numbers and its sizes."""

import pytest
import torch

from reference.fill import bag, fill
from reference.peers import as_bag, peer_rows
from slidesurv.models.transmil import TransMIL
from slidesurv.types import Sizes

EMBED = ["embed.0.weight", "embed.0.bias"]
POSITION = [f"encoder.position.{k}.{part}" for k in ("wide", "middle", "narrow") for part in ("weight", "bias")]
LAYERS = [
    f"encoder.{layer}.{part}"
    for layer in ("first_layer", "second_layer")
    for part in (
        *("norm.weight", "norm.bias", "attention.qkv.weight"),
        *("attention.output.weight", "attention.output.bias", "attention.residual.weight"),
    )
]
END = ["encoder.norm.weight", "encoder.norm.bias", "head.weight", "head.bias"]
ORDERS = {
    "survival_port": ["encoder.token", *EMBED, *POSITION, *LAYERS, *END],
    "authors": ["encoder.token", *POSITION, *EMBED, *LAYERS, *END],
}


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("TransMIL"))
def test_golden_logits(variant, n_tiles, logits):
    choices = TransMIL.presets.get(variant, {})
    model = TransMIL(Sizes(tile=1024, bins=4), **choices).double().eval()
    fill(model, ORDERS[variant])
    torch.testing.assert_close(model(as_bag(bag(n_tiles)), None).logits, logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("bins", "parameters"), [(4, 2_673_172), (2, 2_672_146)])
def test_it_has_as_many_parameters_as_published(bins, parameters):
    model = TransMIL(Sizes(tile=1024, bins=bins))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_order_of_tiles_matters_as_published():
    model = TransMIL(Sizes(tile=16, bins=4), dim=32).eval()
    features = torch.rand(30, 16)
    forward, backward = (model(as_bag(f), None).hazards for f in (features, features.flip(0)))
    assert (forward - backward).abs().max() > 1e-4


def test_without_its_convolutions_the_position_is_the_identity():
    model = TransMIL(Sizes(tile=16, bins=4), dim=32).eval()
    for kernel in model.encoder.position.parameters():
        torch.nn.init.zeros_(kernel)
    tokens = torch.rand(49, 32)
    torch.testing.assert_close(model.encoder.position(tokens), tokens)
