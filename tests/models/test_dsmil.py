"""DSMIL: its numbers, its sizes, its two streams and how they are taught."""

import pytest
import torch
import torch.nn.functional as F

from reference.fill import bag, fill
from reference.peers import as_bag, peer_rows
from slidesurv.models.dsmil import DSMIL
from slidesurv.registry import models
from slidesurv.survival.losses import nll
from slidesurv.training.step import losses
from slidesurv.types import Sizes, SurvivalTarget

SIZES = Sizes(tile=1024, bins=4)
TARGET = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([1]))


def order(model: DSMIL) -> list[str]:
    """The canonical order: embedding, instance, queries, value, bag, as far as the variant has them."""
    layers = ["embed.0", "instance", "query.0", "query.2", "value", "head"]
    names = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    return [name for name in names if name in dict(model.named_parameters())]


def variant_choices(variant: str) -> dict:
    """What a row's variant asks for, such as "survival_port_bag" or "authors_identity_max_instance"."""
    if variant.startswith("survival_port"):
        return {"loss": "max"}
    return {"embed": False, "loss": "max", "value": "relu" if "relu" in variant or "value" in variant else "identity"}


def filled(**choices) -> DSMIL:
    model = DSMIL(SIZES, **choices).double().eval()
    fill(model, order(model))
    return model


def small(**choices) -> DSMIL:
    torch.manual_seed(0)
    return DSMIL(Sizes(tile=12, bins=4), **{"embed": 16, **choices})


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("DSMIL"))
def test_golden_logits(variant, n_tiles, logits):
    output = filled(**variant_choices(variant))(as_bag(bag(n_tiles)), None)
    found = output.branches[0] if variant.endswith("max_instance") else output.logits
    torch.testing.assert_close(found, logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("choices", "parameters"),
    [
        ({}, 879_880),
        (DSMIL.presets["authors"], 168_200),
        ({**DSMIL.presets["authors"], "value": "relu"}, 1_217_800),
        (DSMIL.presets["paper"], 1_217_800 - 128 * 129),
    ],
)
def test_it_has_as_many_parameters_as_published(choices, parameters):
    model = models.build("dsmil", SIZES, **choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_neither_order_nor_copies_of_a_bag_matter():
    tiles = bag(9)
    one, *others = (filled()(as_bag(f), None).logits for f in (tiles, tiles.flip(0), torch.cat([tiles, tiles])))
    for other in others:
        torch.testing.assert_close(other, one)


def test_the_bag_head_is_a_convolution_over_what_every_bin_pools():
    model, pooled = small(), torch.randn(4, 16)
    convolved = F.conv1d(pooled[None], model.head.weight.unflatten(1, (4, 16)), model.head.bias)[0, :, 0]
    torch.testing.assert_close(model.head(pooled.flatten()), convolved)


def test_a_linear_value_after_the_mean_is_the_mean_of_values():
    model, tiles = small(value="linear"), torch.randn(30, 16)
    attention = torch.randn(30, 4).softmax(0)
    torch.testing.assert_close(model._pool(attention, tiles), attention.T @ model.value(tiles))


def test_a_bin_weighs_tiles_by_their_likeness_to_its_critical_tile():
    model, features = small().eval(), torch.rand(30, 12)
    tiles = model.embed(features)
    queries = model.query(tiles)
    columns = []
    for k in range(4):
        critical = queries[model.instance(tiles)[:, k].argmax()]
        columns.append((queries @ critical / 128**0.5).softmax(0))
    torch.testing.assert_close(model(as_bag(features), None).attention, torch.stack(columns).mean(0))


def test_choosing_the_critical_tile_teaches_the_instance_layer_nothing():
    model = small()
    model(as_bag(torch.rand(30, 12)), None).logits.sum().backward()
    assert model.instance.weight.grad is None
    assert model.query[0].weight.grad.any()


def test_identical_tiles_cost_the_bags_likelihood_and_that_of_any_tile():
    model = small().train()
    output = model(as_bag(torch.rand(1, 12).expand(9, 12)), None)
    bag_, tile = (nll(logits[None], TARGET)[0] for logits in (output.logits, output.branches[3]))
    torch.testing.assert_close(losses(model, output, TARGET)["loss"], bag_ + tile)


def test_the_port_teaches_every_tile_and_the_authors_the_highest():
    features = torch.rand(9, 12)
    instances = small()(as_bag(features), None).branches
    assert instances.shape == (9, 4)
    model = small(loss="max").train()
    output = model(as_bag(features), None)
    torch.testing.assert_close(output.branches, instances.amax(0, keepdim=True))
    highest = nll(output.branches, TARGET)[0]
    wanted = (nll(output.logits[None], TARGET)[0] + highest) / 2
    torch.testing.assert_close(losses(model, output, TARGET)["loss"], wanted)


def test_averaged_streams_are_for_predictions_alone():
    bag_ = as_bag(torch.rand(9, 12))
    plain, average = small(loss="max"), small(loss="max", average=True)
    assert torch.equal(plain.train()(bag_, None).logits, average.train()(bag_, None).logits)
    own = plain.eval()(bag_, None)
    torch.testing.assert_close(average.eval()(bag_, None).logits, (own.logits + own.branches[0]) / 2)


def test_orthogonal_weights_have_orthonormal_rows_and_no_bias():
    model = small(init="orthogonal")
    for layer in (model.instance, model.head):
        torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(4))
        assert not layer.bias.any()


@pytest.mark.parametrize("preset", [{}, *DSMIL.presets.values()])
@pytest.mark.parametrize(
    "features", [torch.rand(1, 12), torch.rand(2, 12), torch.ones(30, 12), torch.rand(30, 12) * 1e4]
)
def test_strange_bags_give_numbers_and_gradients(preset, features):
    model = models.build("dsmil", Sizes(tile=12, bins=4), **preset).train()
    losses(model, model(as_bag(features), None), TARGET)["loss"].backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
