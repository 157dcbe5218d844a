"""PANTHER: its mixture, its representations and heads, and that a patient is fitted once."""

import pytest
import torch

from reference.fill import bag, prototypes, signed
from reference.peers import as_bag
from slidesurv.errors import ConfigError
from slidesurv.models import panther
from slidesurv.models.panther import Panther, represent
from slidesurv.registry import models
from slidesurv.selection.mixture import map_em
from slidesurv.training.step import losses
from slidesurv.types import Sizes, SurvivalTarget

LENGTHS = {  # of the vector of 5 prototypes, 3 features, keeping 4
    "allcat": 5 + 2 * 5 * 3,
    "weighted_cat": 2 * 5 * 3,
    "weighted_mean_variance": 2 * 3,
    "weighted_mean": 3,
    "top": 4 + 2 * 4 * 3,
    "bottom": 4 + 2 * 4 * 3,
}
HEADS = ["linear", "shared", "individual", "individual+post"]
TARGET = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([1]))


def summary(features: torch.Tensor, means: torch.Tensor, **choices) -> torch.Tensor:
    """What the model of these prototypes says of a patient before its head."""
    model = Panther(Sizes(tile=means.shape[1], bins=4), prototypes=len(means), **choices).double()
    model.means.copy_(means)
    return model._summary(as_bag(features))


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({}, [0.33347, 0.66653, 0.09999, -0.1997, 1.04997, 0.95002, 0.00019, 0.00026, 0.02255, 0.02255]),
        (
            Panther.presets["printed"],
            [0.45763, 0.54237, 0.27962, 0.15774, 0.94408, 0.86253, 0.62659, 0.64271, 0.45370, 0.49594],
        ),
        (
            {**Panther.presets["printed"], "iterations": 3},
            [0.42543, 0.57457, 0.19372, 0.06394, 0.97044, 0.89248, 0.60325, 0.61776, 0.41474, 0.44517],
        ),
    ],
    ids=["as the program runs", "as the scripts say", "three iterations"],
)
def test_golden_vector(choices, expected):
    tiles = torch.tensor([[0.1, -0.2], [0.9, 1.1], [1.2, 0.8]], dtype=torch.float64)
    means = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(
        summary(tiles, means, **choices), torch.tensor(expected, dtype=torch.float64), atol=6e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("head", "bins", "parameters"),
    [
        ("linear", 4, 131_136),
        ("linear", 1, 32_784),
        ("shared", 4, 541_184),
        ("individual", 4, 4_206_592),
        ("individual+post", 4, 6_300_672),
    ],
)
def test_it_has_as_many_parameters_as_published(head, bins, parameters):
    model = models.build("panther", Sizes(tile=1024, bins=bins), head=head)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.means.numel() == 16 * 1024
    assert not model.means.requires_grad


@pytest.mark.parametrize(("representation", "width"), list(LENGTHS.items()))
def test_representations_are_as_long_as_published(representation, width):
    assert summary(signed(1, 9, 3), signed(2, 5, 3), representation=representation).shape == (width,)


def test_weighted_representations_are_sums_over_prototypes():
    mixture = map_em(signed(1, 40, 3), signed(2, 5, 3), 0.5, update=True)
    means, variances = represent(mixture, "weighted_mean_variance")
    torch.testing.assert_close(means[0], (mixture.weights[:, None] * mixture.means).sum(0))
    torch.testing.assert_close(variances[0], (mixture.weights[:, None] * mixture.variances).sum(0))
    torch.testing.assert_close(represent(mixture, "weighted_cat")[0].sum(0), means[0])
    assert torch.equal(represent(mixture, "weighted_mean")[0], means)


def test_top_and_bottom_are_the_prototypes_with_the_most_and_the_least_tiles():
    mixture = map_em(signed(1, 40, 3), signed(2, 5, 3), 0.5, update=True)
    shares = mixture.weights.sort().values
    top, bottom = (represent(mixture, kind, keep=2) for kind in ("top", "bottom"))
    assert torch.equal(top[0][:, 0], shares.flip(0)[:2])
    assert torch.equal(bottom[0][:, 0], shares[:2])
    assert torch.equal(top[1][0], mixture.means[mixture.weights.argmax()])


def parts(features, means, **choices):
    """Weights, means and variances of the published vector."""
    count, width = means.shape
    weights, rest = summary(features, means, **choices).split([count, 2 * count * width])
    return weights, *rest.unflatten(0, (2, count, width)).unbind()


def test_shares_sum_to_one_and_the_order_of_tiles_is_nothing():
    features = bag(60, 32)
    weights, *_ = parts(features, prototypes(4, 32))
    assert weights.sum().item() == pytest.approx(1)
    shuffled = features[torch.randperm(60)]
    torch.testing.assert_close(summary(shuffled, prototypes(4, 32)), summary(features, prototypes(4, 32)))


