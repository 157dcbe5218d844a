"""``slidesurv split``: folds of a cohort, and what they share."""

import json as json_
import os
from pathlib import Path
from typing import Annotated

import typer

from slidesurv.cli.speech import say, table

__all__ = ["split"]


def split(
    experiment: Annotated[Path, typer.Argument(help="TOML file; its [cohort] and [splits] are read.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write splits.json here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Audit as JSON.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
) -> None:
    """Make or import folds, and audit them.

    The audit counts patients, deaths and sites of each part of each fold.

    Example: slidesurv split luad.toml -o splits.json --set splits.folds=10
    """
    from slidesurv.cohorts.audit import audit, verdict
    from slidesurv.cohorts.splits import write_splits
    from slidesurv.cohorts.study import read_cohort, read_folds
    from slidesurv.config import read_experiment

    settings = read_experiment(experiment, set_ or [])
    cohort = read_cohort(settings.cohort)
    splits = read_folds(settings.splits, cohort)
    rows = audit(cohort, splits)
    if json:
        print(json_.dumps({"audit": rows, "verdict": verdict(rows)}, indent=1))
    else:
        print(table([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]))
        print("\n".join(verdict(rows)))
    if output:
        write_splits(output, splits, origin=settings.splits.kind)
        place = Path(os.path.relpath(output, experiment.parent)).as_posix()
        say(f'Wrote \'{output}\'. Use it with [splits] kind = "file", path = "{place}".')


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
