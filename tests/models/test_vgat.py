"""VGAT: its numbers, its sizes, its ablations, and what genomics may and may not do."""

import hashlib
import re

import pytest
import torch

from reference.fill import bag, fill, prototypes, signed
from reference.golden import golden, records
from reference.peers import as_bag
from slidesurv.models.vgat import VGA, VGAT, Reconstruction, reconstruction_loss
from slidesurv.selection.prompts import ESE
from slidesurv.types import Genomics, Sizes

SIZES = Sizes(tile=1024, bins=4, embedding=256)


def both(*layers: str) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def transformer(name: str, *, position: bool) -> list[str]:
    def layer(which: str) -> list[str]:
        attention = f"{name}.{which}.attention"
        return [
            *both(f"{name}.{which}.norm"),
            f"{attention}.qkv.weight",
            *both(f"{attention}.output"),
            f"{attention}.residual.weight",
        ]

    between = both(*(f"{name}.position.{kernel}" for kernel in ("wide", "middle", "narrow"))) if position else []
    return [f"{name}.token", *layer("first_layer"), *between, *layer("second_layer"), *both(f"{name}.norm")]


ORDER = [
    *both("embed.0", "embed.3", "reconstruct.project.0", "reconstruct.gate.0", "reconstruct.gate.2"),
    "reconstruct.tokens",
    *(f"reconstruct.attention.0.{part}.weight" for part in ("query", "key", "value")),
    *both("reconstruct.attention.0.output"),
    *both(*(f"reconstruct.feed_forward.{turn}.{part}" for turn in (0, 1) for part in ("wide", "narrow"))),
    *both("reconstruct.token_norm.0", "reconstruct.prompt_norm", "reconstruct.answer_norm.0"),
    *both("reconstruct.token_norm.1", "reconstruct.answer_norm.1", "reconstruct.final_norm"),
    *both("reconstruct.output.0", "reconstruct.output.1", "reconstruct.output.4"),
    *transformer("pathology", position=True),
    *transformer("genomic", position=False),
    *both("fusion.0", "fusion.2", "head"),
]


def filled(**choices) -> VGAT:
    model = VGAT(SIZES, **choices).double().eval()
    fill(model, ORDER)
    return model


def as_configured(config: str) -> VGAT:
    """The model that a row's config describes, such as "C=16;N_S=64;logodds_f64"."""
    prompts = int(re.search(r"N_S=(\d+)", config)[1])
    count = re.search(r"C=(\d+)", config)
    score = re.search(r"release_(posterior_f\d\d)", config)
    model = filled(
        ese=ESE(
            prompts=prompts,
            prototypes=int(count[1]) if count else 16,
            score=score[1] if score else "log_odds",
            quota="clusters" if "quota" in config else "release",
            fill="ascending",
        )
    )
    model.prompts.means.copy_(prototypes(model.prompts.choices.prototypes))
    return model


def measured(model: VGAT, n: int) -> dict[str, torch.Tensor]:
    features, embedding = bag(n), signed(2000, 256)
    output = model(as_bag(features), None)
    path, row = model.pathology.explain(model.embed(features))
    genome = model.genomic(output.reconstruction[None])
    return {
        "E_R_first6": output.reconstruction[:6],
        "KL_R_G": reconstruction_loss(output.reconstruction, embedding),
        "path_cls_first4": path[:4],
        "genomic_cls_first4": genome[:4],
        "logits": output.logits,
        "risk": output.risk,
        "cls_attention_row_entries0to3": row[:4],
        "cls_attention_row_sum": row.sum(),
        "cls_attention_row_argmax": row.argmax(),
    }


def configs() -> list[tuple[str, int]]:
    rows = [(r["config"], r["N"]) for r in records("VGAT", "logits")]
    return [(config, n) for config, n in dict.fromkeys(rows)]


def test_golden_tensor_order():
    model = filled()
    assert sorted(ORDER) == sorted(name for name, _ in model.named_parameters())
    for entry, name in zip(golden()["tensor_orders"]["VGAT"], ORDER, strict=True):
        assert list(model.get_parameter(name).shape) == entry["shape"]
        assert model.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


