"""The expression encoder: the authors' numbers, its sizes, and that no score is ever kept."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reference.bulkrnabert import array, arrays, checkpoint, close, config, ids
from reference.fill import fill
from reference.peers import peer_rows
from slidesurv.errors import DataError
from slidesurv.genomics.bulkrnabert import EncoderConfig, ExpressionEncoder, add_ia3, merge_ia3

RELEASED = EncoderConfig(
    n_genes=19_062,
    n_expressions_bins=64,
    embed_dim=256,
    init_gene_embed_dim=200,
    num_attention_heads=8,
    ffn_embed_dim=512,
    num_layers=4,
    key_size=32,
    project_gene_embedding=True,
    use_gradient_checkpointing=True,
    normalization_factor=5.547176906585117,
)
TINY = replace(
    RELEASED,
    n_genes=11,
    n_expressions_bins=8,
    embed_dim=24,
    init_gene_embed_dim=5,
    num_attention_heads=3,
    ffn_embed_dim=16,
    num_layers=2,
    key_size=None,
)


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def precise(request):
    return request.param


def made(config: EncoderConfig = TINY, *, seed: int = 0) -> ExpressionEncoder:
    torch.manual_seed(seed)
    return ExpressionEncoder(config).double().eval()


def some_ids(config: EncoderConfig = TINY, samples: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(config.n_expressions_bins, (samples, config.n_genes), generator=generator)


@torch.no_grad()
def test_golden_layers_logits_and_their_mean(tmp_path, precise):
    encoder = checkpoint("small", tmp_path).encoder().to(precise)
    *_, last = layers = list(encoder.layers(ids("tokens")))
    for number, tokens in enumerate(layers, start=1):
        close(tokens, f"embeddings_{number}")
    assert f"embeddings_{len(layers) + 1}" not in arrays()
    close(encoder.lm_head(last), "logits")
    close(encoder.embed(ids("tokens")), "pooled", atol=5e-6)


@torch.no_grad()
def test_golden_attention(tmp_path, precise):
    encoder = checkpoint("small", tmp_path).encoder().to(precise)
    genes = torch.arange(encoder.config.n_genes)
    for layer in range(1, encoder.config.num_layers + 1):
        weights = encoder.attention(ids("tokens"), layer=layer, genes=genes)
        close(weights, f"attention_map_layer_{layer}", atol=5e-6)
    one = encoder.attention(ids("tokens"), layer=layer, genes=genes[2:3])
    torch.testing.assert_close(one, weights[:, :, 2:3])


@torch.no_grad()
def test_golden_ids_past_the_last_bin_are_taken_for_the_last(tmp_path, precise):
    encoder = checkpoint("small", tmp_path).encoder().to(precise)
    assert ids("oob_tokens").max() >= encoder.config.n_expressions_bins
    tokens = encoder(ids("oob_tokens"))
    close(tokens, f"oob_embeddings_{encoder.config.num_layers}")
    close(encoder.lm_head(tokens), "oob_logits")


@torch.no_grad()
def test_golden_genes_that_nobody_may_attend_to(tmp_path, precise):
    encoder = checkpoint("small", tmp_path).encoder().to(precise)
    tokens = encoder(ids("tokens"), keep=array("masked_key_keep"))
    close(tokens, f"masked_embeddings_{encoder.config.num_layers}")
    close(encoder.lm_head(tokens), "masked_logits")


@torch.no_grad()
def test_golden_numbers_inside_the_first_block(tmp_path, precise):
    encoder = checkpoint("small", tmp_path).encoder().to(precise)
    block, seen = encoder.blocks[0], {}

    def watch(name, module):
        module.register_forward_hook(lambda module, given, answer: seen.update({name: answer}))

    watch("gene_embedding_projected", encoder.fc_gene_embedding)
    watch("block0_output", block)
    for theirs, ours in (
        ("self_attention_layer_norm", block.layer_norm_self_attention),
        ("self_attention__query", block.mha.w_q),
        ("self_attention__key", block.mha.w_k),
        ("self_attention__value", block.mha.w_v),
        ("self_attention__mha_output", block.mha.output),
        ("self_attention__embeddings", block.mha),
        ("final_layer_norm", block.layer_norm_mlp),
        ("fc1", block.fc1),
        ("fc2", block.fc2),
    ):
        watch(f"block0__{theirs}", ours)
    encoder(ids("tokens"))
    seen["block0_input"] = encoder.inputs(ids("tokens"))
    for name, found in seen.items():
        close(found, f"debug_{name}")
    assert {name for name in arrays() if name.startswith("debug_")} == {f"debug_{name}" for name in seen}


@torch.no_grad()
def test_golden_tokens_of_a_table_through_the_encoder(tmp_path, precise):
    encoder = checkpoint("small", tmp_path).encoder().to(precise)
    close(encoder.lm_head(encoder(ids("tpm_token_ids"))), "tpm_logits")
    close(encoder.embed(ids("tpm_token_ids")), "tpm_pooled", atol=5e-6)


@torch.no_grad()
def test_golden_model_without_a_projection(tmp_path, precise):
    encoder = checkpoint("noproj", tmp_path).encoder().to(precise)
    assert encoder.config.projects is config("noproj")["project_gene_embedding"] is False
    for number, tokens in enumerate(encoder.layers(ids("noproj_tokens")), start=1):
        close(tokens, f"noproj_embeddings_{number}")
    close(encoder.lm_head(tokens), "noproj_logits")


@torch.no_grad()
@pytest.mark.parametrize("slip", ["tanh", "epsilon", "scale", "heads"])
def test_golden_slips_are_not_made(tmp_path, slip):
    encoder = checkpoint("small", tmp_path).encoder().double()
    for block in encoder.blocks:
        if slip == "tanh":
            block.activation = torch.nn.GELU(approximate="tanh")
        if slip == "epsilon":
            block.layer_norm_mlp.eps = block.layer_norm_self_attention.eps = 1e-6
        if slip == "scale":
            block.mha.w_q.weight *= 0.5
        if slip == "heads":
            block.mha._heads = lambda values, heads=block.mha.heads: values.unflatten(-1, (-1, heads)).permute(
                0, 3, 1, 2
            )
    with pytest.raises(AssertionError):
        close(encoder.lm_head(encoder(ids("tokens"))), "logits")


def order(encoder: ExpressionEncoder) -> list[str]:
    """The canonical order of the fill rule: tables, then blocks; without the head of the language model."""
    layers = [
        "layer_norm_self_attention",
        "mha.w_q",
        "mha.w_k",
        "mha.w_v",
        "mha.output",
        "layer_norm_mlp",
        "fc1",
        "fc2",
    ]
    parts = [f"transformer_layers.{k}.{layer}" for k in range(encoder.config.num_layers) for layer in layers]
    both = [f"{part}.{kind}" for part in ("fc_gene_embedding", *parts) for kind in ("weight", "bias")]
    return ["gene_embedding_layer.weight", *both[:2], "expression_embedding_layer.weight", *both[2:]]


NO_ROWS = [pytest.param("", 0, None, marks=pytest.mark.skip("the handed-out rows have none of this encoder"))]


@pytest.mark.parametrize(("variant", "n_tiles", "values"), peer_rows("BulkRNABert") or NO_ROWS)
def test_golden_rows_of_the_peers(variant, n_tiles, values):
    genes = int(re.search(r"\d+", variant)[0])
    encoder = made(replace(RELEASED, n_genes=genes))
    fill(encoder, order(encoder))
    embedding = encoder.embed((7 * torch.arange(genes) % 64)[None])[0]
    torch.testing.assert_close(embedding[:4].detach(), values, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({}, 6_005_104),
        ({"num_layers": 3}, 6_005_104 - 527_104),
        ({"use_gene_embedding": False}, 6_005_104 - 3_812_400 - 51_456),
        ({"init_gene_embed_dim": 256, "project_gene_embedding": False}, 6_005_104 - 3_812_400 - 51_456 + 19_062 * 256),
    ],
)
def test_it_has_as_many_parameters_as_published(changes, parameters):
    with torch.device("meta"):
        encoder = ExpressionEncoder(replace(RELEASED, **changes))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters
    assert sum(parameter.numel() for parameter in encoder.lm_head.parameters()) == 16_448


def test_a_width_of_heads_of_its_own_and_gene_vectors_of_another_width_are_built():
    encoder = made(replace(TINY, key_size=5, project_gene_embedding=False))
    assert encoder.blocks[0].mha.w_q.weight.shape == (15, 24)
    assert encoder.config.projects  # the widths differ
    assert encoder(some_ids()).shape == (3, 11, 24)


@pytest.mark.parametrize("changes", [{"num_attention_heads": 5}, {"n_genes": 0}, {"key_size": 0}, {"num_layers": -1}])
def test_sizes_that_do_not_fit_together_are_refused(changes):
    with pytest.raises(DataError, match=r"cannot be built.*config\.json"):
        replace(TINY, **changes)


@pytest.mark.parametrize("factor", [None, 0.0, -1.0])
def test_a_config_without_its_factor_has_no_bins(factor):
    with pytest.raises(DataError, match=f"normalization_factor is {factor}, but must be positive"):
        _ = replace(TINY, normalization_factor=factor).bins


@torch.no_grad()
def test_genes_are_told_apart_by_their_vectors_alone():
    encoder, tokens = made(), some_ids(samples=1)
    turn = torch.randperm(TINY.n_genes, generator=torch.Generator().manual_seed(2))
    before, swapped = encoder.embed(tokens), encoder.embed(tokens[:, turn])
    assert (before - swapped).abs().max() > 1e-6
    encoder.gene_embedding_layer.weight.copy_(encoder.gene_embedding_layer.weight[turn])
    torch.testing.assert_close(encoder.embed(tokens[:, turn]), before)


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_neighbours():
    encoder, tokens = made(), some_ids()
    torch.testing.assert_close(encoder.embed(tokens)[1], encoder.embed(tokens[1:2])[0])


@torch.no_grad()
def test_what_may_not_be_attended_to_changes_nothing_else_and_nothing_at_all_is_uniform():
    encoder, tokens = made(), some_ids(samples=1)
    keep = torch.ones(1, TINY.n_genes, dtype=torch.bool)
    torch.testing.assert_close(encoder(tokens, keep=keep), encoder(tokens))
    keep[0, 4] = False
    other = tokens.clone()
    other[0, 4] = (other[0, 4] + 1) % TINY.n_expressions_bins
    one, two = encoder(tokens, keep=keep), encoder(other, keep=keep)
    others = torch.arange(TINY.n_genes) != 4
    torch.testing.assert_close(one[:, others], two[:, others])
    assert torch.isfinite(encoder(tokens, keep=torch.zeros_like(keep))).all()


def test_another_number_of_genes_is_refused():
    with pytest.raises(DataError, match="12 genes, but the encoder was built for 11"):
        made()(torch.zeros(1, 12, dtype=torch.int64))


def test_computing_a_block_twice_changes_no_gradient():
    tokens, gradients = some_ids(), []
    for again in (False, True):
        encoder = made(replace(TINY, use_gradient_checkpointing=again)).train()
        encoder.embed(tokens).square().sum().backward()
        gradients.append([parameter.grad for name, parameter in encoder.named_parameters() if "lm_head" not in name])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


class Largest(TorchDispatchMode):
    """Remembers the most numbers that any operation gave back."""

    numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        answer = operation(*args, **(kwargs or {}))
        for part in answer if isinstance(answer, tuple | list) else (answer,):
            self.numbers = max(self.numbers, part.numel() if isinstance(part, torch.Tensor) else 0)
        return answer


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_scores_of_all_pairs_of_genes_are_never_kept(kind, masked, training):
    config = replace(TINY, n_genes=900)
    encoder, tokens = made(config).to(kind), some_ids(config, samples=1)
    keep = tokens > 0 if masked else None
    with Largest() as watched, torch.set_grad_enabled(training):
        answer = encoder(tokens, keep=keep).float().square().mean()
        if training:
            answer.backward()
    assert 900 * 24 <= watched.numbers < 900 * 100


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ours", "ours, bfloat16"])
def test_a_patient_of_full_size_takes_less_than_350_megabytes(which):
    script = Path(__file__).parents[2] / "benchmarks/bulkrnabert.py"
    shown = subprocess.run([sys.executable, script, "--memory", which], check=True, capture_output=True, text=True)
    assert 10 < float(shown.stdout) < 350


@torch.no_grad()
def test_bfloat16_stays_close_and_the_mean_is_taken_wider():
    encoder, tokens = made(replace(TINY, n_genes=300)).float(), some_ids(replace(TINY, n_genes=300))
    exact, rough = encoder.embed(tokens), encoder.bfloat16().embed(tokens)
    assert rough.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact, rough).min() > 0.999


def test_multipliers_start_as_nothing_learn_alone_and_can_be_worked_into_the_weights():
    encoder, tokens = made(), some_ids()
    before, names = encoder.embed(tokens).detach(), list(encoder.state_dict())
    add_ia3(encoder)
    torch.testing.assert_close(encoder.embed(tokens), before)
    learnt = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in learnt) == TINY.num_layers * (24 + 24 + 16)
    encoder.embed(tokens).square().sum().backward()
    assert all(parameter.grad is not None for parameter in learnt)
    with torch.no_grad():
        for parameter in learnt:
            parameter.add_(torch.rand(parameter.shape))
    tuned = encoder.embed(tokens).detach()
    merge_ia3(encoder)
    assert list(encoder.state_dict()) == names
    assert (tuned - before).abs().max() > 1e-3
    torch.testing.assert_close(encoder.embed(tokens), tuned)


def test_multipliers_of_the_released_encoder_are_as_many_as_published():
    with torch.device("meta"):
        encoder = ExpressionEncoder(RELEASED)
    add_ia3(encoder)
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == 4_096


def test_a_new_encoder_starts_as_the_authors_does():
    encoder = made(replace(TINY, n_genes=2_000, init_gene_embed_dim=50))
    table, feeding, asking = encoder.gene_embedding_layer, encoder.fc_gene_embedding, encoder.blocks[0].mha.w_q
    assert table.weight.abs().max() <= 2 and table.weight.std().item() == pytest.approx(0.8796, abs=0.01)
    assert feeding.weight.abs().max() <= 2 / 50**0.5 and not feeding.bias.any()
    assert 0.4 < asking.weight.abs().max() <= 0.5 and asking.bias.abs().max() <= 0.5  # sqrt(6 / 24)
