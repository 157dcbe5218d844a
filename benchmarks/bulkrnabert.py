"""One patient through the expression encoder at the size of the released weights, beside a plain loop over its blocks.

    OMP_NUM_THREADS=2 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/bulkrnabert.py [--genes N]

The weights are drawn, not released ones. The peer is the published algorithm in PyTorch's own words with its fused
attention; the authors' program keeps all scores, 11.6 GB a block and patient, and cannot run here. "ours" is with
training.fast_matmul, as ``slidesurv rna embed`` runs it. Embeddings are compared before anything is timed.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import replace

import torch
import torch.nn.functional as F
from race import extra_megabytes, race
from torch import Tensor

from slidesurv.genomics.bulkrnabert import EncoderConfig, ExpressionEncoder
from slidesurv.training.device import fast_matmul

RELEASED = EncoderConfig(
    n_genes=19_062,
    n_expressions_bins=64,
    embed_dim=256,
    init_gene_embed_dim=200,
    num_attention_heads=8,
    ffn_embed_dim=512,
    num_layers=4,
    project_gene_embedding=True,
)


def plain(encoder: ExpressionEncoder, ids: Tensor) -> Tensor:
    genes = encoder.fc_gene_embedding(encoder.gene_embedding_layer.weight)
    x = encoder.expression_embedding_layer(ids) + genes
    for block in encoder.transformer_layers:
        h = block.layer_norm_self_attention(x)
        q, k, v = (
            part(h).reshape(*h.shape[:2], 8, 32).transpose(1, 2)
            for part in (block.mha.w_q, block.mha.w_k, block.mha.w_v)
        )
        o = F.scaled_dot_product_attention(q, k, v)
        x = x + block.mha.output(o.transpose(1, 2).reshape(h.shape))
        x = x + block.fc2(F.gelu(block.fc1(block.layer_norm_mlp(x))))
    return x.mean(1)


def contenders(genes: int) -> dict:
    """Each contender's embedding of one patient, (1, D)."""
    torch.manual_seed(0)
    config = replace(RELEASED, n_genes=genes)
    encoder = ExpressionEncoder(config).eval()
    rough = ExpressionEncoder(config).eval().bfloat16()
    rough.load_state_dict(encoder.state_dict())
    ids = torch.randint(48, (1, genes))

    @torch.inference_mode()
    def fast() -> Tensor:
        with fast_matmul(True):
            return encoder.embed(ids)

    return {
        "ours": fast,
        "ours, without the switch": torch.inference_mode()(lambda: encoder.embed(ids)),
        "ours, bfloat16": torch.inference_mode()(lambda: rough.embed(ids)),
        "plain": torch.inference_mode()(lambda: plain(encoder, ids)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    parser.add_argument("--genes", type=int, default=RELEASED.n_genes)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    calls = contenders(arguments.genes)
    if arguments.memory:
        print(f"{extra_megabytes(calls[arguments.memory]):.0f}")
        return
    truth = calls["plain"]()
    for name, call in calls.items():
        found = call()
        error = ((found - truth).norm() / truth.norm()).item()
        shown = subprocess.run(
            [sys.executable, __file__, "--genes", str(arguments.genes), "--memory", name],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        cosine = F.cosine_similarity(found, truth).item()
        print(f"  {name:<28} relative difference {error:.1e}, cosine {cosine:.7f}, {shown} MB beyond the weights")
    race(f"one patient, {arguments.genes:,} genes", calls.pop("ours"), calls, repeats=arguments.repeats)


if __name__ == "__main__":
    main()
