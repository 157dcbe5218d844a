"""``slidesurv tile``: from slides to the places of their tiles."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import slidesurv.cli.tile_options as asked
from slidesurv.cli.crossval import typed
from slidesurv.cli.speech import say, table
from slidesurv.cli.tiles_bar import tiles_bar

if TYPE_CHECKING:
    from slidesurv.slides.manifest import Sources
    from slidesurv.slides.run import Tally
    from slidesurv.slides.settings import TileSettings

__all__ = ["conclude", "preview", "tile"]

# The encoder's part of the time, and that of what feeds it.
PARTS = {
    "read": "readers waited for the disk, or for a core",
    "decode": "readers decoded",
    "prepare": "tiles were resized, measured, normalised",
    "network": "the encoder worked",
    "starved": "the encoder waited for tiles",
}


def tile(
    slides: Annotated[Path, typer.Argument(help="Folder; or CSV, TSV or Parquet: slide_id, slide_path, mpp.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the job.")],
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
    readers: asked.Readers = 0,
    shard: asked.Shard = "1/1",
    dry_run: asked.DryRun = False,
) -> None:
    """Find the tissue of slides and lay tiles over it.

    Look through contact_sheet.html afterwards. An outline in contours_geojson/ that you edit in QuPath is taken as it
    is when the same command is given again; remove the file to have it made anew.

    The same command goes on after an interruption; several processes or machines may share one job. Slides that cannot
    be used are named in failures.csv, and the exit code is 3.

    Example: slidesurv tile slides/ -o job --default-mpp 0.5
    """
    settings = asked.tile_settings(
        mag=mag, mpp=mpp, px=px, overlap=overlap, default_mpp=default_mpp, anisotropic=anisotropic, reader=reader,
        segmenter=segmenter, preset=preset, otsu=otsu, tissue_area=tissue_area, rule=rule, padding=padding,
        quality=quality, max_unreadable=max_unreadable,
    )  # fmt: skip
    sources = asked.sources_of(slides, slides_root)
    if dry_run:
        return preview(sources, output, settings, masks)
    from slidesurv.slides.run import run_job

    with tiles_bar() as report:
        tally = run_job(
            sources,
            output,
            settings,
            pace=asked.pace_of("cpu", readers=readers),
            workers=workers or os.cpu_count() or 1,
            shard=asked.part_of(shard),
            masks=masks,
            command=typed(),
            report=report,
        )
    return conclude(tally, output)


def preview(sources: "Sources", output: Path, settings: "TileSettings", masks: Path | None) -> None:
    """Print what would be done with every slide, from the heads of the files alone."""
    from slidesurv.slides.preview import preview as look

    rows = look(sources, output, settings, masks=masks)
    print(table([("slide", "size", "µm/px", "source", "what"), *rows]))
    for place in sources.left_out:
        say(f"left out: '{place}', unfinished or DICOM without a manifest")


def conclude(tally: "Tally", output: Path, *, benchmark: bool = False) -> None:
    """Say how a job ended; exit code 3 when slides failed."""
    for note in tally.notes:
        say(note)
    for stage in dict.fromkeys(each.stage for each in tally.settled):
        counts = ", ".join(f"{count} {status}" for status, count in sorted(tally.counts(stage).items()))
        say(f"{stage}: {counts}")
    if benchmark:
        print(_split(tally))
    slides = {each.slide for each in tally.settled}
    print(f"{len(slides)} slides, {len(tally.failed)} failed: {output / 'summary.md'}")
    bare = {each.slide for each in tally.settled if each.status in ("no_tissue", "empty")}
    if bare:
        say(
            f"{len(bare)} of {len(slides)} slides have no tile; summary.md says why. Small pieces of tissue need "
            "--preset biopsy; a slide smaller than a tile has none."
        )
    if tally.failed:
        say(f"Reasons: {output / 'failures.csv'}")
    if tally.failed or bare == slides:
        sys.exit(3)


def _split(tally: "Tally") -> str:
    """Where the time went, as a table."""
    clock = tally.clock
    rows = [(name, f"{getattr(clock, name):.2f}", words) for name, words in PARTS.items()]
    speed = f"{clock.tiles:,} tiles in {tally.seconds:.1f} s: {clock.tiles / max(tally.seconds, 1e-9):.0f} tiles/s"
    return f"{table([('part', 'seconds', 'what'), *rows])}\n{speed}"
