"""An encoder teaches itself: genes are hidden, and it learns to say what stood there (Gélard et al., PMLR 259, 2024).

Written from the specification; the authors' training program is not published. Everything random is drawn by patient
and epoch, so that a run that was ended goes on to the same bytes. What is written: `slidesurv.genomics.pretrained`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.bulkrnabert import EncoderConfig, ExpressionEncoder, add_ia3
from slidesurv.genomics.corpus import Corpus
from slidesurv.genomics.masking import Masking, Question, add_mask, answer, costs, judge
from slidesurv.genomics.pretrained import WEIGHTS, History, Record
from slidesurv.genomics.tokens import TPMBins
from slidesurv.seeds import seed_for

__all__ = ["PretrainRecipe", "new_encoder", "pretrain"]

Taught = Literal["all", "ia3", "ia3+head"]

CLIP = 1.0  # norm of a step's gradient: the first weights are large, and no norm stands at the end


@dataclass(frozen=True, slots=True)
class PretrainRecipe:
    """How an encoder is taught.

    Attributes:
        epochs: passes over the patients; the paper's are about 60.
        batch: patients a step; the paper's are about 160.
        together: patients in memory at a time; changes a step by rounding alone.
        learning_rate: at its highest.
        weight_decay: of matrices and tables; vectors do not decay.
        warm_up: share of the steps in which the rate rises to its highest; then it falls to 0 along a cosine.
        masking: which genes are asked for.
        precision: "bfloat16" runs matrix products in bfloat16.
        seed: of the order of patients and of what is hidden.
        checkpoint_seconds: least time between two checkpoints.

    Raises:
        ConfigError: one of them is out of its range.
    """

    epochs: int = 60
    batch: int = 16
    together: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: float = 0.05
    masking: Masking = field(default_factory=Masking)
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "batch": self.batch, "together": self.together}
        if wrong := [f"{name} = {value}" for name, value in counts.items() if value < 1]:
            raise ConfigError(f"Nothing can be taught with {', '.join(wrong)}: give 1 or more.")
        if not 0 < self.learning_rate <= 1 or self.weight_decay < 0 or not 0 <= self.warm_up < 1:
            raise ConfigError(
                f"learning_rate {self.learning_rate}, weight_decay {self.weight_decay} and warm_up {self.warm_up} "
                "cannot be used: they lie in (0, 1], from 0 on and in [0, 1). Try 1e-3, 0.01 and 0.05."
            )

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = round(self.warm_up * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2

    def told(self) -> dict[str, Any]:
        """What shapes the weights, as JSON has it."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_seconds"}


def new_encoder(
    corpus: Corpus,
    *,
    dim: int = 256,
    layers: int = 4,
    heads: int = 8,
    hidden: int = 512,
    gene_dim: int = 200,
    recompute: bool = False,
    seed: int = 0,
) -> ExpressionEncoder:
    """Build an encoder for a corpus; the sizes are the released ones unless told otherwise.

    Args:
        corpus: its genes and bins are taken.
        dim: D, width of a token.
        layers: L, blocks.
        heads: H.
        hidden: width inside the feed-forward part.
        gene_dim: width of the table of gene vectors.
        recompute: compute a block twice in training rather than keep what it made.
        seed: of the first weights.

    Raises:
        DataError: the sizes do not fit together.
    """
    bins = corpus.bins
    config = EncoderConfig(
        n_genes=len(corpus.genes),
        n_expressions_bins=bins.count,
        embed_dim=dim,
        init_gene_embed_dim=gene_dim,
        num_attention_heads=heads,
        ffn_embed_dim=hidden,
        num_layers=layers,
        use_gradient_checkpointing=recompute,
        normalization_factor=bins.factor if isinstance(bins, TPMBins) else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("encoder", seed))
        return ExpressionEncoder(config)


