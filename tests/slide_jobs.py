"""Jobs for tests: small slides, what must be equal after two of them, and stages that go wrong."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy
from typing import Any

from slide_files import write_made
from slidesurv.slides.job import Job
from slidesurv.slides.manifest import SlideFile
from slidesurv.slides.prefetch import Clock
from slidesurv.slides.run import Step, Tally, run_job
from slidesurv.slides.settings import EncodeSettings, Pace, TileSettings
from slidesurv.slides.tissue import PRESETS

__all__ = ["SMALL", "TEXTURE", "WrongStage", "contents", "copied", "made", "statuses", "work_and_tell"]

SMALL = TileSettings(preset=PRESETS["biopsy"])  # slides of tests are smaller than the usual least piece of tissue
TEXTURE = EncodeSettings(encoder="texture")
VARIES = ("states", "runs", "claims")  # times of day, and how long it took


def made(folder: Path, names: str) -> Path:
    """A folder of slides, one a letter."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        write_made(folder / f"{name}.tif", seed=seed)
    return folder


def copied(source: Path, folder: Path, names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        copy(source / f"{name}.tif", folder / f"{name}.tif")
    return folder


def contents(job: Path) -> dict[str, bytes]:
    """Every file of a job whose bytes must not depend on when, how often interrupted, or by whom it was made."""
    files = (path for path in job.rglob("*") if path.is_file())
    kept = (path for path in files if path.relative_to(job).parts[0] not in VARIES)
    return {str(path.relative_to(job)): path.read_bytes() for path in kept}


def statuses(tally: Tally, stage: str = "patches") -> dict[str, str]:
    return {each.slide: each.status for each in tally.settled if each.stage == stage}


def work_and_tell(slides: Path, job: Path, workers: int) -> None:
    """Run a job and print a line for every batch and every slide, for a test that reads along."""

    def tell(step: Step) -> None:
        if step.ended:
            print(step.stage, step.ended.slide, step.ended.status, flush=True)
        elif step.tiles:
            print("tiles", flush=True)

    run_job(slides, job, SMALL, TEXTURE, pace=Pace(batch=3), workers=workers, report=tell)


@dataclass(frozen=True)
class WrongStage:
    """A stage that kills its process, or meets a bug, over slides that are called so."""

    job: Job
    root: Path
    pace: Pace = field(default_factory=Pace)
    name: str = "patches"

    def sections(self) -> dict[tuple[str, ...], dict[str, Any]]:
        return {}

    def outputs(self, slide: str) -> tuple[Path, ...]:
        return (self.job.folder / slide,)

    def known(self, slide: str) -> dict[str, Any]:
        return {"status": "done"}

    def disagreement(self, each: SlideFile, facts: Mapping[str, Any]) -> str | None:
        return None

    def perform(self, each: SlideFile, tick: Callable[[int], None]) -> Clock:
        if each.slide == "deadly" or (each.slide == "once" and not (self.job.folder / "tried").exists()):
            (self.job.folder / "tried").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if each.slide == "bug":
            raise ZeroDivisionError
        self.outputs(each.slide)[0].touch()
        return Clock()
