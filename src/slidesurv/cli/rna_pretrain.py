"""``slidesurv rna pretrain``: an encoder of one's own, from a table of expression."""

import json as json_
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slidesurv.cli.speech import say, table
from slidesurv.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    from slidesurv.genomics.bulkrnabert import ExpressionEncoder
    from slidesurv.genomics.corpus import Corpus
    from slidesurv.genomics.expression import Expression
    from slidesurv.genomics.weights import Checkpoint

__all__ = ["pretrain"]

BINS, PRECISIONS = ("auto", "tpm", "quantiles"), ("float32", "bfloat16")
TAUGHT = ("all", "ia3", "ia3+head")
QUIET = 30.0  # seconds until something is said inside an epoch


def pretrain(
    expression: Annotated[Path, typer.Argument(help="Patients × genes; 'slidesurv rna prepare' writes one.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the weights and their account.")],
    leave_out: Annotated[Path | None, typer.Option(help="Ids of patients not to be seen, one a line.")] = None,
    splits: Annotated[Path | None, typer.Option(help="splits.json: see the training part of a --fold alone.")] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Of --splits, from 0.")] = None,
    bins: Annotated[str, typer.Option(help=f"How values become tokens: {', '.join(BINS)}.")] = "auto",
    n_bins: Annotated[int | None, typer.Option(help="Number of bins. [64]")] = None,
    held_out: Annotated[float, typer.Option(help="Share of the patients who judge every epoch.")] = 0.05,
    dim: Annotated[int | None, typer.Option(help="Width of a token. [256]")] = None,
    layers: Annotated[int | None, typer.Option(help="Blocks. [4]")] = None,
    heads: Annotated[int | None, typer.Option(help="Heads that share the width. [8]")] = None,
    hidden: Annotated[int | None, typer.Option(help="Width inside the feed-forward part. [512]")] = None,
    gene_dim: Annotated[int | None, typer.Option(help="Width of the table of gene vectors. [200]")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the patients.")] = 60,
    batch: Annotated[int, typer.Option(help="Patients a step.")] = 16,
    together: Annotated[int, typer.Option(help="Patients in memory at a time.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="At its highest.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="Of matrices and tables.")] = 0.01,
    warm_up: Annotated[float, typer.Option(help="Share of the steps in which the rate rises.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of weights, masks, order, and who is held out.")] = 0,
    recompute: Annotated[bool, typer.Option("--recompute", help="Compute blocks twice, in less memory.")] = False,
    precision: Annotated[str, typer.Option(help=f"{' or '.join(PRECISIONS)}.")] = "float32",
    device: Annotated[str, typer.Option(help="Where to compute.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Go on from these weights, with their bins and sizes.")] = None,
    genes: Annotated[Path | None, typer.Option(help="Their genes, one a line [genes.txt beside them].")] = None,
    taught: Annotated[str, typer.Option(help=f"What of --weights is taught: {', '.join(TAUGHT)}.")] = "all",
    json: Annotated[bool, typer.Option("--json", help="Print pretrain.json.")] = False,
) -> None:
    """Teach an expression encoder to say what stands where genes are hidden.

    Leave out everybody on whom the weights will be judged. A run that was interrupted goes on where it stopped when the
    same command is given again; one that came to its end makes its page again and nothing else. The page, report.html,
    shows how the encoder learned and who was left out. 'slidesurv rna embed' takes the folder as its weights.

    Exit codes: 1 data or disk, 2 settings.

    Example: slidesurv rna pretrain rna/expression.csv.gz --splits splits.json --fold 0 -o weights/fold0
    """
    from slidesurv.cli.crossval import typed
    from slidesurv.files import read_json
    from slidesurv.genomics.corpus import make_corpus
    from slidesurv.genomics.expression import read_expression
    from slidesurv.genomics.pretrain import PretrainRecipe, new_encoder
    from slidesurv.genomics.pretrain import pretrain as teach
    from slidesurv.genomics.pretrained import read_mask
    from slidesurv.report.pretraining import write_pretraining
    from slidesurv.training.device import fast_matmul, pick_device

    _check_words((bins, "rule for bins", BINS), (precision, "precision", PRECISIONS), (taught, "choice", TAUGHT))
    given = {"dim": dim, "layers": layers, "heads": heads, "hidden": hidden, "gene_dim": gene_dim}
    sizes = {name: size for name, size in given.items() if size is not None}
    own = [*sizes, *(["n_bins"] if n_bins else []), *(["bins"] if bins != "auto" else [])]
    _check_together(leave_out, splits, fold, weights=weights, of_weights=taught != "all" or bool(genes), own=own)
    recipe = PretrainRecipe(
        epochs=epochs,
        batch=batch,
        together=together,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warm_up=warm_up,
        precision=precision,  # type: ignore[arg-type]
        seed=seed,
    )
    place = pick_device(device)
    seen, left_out = _seen(read_expression(expression), leave_out, splits, fold, goes_on=weights is not None)
    before = _read_weights(weights, genes, seen) if weights else None
    rule = before.bins if before else bins
    corpus = make_corpus(seen, bins=rule, count=n_bins or 64, held_out=held_out, seed=seed)  # type: ignore[arg-type]
    _introduce(corpus)
    with fast_matmul(True):
        teach(
            _copy(before, recompute) if before else new_encoder(corpus, recompute=recompute, seed=seed, **sizes),
            corpus,
            output,
            recipe=recipe,
            taught=taught,  # type: ignore[arg-type]
            mask=read_mask(_folder(weights)) if weights else None,
            origin=f"{before.release or 'weights'}, sha256 {before.sha256}" if before else "",
            device=place,
            report=_Teller(),
        )
    record = read_json(output / "pretrain.json")
    page = write_pretraining(output, left_out=left_out, command=typed())
    print(json_.dumps(record, indent=1) if json else f"{_summary(record)}\nReport: {page}")
    say(f"Wrote '{output}'. Use it with 'slidesurv rna embed --weights {output} --genes {output / 'genes.txt'}'.")


def _check_words(*choices: tuple[str, str, tuple[str, ...]]) -> None:
    for word, what, known in choices:
        if word not in known:
            raise ConfigError(unknown(what, word, known))


def _check_together(
    leave_out: Path | None,
    splits: Path | None,
    fold: int | None,
    *,
    weights: Path | None,
    of_weights: bool,
    own: Sequence[str],
) -> None:
    """Refuse options that contradict each other, before anything is read."""
    if (splits is None) != (fold is None) or (leave_out and splits):
        raise ConfigError(
            "--splits and --fold go together, and without --leave-out: the training part of that fold is seen, and "
            "nobody else. Give these two, or --leave-out."
        )
    if weights is None and of_weights:
        raise ConfigError("--taught and --genes speak of weights to go on from. Give --weights, or leave them out.")
    if weights and own:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in own)
        raise ConfigError(f"{options} cannot be chosen with --weights, which have their own. Leave them out.")


