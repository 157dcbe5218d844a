"""``slidesurv demo``: the main job from pixels to a report, on a made-up cohort whose truth is known."""

import os
from collections.abc import Callable
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidesurv.cli.crossval import conclude, perform
from slidesurv.cli.speech import say
from slidesurv.cli.tile import conclude as conclude_job
from slidesurv.cli.tiles_bar import tiles_bar
from slidesurv.files import write_text

if TYPE_CHECKING:
    from slidesurv.engine import Outcome

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
    """Run the main job on a made-up cohort: paint slides, tile, encode, cross-validate, report.

    Its truth is planted, so the report can say whether it was found. Look through job/contact_sheet.html too.

    The same command goes on after an interruption.

    Example: slidesurv demo -o demo
    """
    from slidesurv.cohorts.specimens import SlideTruth, write_specimens
    from slidesurv.config.read import read_experiment

    experiment = output / "experiment.toml"
    write_text(experiment, files("slidesurv.cli").joinpath("demo.toml").read_text(encoding="utf-8"))
    overrides = set_ or []
    asked = read_experiment(experiment, overrides)
    processes = workers or os.cpu_count() or 1
    say(f"Painting the slides of {patients} patients, who have gene expression and follow-up …")
    truth = SlideTruth(patients=patients)
    write_specimens(output / "data", truth, seed=seed, workers=processes, report=_counting(patients))
    command = " ".join(["slidesurv demo", f"--patients {patients} --seed {seed}", *(f"--set {o}" for o in overrides)])
    say("Finding the tissue, tiling and encoding …")
    _encode(output / "data" / "slides", output / "job", workers=processes, command=command)
    say("Teaching and judging …")
    conclude(perform(asked, output / "run", workers=workers, command=command))


def _counting(slides: int) -> "Callable[[Outcome], None]":
    """Says after every ten slides how many there are."""
    ended = count(1)

    def report(outcome: "Outcome") -> None:
        number = next(ended)
        if outcome.status == "done" and (number % 10 == 0 or number == slides):
            say(f"[{number}/{slides}] slides")

    return report


def _encode(slides: Path, job: Path, *, workers: int, command: str) -> None:
    """Tile as suits small pieces of tissue, and encode without weights."""
    from slidesurv.slides.run import run_job
    from slidesurv.slides.settings import EncodeSettings, TileSettings
    from slidesurv.slides.tissue import PRESETS

    tiles, features = TileSettings(preset=PRESETS["biopsy"]), EncodeSettings(encoder="texture")
    with tiles_bar() as report:
        tally = run_job(slides, job, tiles, features, workers=workers, command=command, report=report)
    conclude_job(tally, job)
