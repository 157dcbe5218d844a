"""CMTA: its numbers, its sizes, and who is moved by the alignment."""

from copy import deepcopy
from functools import cache

import pytest
import torch

from reference.fill import bag, fill, signed
from reference.golden import golden, records
from reference.peers import as_bag
from slidesurv.errors import DataError
from slidesurv.models.cmta import CMTA, alignment
from slidesurv.registry import models
from slidesurv.types import Genomics, Sizes

GROUPS = (10, 20, 30, 40, 50, 60)
BLCA = (94, 334, 521, 468, 1496, 479)
COHORTS = [
    ((100, 200, 300, 400, 500, 600), 6_936_132),
    (BLCA, 8_259_140),
    ((91, 353, 553, 480, 1566, 480), 8_393_284),
    ((84, 314, 498, 415, 1396, 428), 7_995_972),
    ((89, 334, 534, 471, 1510, 482), 8_287_812),
    ((3, 24, 21, 22, 65, 15), 4_939_332),
]


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


def order(model: CMTA) -> list[str]:
    blocks = range(len(model.genes.encoders[0]))
    return [
        *both("embed.0", "embed.3"),
        *both(*(f"genes.encoders.{group}.{block}.0" for group in range(6) for block in blocks)),
        *transformer("pathology_encoder", position=True),
        *transformer("genomic_encoder", position=False),
        *("tiles_ask.qkv_weight", "tiles_ask.qkv_bias", *both("tiles_ask.output")),
        *("genes_ask.qkv_weight", "genes_ask.qkv_bias", *both("genes_ask.output")),
        *transformer("pathology_decoder", position=True),
        *transformer("genomic_decoder", position=False),
        *(f"fusion.{name}" for name, _ in model.fusion.named_parameters()),
        *both("head"),
    ]


@cache
def as_configured(config: str) -> CMTA:
    """The model that a row's config describes, such as "small-concat"; built once, so copy it to change it."""
    size, fusion = config.split("-")
    model = CMTA(Sizes(tile=1024, bins=4, groups=GROUPS), size=size, fusion=fusion).double().eval()
    fill(model, order(model))
    return model


def genome() -> Genomics:
    return Genomics(groups=tuple(signed(1001 + k, size) for k, size in enumerate(GROUPS)))


def taught(model: CMTA, features: torch.Tensor) -> dict[str, torch.Tensor]:
    """Its own losses, without dropout: the parts stay in evaluation."""
    model.training = True
    losses = model(as_bag(features), genome()).losses
    model.training = False
    return dict(losses)


@torch.no_grad()
def measured(model: CMTA, n: int) -> dict[str, torch.Tensor]:
    features, genomics = bag(n), genome()
    output = model(as_bag(features), genomics)
    tiles, genes = model.embed(features), model.genes(genomics.groups)
    path, gene = model.pathology_encoder.encode(tiles), model.genomic_encoder.encode(genes)
    encoded, translated, _ = model._translate(tiles, genes)
    return {
        "logits": output.logits,
        "risk": output.risk,
        "cls_p_first4": encoded[0, :4],
        "cls_g_first4": encoded[1, :4],
        "cls_p_hat_first4": translated[0, :4],
        "cls_g_hat_first4": translated[1, :4],
        "alignment_L1_path_omic_sum": torch.stack(
            [*alignment(encoded, translated), taught(model, features)["alignment"]]
        ),
        "P_in_G_token0_first4": model.tiles_ask(path[1:], gene[1:])[0][0, :4],
        "G_in_P_token0_first4": model.genes_ask(gene[1:], path[1:])[0][0, :4],
        "parameters": torch.tensor(sum(parameter.numel() for parameter in model.parameters())),
    }


def rows() -> list[tuple[str, int]]:
    return sorted({(record["config"], record["N"] or 1) for record in records("CMTA")})


def test_golden_tensor_order():
    model = as_configured("small-concat")
    assert sorted(order(model)) == sorted(name for name, _ in model.named_parameters())
    for entry, name in zip(golden()["tensor_orders"]["CMTA"], order(model), strict=True):
        assert list(model.get_parameter(name).shape) == entry["shape"]
        assert model.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize(("config", "n"), rows())
def test_golden_vectors(config, n):
    found = measured(as_configured(config), n)
    for record in [r for r in records("CMTA") if (r["config"], r["N"] or 1) == (config, n)]:
        wanted = torch.tensor(record["values"], dtype=torch.float64)
        torch.testing.assert_close(found[record["field"]].double(), wanted, atol=1e-6, rtol=0, msg=record["field"])


MISTAKES = [r for r in golden()["wrong_on_purpose"] if r["model"] == "CMTA" and r["field"] == "logits"]


