"""Where does genomics at training help a slide-only prediction, where can it not, and by how much?

    python experiments/simulation.py --workers 2

A study of known truth. Each cell of the design is one kind of made-up cohort (`slidesurv.cohorts.synthetic`): the
centre, or the centre with one thing changed. For each cell and each of six seeds it makes the training patients and
200 new ones of the same truth, whose deaths are all seen; teaches the network of ``planted.toml`` with genomes, and the
same network from the same first weights without; and takes the C-index of both on the new patients. Beside them stand
two ceilings: the C-index of the planted programme itself, and that of what the tiles show of it.

The recipe was chosen on cohort 0 of ``planted.py``, and is not touched here. Design and seeds were fixed before the
first cell was run; no seed was used before. What is finished is kept (a small JSON a cell and seed), so that the same
command goes on after an interruption. Results, in the output folder: ``results.csv`` (a row a cell and seed),
``summary.csv`` (a row a cell) and ``simulation.svg`` and ``.png``. About a core-hour.
"""

import argparse
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slidesurv.cli.speech import epochs_bar, say
from slidesurv.cohorts.holdout import write_holdout
from slidesurv.cohorts.planted import amounts
from slidesurv.cohorts.synthetic import Truth
from slidesurv.config.read import read_experiment
from slidesurv.engine import Task
from slidesurv.engine import run as run_tasks
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, read_json, sha256, write_csv, write_json, write_text
from slidesurv.report.estimate import Estimate
from slidesurv.report.gains import COLUMNS, Factor, Gain, draw, summarise
from slidesurv.survival.concordance import concordance
from slidesurv.training.crossval import plan, run_jobs

