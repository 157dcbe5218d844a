"""``slidesurv crossval``: from an experiment file to a run folder and its report."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidesurv.cli.speech import epochs_bar, say
from slidesurv.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidesurv.config.experiment import Experiment
    from slidesurv.engine import Outcome
    from slidesurv.training.job import Job

__all__ = ["conclude", "crossval", "perform", "typed"]

OPTION = re.compile(r"[\w.-]+=|-\w")  # of --option=value, key=value, -ovalue, or of a value alone


def crossval(
    experiment: Annotated[Path, typer.Argument(help="TOML file; 'slidesurv init' writes one.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder [runs/<name>].")] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 takes one a core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
) -> None:
    """Fit and judge every model, then write the report.

    Every model is fitted on every fold, once a seed. Exit codes: 1 data or disk, 2 settings, 3 some folds failed.

    A run that was interrupted goes on where it stopped when the same command is given again.

    Example: slidesurv crossval luad.toml --workers 2 --set training.epochs=10
    """
    from slidesurv.config.read import read_experiment

    asked = read_experiment(experiment, set_ or [])
    conclude(perform(asked, output or Path("runs") / asked.name, workers=workers, command=typed()))


def perform(experiment: "Experiment", folder: Path, *, workers: int, command: str) -> "list[Outcome]":
    """Cross-validate, or go on with it, and write the report.

    Raises:
        DataError: every fold failed.
    """
    from slidesurv.report.page import write_report
    from slidesurv.training.crossval import plan, run_jobs
    from slidesurv.training.search import searches

    jobs = plan(experiment, folder)
    _introduce(jobs)
    workers = workers or max(1, min((os.cpu_count() or 1) // experiment.training.threads, len(jobs)))
    tasks = len(jobs) + len(searches(jobs))
    with epochs_bar(folder, folds=tasks, epochs=max(job.recipe.epochs for job in jobs)) as teller:
        outcomes = run_jobs(jobs, workers=workers, command=command, report=teller.ended)
    counts = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    say(f"{len(outcomes)} folds: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if counts["failed"] == len(outcomes):
        raise DataError(f"Every fold failed. The first: {outcomes[0].reason}")
    page = write_report(folder)
    print((folder / "comparison.md").read_text(encoding="utf-8"))
    print(f"Report: {page}")
    return outcomes


def conclude(outcomes: "Sequence[Outcome]") -> None:
    """End with exit code 3 when folds failed."""
    if any(outcome.status == "failed" for outcome in outcomes):
        sys.exit(3)


def _introduce(jobs: "Sequence[Job]") -> None:
    """Say who was found, so that a mistaken event or unit shows before anything is trained."""
    facts = jobs[0].study.facts()
    say(
        f"{facts['name']}: {facts['patients']} patients, {facts['deaths']} deaths ({facts['event_share']:.0%}), "
        f"{facts['slides']} slides, median follow-up {facts['median_follow_up_months']:.1f} months; {len(jobs)} folds"
    )


def typed() -> str:
    """The command as typed, without the folders of this machine."""
    return " ".join(["slidesurv", *map(_without_folders, sys.argv[1:])])


def _without_folders(word: str) -> str:
    """A word whose value is a path keeps its last name; the folders of such a path may hold spaces."""
    from slidesurv.report.words import without_folders

    option = found[0] if (found := OPTION.match(word)) else ""
    value = word.removeprefix(option)
    return f"{option}{Path(value).name}" if value.startswith(("/", "~", "../")) else without_folders(word)
