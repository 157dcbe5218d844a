"""The questions that every registered model answers. A new file in models/ is asked without being named here.

A file outside the package that is named by SLIDESURV_PROTOCOL is asked in their stead.
"""

import os
import runpy

import pytest
import torch

from reference.peers import as_bag
from slidesurv.config.training import TrainingSection
from slidesurv.registry import models
from slidesurv.training.step import losses, show
from slidesurv.types import Genomics, PatientData, Sizes, SurvivalTarget, Use

SIZES = Sizes(tile=16, bins=4, embedding=12, expression=20, groups=(5, 7, 4, 6, 3, 8))
NAMES = models.names()
if outside := os.environ.get("SLIDESURV_PROTOCOL"):
    runpy.run_path(outside, run_name=outside.removesuffix(".py"))
    NAMES = sorted(set(models.names()) - set(NAMES))
# their squares and pseudo-bags follow the order of the bag, as published
ORDER_SENSITIVE = {"cmta", "dtfdmil", "mome", "multibert", "transmil", "vgat"}


GRADIENT_FREE = {"mome"}  # its router is frozen, and experts that were not picked wait, as published


def bags(count: int = 4) -> list:
    generator = torch.Generator().manual_seed(7)
    return [as_bag(torch.rand(20 + 5 * k, 16, generator=generator), f"P{k}") for k in range(count)]


def genome(seed: int = 0) -> Genomics:
    generator = torch.Generator().manual_seed(seed)
    groups = tuple(torch.randn(size, generator=generator) for size in SIZES.groups)
    return Genomics(groups, torch.randn(12, generator=generator), torch.randn(20, generator=generator))


def made(name: str):
    torch.manual_seed(3)
    model = models.build(name, SIZES)
    model.prepare(bags(), seed=5)
    model.explains = True
    return model.eval()


def patient(features: torch.Tensor | None = None, *, seed: int = 0) -> PatientData:
    bag = bags()[0] if features is None else as_bag(features, "P0")
    target = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([1]))
    return PatientData("P0", bag, genome(seed), target)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_it_says_what_it_may_see_and_where_it_comes_from(name):
    part = models[name]
    assert isinstance(part.slides, Use)
    assert isinstance(part.genomics, Use)
    assert part.paper.bibtex().startswith("@")
    assert part.__module__.endswith(name)


def test_the_recipe_of_its_authors_is_one_that_training_can_follow(name):
    recipe = TrainingSection.model_validate(dict(models[name].native))
    assert recipe.loss == "nll"  # the tables compare hazards


def test_it_says_which_view_of_the_genome_it_reads(name):
    part = models[name]
    assert (part.view is None) == (part.genomics is Use.NEVER)


def test_logits_have_a_number_a_bin_and_survival_falls(name):
    output = show(made(name), patient())
    assert output.logits.shape == (4,)
    assert ((output.hazards > 0) & (output.hazards < 1)).all()
    assert (output.survival.diff() < 0).all()
    assert -4 < output.risk < 0


def test_attention_is_one_weight_a_tile_and_sums_to_one(name):
    output = show(made(name), patient())
    if output.attention is not None:
        assert output.attention.shape == (20,)
        assert (output.attention >= 0).all()
        torch.testing.assert_close(output.attention.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_tile_or_two_are_enough(name, n):
    model = made(name)
    assert torch.isfinite(show(model, patient(torch.rand(n, 16))).logits).all()
    loss = losses(model.train(), show(model, patient(torch.rand(n, 16))), patient().target)["loss"]
    loss.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_identical_tiles_and_tiles_of_a_large_scale_give_numbers(name):
    model = made(name)
    for features in (torch.ones(50, 16), torch.rand(50, 16) * 1e4, torch.zeros(50, 16)):
        assert torch.isfinite(show(model, patient(features)).logits).all()


def test_every_parameter_is_taught(name):
    model = made(name).train()
    parts = losses(model, show(model, patient()), patient().target)
    parts["loss"].backward()
    untaught = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert bool(untaught) == (name in GRADIENT_FREE), untaught


def test_own_losses_are_for_training_alone(name):
    model = made(name)
    assert show(model, patient()).losses == {}
    if model.genomics is Use.TRAINING:
        assert show(model.train(), patient()).losses


def test_a_prediction_is_the_same_twice(name):
    model = made(name)
    assert torch.equal(show(model, patient()).logits, show(model, patient()).logits)


def test_genomics_change_a_prediction_only_where_the_class_says_so(name):
    model = made(name)
    one, other = (show(model, patient(seed=seed)).logits for seed in (0, 1))
    assert torch.equal(one, other) == (model.genomics is not Use.ALWAYS)


def test_tiles_change_a_prediction_only_where_the_class_says_so(name):
    model = made(name)
    one, other = (show(model, patient(torch.rand(30, 16) + k)).logits for k in (0, 1))
    assert torch.equal(one, other) == (model.slides is Use.NEVER)


def test_the_order_of_tiles_matters_only_where_it_was_published_so(name):
    model, features = made(name), torch.rand(40, 16)
    one, other = (show(model, patient(tiles)).logits for tiles in (features, features.flip(0)))
    assert torch.allclose(one, other, atol=1e-6, rtol=0) == (name not in ORDER_SENSITIVE)


def test_a_patient_without_genomics_can_be_predicted_unless_the_model_needs_them(name):
    model = made(name)
    known = patient()
    without = PatientData(known.id, known.bag, None, known.target)
    if model.genomics is not Use.ALWAYS:
        assert torch.equal(show(model, without).logits, show(model, known).logits)


def test_weights_in_a_file_give_the_same_prediction(name, tmp_path):
    from safetensors.torch import load_file, save_file

    model = made(name)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(99)
    other = models.build(name, SIZES).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(show(model, patient()).logits, show(other, patient()).logits)


def test_its_numbers_about_itself_are_numbers(name):
    for key, value in made(name).diagnose(bags()[0]).items():
        assert isinstance(key, str)
        assert isinstance(value, float)


def test_preparing_twice_with_one_seed_gives_the_same_model(name):
    first, second = made(name), made(name)
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)