RECIPE = Path(__file__).with_name("planted.toml")
SEEDS = range(101, 107)
JUDGES = 200
LOOKS = 50  # draws of what the tiles show, whose mean C-index is the slide's ceiling
HOLDOUT = ["splits.kind='file'", "splits.path='data/splits.json'"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One kind of cohort.

    Attributes:
        factor: what is changed from the centre.
        level: to what, as it is drawn.
        truth: what is planted; its patients teach.
        mislabelled: share of them with another's follow-up.
        shuffle: whether they swap genomes.
    """

    factor: str
    level: float
    truth: Truth
    mislabelled: float = 0.0
    shuffle: bool = False

    @property
    def name(self) -> str:
        """Names its files."""
        return f"{self.factor}-{self.level:g}"


CENTRE = Truth(patients=120)
DESIGN = (
    Cell(factor="centre", level=0, truth=CENTRE),
    *(Cell(factor="patients", level=n, truth=replace(CENTRE, patients=n)) for n in (60, 240, 480)),
    *(  # the share is that of a large cohort
        Cell(factor="deaths", level=share, truth=replace(CENTRE, follow_up=months))
        for share, months in ((0.1, 2.0), (0.4, 15.0), (0.7, 58.0))
    ),
    *(Cell(factor="visible", level=share, truth=replace(CENTRE, visible=share)) for share in (0.0, 0.5, 0.8)),
    *(Cell(factor="mislabelled", level=share, truth=CENTRE, mislabelled=share) for share in (0.25, 0.5)),
    *(
        Cell(factor="tiles", level=sum(tiles) / 2, truth=replace(CENTRE, tiles=tiles))
        for tiles in ((6, 14), (175, 425))
    ),
    Cell(factor="no-effect", level=0, truth=replace(CENTRE, effect=0.0)),
    Cell(factor="swapped-genomes", level=0, truth=CENTRE, shuffle=True),
)
FACTORS = (
    Factor("patients", "training patients", centre=CENTRE.patients, scale="log"),
    Factor("deaths", "share of them who died", centre=0.2),
    Factor("visible", "how far tiles show the programme", centre=CENTRE.visible),
    Factor("mislabelled", "share with another's follow-up", centre=0.0),
    Factor("tiles", "tiles of a patient", centre=sum(CENTRE.tiles) / 2, scale="log"),
)
CONTROLS = {"centre": "centre", "no-effect": "genes of\nno effect", "swapped-genomes": "genomes\nof others"}


def measure(cell: Cell, seed: int, folder: Path) -> None:
    """Make a cohort, teach both networks, judge them; keep the numbers and nothing else."""
    start = time.process_time()
    place = folder / "work" / f"{cell.name}-{seed}"
    write_holdout(place / "data", cell.truth, judges=JUDGES, mislabelled=cell.mislabelled, seed=seed)
    write_text(place / "experiment.toml", RECIPE.read_text(encoding="utf-8"))
    asked = [*HOLDOUT, f"training.seeds=[{seed}]", f"genomics.shuffle={str(cell.shuffle).lower()}"]
    experiment = read_experiment(place / "experiment.toml", asked)
    jobs = plan(experiment.model_copy(update={"models": experiment.models[:2]}), place / "run")
    if failed := [outcome.reason for outcome in run_jobs(jobs) if outcome.status == "failed"]:
        raise DataError(f"{len(failed)} of 2 networks could not be taught. The first: {failed[0]}")
    known = judge(cell, seed, place, [job.folder for job in jobs])
    shutil.rmtree(place)
    about = {"factor": cell.factor, "level": cell.level, "seed": seed, "cpu_seconds": time.process_time() - start}
    write_json(finished(cell, seed, folder), about | known)


def finished(cell: Cell, seed: int, folder: Path) -> Path:
    """The one file that is kept."""
    return folder / "cells" / f"{cell.name}-{seed}.json"


def judge(cell: Cell, seed: int, place: Path, networks: list[Path]) -> dict[str, float]:
    """C-index of both networks and of both ceilings on the new patients; and what the training patients were like."""
    taught, untaught = (read_csv(network / "predictions.csv") for network in networks)
    teaching = [row for row in taught if row["split"] == "train"]
    new = [row for row in taught if row["split"] == "test"]
    programme = read_json(place / "data" / "planted.json")["programme"]
    z = np.array([programme[row["patient_id"]] for row in new])
    random = np.random.default_rng(seed)
    looks = [[amounts(value, 1, cell.truth, random)[0] for value in z] for _ in range(LOOKS)]
    without = {row["patient_id"]: float(row["risk"]) for row in untaught}
    rebuilt = read_csv(networks[0] / "reconstruction.csv")
    return {
        "taught": c_index(new, [float(row["risk"]) for row in new]),
        "untaught": c_index(new, [without[row["patient_id"]] for row in new]),
        "programme": c_index(new, z),
        "look": float(np.mean([c_index(new, look) for look in looks])),
        "skill": 1 - sum(float(row["kl"]) for row in rebuilt) / sum(float(row["kl_mean"]) for row in rebuilt),
        "patients": len(teaching),
        "deaths": sum(row["event"] == "1" for row in teaching),
        "tiles": float(np.mean([int(row["n_tiles"]) for row in teaching])),
    }


def c_index(rows: list[dict[str, str]], risk: Any) -> float:
    """C-index of a risk on rows of ``predictions.csv``."""
    return concordance([row["event"] == "1" for row in rows], [float(row["time_months"]) for row in rows], risk).index


def run(folder: Path, *, workers: int, design: tuple[Cell, ...] = DESIGN, seeds: range = SEEDS) -> list[dict[str, Any]]:
    """Run what is left of the design, one seed of every cell after the other.

    Raises:
        ConfigError: the folder holds another design.
        DataError: a cell failed; the others were run.
    """
    require_same(folder / "design.json", design, seeds)
    tasks = [
        Task(f"{cell.name}, seed {seed}", measure, (cell, seed, folder), finished(cell, seed, folder))
        for seed in seeds
        for cell in design
    ]
    with epochs_bar(folder / "work", folds=len(tasks), epochs=1) as teller:
        outcomes = run_tasks(tasks, workers=workers, report=teller.ended)
    if failed := [outcome for outcome in outcomes if outcome.status == "failed"]:
        raise DataError(f"{len(failed)} of {len(tasks)} cells failed. The first, {failed[0].name}: {failed[0].reason}")
    return [read_json(task.output) for task in tasks]


def require_same(path: Path, design: tuple[Cell, ...], seeds: range) -> None:
    """Write what is to be run, or refuse a folder in which something else was."""
    asked = {"cells": {cell.name: asdict(cell) for cell in design}, "seeds": list(seeds), "judges": JUDGES}
    words = sha256(repr(asked).encode(), RECIPE)
    if path.exists() and read_json(path)["sha256"] != words:
        raise ConfigError(f"'{path.parent}' holds another design. Give another --output, or remove the folder.")
    write_json(path, asked | {"sha256": words})


def publish(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write the tables and the figure, and print the table of docs/simulation.md."""
    write_csv(folder / "results.csv", rows, list(rows[0]))
    gains = summarise(rows)
    write_csv(folder / "summary.csv", [gain.row() for gain in gains], COLUMNS)
    draw(gains, FACTORS, CONTROLS, folder / "simulation.svg", folder / "simulation.png")
    print("| changed | gain in C-index (95 % CI) | taught | untaught | ceiling: tiles | programme | skill | died |")
    print("|---|---|---|---|---|---|---|---|")
    for gain in gains:
        print(line(gain))


def line(gain: Gain) -> str:
    """A cell as a row of the table."""
    name = f"{gain.factor} {gain.level:g}" if gain.factor not in CONTROLS else gain.factor
    indices = (gain.taught, gain.untaught, gain.look, gain.programme)
    cells = [
        name,
        gain.gain.text(signed=True),
        *(f"{index:.3f}" for index in indices),
        Estimate(gain.skill).text(digits=2),
    ]
    return f"| {' | '.join([*cells, f'{gain.deaths:.0%}'])} |"


def main() -> None:
    """Run the study and sum it up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/simulation"), help="folder")
    asked = parser.parse_args()
    publish(run(asked.output, workers=asked.workers), asked.output)
    say(f"Figure: {asked.output / 'simulation.svg'}")


if __name__ == "__main__":
    main()
