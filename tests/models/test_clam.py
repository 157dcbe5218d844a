"""CLAM-SB: its numbers, its sizes, and whom its instance loss teaches."""

import pytest
import torch
import torch.nn.functional as F

from reference.fill import bag, fill
from reference.peers import as_bag, peer_rows
from slidesurv.errors import ConfigError
from slidesurv.models.clam import CLAM
from slidesurv.registry import models
from slidesurv.training.step import losses
from slidesurv.types import Sizes, SurvivalTarget

SIZES = Sizes(tile=1024, bins=4)
LAYERS = [
    *("embed.0", "attention.value", "attention.gate", "attention.score", "head"),
    *(f"instances.{k}" for k in range(4)),
]
ORDER = [f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")]


def filled(**choices) -> CLAM:
    model = CLAM(SIZES, **choices).double().eval()
    fill(model, ORDER)
    return model


def small(**choices) -> CLAM:
    torch.manual_seed(0)
    return CLAM(Sizes(tile=12, bins=4), dim=16, **choices)


def told(event: bool, bin_: int = 1) -> SurvivalTarget:
    return SurvivalTarget(torch.tensor([10.0]), torch.tensor([event]), torch.tensor([bin_]))


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("CLAM-SB"))
def test_golden_logits(variant, n_tiles, logits):
    assert variant == "bag"
    torch.testing.assert_close(filled(as_released=True)(as_bag(bag(n_tiles)), None).logits, logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("bin_", "loss"), [(0, 0.650792), (2, 0.676223)])
def test_golden_instance_loss(bin_, loss):
    output = filled(instance="ce").train()(as_bag(bag(50)), None)
    assert output.bin_losses["instance"][bin_].item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(
    ("choices", "parameters"),
    [
        ({}, 789_765),
        ({"as_released": True}, 793_869),
        ({"instance": "ce"}, 793_869),
        (CLAM.presets["authors"], 793_869),
        ({"size": "big"}, 789_765 + 2 * 128 * 513 + 128),
    ],
)
def test_it_has_as_many_parameters_as_published(choices, parameters):
    model = models.build("clam", SIZES, **choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_neither_order_nor_copies_of_a_bag_matter():
    tiles = bag(9)
    one, *others = (
        filled(as_released=True)(as_bag(f), None).logits for f in (tiles, tiles.flip(0), torch.cat([tiles, tiles]))
    )
    for other in others:
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize(("n", "taught"), [(40, 16), (16, 16), (5, 5)])
def test_the_instance_loss_teaches_the_eight_tiles_of_each_end(n, taught):
    features = torch.rand(n, 12, requires_grad=True)
    small(instance="ce").train()(as_bag(features), None).bin_losses["instance"][2].backward()
    assert int(features.grad.any(1).sum()) == taught


def by_hand(model: CLAM, features: torch.Tensor, bin_: int, margin: float) -> torch.Tensor:
    """The instance loss of one bin, as the paper tells it: ones for the top, then zeros for the bottom."""
    tiles = model.embed(features)
    order = model.attention(tiles).argsort(descending=True)
    chosen = tiles[torch.cat([order[:8], order[-8:]])]
    targets = torch.tensor([1] * 8 + [0] * 8)
    wrong = margin * (1 - F.one_hot(targets, 2))
    own = F.cross_entropy(model.instances[bin_](chosen) + wrong, targets)
    if not model.subtyping:
        return own
    zeros, top = torch.zeros(8, dtype=torch.int64), tiles[order[:8]]
    wrong = margin * (1 - F.one_hot(zeros, 2))
    others = [F.cross_entropy(model.instances[k](top) + wrong, zeros) for k in range(4) if k != bin_]
    return (own + sum(others)) / 4


@pytest.mark.parametrize(("instance", "margin"), [("ce", 0.0), ("svm", 1.0)])
@pytest.mark.parametrize("subtyping", [False, True])
def test_the_instance_loss_of_every_bin_is_the_papers(instance, margin, subtyping):
    model, features = small(instance=instance, subtyping=subtyping).train(), torch.rand(40, 12)
    found = model(as_bag(features), None).bin_losses["instance"]
    torch.testing.assert_close(found, torch.stack([by_hand(model, features, k, margin) for k in range(4)]))


@pytest.mark.parametrize(("subtyping", "taught"), [(False, [2]), (True, [0, 1, 2, 3])])
def test_other_bins_are_taught_under_subtyping_alone(subtyping, taught):
    model = small(instance="ce", subtyping=subtyping).train()
    model(as_bag(torch.rand(40, 12)), None).bin_losses["instance"][2].backward()
    assert [k for k, classify in enumerate(model.instances) if classify.weight.grad.any()] == taught


def test_a_death_is_taught_seven_tenths_by_likelihood_and_a_censored_patient_by_nothing_else():
    model, features = small(instance="ce").train(), torch.rand(20, 12)
    output = model(as_bag(features), None)
    died, censored = (losses(model, output, told(event)) for event in (True, False))
    torch.testing.assert_close(died["loss"], 0.7 * died["nll"] + 0.3 * output.bin_losses["instance"][1])
    torch.testing.assert_close(censored["loss"], 0.7 * censored["nll"])


def test_the_ports_instance_classifiers_stay_as_they_are():
    model = small(as_released=True).train()
    losses(model, model(as_bag(torch.rand(20, 12)), None), told(True))["loss"].backward()
    untaught = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is None}
    assert untaught == {"instances"}


def test_no_instance_loss_is_paid_for_a_prediction():
    assert small(instance="ce").eval()(as_bag(torch.rand(20, 12)), None).bin_losses == {}


@pytest.mark.parametrize(
    "features", [torch.rand(1, 12), torch.rand(3, 12), torch.ones(30, 12), torch.rand(30, 12) * 1e4]
)
def test_strange_bags_give_numbers_and_gradients(features):
    model = small(instance="svm", subtyping=True).train()
    losses(model, model(as_bag(features), None), told(True))["loss"].backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_one_logit_has_no_bins_to_teach_tiles_with():
    with pytest.raises(ConfigError, match="needs two time bins or more"):
        CLAM(Sizes(tile=12, bins=1), instance="ce")


@pytest.mark.parametrize(("init", "bias"), [("xavier", 0.0), ("torch", 1 / 1024**0.5)])
def test_it_starts_as_asked(init, bias):
    assert CLAM(SIZES, init=init).embed[0].bias.abs().max().item() == pytest.approx(bias, rel=0.05)
