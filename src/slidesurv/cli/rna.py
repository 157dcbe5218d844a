"""``slidesurv rna``: expression in, tables and embeddings out. Each verb is a function of this file."""

import json as json_
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slidesurv.cli.speech import say, table
from slidesurv.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    from slidesurv.genomics.barcodes import Dropped

__all__ = ["files_bar", "prepare", "rna"]

rna = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

VALUES = ("tpm", "log2-tpm", "counts", "fpkm", "as-is")
NAMES = ("ensembl", "symbol")


@rna.callback()
def _rna() -> None:
    """Expression: tables and embeddings of it.

    Example: slidesurv rna prepare gdc/ --samples gdc_sample_sheet.tsv -o rna/
    """


@rna.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of GDC STAR counts; or a CSV, TSV, Parquet or h5ad table.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the table and its account.")],
    genes: Annotated[Path | None, typer.Option(help="Genes wanted, one a line, in the order of the columns.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Sample sheet of the GDC: whose each file is.")] = None,
    values: Annotated[str, typer.Option(help=f"What is wanted: {', '.join(VALUES)}.")] = "tpm",
    from_: Annotated[str | None, typer.Option("--from", help="What the source holds [told from its values].")] = None,
    lengths: Annotated[Path | None, typer.Option(help="Table of gene and length: makes TPM of counts.")] = None,
    rows: Annotated[str, typer.Option(help="What the rows of a table are: samples, genes or auto.")] = "auto",
    column: Annotated[str | None, typer.Option(help="Column of STAR counts [by --from, else by --values].")] = None,
    names: Annotated[str | None, typer.Option(help="Name genes by ensembl or symbol [as --genes does].")] = None,
    primary_only: Annotated[bool, typer.Option("--primary-only", help="Leave out who has no primary tumour.")] = False,
    max_missing: Annotated[float, typer.Option(help="Share of the genes that may be missing.")] = 0.1,
    sum_twice: Annotated[bool, typer.Option("--sum-twice", help="Add up genes that come twice.")] = False,
    form: Annotated[str, typer.Option("--format", help="csv.gz, csv or parquet.")] = "csv.gz",
    json: Annotated[bool, typer.Option("--json", help="Print prepare.json.")] = False,
) -> None:
    """Make one table, patients × genes, of raw expression.

    What the values are is told from their range and sums; what does not fit is refused. Beside the table stand
    samples.csv, dropped.csv with the reason for each sample left out, and prepare.json.

    Exit codes: 1 data or disk, 2 settings, 3 some samples could not be used.

    Example: slidesurv rna prepare gdc/ --samples gdc_sample_sheet.tsv --genes common_gene_id.txt -o rna/
    """
    from slidesurv.genomics.conversion import Recipe
    from slidesurv.genomics.gdc import read_sheet
    from slidesurv.genomics.genes import read_gene_list, read_lengths
    from slidesurv.genomics.kinds import Kind, read_kind
    from slidesurv.genomics.prepare import prepare_gdc, prepare_table
    from slidesurv.genomics.prepared import FORMATS, write_prepared

    _check_words((values, "kind of values", VALUES), (form, "format", FORMATS), (names or "ensembl", "naming", NAMES))
    _check_source(source, column=column, names=names, rows=rows)
    recipe = Recipe(
        kind=None if values == "as-is" else Kind(values),
        genes=read_gene_list(genes) if genes else None,
        lengths=read_lengths(lengths) if lengths else {},
        max_missing=max_missing,
        sum_twice=sum_twice,
    )
    sheet, stated = read_sheet(samples) if samples else None, read_kind(from_) if from_ else None
    if source.is_dir():
        with files_bar() as report:
            prepared = prepare_gdc(
                source, recipe, sheet=sheet, column=column, stated=stated, symbols=_symbols(names),
                primary_only=primary_only, report=report,
            )  # fmt: skip
    else:
        prepared = prepare_table(source, recipe, sheet=sheet, rows=rows, stated=stated, primary_only=primary_only)
    inputs = {what: path for what, path in (("genes", genes), ("samples", samples), ("lengths", lengths)) if path}
    record = write_prepared(output, prepared, form=form, inputs=inputs)
    print(json_.dumps(record, indent=1) if json else _summary(record))
    say(f"Wrote '{output / record['table']['file']}'. Use it as [cohort] expression in an experiment.")
    _end_with([drop for drop in prepared.dropped if drop.failed])


def _check_words(*choices: tuple[str, str, tuple[str, ...]]) -> None:
    for word, what, known in choices:
        if word not in known:
            raise ConfigError(unknown(what, word, known))


def _check_source(source: Path, *, column: str | None, names: str | None, rows: str) -> None:
    """Refuse options that say nothing of this source."""
    if not source.exists():
        raise DataError(f"There is no '{source}'. Give a folder of STAR counts, or a table.")
    if source.is_dir() and rows != "auto":
        raise ConfigError(f"'{source}' is a folder of counts files, which have no samples in rows: leave --rows out.")
    if not source.is_dir() and (column or names):
        raise ConfigError(f"'{source}' is one table: --column and --names choose among what STAR counts have.")


def _symbols(names: str | None) -> bool | None:
    return None if names is None else names == "symbol"


@contextmanager
def files_bar(what: str = "files") -> Iterator[Callable[[int, int], None]]:
    """Show how many are done: a bar on a terminal, a line a tenth elsewhere."""
    if not sys.stderr.isatty():
        yield _Tenths(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(what)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


class _Tenths:
    """Says a line whenever a further tenth is done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total:
            left = (time.monotonic() - self._start) / done * (total - done)
            say(f"[{done}/{total}] {self._what}, about {left:.0f} s left")


def _summary(record: Mapping[str, Any]) -> str:
    """What was made, as a table of words."""
    genes, samples, values = record["genes"], record["samples"], record["values"]
    missing = f"{len(genes['missing'])} missing ({genes['missing_share']:.2%}), {genes['missing_are']}"
    lines = [
        ("source", f"{record['source']['name']}: {samples['found']} samples"),
        ("values", f"{values['look']}: {values['found']}, written as {values['written']}"),
        ("genes", f"{record['table']['genes']:,}; {missing if genes['missing'] else 'none missing'}"),
        ("patients", str(record["table"]["patients"])),
        *((f"kept: {tissue}", str(count)) for tissue, count in samples["kept_by_tissue"].items()),
        *((f"dropped: {reason}", str(count)) for reason, count in samples["dropped"].items()),
    ]
    return table([("what", "found"), *lines])


def _end_with(failed: "list[Dropped]") -> None:
    """Leave with exit code 3 if samples could not be used."""
    if failed:
        say(f"{len(failed)} samples could not be used; dropped.csv has them. The first: {failed[0].reason}")
        sys.exit(3)
