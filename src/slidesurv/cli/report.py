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
    pdf: Annotated[bool, typer.Option("--pdf", help="Print the page to a PDF beside it.")] = False,
) -> None:
    """Write the report of a run again.

    One self-contained HTML page, and tables beside it. A PDF needs WeasyPrint: pip install 'slidesurv[pdf]'.

    Example: slidesurv report runs/luad --pdf
    """
    from slidesurv.report.page import write_report

    page = write_report(run, output=output, reference=reference)
    print(f"Report: {page}")
    if pdf:
        from slidesurv.report.pdf import write_pdf

        print(f"PDF: {write_pdf(page)}")
