"""``slidesurv init``: a commented experiment to start from."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from slidesurv.cli.speech import say
from slidesurv.errors import ConfigError
from slidesurv.files import write_text

__all__ = ["init"]


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("experiment.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented experiment file.

    Example: slidesurv init luad.toml
    """
    if path.exists() and not force:
        raise ConfigError(f"'{path}' is there already. Choose another name, or add --force to replace it.")
    write_text(path, files("slidesurv.cli").joinpath("experiment.toml").read_text(encoding="utf-8"))
    say(f"Wrote '{path}'. Edit [cohort], then run: slidesurv crossval {path}")
