"""G-HANet: its numbers, its sizes, where its tokens look, and what genomics may and may not teach."""

from copy import deepcopy
from functools import cache

import pytest
import torch

from reference.fill import bag, fill, signed
from reference.golden import golden, records
from reference.peers import as_bag
from slidesurv.models.ghanet import GHANet, hyper_attention, reconstruction_errors
from slidesurv.types import Genomics, Sizes, Use

GROUPS = (10, 20, 30, 40, 50, 60)


def both(*layers: str) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def cross_attention(name: str) -> list[str]:
    return [*(f"{name}.{part}.weight" for part in ("query", "key", "value")), *both(f"{name}.output")]


ORDER = [
    *both("embed.0", "embed.1", "node.value", "node.gate", "node.score", "questions.project.0"),
    "questions.tokens",
    *cross_attention("questions.first"),
    *both(*(f"questions.feed_forward.{turn}.{part}" for turn in (0, 1) for part in ("wide", "narrow"))),
    *both("questions.token_norm.0", "questions.tile_norm", "questions.answer_norm.0"),
    *both("questions.token_norm.1", "questions.answer_norm.1", "questions.final_norm"),
    *both(*(f"rebuild.{group}.{layer}" for group in range(6) for layer in (0, 1, 4))),
    *both("hyper.0", "hyper.1", "hyper.3", "hyper.4"),
    *cross_attention("mix"),
    *both("merge_norm", "merge.wide", "merge.narrow", "squeeze.0", "squeeze.1", "head"),
]


@cache
def filled() -> GHANet:
    """Built once, so copy it to change it."""
    model = GHANet(Sizes(tile=1024, bins=4, groups=GROUPS)).double().eval()
    fill(model, ORDER)
    return model


def genome() -> Genomics:
    return Genomics(groups=tuple(signed(1001 + k, size) for k, size in enumerate(GROUPS)))


def count(groups: tuple[int, ...], **choices) -> int:
    with torch.device("meta"):
        model = GHANet(Sizes(tile=1024, bins=4, groups=groups), **choices)
    return sum(parameter.numel() for parameter in model.parameters())


def taught(model: GHANet, features: torch.Tensor) -> torch.Tensor:
    """The loss of the reconstruction, without dropout: the parts stay in evaluation."""
    model.training = True
    loss = model(as_bag(features), genome()).losses["reconstruction"]
    model.training = False
    return loss


@cache
@torch.no_grad()
def measured(n: int) -> dict[str, torch.Tensor]:
    model, features, truth = filled(), bag(n), genome()
    output = model(as_bag(features), None)
    rebuilt = output.reconstruction.split(GROUPS)
    errors = torch.stack([reconstruction_errors(*pair) for pair in zip(rebuilt, truth.groups, strict=True)])  # (K, 2)
    _, scores = model.questions(features)
    tiles = model.embed(features)
    attention = hyper_attention(model.node(tiles), scores, keep=model.keep)
    gathered = attention @ tiles
    own = 2 * attention - model.node(tiles).softmax(0)  # what each token sees alone: 0 where it looks away
    kept = own > 1e-12
    ranked = scores.sort(descending=True).values
    k = int(kept[0].sum())
    return {
        "logits": output.logits,
        "risk": output.risk,
        "reconstruction_first4_per_group": torch.stack([group[:4] for group in rebuilt]),
        "sce_per_group": errors[:, 0],
        "mse_per_group": errors[:, 1],
        "reconstruction_loss_sum_unweighted": taught(model, features),
        "reconstruction_loss_times_0.3": model.loss_weights["reconstruction"] * taught(model, features),
        "hyper_scores_M_token1_patches0to3": scores[0, :4],
        "topk_k": kept.sum(1).unique(),
        "topk_min_margin": (ranked[:, k - 1] - ranked[:, k]).min(),
        "topk_index_sum_per_token": (kept * torch.arange(n)).sum(1),
        "hyper_attention_G_token1_patches0to3": attention[0, :4],
        "hyper_out_token1_first4": (model.hyper(gathered) + gathered)[0, :4],
        "parameters_live": torch.tensor(count(GROUPS)),
        "parameters_released_incl_dead": torch.tensor(count(GROUPS, shared=False)),
    }


