"""``slidesurv predict``: a shipped model on new patients."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from slidesurv.cli.speech import say

__all__ = ["predict"]


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, such as runs/<name>/<model>/seed1/fold0/bundle.")],
    features: Annotated[
        Path | None, typer.Option("--features", help="Folder of feature files, for models that read slides.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file to write.")] = Path("predictions.csv"),
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="CSV with patient_id and slide_id; without it each slide, or each row of the expression, is a patient."
        ),
    ] = None,
    expression: Annotated[
        Path | None, typer.Option(help="Patients × genes, for models that read genomics at prediction.")
    ] = None,
    allow_other_encoder: Annotated[
        bool, typer.Option("--allow-other-encoder", help="Accept features that name another encoder than the model's.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0, …")] = "auto",
) -> None:
    """Predict patients with a shipped model.

    Patients who cannot be predicted are written to failed.csv beside the output, and the exit code is 3.

    Example: slidesurv predict runs/luad/vgat/seed1/fold0/bundle --features new_slides -o predictions.csv
    """
    from slidesurv.training.deploy import predict_new

    ended = predict_new(
        bundle,
        features,
        output,
        manifest=manifest,
        expression=expression,
        allow_other_encoder=allow_other_encoder,
        device=device,
        say=say,
    )
    say("Research use only: not a medical device.")
    print(f"{ended.patients} patients: {output}")
    if ended.failed:
        say(f"{ended.failed} patients failed: {output.with_name('failed.csv')}")
        sys.exit(3)
