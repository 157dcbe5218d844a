"""``slidesurv crossval``: from an experiment file to a run folder and its report."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidesurv.cli.speech import epochs_bar, say
from slidesurv.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidesurv.training.crossval import Job

__all__ = ["crossval", "perform"]


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
    perform(experiment, output, workers=workers, overrides=set_ or [], command=_command())


def perform(path: Path, output: Path | None, *, workers: int, overrides: list[str], command: str) -> Path:
    """Cross-validate and report; exit code 3 when folds failed.

    Returns:
        The report page.
    """
    from slidesurv.config import read_experiment

    experiment = read_experiment(path, overrides)
    from slidesurv.report.page import write_report
    from slidesurv.training.crossval import plan, run_jobs

    folder = output or Path("runs") / experiment.name
    jobs = plan(experiment, folder)
    _introduce(jobs)
    workers = workers or max(1, min((os.cpu_count() or 1) // experiment.training.threads, len(jobs)))
    with epochs_bar(folder, folds=len(jobs), epochs=max(job.recipe.epochs for job in jobs)) as teller:
        outcomes = run_jobs(jobs, workers=workers, command=command, report=teller.ended)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    counts = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    say(f"{len(outcomes)} folds: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if len(failed) == len(outcomes):
        raise DataError(f"Every fold failed. The first: {failed[0].reason}")
    page = write_report(folder)
    print((page.parent / "comparison.md").read_text(encoding="utf-8"))
    print(f"Report: {page}")
    if failed:
        sys.exit(3)
    return page


def _introduce(jobs: "Sequence[Job]") -> None:
    """Say who was found, so that a mistaken event or unit shows before anything is trained."""
    facts = jobs[0].study.facts()
    say(
        f"{facts['name']}: {facts['patients']} patients, {facts['deaths']} deaths ({facts['event_share']:.0%}), "
        f"{facts['slides']} slides, median follow-up {facts['median_follow_up_months']:.1f} months; {len(jobs)} folds"
    )


def _command() -> str:
    """The command as typed, without the folders of this machine."""
    return " ".join(["slidesurv", *(Path(word).name if word.startswith("/") else word for word in sys.argv[1:])])
