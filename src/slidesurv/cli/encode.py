"""``slidesurv encode``: from tiles to features; and from slides, in one call."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import slidesurv.cli.tile_options as asked
from slidesurv.cli.crossval import typed
from slidesurv.cli.tile import conclude, preview
from slidesurv.cli.tiles_bar import tiles_bar
from slidesurv.errors import ConfigError, listing, unknown

if TYPE_CHECKING:
    from slidesurv.slides.quality import Limits

__all__ = ["encode"]

PRECISIONS = ("float32", "bfloat16", "float16")


def encode(
    source: Annotated[Path, typer.Argument(help="A job of 'slidesurv tile'; or with -o slides, as 'tile' takes them.")],
    encoder: Annotated[str, typer.Option(help="Such as texture, resnet50, uni, conch.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of a job: tile first.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Their file [where this machine keeps them].")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0, …")] = "auto",
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16 [the encoder's].")] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep features in float16: half the bytes.")] = False,
    normalise: Annotated[str | None, typer.Option(help="Stain normalisation: macenko or reinhard [none].")] = None,
    max_blur: Annotated[float | None, typer.Option(help="Leave out tiles that are more blurred [1].")] = None,
    max_pen: Annotated[float | None, typer.Option(help="… that are more ink [0.5].")] = None,
    max_fold: Annotated[float | None, typer.Option(help="… that are more folded [1].")] = None,
    max_background: Annotated[float | None, typer.Option(help="… that are more glass [1].")] = None,
    batch: Annotated[int | None, typer.Option(help="Tiles at a time [64, or 256 on a GPU].", min=1)] = None,
    tiles: Annotated[str | None, typer.Option(help="Which, where a job has several: 20x_256px_0px_overlap.")] = None,
    benchmark: Annotated[bool, typer.Option("--benchmark", help="Print where the time went.")] = False,
    mag: asked.Mag = None,
    mpp: asked.Mpp = None,
    px: asked.Px = None,
    overlap: asked.Overlap = None,
    default_mpp: asked.DefaultMpp = None,
    anisotropic: asked.Anisotropic = None,
    reader: asked.ReaderName = None,
    segmenter: asked.Segmenter = None,
    preset: asked.PresetName = None,
    otsu: asked.Otsu = None,
    tissue_area: asked.TissueArea = None,
    rule: asked.Rule = None,
    padding: asked.Padding = None,
    quality: asked.Quality = None,
    max_unreadable: asked.MaxUnreadable = None,
    masks: asked.Masks = None,
    slides_root: asked.SlidesRoot = None,
    workers: asked.Workers = 0,
    threads: asked.Threads = 1,
    readers: asked.Readers = 0,
    shard: asked.Shard = "1/1",
    dry_run: asked.DryRun = False,
) -> None:
    """Make features of tiles: of a job that is tiled, or with -o of slides, which are tiled first.

    Weights, and access to them, are checked before the first slide is read. Tiles that cannot be read are left out and
    counted. The same command goes on after an interruption; several processes or machines may share one job. Slides
    that cannot be used are named in failures.csv, and the exit code is 3.

    Example: slidesurv encode slides/ -o job --encoder texture
    """
    from slidesurv.slides.run import encode_job, run_job
    from slidesurv.slides.settings import EncodeSettings
    from slidesurv.training.device import pick_device

    tiling: dict[str, Any] = {
        "mag": mag, "mpp": mpp, "px": px, "overlap": overlap, "default_mpp": default_mpp, "anisotropic": anisotropic,
        "reader": reader, "segmenter": segmenter, "preset": preset, "otsu": otsu, "tissue_area": tissue_area,
        "rule": rule, "padding": padding, "quality": quality,
    }  # fmt: skip
    measured = _measures(source, output, tiling, masks)
    if dry_run and output is None:
        raise ConfigError("--dry-run looks at slides, not at tiles that are there: name slides and -o FOLDER.")
    place = str(pick_device(device))
    features = EncodeSettings(
        encoder=encoder,
        weights=weights,
        precision=_precision(precision),
        half=half,
        normalise=normalise,
        limits=_limits(measured, blur=max_blur, pen=max_pen, fold=max_fold, background=max_background),
        **({"max_unreadable": max_unreadable} if max_unreadable is not None else {}),
    )
    how: dict[str, Any] = {
        "pace": asked.pace_of(place, threads=threads, readers=readers, batch=batch),
        "workers": workers or (max(1, (os.cpu_count() or 1) // threads) if place == "cpu" else 1),
        "shard": asked.part_of(shard),
        "command": typed(),
    }
    if output is None:
        with tiles_bar() as report:
            tally = encode_job(source, features, root=slides_root, tiles=tiles, report=report, **how)
        return conclude(tally, source, benchmark=benchmark)
    settings, sources = (
        asked.tile_settings(**tiling, max_unreadable=max_unreadable),
        asked.sources_of(source, slides_root),
    )
    if dry_run:
        return preview(sources, output, settings, masks)
    with tiles_bar() as report:
        tally = run_job(sources, output, settings, features, masks=masks, report=report, **how)
    return conclude(tally, output, benchmark=benchmark)


def _measures(source: Path, output: Path | None, tiling: dict[str, Any], masks: Path | None) -> bool:
    """Whether the quality of the tiles is measured; options of 'tile' are refused where the tiles are there.

    Raises:
        ConfigError: there is no job, or options would not change its tiles.
    """
    from slidesurv.slides.job import read_config

    if output is not None:
        return tiling["quality"] is not False
    if given := [
        f"--{name.replace('_', '-')}" for name, value in (*tiling.items(), ("masks", masks)) if value is not None
    ]:
        raise ConfigError(
            f"Without -o '{source}' is a job whose tiles are made: {listing(given)} would not change them. Give them "
            "to 'slidesurv tile', or name slides and -o FOLDER."
        )
    if not source.is_dir() or not (config := read_config(source)):
        raise ConfigError(f"'{source}' is no job. Name the folder of one, or give -o FOLDER to make one of slides.")
    return bool(config["slides"]["quality"])


def _precision(word: str | None) -> Any:
    if word is not None and word not in PRECISIONS:
        raise ConfigError(unknown("precision", word, PRECISIONS))
    return word


def _limits(measured: bool, **limits: float | None) -> "Limits | None":
    """The limits that are asked for; the defaults only where quality is measured."""
    from slidesurv.slides.quality import Limits

    given = {name: limit for name, limit in limits.items() if limit is not None}
    return Limits(**given) if measured or given else None
