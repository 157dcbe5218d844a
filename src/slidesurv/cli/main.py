"""``slidesurv``: the words of the front door. Each verb is a file; what it needs is imported when it runs."""

import sys
from typing import Annotated

import typer

from slidesurv import __version__
from slidesurv.cli.check import check
from slidesurv.cli.cite import cite
from slidesurv.cli.compare import compare
from slidesurv.cli.crossval import crossval
from slidesurv.cli.demo import demo
from slidesurv.cli.encode import encode
from slidesurv.cli.fetch import app as fetch
from slidesurv.cli.init import init
from slidesurv.cli.models import models
from slidesurv.cli.predict import predict
from slidesurv.cli.report import report
from slidesurv.cli.rna import rna
from slidesurv.cli.rna_embed import embed
from slidesurv.cli.rna_pretrain import pretrain
from slidesurv.cli.speech import say
from slidesurv.cli.split import split
from slidesurv.cli.tile import tile
from slidesurv.cli.weights import weights
from slidesurv.errors import ConfigError, SlidesurvError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Survival prediction from whole-slide images, taught by genomes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for verb in (tile, encode, check, weights, init, split, crossval, compare, report, predict, models, cite, demo):
    app.command()(verb)
rna.command()(embed)
rna.command()(pretrain)
app.add_typer(rna, name="rna")
app.add_typer(fetch, name="fetch")


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


def main() -> None:
    """Run one verb. Exit codes: 0 all well, 1 data or disk, 2 what was asked for, 3 some of the work failed."""
    try:
        app()
    except SlidesurvError as error:
        say(f"error: {error}")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