@pytest.mark.parametrize("record", MISTAKES, ids=lambda record: record["config"][:40])
def test_golden_mistakes_are_not_made(record):
    found = measured(as_configured("small-concat"), record["N"])["logits"]
    assert (found - torch.tensor(record["values"], dtype=torch.float64)).abs().max() > 1e-3


@pytest.mark.parametrize("record", [r for r in MISTAKES if "exact" in r["config"]], ids=lambda record: record["N"])
def test_golden_exact_attention_of_genes_alone_is_the_row_called_so(record):
    model = deepcopy(as_configured("small-concat"))
    for part in (model.genomic_encoder, model.genomic_decoder):
        part.first_layer.attention.exact = part.second_layer.attention.exact = True
    wanted = torch.tensor(record["values"], dtype=torch.float64)
    torch.testing.assert_close(measured(model, record["N"])["logits"], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("groups", "parameters"), COHORTS)
def test_it_has_as_many_parameters_as_published(groups, parameters):
    with torch.device("meta"):
        model = CMTA(Sizes(tile=1024, bins=4, groups=groups))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters == 4_785_732 + 1024 * sum(groups)


@pytest.mark.parametrize(
    ("choices", "parameters"), [({"fusion": "bilinear"}, 8_458_244), ({"size": "large"}, 21_182_276)]
)
def test_its_variants_have_as_many_parameters_as_published(choices, parameters):
    with torch.device("meta"):
        model = CMTA(Sizes(tile=1024, bins=4, groups=BLCA), **choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


FEW = Genomics(groups=(torch.rand(3), torch.rand(5)))


def small(**choices) -> CMTA:
    torch.manual_seed(0)
    return CMTA(Sizes(tile=12, bins=4, groups=(3, 5)), dim=16, **choices).eval()


def translated(model: CMTA, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return model._translate(model.embed(features), model.genes(FEW.groups))


def test_the_alignment_moves_the_decoders_class_tokens_alone():
    model = small()
    encoded, heard, _ = translated(model, torch.rand(10, 12))
    to_encoded, to_heard = torch.autograd.grad(alignment(encoded, heard).sum(), [encoded, heard], allow_unused=True)
    assert to_encoded is None
    torch.testing.assert_close(to_heard, (heard - encoded).sign() / 16)


def test_the_survival_loss_moves_both():
    model = small().train()
    model(as_bag(torch.rand(10, 12)), FEW).logits.sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_class_tokens_that_agree_cost_nothing():
    encoded = torch.randn(2, 5)
    assert alignment(encoded, encoded).tolist() == [0, 0]
    torch.testing.assert_close(alignment(encoded, encoded + torch.tensor([[1.0], [-3.0]])), torch.tensor([1.0, 3.0]))


@pytest.mark.parametrize(("cohort", "weight"), [("blca", 1), ("brca", 100), ("gbmlgg", 1), ("luad", 1e-4), ("ucec", 1)])
def test_each_cohort_of_the_paper_has_its_own_weight(cohort, weight):
    model = models.build("cmta", Sizes(tile=12, bins=4, groups=(3, 5)), dim=16, **CMTA.presets[cohort])
    assert model.loss_weights == {"alignment": weight}


def test_the_order_of_tiles_matters_as_published():
    model, features = small(), torch.rand(30, 12)
    one, other = (model(as_bag(tiles), FEW).logits for tiles in (features, features.flip(0)))
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9, 12])
def test_attention_is_what_the_groups_look_at_and_copies_count_for_their_tile(n):
    model, features = small(), torch.rand(n, 12)
    _, _, scores = translated(model, features)
    expected = torch.zeros(n)
    for place, weight in enumerate(scores.softmax(-1).mean(0)):
        expected[place % n] += weight  # the square is completed with the first tiles
    torch.testing.assert_close(model(as_bag(features), FEW).attention, expected)


@pytest.mark.parametrize("choices", [{"size": "large"}, {"fusion": "bilinear"}, {"attention": "exact"}])
def test_every_choice_predicts_and_is_taught(choices):
    model = small(**choices).train()
    output = model(as_bag(torch.rand(7, 12)), FEW)
    (output.logits.sum() + output.losses["alignment"]).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_capped_bag_is_predicted_the_same_twice_and_drawn_anew_in_training():
    model, bag_ = small(cap=20), as_bag(torch.rand(60, 12))
    one, two = (model(bag_, FEW) for _ in range(2))
    assert torch.equal(one.logits, two.logits)
    assert (one.attention > 0).sum() == 20
    torch.testing.assert_close(one.attention.sum(), torch.tensor(1.0))
    assert len({tuple(model.train()._cap(bag_).tolist()) for _ in range(3)}) == 3


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


def test_a_patient_without_gene_groups_is_named():
    with pytest.raises(DataError, match="'P-7' has no gene groups"):
        small()(as_bag(torch.rand(2, 12), "P-7"), Genomics(embedding=torch.rand(3)))