def test_golden_tensor_order():
    model = filled()
    assert sorted(ORDER) == sorted(name for name, _ in model.named_parameters())
    for entry, name in zip(golden()["tensor_orders"]["G-HANet"], ORDER, strict=True):
        assert list(model.get_parameter(name).shape) == entry["shape"]
        assert model.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize("n", sorted({record["N"] or 8 for record in records("G-HANet")}))
def test_golden_vectors(n):
    found = measured(n)
    for record in [r for r in records("G-HANet") if (r["N"] or 8) == n]:
        wanted = torch.tensor(record["values"], dtype=torch.float64)
        result = found[record["field"]].double().reshape(wanted.shape)
        torch.testing.assert_close(result, wanted, atol=1e-6, rtol=0, msg=record["field"])


MISTAKES = [r for r in golden()["wrong_on_purpose"] if r["model"] == "G-HANet" and r["field"] == "logits"]


@pytest.mark.parametrize("record", MISTAKES, ids=lambda record: record["config"][:40])
def test_golden_mistakes_are_not_made(record):
    found = measured(record["N"])["logits"]
    assert (found - torch.tensor(record["values"], dtype=torch.float64)).abs().max() > 1e-5


@pytest.mark.parametrize("record", [r for r in MISTAKES if "no top-20%" in r["config"]], ids=lambda record: record["N"])
def test_golden_tokens_that_keep_every_tile_are_the_row_without_a_mask(record):
    wanted = torch.tensor(record["values"], dtype=torch.float64)
    model = deepcopy(filled())
    model.keep = 1.0
    found = model(as_bag(bag(record["N"])), None).logits
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("groups", "parameters"),
    [((100, 200, 300, 400, 500, 600), 17_246_777), ((94, 334, 521, 468, 1495, 479), 17_909_060)],
)
def test_with_the_unused_attention_of_the_release_it_has_as_many_parameters_as_published(groups, parameters):
    assert count(groups, shared=False) == parameters == 16_169_477 + 513 * sum(groups)
    assert count(groups) == parameters - 1_049_088


SMALL = Sizes(tile=12, bins=4, groups=(3, 5, 4))
FEW = Genomics(groups=tuple(torch.linspace(-1, 1, size) for size in SMALL.groups))


def small(sizes: Sizes = SMALL, **choices) -> GHANet:
    torch.manual_seed(0)
    return GHANet(sizes, dim=16, **choices).eval()


