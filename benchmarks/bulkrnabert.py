"""One patient through the expression encoder at the size of the released weights, beside a plain loop over its blocks.

    OMP_NUM_THREADS=2 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/bulkrnabert.py [--genes N]

The weights are drawn, not released ones. The peer is the published algorithm in PyTorch's own words with its fused
attention; the authors' program keeps all scores, 11.6 GB a block and patient, and cannot run here. "ours" is with
training.fast_matmul, as ``slidesurv rna embed`` runs it. Embeddings are compared and calls timed in the same rounds,
with no round to warm up, for one call takes half a minute of a core. Ratios are of processor time, which depends less
on what else runs. The last line says what the products and the powers of the softmax take at the best rates of this
processor, if nothing else took any time: no float32 program of these steps can be faster. ``--memory`` measures memory
instead, each contender in a process of its own.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
import torch.nn.functional as F
from race import extra_megabytes
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


def contenders(genes: int) -> dict[str, Callable[[], Tensor]]:
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
        "plain": torch.inference_mode()(lambda: plain(encoder, ids)),
        "ours": fast,
        "ours, bfloat16": torch.inference_mode()(lambda: rough.embed(ids)),
    }


def timed(call: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """What a call gives, its seconds by the clock, and those of all processors."""
    clock, processor = time.perf_counter(), time.process_time()
    found = call()
    return found, time.perf_counter() - clock, time.process_time() - processor


def alternate(calls: dict[str, Callable[[], Tensor]], config: EncoderConfig, *, repeats: int) -> None:
    """Run all in turn, so that a machine that slows down slows each; the first is what the others are compared with."""
    rounds = [{name: timed(call) for name, call in calls.items()} for _ in range(repeats)]
    first = next(iter(calls))
    truth = rounds[0][first][0]
    for name in calls:
        found, seconds, processor = zip(*(taken[name] for taken in rounds), strict=True)
        ratio = median(taken[first][2] / taken[name][2] for taken in rounds)
        error = ((found[0] - truth).norm() / truth.norm()).item()
        print(
            f"  {name:<16} clock {min(seconds):7.2f} s, processor {min(processor):7.2f} s, {ratio:.2f}x as fast as "
            f"{first}; relative difference {error:.1e}, cosine {F.cosine_similarity(found[0], truth).item():.7f}"
        )
    plainly, least = min(taken[first][2] for taken in rounds), least_seconds(config)
    print(f"  products and powers alone: {least:.2f} s of processor time, so float32 at most {plainly / least:.2f}x")


def least_seconds(config: EncoderConfig) -> float:
    """Processor time of the float32 products and powers of one patient, each at the best rate measured here."""
    genes, dim = config.n_genes, config.embed_dim
    products = config.num_layers * (4 * genes**2 * dim + 2 * genes * dim * (4 * dim + 2 * config.ffn_embed_dim))
    powers = config.num_layers * config.num_attention_heads * genes**2
    square, cached, room = torch.randn(2048, 2048), -torch.rand(1 << 15), torch.empty(1 << 15)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # rates of one core, as processor time is the sum over cores
    with torch.inference_mode():
        product = min(min(timed(lambda: square @ square)[2] for _ in range(5)) for _ in switched())
        power = min(timed(lambda: [torch.exp2(cached, out=room) for _ in range(100)])[2] for _ in range(5)) / 100
    torch.set_num_threads(threads)
    return products * product / (2 * 2048**3) + powers * power / (1 << 15)


def switched() -> Iterator[bool]:
    """Both libraries of float32 products, one after the other."""
    for wanted in (False, True):
        with fast_matmul(wanted) as on:
            yield on


def megabytes(name: str, genes: int) -> str:
    """Memory beyond the weights, in a process of its own."""
    words = [sys.executable, __file__, "--genes", str(genes), "--alone", name]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--genes", type=int, default=RELEASED.n_genes)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    calls = contenders(arguments.genes)
    if arguments.alone:
        print(f"{extra_megabytes(calls[arguments.alone]):.0f}")
        return
    print(f"One patient, {arguments.genes:,} genes, {torch.get_num_threads()} threads")
    if arguments.memory:
        for name in calls:
            print(f"  {name:<16} {megabytes(name, arguments.genes)} MB beyond the weights")
        return
    alternate(calls, replace(RELEASED, n_genes=arguments.genes), repeats=arguments.repeats)


if __name__ == "__main__":
    main()
