"""``slidesurv report``: the page of a run."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(help="Run folder of 'slidesurv crossval'.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file [<run>/report.html].")] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Folder name of the model that the others are compared with.")
    ] = None,
) -> None:
    """Write the report of a run again.

    One self-contained HTML page, and tables beside it.

    Example: slidesurv report runs/luad
    """
    from slidesurv.report.page import write_report

    print(f"Report: {write_report(run, output=output, reference=reference)}")
