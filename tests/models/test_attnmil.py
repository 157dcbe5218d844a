"""AttnMIL: its numbers, its sizes, and what pooling promises."""

import pytest
import torch

from reference.fill import bag, fill
from reference.peers import as_bag, peer_rows
from slidesurv.models.attnmil import AttnMIL
from slidesurv.types import Sizes

LAYERS = {
    "gated": ["embed.0", "attention.value", "attention.gate", "attention.score", "post.0", "head"],
    "plain": ["embed.0", "attention.value", "attention.score", "head"],
}


def made(variant: str) -> AttnMIL:
    model = AttnMIL(Sizes(tile=1024, bins=4), variant=variant).double().eval()
    fill(model, [f"{layer}.{part}" for layer in LAYERS[variant] for part in ("weight", "bias")])
    return model


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("AttnMIL"))
def test_golden_logits(variant, n_tiles, logits):
    torch.testing.assert_close(made(variant)(as_bag(bag(n_tiles)), None).logits, logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("variant", "parameters"), [("gated", 920_069), ("plain", 592_645)])
def test_it_has_as_many_parameters_as_published(variant, parameters):
    assert sum(parameter.numel() for parameter in made(variant).parameters()) == parameters


@pytest.mark.parametrize("variant", ["gated", "plain"])
def test_a_bag_and_two_copies_of_it_are_the_same_patient(variant):
    tiles = bag(7)
    once, twice = (made(variant)(as_bag(features), None).logits for features in (tiles, torch.cat([tiles, tiles])))
    torch.testing.assert_close(once, twice)
