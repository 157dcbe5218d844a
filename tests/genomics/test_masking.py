"""Genes are hidden as BERT hides words, and what is asked for is computed exactly."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from slidesurv.errors import ConfigError
from slidesurv.genomics.bulkrnabert import EncoderConfig, ExpressionEncoder, add_ia3
from slidesurv.genomics.masking import Masking, Question, add_mask, answer, costs, drop_mask, judge

V = 16
SIZES = EncoderConfig(
    n_genes=40,
    n_expressions_bins=V,
    embed_dim=12,
    init_gene_embed_dim=5,
    num_attention_heads=3,
    ffn_embed_dim=20,
    num_layers=3,
)


def bins(patients: int = 6, genes: int = SIZES.n_genes) -> torch.Tensor:
    random = torch.Generator().manual_seed(7)
    return torch.randint(V, (patients, genes), generator=random, dtype=torch.int16)


def question(patients: int = 6) -> Question:
    return Masking()(bins(patients), n_bins=V, seeds=range(patients))


def made(**changes: object) -> ExpressionEncoder:
    torch.manual_seed(0)
    return ExpressionEncoder(replace(SIZES, **changes)).double()


def share_lies_within(count: int, of: int, share: float) -> bool:
    return abs(count - of * share) < 5 * (of * share * (1 - share)) ** 0.5


def test_of_the_chosen_genes_80_in_100_are_hidden_10_swapped_and_10_kept():
    genes, patients = 2_000, 50
    given = bins(patients, genes)
    asked = Masking()(given, n_bins=V, seeds=range(patients))
    assert asked.chosen.shape == (patients, 300)  # 15 %
    seen = asked.shown.gather(1, asked.chosen)
    total, same = seen.numel(), int((seen == asked.truth).sum())
    assert share_lies_within(int((seen == -1).sum()), total, 0.8)
    assert share_lies_within(same, total, 0.1 + 0.1 / V)  # a swapped one may be what it was
    others = seen[(seen != -1) & (seen != asked.truth)]
    frequencies = others.bincount(minlength=V)
    assert all(share_lies_within(int(count), len(others), 1 / V) for count in frequencies)
    chosen = asked.chosen.flatten().bincount(minlength=genes)
    assert all(share_lies_within(int(count), patients, 0.15) for count in chosen)


def test_what_is_not_chosen_is_shown_as_it_is_and_the_bins_given_stay():
    given = bins()
    before = given.clone()
    asked = Masking()(given, n_bins=V, seeds=range(6))
    assert torch.equal(given, before)
    untouched = torch.ones_like(asked.shown, dtype=torch.bool).scatter(1, asked.chosen, False)
    assert torch.equal(asked.shown[untouched], given.long()[untouched])
    assert torch.equal(asked.truth, given.long().gather(1, asked.chosen))
    assert all(len(set(row.tolist())) == len(row) for row in asked.chosen)


def test_genes_that_are_not_expressed_are_asked_for_like_others():
    zeros = torch.zeros(40, 500, dtype=torch.int16)
    zeros[:, ::2] = 3
    asked = Masking()(zeros, n_bins=V, seeds=range(40))
    assert share_lies_within(int((asked.truth == 0).sum()), asked.truth.numel(), 0.5)


def test_what_becomes_of_a_patient_depends_on_the_seed_alone():
    whole, alone = question(), Masking()(bins()[2:3], n_bins=V, seeds=[2])
    for name in ("shown", "chosen", "truth"):
        assert torch.equal(getattr(whole, name)[2], getattr(alone, name)[0])
    other = Masking()(bins()[2:3], n_bins=V, seeds=[3])
    assert not torch.equal(other.chosen, alone.chosen)


def test_at_least_one_gene_is_asked_for():
    assert Masking()(bins(2, 3), n_bins=V, seeds=[0, 1]).chosen.shape == (2, 1)


@pytest.mark.parametrize("shares", [(0, 0.8, 0.1), (1.1, 0.8, 0.1), (0.15, 0.95, 0.1), (0.15, -0.1, 0.1)])
def test_shares_that_cannot_be_are_refused(shares):
    with pytest.raises(ConfigError, match=r"cannot be masked with share .* BERT's are"):
        Masking(*shares)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("again", [False, True])
def test_the_answer_is_the_whole_encoders_and_so_are_its_gradients(layers, again):
    asked, gradients, said = question(), [], []
    for whole in (False, True):
        encoder = made(num_layers=layers, use_gradient_checkpointing=again)
        add_mask(encoder)
        if whole:
            tokens = encoder(asked.shown)
            logits = encoder.lm_head(tokens.gather(1, asked.chosen[..., None].expand(-1, -1, SIZES.embed_dim)))
        else:
            logits = answer(encoder, asked)
        costs(logits, asked).mean().backward()
        said.append(logits)
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    torch.testing.assert_close(*said)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_only_what_is_asked_for_costs_anything():
    encoder, asked = made(), question()
    add_mask(encoder)
    logits = answer(encoder, asked)
    assert costs(logits, asked).shape == asked.truth.shape
    expected = -logits.log_softmax(-1).gather(-1, asked.truth[..., None])[..., 0]
    torch.testing.assert_close(costs(logits, asked), expected)
    others = Question(asked.shown, asked.chosen, (asked.truth + 1) % V)
    assert not torch.equal(costs(logits, others), costs(logits, asked))


def test_a_hidden_token_has_a_vector_of_its_own_that_starts_as_the_last_bins():
    encoder, asked = made(), question()
    as_released = encoder(torch.where(asked.shown == -1, V + 1, asked.shown))  # past the last bin is the last bin
    add_mask(encoder)
    torch.testing.assert_close(encoder(asked.shown), as_released)
    table = encoder.expression_embedding_layer
    with torch.no_grad():
        table.mask.add_(1)
    assert (encoder(asked.shown) - as_released).abs().max() > 1e-3
    seen = torch.where(asked.shown == -1, 2, asked.shown)
    torch.testing.assert_close(encoder(seen), made()(seen))


def test_without_its_mask_an_encoder_is_as_it_was_built():
    encoder, before = made(), made()
    add_mask(encoder, torch.full((12,), 0.5, dtype=torch.float64))
    assert torch.equal(drop_mask(encoder), torch.full((12,), 0.5, dtype=torch.float64))
    assert type(encoder.expression_embedding_layer) is nn.Embedding
    assert encoder.state_dict().keys() == before.state_dict().keys()
    torch.testing.assert_close(encoder.embed(bins().long()), before.embed(bins().long()))


def test_a_frozen_table_stays_frozen_beside_its_mask():
    encoder = made()
    add_ia3(encoder)
    add_mask(encoder)
    taught = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert "expression_embedding_layer.mask" in taught
    assert all("scale" in name or "mask" in name for name in taught)
    add_mask(encoder, torch.zeros(12), frozen=True)
    assert not any(parameter.requires_grad for parameter in encoder.expression_embedding_layer.parameters())


def test_a_judgement_is_the_mean_over_all_that_is_asked_and_knows_no_parts():
    asked = question(5)
    logits = torch.randn(5, asked.truth.shape[1], V, generator=torch.Generator().manual_seed(3))
    rows = {tuple(shown.tolist()): logits[k] for k, shown in enumerate(asked.shown)}
    whole, parts = (
        judge(asked, lambda part: torch.stack([rows[tuple(shown.tolist())] for shown in part.shown]), size=size)
        for size in (5, 2)
    )
    assert whole == pytest.approx(parts)
    assert whole["loss"] == pytest.approx(costs(logits, asked).mean().item())
    assert whole["accuracy"] == pytest.approx((logits.argmax(-1) == asked.truth).double().mean().item())
