"""``slidesurv split``: folds of a cohort, and what they share."""

from __future__ import annotations

import json as json_
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidesurv.cli.speech import say, table
from slidesurv.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidesurv.config.experiment import Experiment
    from slidesurv.types import Cohort, Split

__all__ = ["split"]


def split(
    words: Annotated[
        list[Path],
        typer.Argument(
            metavar="[audit] EXPERIMENT",
            help="TOML file; its [cohort] and [splits] are read. With the word 'audit', its features too.",
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write splits.json here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Audit as JSON.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
) -> None:
    """Make or import folds, and audit them.

    Patients, deaths and sites of each part of each fold are counted. 'split audit' also looks for patients who teach
    and judge under two names, for slides with the same features, and for sites that give the outcome away; it ends
    with 1 when it finds a leak.

    Example: slidesurv split luad.toml -o splits.json --set splits.kind=site

    Example: slidesurv split audit luad.toml
    """
    from slidesurv.cohorts.audit import audit, verdict
    from slidesurv.cohorts.splits import left_out, write_splits
    from slidesurv.config.read import read_experiment

    *action, experiment = words
    if action not in ([], [Path("audit")]):
        raise ConfigError(f"'{action[0]}' is no word for split: write 'split EXPERIMENT' or 'split audit EXPERIMENT'.")
    settings = read_experiment(experiment, set_ or [])
    cohort, splits = _fold(settings)
    rows = audit(cohort, splits)
    findings = _examine(settings.cohort.features, cohort, splits) if action else []
    said = [*verdict(rows), *findings]
    if json:
        print(json_.dumps({"audit": rows, "verdict": said}, indent=1))
    else:
        print(table([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]))
        print("\n".join(said))
    if output:
        write_splits(output, splits, origin=settings.splits.kind, left_out=left_out(cohort, splits))
        place = Path(os.path.relpath(output, experiment.parent)).as_posix()
        say(f'Wrote \'{output}\'. Use it with [splits] kind = "file", path = "{place}".')
    if any(sentence.startswith("Leak") for sentence in findings):
        raise typer.Exit(1)


def _fold(settings: Experiment) -> tuple[Cohort, Sequence[Split]]:
    """Fold the patients whom a cross-validation would use: where some are dropped, features and genomics are read."""
    from slidesurv.cohorts.study import open_study, read_cohort, read_folds

    if "drop" in (settings.cohort.missing, settings.genomics.missing):
        study = open_study(settings)
        return study.dataset.cohort, study.splits
    cohort = read_cohort(settings.cohort)
    return cohort, read_folds(settings.splits, cohort)


def _examine(features: Path | None, cohort: Cohort, splits: Sequence[Split]) -> list[str]:
    """What a closer look finds, in sentences; the last is the verdict."""
    from slidesurv.cohorts.leaks import conclude, examine
    from slidesurv.slides.store import FeatureStore

    findings = examine(cohort, splits, FeatureStore(features) if features else None)
    return [*(f"{finding.kind.capitalize()}: {finding.text}" for finding in findings), conclude(findings)]


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