FREE_OF_SELECTION = {"path_cls_first4", "cls_attention_row_entries0to3", "cls_attention_row_sum"}


def chosen_as_printed(model: VGAT, config: str, n: int) -> bool:
    """Whether the prompts are those of the row; where float32 ties decide, another processor may choose others."""
    tiles = sorted(model.prompts.tiles(as_bag(bag(n))).tolist())
    digest = hashlib.sha256(",".join(map(str, tiles)).encode()).hexdigest()
    rows = [r for r in records("VGAT", "selected_with_ascending_fill_sha256") if (r["config"], r["N"]) == (config, n)]
    return all(r["values"] == digest for r in rows)


@pytest.mark.parametrize(("config", "n"), configs())
def test_golden_vectors(config, n):
    model = as_configured(config)
    found = measured(model, n)
    if "posterior_f32" in config and not chosen_as_printed(model, config, n):
        found = {field: value for field, value in found.items() if field in FREE_OF_SELECTION}
    for record in [r for r in records("VGAT") if (r["config"], r["N"]) == (config, n) and r["field"] in found]:
        wanted = torch.tensor(record["values"], dtype=torch.float64)
        torch.testing.assert_close(found[record["field"]].double(), wanted, atol=1e-6, rtol=0, msg=record["field"])


MISTAKES = [r for r in golden()["wrong_on_purpose"] if r["model"] == "VGAT" and r["field"] == "logits"]


@pytest.mark.parametrize("record", MISTAKES, ids=lambda record: record["config"][:40])
def test_golden_mistakes_are_not_made(record):
    found = measured(as_configured("N_S=1024"), record["N"])["logits"]
    assert (found - torch.tensor(record["values"], dtype=torch.float64)).abs().max() > 1e-5


def test_golden_divergence():
    rebuilt, truth = torch.tensor([1.0, 2, 0, -1]), torch.tensor([0.0, 1, 1, -2])
    assert reconstruction_loss(rebuilt, truth).item() == pytest.approx(records("block:KL")[0]["values"], abs=1e-6)
    assert reconstruction_loss(rebuilt, truth, kind="kl_reverse").item() == pytest.approx(0.384631, abs=1e-6)
    assert reconstruction_loss(truth + 3, truth).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("choices", "parameters"),
    [
        ({}, 10_141_989),
        (VGAT.presets["release"], 10_141_989),
        ({"vga": VGA(gate=False)}, 10_141_989 - 263_169),
        ({"vga": VGA(shared=False)}, 10_141_989 + 1_049_088),
        ({"vga": VGA(attend=False)}, 10_141_989 - 1_049_088),
    ],
)
def test_it_has_as_many_parameters_as_published(choices, parameters):
    from slidesurv.registry import models

    model = models.build("vgat", SIZES, **choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def small(**choices) -> VGAT:
    torch.manual_seed(0)
    choices = {"ese": ESE(prompts=16, prototypes=4, quota="clusters"), "vga": VGA(width=16), **choices}
    model = VGAT(Sizes(tile=12, bins=4, embedding=32), dim=32, **choices).eval()
    model.prepare([as_bag(torch.rand(80, 12))], seed=1)
    return model


def test_a_change_of_unselected_tiles_leaves_the_reconstruction_as_it_is():
    model, features = small(), torch.rand(60, 12)
    chosen = model.prompts.choose(as_bag(features)).tiles
    prompts = features[chosen]
    other = features.clone()
    other[[k for k in range(60) if k not in chosen.tolist()]] += 1e-6
    assert torch.equal(model.reconstruct(prompts), model.reconstruct(other[chosen]))
    shuffled = prompts[torch.randperm(len(prompts))]
    torch.testing.assert_close(model.reconstruct(prompts), model.reconstruct(shuffled), atol=2e-6, rtol=0)


def test_the_reconstruction_loss_teaches_the_reconstruction_alone():
    model = small().train()
    output = model(as_bag(torch.rand(60, 12)), Genomics(embedding=torch.randn(32)))
    output.losses["reconstruction"].backward()
    taught = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"reconstruct"}


