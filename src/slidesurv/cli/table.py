"""``slidesurv table``: a table of the paper, on cohorts of one's own."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidesurv.cli.compare import check_names
from slidesurv.cli.crossval import conclude, perform, typed
from slidesurv.cli.speech import say
from slidesurv.errors import ConfigError, unknown

if TYPE_CHECKING:
    from slidesurv.cli.table_file import PaperTable
    from slidesurv.config.experiment import Experiment
    from slidesurv.engine import Outcome
    from slidesurv.report.overview.table import Overview
    from slidesurv.report.run import Run

__all__ = ["table"]


def table(
    which: Annotated[str, typer.Argument(help="1 to 9, as the paper has them, figure4, or ablations.")],
    experiments: Annotated[list[Path], typer.Argument(help="TOML files, a cohort each.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the runs and the table [runs/table<which>].")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 takes one a core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
    printed: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COHORT", help="The paper's cohort that an experiment stands beside, as LUAD."),
    ] = None,
) -> None:
    """Make a table of the paper on your cohorts, with what the paper prints beside it.

    1 methods; 2 and 5 targets of the reconstruction; 3 and 6 modules on and off; 4 and 7 selection of prompts; 8 the
    cross-attention; 9 from one race to the others; figure4 losses; ablations, which is ours, genomes shuffled or not
    used. Data, folds, seeds and training are those of the experiment, and so are the choices of a method in its first
    row there. Baselines stand below the rows. Rows that the data do not allow are left out and named.

    Writes table.md, .csv, .tex and .html. Goes on where it stopped when the same command is given again. Exit codes as
    of 'slidesurv crossval'.

    Example: slidesurv table 4 luad.toml -o runs/table4 --set training.epochs=5
    """
    from slidesurv.cli.table_file import read_table
    from slidesurv.report.overview.files import markdown, write_overview

    wanted = read_table(which)
    asked = [wanted.experiments(path, set_ or []) for path in experiments]
    names = [next(iter(variants.values())).name for variants in asked]
    check_names(names)
    beside = _pairs(printed or [], names, {cohort for _, cohort in wanted.printed()})
    folder = output or Path("runs") / f"table{which}"
    runs, remarks, outcomes = [], [], []
    for name, variants in zip(names, asked, strict=True):
        run, told, ended = _run(variants, folder / name, workers=workers)
        runs.append(run)
        remarks += told
        outcomes += ended
    drawn = _draw(wanted, runs, beside, remarks)
    write_overview(drawn, folder, name="table")
    print(markdown(drawn))
    print(f"Table: {folder / 'table.md'}")
    conclude(outcomes)


def _pairs(given: Iterable[str], names: Sequence[str], cohorts: Iterable[str]) -> dict[str, str]:
    """Understand ``--printed``: the paper's cohort, by experiment."""
    pairs = {}
    for text in given:
        name, _, cohort = text.partition("=")
        if name not in names:
            raise ConfigError(f"--printed {text}: {unknown('experiment', name, names)} Write NAME=COHORT.")
        if cohort not in cohorts:
            raise ConfigError(f"--printed {text}: {unknown('cohort of the paper', cohort, cohorts)} Write NAME=COHORT.")
        pairs[name] = cohort
    return pairs


def _run(variants: "Mapping[str, Experiment]", folder: Path, *, workers: int) -> "tuple[Run, list[str], list[Outcome]]":
    """Run what the rows need of one cohort: a run of all rows, what to know of it, and how the folds ended."""
    from slidesurv.report.overview.join import join, told_apart
    from slidesurv.report.read import read_run

    possible, reasons = _possible(variants)
    outcomes: list[Outcome] = []
    for place, experiment in possible.items():
        outcomes += perform(experiment, folder / place, workers=workers, command=typed())
    runs = [read_run(folder / place) for place in possible]
    joined = join(runs)
    name = joined.cohort.get("name") or joined.experiment
    lines = [*told_apart([*map(_rows_alone, runs)]), *(f"left out: {reason}" for reason in reasons)]
    return joined, [f"{name}: {line}" for line in lines], outcomes


def _rows_alone(run: "Run") -> "Run":
    """A run without its baselines, which stand in one run and belong to all."""
    from dataclasses import replace

    methods = tuple(method for method in run.methods if not method.slug.startswith("baseline-"))
    settings = {key: value for key, value in run.settings.items() if key != "baselines.names"}
    return replace(run, methods=methods, settings=settings)


def _possible(variants: "Mapping[str, Experiment]") -> "tuple[dict[str, Experiment], list[str]]":
    """The experiments with the rows that the data allow, and why the others are left out."""
    from slidesurv.training.crossval import able

    possible: dict[str, Experiment] = {}
    reasons: list[str] = []
    for place, experiment in variants.items():
        if lack := _lack(experiment):
            told = [f"'{row.title}' {lack}" for row in experiment.models]
        else:
            possible[place], because = able(experiment)
            told = list(because.values())
        reasons += told
        for reason in told:
            say(f"left out: {reason}")
    return _baselines_once(possible), reasons


def _baselines_once(experiments: "Mapping[str, Experiment]") -> "dict[str, Experiment]":
    """Baselines are the same for all rows of a cohort: they are fitted after the last."""
    without = {
        place: each.model_copy(update={"baselines": each.baselines.model_copy(update={"names": ()})})
        for place, each in experiments.items()
    }
    return without | dict([*experiments.items()][-1:])


def _lack(experiment: "Experiment") -> str:
    """What is missing for the target that an experiment names; "" if nothing is."""
    cohort, target = experiment.cohort, experiment.genomics.embedding
    has_expression = cohort.expression or (cohort.format == "mcat-csv" and cohort.suffixes)
    if target in ("expression", "differential") and not has_expression:
        return "is taught by expression, and there is none: set [cohort] expression."
    return ""


def _draw(wanted: "PaperTable", runs: "Sequence[Run]", beside: Mapping[str, str], remarks: Sequence[str]) -> "Overview":
    """Put the cohorts side by side, and the paper's figures beside them."""
    from dataclasses import replace

    from slidesurv.report.overview.printed import Printed, cohort_named
    from slidesurv.report.overview.table import overview

    known = wanted.printed()
    cohorts = {cohort for _, cohort in known}
    printed: dict[tuple[str, str], Printed] = {}
    for run in runs:
        texts = (str(run.cohort.get("name") or ""), run.experiment)
        named = beside.get(run.experiment) or cohort_named(texts, cohorts)
        if named is None and cohorts:
            remarks = [
                *remarks,
                f"Nothing printed stands beside {run.experiment}: --printed {run.experiment}=LUAD, say.",
            ]
        printed |= {(slug, run.experiment): figure for (slug, cohort), figure in known.items() if cohort == named}
    reference = next(row.slug for row in wanted.rows if row.label == wanted.reference)
    everywhere = all(reference in [method.slug for method in run.methods] for run in runs)
    drawn = overview(runs, reference=reference if everywhere else None, printed=printed)
    source = (
        f"Printed: what Chen et al. (VGAT, ICME 2025) print in {' and '.join(wanted.tables)}, mean ± SD over the folds "
        "of their data, each at the epoch that is best on its test patients: OPTIMISTIC, and not comparable one to one."
    )
    notes = (*([source] if printed else []), *wanted.notes, *remarks)
    return replace(drawn, title=f"{wanted.name}. {wanted.title}", question=wanted.question, remarks=notes)