def test_two_copies_of_a_bag_are_the_same_patient_when_the_prior_is_weak():
    once, twice, means = bag(30, 8), bag(30, 8).repeat(2, 1), signed(5, 3, 8) / 4
    gaps = [
        (summary(once, means, strength=strength) - summary(twice, means, strength=strength)).abs().max()
        for strength in (10.0, 1e-9)
    ]
    assert gaps[1] < 1e-7 < gaps[0]


def test_a_prototype_without_tiles_stays_where_it_was():
    features, means = bag(20, 8), torch.cat([prototypes(2, 8), prototypes(1, 8) + 1000])
    weights, centres, variances = parts(features, means, strength=0.5)
    assert weights[2].item() == pytest.approx(0.5 / (20 + 3 * 0.5))
    torch.testing.assert_close(centres[2], means[2])
    torch.testing.assert_close(variances[2], torch.full((8,), 0.1).double(), rtol=1e-6, atol=0)


def test_an_overwhelming_prior_returns_itself():
    weights, centres, variances = parts(bag(20, 8), prototypes(4, 8), strength=1e12)
    torch.testing.assert_close(weights, torch.full((4,), 0.25).double())
    torch.testing.assert_close(centres, prototypes(4, 8))
    torch.testing.assert_close(variances, torch.full((4, 8), 0.1).double())


def small(**choices) -> Panther:
    torch.manual_seed(0)
    model = Panther(Sizes(tile=12, bins=4), prototypes=5, **choices)
    model.means.copy_(torch.rand(5, 12))
    return model


@pytest.mark.parametrize("representation", list(LENGTHS))
@pytest.mark.parametrize("head", HEADS)
def test_every_head_reads_every_representation(head, representation):
    model = small(head=head, representation=representation).train()
    losses(model, model(as_bag(torch.rand(30, 12)), None), TARGET)["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("head", "shared"), [("shared", True), ("individual", False)])
def test_prototypes_share_a_layer_or_have_their_own(head, shared):
    encode = small(head=head).head[0].eval()
    encoded = encode(torch.rand(25).expand(5, 25))
    assert torch.allclose(encoded, encoded[:1].expand_as(encoded)) == shared


@pytest.mark.parametrize("sampling", ["first", "uniform"])
def test_prototypes_are_fitted_on_the_tiles_that_were_asked_for(sampling):
    ours, others = torch.rand(50, 12), torch.rand(50, 12) + 100
    model = Panther(Sizes(tile=12, bins=4), prototypes=3, sample=100, sampling=sampling)
    model.prepare([as_bag(torch.cat([ours, others]), name) for name in "AB"], seed=0)
    assert (model.means > 50).any() == (sampling == "uniform")


def count_fits(model: Panther, monkeypatch) -> list[int]:
    fitted = []
    fit = model._fit
    monkeypatch.setattr(model, "_fit", lambda features: (fitted.append(len(features)), fit(features))[1])
    return fitted


def test_a_patient_is_fitted_once_and_anew_when_tiles_or_prototypes_change(monkeypatch):
    model, features = small(), torch.rand(60, 12)
    fitted = count_fits(model, monkeypatch)
    for tiles in (features, features, features + 1, features[:50]):
        model.train()(as_bag(tiles), None)
        model.eval()(as_bag(tiles), None)
    assert fitted == [60, 60, 50]
    before = model(as_bag(features), None).logits
    model.load_state_dict({**model.state_dict(), "means": torch.rand(5, 12) * 5})
    assert not torch.equal(model(as_bag(features), None).logits, before)
    model.prepare([as_bag(features)], seed=2)
    model(as_bag(features), None)
    assert fitted == [60, 60, 50, 60, 60]


def test_no_more_patients_are_kept_than_memory_is_meant_for(monkeypatch):
    monkeypatch.setattr(panther, "MOST_KEPT", 2)
    model = small()
    for name in "ABCDA":
        model(as_bag(torch.rand(9, 12), name), None)
    assert {name for name, *_ in model._kept} == {"A", "B"}


def test_a_patient_who_was_predicted_can_be_taught():
    model, patient = small(), as_bag(torch.rand(30, 12))
    with torch.inference_mode():
        before = model.eval()(patient, None).logits
    logits = model.train()(patient, None).logits
    logits.sum().backward()
    assert torch.equal(logits, before)


@pytest.mark.parametrize("n", [1, 2, 300])
@pytest.mark.parametrize("kind", ["ones", "zeros", "large"])
@pytest.mark.parametrize("iterations", [1, 3])
def test_dull_and_large_features_give_numbers_and_gradients(n, kind, iterations):
    features = {"ones": torch.ones(n, 12), "zeros": torch.zeros(n, 12), "large": torch.rand(n, 12) * 1e4}[kind]
    model = small(iterations=iterations, head="individual+post").train()
    logits = model(as_bag(features), None).logits
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_more_prototypes_cannot_be_kept_than_there_are():
    with pytest.raises(ConfigError, match="'top' keeps 4 prototypes, and there are 3"):
        Panther(Sizes(tile=12, bins=4), prototypes=3, representation="top")
