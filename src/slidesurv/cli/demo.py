"""``slidesurv demo``: the main job from nothing to a report, on a made-up cohort whose truth is known."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from slidesurv.cli.crossval import conclude, perform
from slidesurv.cli.speech import say
from slidesurv.files import write_text

__all__ = ["demo"]


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("demo"),
    patients: Annotated[int, typer.Option(help="More of them narrow the intervals.", min=20)] = 80,
    seed: Annotated[int, typer.Option(help="Another one makes another cohort.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes; 0 takes one a core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
) -> None:
    """Run the main job on a made-up cohort.

    Its truth is planted, so the report can say whether it was found.

    Example: slidesurv demo -o demo
    """
    from slidesurv.cohorts.synthetic import Truth, write_synthetic
    from slidesurv.config import read_experiment

    say(f"Making {patients} patients: slides' features, gene expression, follow-up …")
    write_synthetic(output / "data", Truth(patients=patients), seed=seed)
    experiment = output / "experiment.toml"
    write_text(experiment, files("slidesurv.cli").joinpath("demo.toml").read_text(encoding="utf-8"))
    overrides = set_ or []
    command = " ".join(["slidesurv demo", f"--patients {patients} --seed {seed}", *(f"--set {o}" for o in overrides)])
    conclude(perform(read_experiment(experiment, overrides), output / "run", workers=workers, command=command))