def test_the_survival_loss_teaches_the_reconstruction_too():
    model = small().train()
    model(as_bag(torch.rand(60, 12)), None).logits.sum().backward()
    untaught = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert untaught == []


def test_prompts_are_chosen_once_for_a_bag_and_anew_for_another_of_the_same_patient(monkeypatch):
    model, chosen = small(), []
    choose = model.prompts.choose
    monkeypatch.setattr(model.prompts, "choose", lambda bag: (chosen.append(len(bag)), choose(bag))[1])
    features = torch.rand(60, 12)
    for tiles in (features, features, features + 1, features[:50]):
        model.train()(as_bag(tiles), None)
        model.eval()(as_bag(tiles), None)
    assert chosen == [60, 60, 50]


def test_other_prototypes_choose_anew():
    model, bag_ = small(), as_bag(torch.rand(60, 12))
    first = model.prompts(bag_)
    model.load_state_dict({**model.state_dict(), "prompts.means": torch.rand(4, 12) * 5})
    assert not torch.equal(model.prompts(bag_), first)


def test_a_capped_bag_is_predicted_the_same_twice_and_drawn_anew_in_training():
    model, bag_ = small(cap=20), as_bag(torch.rand(60, 12))
    model.explains = True
    one, two = (model(bag_, None) for _ in range(2))
    assert torch.equal(one.logits, two.logits)
    assert one.attention.shape == (60,)
    assert (one.attention > 0).sum() <= 20
    drawn = {tuple(model.train()._cap(bag_).tolist()) for _ in range(3)}
    assert len(drawn) == 3


def test_the_release_draws_its_random_tiles_anew_at_every_step():
    model = small(ese=ESE(prompts=40, prototypes=4, reselect=True)).train()
    drawn = {tuple(model.prompts.tiles(as_bag(torch.ones(60, 12))).tolist()) for _ in range(3)}
    assert len(drawn) == 3


@pytest.mark.parametrize("select", ["em", "cluster", "random", "none"])
def test_every_way_of_choosing_prompts_predicts(select):
    model = small(ese=ESE(prompts=16, prototypes=4, quota="clusters", select=select))
    for n in (1, 16, 40):
        output = model(as_bag(torch.rand(n, 12)), None)
        assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize("kind", ["kl", "kl_reverse", "mse", "l1", "cosine"])
def test_a_perfect_reconstruction_costs_nothing(kind):
    truth = torch.randn(9)
    assert reconstruction_loss(truth, truth, kind=kind).item() == pytest.approx(0, abs=1e-6)
    assert reconstruction_loss(truth.flip(0), truth, kind=kind).item() > 0


def test_without_vga_it_is_the_pathology_transformer_alone():
    model = small(vga=False)
    output = model(as_bag(torch.rand(5, 12)), None)
    assert output.reconstruction is None
    assert not hasattr(model, "reconstruct")


def test_teacher_forcing_shows_the_embedding_in_training_and_never_after():
    model = small(genomic_input="embedding", dropout=0.0, vga=VGA(width=16, dropout=0.0)).train()
    bag_ = as_bag(torch.rand(5, 12))
    one, other = (Genomics(embedding=torch.full((32,), value).cumsum(0)) for value in (1.0, -1.0))

    def logits(genomics):
        torch.manual_seed(0)
        return model(bag_, genomics).logits

    assert not torch.equal(logits(one), logits(other))
    model.eval()
    assert torch.equal(logits(one), logits(other))


def test_a_reconstruction_can_be_replaced_to_see_whether_it_is_used():
    model, bag_ = small(), as_bag(torch.rand(30, 12))
    own = model(bag_, None)
    assert torch.equal(model.rejudge(bag_, own.reconstruction).logits, own.logits)
    assert not torch.equal(model.rejudge(bag_, torch.zeros(32)).logits, own.logits)


def test_more_tokens_answer_together():
    torch.manual_seed(0)
    module = Reconstruction(12, 8, VGA(width=16, tokens=3)).eval()
    assert module(torch.rand(5, 12)).shape == (8,)