def _seen(
    whole: "Expression", leave_out: Path | None, splits: Path | None, fold: int | None, *, goes_on: bool
) -> tuple["Expression", str]:
    """The patients who may be seen, and in words who may not; "" is nobody."""
    from slidesurv.genomics.corpus import keep
    from slidesurv.genomics.corpus import leave_out as without

    if leave_out:
        seen, who = without(whole, _read_ids(leave_out)), f"those whom '{leave_out.name}' names"
    elif splits and fold is not None:
        seen = keep(whole, _training_part(splits, fold))
        who = f"all but the training part of fold {fold} of '{splits.name}'"
    else:
        say("All patients of the table are seen: judge none of them by these weights, or give --leave-out or --splits.")
        return whole, ""
    told = f"{len(whole.ids) - len(seen.ids)} of {len(whole.ids)} patients of the table are left out"
    say(f"{told}.")
    condition = ", if the weights before have not seen them either" if goes_on else ""
    return seen, f"{told}, {who}: they may be judged by these weights{condition}."


def _read_ids(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the ids in '{path}': {error}. Expected one id a line.") from error
    return [line.strip() for line in lines if line.strip()]


def _training_part(path: Path, fold: int) -> tuple[str, ...]:
    """The patients who train in a fold; all whom the file names count as its cohort."""
    from slidesurv.cohorts.splits import read_splits
    from slidesurv.files import read_json
    from slidesurv.types import Cohort, Patient

    content = read_json(path)
    folds = content.get("splits", []) if isinstance(content, Mapping) else []
    ids = dict.fromkeys(name for parts in folds for part in ("train", "tune", "test") for name in parts.get(part, []))
    patients = tuple(Patient(name, slides=(), time=0.0, event=False) for name in ids)
    read = read_splits(path, Cohort(path.name, patients))
    if fold >= len(read):
        raise ConfigError(f"'{path}' has no fold {fold}: its {len(read)} folds are counted from 0.")
    return read[fold].train


def _read_weights(weights: Path, genes: Path | None, seen: "Expression") -> "Checkpoint":
    """Read weights to go on from, for a table in the order of their genes."""
    from slidesurv.genomics.genes import read_gene_list
    from slidesurv.genomics.weights import read_checkpoint

    wanted = read_gene_list(genes or _folder(weights) / "genes.txt")
    if seen.genes != wanted:
        raise DataError(
            f"The table's {len(seen.genes)} columns are not the weights' {len(wanted)} genes in their order. "
            "'slidesurv rna prepare … --genes LIST' puts a table in the order of a list."
        )
    checkpoint = read_checkpoint(weights)
    if checkpoint.release:
        say(f"These are {checkpoint.release}: CC BY-NC-SA 4.0, and so is what is made of them; not for commercial use.")
    return checkpoint


def _folder(weights: Path) -> Path:
    return weights if weights.is_dir() else weights.parent


def _copy(before: "Checkpoint", recompute: bool) -> "ExpressionEncoder":
    """An encoder of its own, so that what was read stays as it is."""
    from copy import deepcopy
    from dataclasses import replace

    encoder = deepcopy(before.encoder())
    encoder.config = replace(encoder.config, use_gradient_checkpointing=recompute)
    return encoder


def _introduce(corpus: "Corpus") -> None:
    """Say who teaches, and by which bins."""
    say(
        f"{len(corpus.teachers)} patients teach, {len(corpus.watchers)} are held out; {len(corpus.genes):,} genes, "
        f"{corpus.bins.count} bins ({type(corpus.bins).__name__})"
    )


class _Teller:
    """Says where teaching stands: after every epoch, and after half a minute of silence."""

    def __init__(self) -> None:
        self._start = self._spoke = time.monotonic()
        self._before = -1
        self._epochs = 0

    def __call__(self, step: int, steps: int, history: Sequence[Mapping[str, float]]) -> None:
        now = time.monotonic()
        if self._before < 0:
            self._before, self._epochs = step - 1, len(history)
        if len(history) == self._epochs and now - self._spoke < QUIET:
            return
        left = (now - self._start) / (step - self._before) * (steps - step)
        told = f"[{step}/{steps}] steps, about {f'{left / 60:.0f} min' if left > 90 else f'{left:.0f} s'} left"
        say(f"{_epoch(history[-1])}; {told}" if len(history) > self._epochs else told)
        self._spoke, self._epochs = now, len(history)


def _epoch(row: Mapping[str, float]) -> str:
    return (
        f"epoch {row['epoch']:.0f}: of the hidden genes {row['held_out_accuracy']:.2%} right (majority "
        f"{row['majority_accuracy']:.2%}), loss {row['held_out_loss']:.3f} ({row['majority_loss']:.3f})"
    )


def _summary(record: Mapping[str, Any]) -> str:
    """What was made, as a table of words."""
    kept, patients, bins = record["kept"], record["patients"], record["bins"]
    lines = [
        ("patients", f"{patients['train']} taught, {patients['held_out']} held out"),
        ("genes", f"{record['genes']:,} in {bins['count']} bins ({bins['rule']})"),
        ("epoch kept", f"{kept['epoch']} of {record['recipe']['epochs']}"),
        (
            "accuracy",
            f"{kept['held_out_accuracy']:.2%} of hidden genes; majority bin {kept['majority_accuracy']:.2%}",
        ),
        ("loss", f"{kept['held_out_loss']:.4f} nats; majority bin {kept['majority_loss']:.4f}"),
    ]
    return table([("what", "found"), *lines])