def moved(model: GHANet, loss: torch.Tensor) -> set[str]:
    loss.backward()
    return {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_the_reconstruction_loss_teaches_the_questions_and_the_gene_heads_alone():
    model = small().train()
    output = model(as_bag(torch.rand(20, 12)), FEW)
    assert moved(model, output.losses["reconstruction"]) == {"questions", "rebuild"}


def test_the_survival_loss_teaches_the_questions_too_and_everything_but_the_gene_heads():
    model = small().train()
    parts = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert moved(model, model(as_bag(torch.rand(20, 12)), FEW).logits.sum()) == parts - {"rebuild"}


def test_where_the_questions_look_is_not_taught_by_what_survival_finds_there():
    _, scores = small().train().questions(torch.rand(20, 12))
    assert not scores.requires_grad


@pytest.mark.parametrize("shared", [True, False])
def test_the_scores_are_those_of_the_second_question(shared):
    model, features = small(shared=shared), torch.rand(9, 12)
    asked = model.questions.first if shared else model.questions.second
    heard = []
    handle = asked.register_forward_pre_hook(lambda _, told: heard.append(asked.scores(*told).mean(0)))
    _, scores = model.questions(features)
    handle.remove()
    assert len(heard) == (2 if shared else 1)
    torch.testing.assert_close(scores, heard[-1])


def test_half_of_the_attention_is_of_all_tokens_and_half_of_each_ones_best_tiles():
    nodes, scores = torch.zeros(4), torch.tensor([[0.0, 9.0, 1.0, 1.0], [3.0, 2.0, 1.0, 0.0]])
    one, two = hyper_attention(nodes, scores, keep=0.5)
    best = torch.tensor([9.0, 1.0, 1.0]).softmax(0) / 2  # tied for the second place: three are kept
    torch.testing.assert_close(one, torch.tensor([0.125, 0.125, 0.125, 0.125]) + torch.tensor([0, *best]))
    torch.testing.assert_close(two[2:], torch.tensor([0.125, 0.125]))


@pytest.mark.parametrize("n", [1, 2, 4, 5, 9, 10, 15])
def test_a_token_keeps_a_fifth_of_the_tiles_rounded_down_and_at_least_one(n):
    scores = torch.randperm(3 * n).view(3, n).float()
    attention = hyper_attention(torch.zeros(n), scores)
    torch.testing.assert_close(attention.sum(1), torch.ones(3))
    kept = max(1, n // 5)
    best = torch.zeros(3, n).scatter(1, scores.topk(kept).indices, scores.topk(kept).values.softmax(1))
    torch.testing.assert_close(2 * attention - 1 / n, best, atol=1e-6, rtol=0)


def test_tiles_that_are_all_alike_are_all_kept():
    torch.testing.assert_close(hyper_attention(torch.zeros(10), torch.ones(2, 10)), torch.full((2, 10), 0.1))


def test_errors_of_a_group_are_zero_when_perfect_and_count_direction_and_size():
    group = torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(reconstruction_errors(group, group), torch.zeros(2))
    torch.testing.assert_close(reconstruction_errors(2 * group, group), torch.tensor([0.0, group.square().mean()]))
    torch.testing.assert_close(reconstruction_errors(-group, group)[0], torch.tensor(8.0))


def test_the_order_of_tiles_does_not_matter():
    model, features = filled(), bag(40)
    one, other = (model(as_bag(tiles), None) for tiles in (features, features.flip(0)))
    torch.testing.assert_close(one.logits, other.logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.attention, other.attention.flip(0))


def test_a_prediction_rebuilds_the_groups_end_to_end_without_seeing_them():
    model, features = small(), torch.rand(20, 12)
    blind, told = (model(as_bag(features), genomics) for genomics in (None, FEW))
    assert blind.reconstruction.shape == (12,)
    assert torch.equal(blind.reconstruction, told.reconstruction)
    assert torch.equal(blind.logits, told.logits)


@pytest.mark.parametrize("genomics", [None, Genomics(embedding=torch.rand(3))])
def test_a_patient_without_gene_groups_teaches_survival_alone(genomics):
    output = small().train()(as_bag(torch.rand(20, 12)), genomics)
    assert output.losses == {}
    assert output.logits.requires_grad


def test_without_its_loss_it_sees_no_genomics_and_rebuilds_nothing():
    model = small(loss_weight=0).train()
    output = model(as_bag(torch.rand(20, 12)), FEW)
    assert model.genomics is Use.NEVER
    assert output.reconstruction is None
    assert output.losses == {}
    output.logits.sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_where_no_cohort_has_genes_six_tokens_ask_all_the_same():
    model = small(Sizes(tile=12, bins=4))
    assert model.questions.tokens.shape == (1, 6, 16)
    assert torch.isfinite(model(as_bag(torch.rand(3, 12)), None).logits).all()


def test_memory_grows_with_tiles_and_not_with_their_square():
    model, kept = small().train(), []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    totals = []
    for n in (400, 1600):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(as_bag(torch.rand(n, 12)), FEW)
        totals.append(sum(kept))
    assert totals[1] < 4.4 * totals[0]
