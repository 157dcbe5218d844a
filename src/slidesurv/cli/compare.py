"""``slidesurv compare``: many methods on one cohort or several, in one table."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from slidesurv.cli.crossval import conclude, perform, typed
from slidesurv.cli.speech import say
from slidesurv.errors import ConfigError, listing

__all__ = ["check_names", "compare"]


def compare(
    experiments: Annotated[list[Path], typer.Argument(help="TOML files, a cohort each.")],
    methods: Annotated[str, typer.Option(help="Names with commas between; 'all' takes every method there is.")] = "all",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the runs and the table.")] = Path(
        "runs/compare"
    ),
    workers: Annotated[int, typer.Option(help="Processes; 0 takes one a core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
    beside: Annotated[
        Path | None,
        typer.Option(help="Output of the same experiments under the other protocol, to stand beside each column."),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print the table as overview.pdf too.")] = False,
) -> None:
    """Compare methods over cohorts, in the layout of the paper's Table I.

    A method takes its choices from the experiment where that names it, and its defaults elsewhere. With "all", methods
    for which a cohort lacks the data are left out and named; a method that was asked for by name must be able to run.
    Goes on where it stopped when the same command is given again. Exit codes as of 'slidesurv crossval'.

    Example: slidesurv compare luad.toml gbmlgg.toml --methods vgat,transmil,attnmil --set training.recipe=native
    """
    from slidesurv.config.read import read_experiment
    from slidesurv.registry import models
    from slidesurv.report.overview.beside import read_beside
    from slidesurv.report.overview.files import markdown, write_overview
    from slidesurv.report.overview.table import overview
    from slidesurv.report.read import read_run
    from slidesurv.training.crossval import able

    names = models.names() if methods == "all" else [name.strip() for name in methods.split(",")]
    asked = [read_experiment(path, set_ or []).select(names) for path in experiments]
    check_names(experiment.name for experiment in asked)
    others = read_beside(beside, {each.name: each.training.protocol for each in asked}) if beside else []
    outcomes = []
    for experiment in asked:
        able_to, reasons = able(experiment) if methods == "all" else (experiment, {})
        for reason in reasons.values():
            say(f"left out: {reason}")
        outcomes += perform(able_to, output / experiment.name, workers=workers, command=typed())
    table = overview([read_run(output / experiment.name) for experiment in asked], others=others)
    write_overview(table, output)
    print(markdown(table))
    print(f"Table: {output / 'overview.html'}")
    if pdf:
        from slidesurv.report.pdf import write_pdf

        print(f"PDF: {write_pdf(output / 'overview.html')}")
    conclude(outcomes)


def check_names(names: Iterable[str]) -> None:
    """Refuse experiments of one name, whose runs would share a folder.

    Raises:
        ConfigError: a name stands twice.
    """
    twice = {name: many for name, many in Counter(names).items() if many > 1}
    if twice:
        raise ConfigError(
            f"{sum(twice.values())} experiments are called {listing(twice)}: give each its own, for a folder each."
        )
