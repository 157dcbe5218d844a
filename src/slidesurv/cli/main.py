"""``slidesurv``: the words of the front door. Each verb is a file, and only the one that is asked for is imported.

Typer is imported with it: help, version and a wrong word are answered in a few hundredths of a second.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from slidesurv import __version__
from slidesurv.errors import ConfigError, SlidesurvError, unknown

if TYPE_CHECKING:
    import typer

__all__ = ["VERBS", "Verb", "main"]


class Verb(NamedTuple):
    """Where a verb is, and what the list of verbs says of it.

    Attributes:
        parts: ``module:name`` of its function in ``slidesurv.cli``; of a group, those of its verbs follow that stand
            in files of their own.
        line: the first line of its docstring.
    """

    parts: str
    line: str


VERBS = {
    "tile": Verb("tile:tile", "Find the tissue of slides and lay tiles over it."),
    "encode": Verb(
        "encode:encode", "Make features of tiles: of a job that is tiled, or with -o of slides, which are tiled first."
    ),
    "check": Verb("check:check", "Look over a job or a folder of features."),
    "weights": Verb(
        "weights:weights", "Download an encoder's weights into the hub's cache, where 'slidesurv encode' finds them."
    ),
    "init": Verb("init:init", "Write a commented experiment file."),
    "split": Verb("split:split", "Make or import folds, and audit them."),
    "crossval": Verb("crossval:crossval", "Fit and judge every model, then write the report."),
    "compare": Verb("compare:compare", "Compare methods over cohorts, in the layout of the paper's Table I."),
    "table": Verb("table:table", "Make a table of the paper on your cohorts, with what the paper prints beside it."),
    "report": Verb("report:report", "Write the report of a run again."),
    "runs": Verb("runs:runs", "List the runs of a folder, or compare two."),
    "predict": Verb("predict:predict", "Predict patients with a shipped model."),
    "models": Verb("models:models", "List the methods, what each may see and what it costs."),
    "cite": Verb("cite:cite", "Print BibTeX entries."),
    "demo": Verb(
        "demo:demo", "Run the main job on a made-up cohort: paint slides, tile, encode, cross-validate, report."
    ),
    "rna": Verb("rna:rna rna_embed:embed rna_pretrain:pretrain", "Expression: tables and embeddings of it."),
    "fetch": Verb("fetch:app", "Fetch slides, expression and follow-up from the Genomic Data Commons."),
}

HELP = """Usage: slidesurv [OPTIONS] COMMAND [ARGS]...

  Survival prediction from whole-slide images, taught by genomes.

Options:
  --version  Print it.
  --help     Show this message and exit.

Commands:
"""


def main() -> None:
    """Run one verb. Exit codes: 0 all well, 1 data or disk, 2 what was asked for, 3 some of the work failed."""
    try:
        _answer(sys.argv[1:])
    except SlidesurvError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _answer(words: list[str]) -> None:
    match words:
        case []:
            print(_help(), file=sys.stderr)
            sys.exit(2)
        case ["--help", *_]:
            print(_help())
        case ["--version", *_]:
            print(__version__)
        case [verb, *_] if verb in VERBS:
            _door(verb)(words, prog_name="slidesurv")
        case [word, *_]:
            raise ConfigError(unknown("verb", word, VERBS))


def _help() -> str:
    width = max(map(len, VERBS))
    return HELP + "\n".join(f"  {name.ljust(width)}  {verb.line}" for name, verb in VERBS.items())


def _door(name: str) -> "typer.Typer":
    """The front door with one verb behind it."""
    import typer

    # the callback does nothing, but without one Typer would take a single verb for the whole program
    app = typer.Typer(
        callback=lambda: None, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    verb, *more = map(_part, VERBS[name].parts.split())
    if not isinstance(verb, typer.Typer):
        app.command(name)(verb)
        return app
    for part in more:
        verb.command()(part)
    app.add_typer(verb, name=name)
    return app


def _part(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(f"slidesurv.cli.{module}"), name)
