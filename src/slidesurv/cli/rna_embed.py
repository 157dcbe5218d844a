"""``slidesurv rna embed``: what a frozen encoder says of each patient's expression."""

from pathlib import Path
from typing import Annotated

import typer

from slidesurv.cli.rna import files_bar
from slidesurv.cli.speech import say
from slidesurv.errors import ConfigError, unknown

__all__ = ["embed"]

PRECISIONS = ("float32", "bfloat16")


def embed(
    expression: Annotated[Path, typer.Argument(help="Patients × genes; 'slidesurv rna prepare' writes one.")],
    weights: Annotated[Path, typer.Option(help="params.joblib, model.safetensors, or a folder of 'rna pretrain'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the embeddings and their index.")],
    model: Annotated[str | None, typer.Option(help="Kind of encoder [the one there is].")] = None,
    genes: Annotated[Path | None, typer.Option(help="Their genes, one a line [genes.txt beside them].")] = None,
    config: Annotated[Path | None, typer.Option(help="Sizes of the encoder [config.json beside the weights].")] = None,
    sha256: Annotated[str, typer.Option(help="Refuse weights with another hash.")] = "",
    cache: Annotated[Path | None, typer.Option(help="Keep the weights, once converted, in this folder.")] = None,
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 with an error of about 0.4 %.")] = "float32",
    device: Annotated[str, typer.Option(help="Where to compute.")] = "auto",
) -> None:
    """Embed the expression of every patient, once and for all.

    One vector a patient, the mean over the encoder's output tokens. Patients that are done are not done again. An
    experiment reads them with [cohort] embeddings = "…/embeddings.safetensors". Exit codes: 1 data or disk, 2 settings.

    Example: slidesurv rna embed rna/expression.csv.gz --weights params.joblib --genes genes.txt -o rna
    """
    from slidesurv.genomics.embed import embed as write_embeddings
    from slidesurv.genomics.expression import read_expression
    from slidesurv.genomics.genes import read_gene_list
    from slidesurv.genomics.weights import read_checkpoint
    from slidesurv.models.bulkrnabert import BulkRNABert
    from slidesurv.registry import models
    from slidesurv.training.device import fast_matmul, pick_device

    models.names()
    known = models.name_of(BulkRNABert)
    if model not in (None, known):
        raise ConfigError(unknown("encoder of expression", str(model), [known]))
    if precision not in PRECISIONS:
        raise ConfigError(unknown("precision", precision, PRECISIONS))
    beside = weights if weights.is_dir() else weights.parent
    wanted = read_gene_list(genes or beside / "genes.txt")
    checkpoint = read_checkpoint(weights, config=config, expected=sha256, cache=cache)
    if checkpoint.release:
        say(f"These are {checkpoint.release}: CC BY-NC-SA 4.0, and so is what is made of them; not for commercial use.")
    with fast_matmul(True), files_bar("patients") as report:
        path = write_embeddings(
            read_expression(expression),
            checkpoint,
            output,
            genes=wanted,
            precision=precision,  # type: ignore[arg-type]
            device=pick_device(device),
            report=report,
        )
    print(f"Embeddings: {path}")
