"""``slidesurv predict``: a shipped model on new slides."""

from pathlib import Path
from typing import Annotated

import typer

from slidesurv.cli.speech import say

__all__ = ["predict"]


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, such as runs/<name>/<model>/seed1/fold0/bundle.")],
    features: Annotated[Path, typer.Option("--features", help="Folder of feature files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file to write.")] = Path("predictions.csv"),
    manifest: Annotated[
        Path | None, typer.Option(help="CSV with patient_id and slide_id; without it each slide is a patient.")
    ] = None,
    expression: Annotated[
        Path | None, typer.Option(help="Patients × genes, for models that read genomics at prediction.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0, …")] = "auto",
) -> None:
    """Predict patients with a shipped model.

    Example: slidesurv predict runs/luad/vgat/seed1/fold0/bundle --features new_slides -o predictions.csv
    """
    from slidesurv.training.deploy import predict_new

    rows = predict_new(bundle, features, output, manifest=manifest, expression=expression, device=device, say=say)
    say("Research use only: not a medical device.")
    print(f"{rows} patients: {output}")