def pretrain(
    encoder: ExpressionEncoder,
    corpus: Corpus,
    folder: Path,
    *,
    recipe: PretrainRecipe,
    taught: Taught = "all",
    mask: Tensor | None = None,
    origin: str = "",
    device: torch.device | None = None,
    report: Callable[[int, int, History], None] = lambda step, steps, history: None,
) -> Path:
    """Teach an encoder, and write the weights of the epoch that says best what is hidden in patients held out.

    The same call after an interruption goes on where it stopped and ends with the same bytes; after the end it does
    nothing. Patients held out have all their chosen genes hidden, the same in every epoch.

    Args:
        encoder: new, or read from weights; it is changed.
        corpus: of the encoder's genes and bins.
        folder: where the files go.
        recipe: how.
        taught: "ia3" freezes all but multipliers of keys, values and hidden units, which are worked into the weights
            in the end; "ia3+head" teaches the last layer too, which no embedding depends on.
        mask: (D,) the vector of a hidden token, to go on with, frozen with the others; None starts at the last bin's,
            and teaches it in any case.
        origin: where the encoder's weights are from, for ``pretrain.json``.
        device: where to compute; None is the CPU.
        report: called after each step with the steps done, all steps, and the history.

    Returns:
        ``model.safetensors``.

    Raises:
        DataError: the corpus is not of the encoder's genes or bins, or the loss is not finite.
        ConfigError: the folder holds the work of another call.

    Source:
        Gélard et al. (PMLR 259, 2024).
    Differs:
        A hidden token has a vector of its own, and the guesses it is compared with are each gene's: docs/deviations.md.
    """
    _require_fit(encoder, corpus)
    device = device or torch.device("cpu")
    about = {"recipe": recipe.told(), "taught": taught, "origin": origin, "device": device.type}
    record = Record(folder, about, corpus, encoder, mask)
    if record.is_done():
        return folder / WEIGHTS
    _make_ready(encoder, taught, mask)
    optimizer = _optimizer(encoder.to(device), recipe)
    progress = record.resume(encoder, optimizer)
    exam = _exam(corpus, recipe)
    majority = judge(exam, _guess(corpus), size=recipe.together)
    an_epoch = math.ceil(len(corpus.teachers) / recipe.batch)
    steps, saved = an_epoch * recipe.epochs, time.monotonic()
    while progress.step < steps:
        epoch, place = divmod(progress.step, an_epoch)
        rate = recipe.rate(progress.step, steps)
        question = _draw(corpus, recipe, epoch, place)
        progress.loss += _teach(encoder, optimizer, question, recipe, rate) * len(question) / len(corpus.teachers)
        progress.step += 1
        if place + 1 == an_epoch:
            held_out = judge(exam, partial(_answer, encoder, recipe), size=recipe.together)
            progress.close(encoder, learning_rate=rate, held_out=held_out, majority=majority)
        if time.monotonic() - saved >= recipe.checkpoint_seconds:
            record.save(encoder, optimizer, progress)
            saved = time.monotonic()
        report(progress.step, steps, progress.history)
    record.save(encoder, optimizer, progress)
    return record.finish(encoder, progress)


def _require_fit(encoder: ExpressionEncoder, corpus: Corpus) -> None:
    config = encoder.config
    if (config.n_genes, config.n_expressions_bins) != (len(corpus.genes), corpus.bins.count):
        raise DataError(
            f"The encoder has {config.n_genes} genes and {config.n_expressions_bins} bins, but the table has "
            f"{len(corpus.genes)} and {corpus.bins.count}. Put the table's columns in the order of the encoder's genes."
        )


def _make_ready(encoder: ExpressionEncoder, taught: Taught, mask: Tensor | None) -> None:
    """Freeze what is not taught, and let the encoder read hidden tokens."""
    if taught != "all":
        add_ia3(encoder)
        encoder.lm_head.requires_grad_(taught == "ia3+head")
    add_mask(encoder, mask, frozen=taught != "all" and mask is not None)


def _optimizer(encoder: ExpressionEncoder, recipe: PretrainRecipe) -> torch.optim.Optimizer:
    weights = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in weights if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate, fused=True)


def _exam(corpus: Corpus, recipe: PretrainRecipe) -> Question:
    """What the patients held out are asked: as many genes as in a lesson, all of them hidden."""
    masking = Masking(recipe.masking.share, hidden=1.0, swapped=0.0)
    seeds = [seed_for("exam", recipe.seed, patient) for patient in corpus.watchers]
    return masking(torch.from_numpy(corpus.watched), n_bins=corpus.bins.count, seeds=seeds)


def _draw(corpus: Corpus, recipe: PretrainRecipe, epoch: int, place: int) -> Question:
    """The patients of a step, and what they are asked in this epoch."""
    random = torch.Generator().manual_seed(seed_for("order", recipe.seed, epoch))
    order = torch.randperm(len(corpus.teachers), generator=random)
    rows = order[place * recipe.batch :][: recipe.batch].numpy()  # an epoch's last step may be shorter, and is not lost
    seeds = [seed_for("mask", recipe.seed, epoch, corpus.teachers[row]) for row in rows]
    return recipe.masking(torch.from_numpy(corpus.taught[rows]), n_bins=corpus.bins.count, seeds=seeds)


def _teach(
    encoder: ExpressionEncoder,
    optimizer: torch.optim.Optimizer,
    question: Question,
    recipe: PretrainRecipe,
    rate: float,
) -> float:
    """Take one step; its mean loss over the tokens that were asked for."""
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in question.parts(recipe.together):
        loss = costs(_answer(encoder, recipe, part), part).mean() * (len(part) / len(question))
        loss.backward()
        total += loss.item()
    if not math.isfinite(total):
        raise DataError(f"The loss became {total}. Lower the learning rate, which is {recipe.learning_rate}.")
    torch.nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return total


def _answer(encoder: ExpressionEncoder, recipe: PretrainRecipe, question: Question) -> Tensor:
    """(B, M, V) logits."""
    device = encoder.lm_head.weight.device
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        return answer(encoder, question.to(device))


def _guess(corpus: Corpus) -> Callable[[Question], Tensor]:
    """What can be said without an encoder: each gene's bins are as frequent as among the teachers."""
    frequencies = torch.from_numpy(corpus.log_frequencies())  # (G, V)
    return lambda question: frequencies[question.chosen]  # (B, M, V)
