"""``slidesurv cite``: BibTeX of a method."""

from typing import Annotated

import typer

__all__ = ["cite"]


def cite(
    names: Annotated[list[str] | None, typer.Argument(help="Models, as in 'slidesurv models'; all if none.")] = None,
) -> None:
    """Print BibTeX entries.

    Example: slidesurv cite vgat transmil
    """
    from slidesurv.registry import models

    print("\n\n".join(models[name].paper.bibtex() for name in names or models.names()))
