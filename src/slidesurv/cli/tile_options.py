"""What ``slidesurv tile`` and ``slidesurv encode`` can be asked for, and what that means."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slidesurv.errors import ConfigError, unknown

if TYPE_CHECKING:
    from slidesurv.slides.manifest import Sources
    from slidesurv.slides.settings import Pace, TileSettings

__all__ = [
    "Anisotropic", "DefaultMpp", "DryRun", "Mag", "Masks", "MaxUnreadable", "Mpp", "Otsu", "Overlap", "Padding",
    "PresetName", "Px", "Quality", "ReaderName", "Readers", "Rule", "Segmenter", "Shard", "SlidesRoot", "Threads",
    "TissueArea", "Workers", "pace_of", "part_of", "sources_of", "tile_settings",
]  # fmt: skip

Mag = Annotated[float | None, typer.Option(help="Another word for --mpp: 20 is 0.5, 40 is 0.25.")]
Mpp = Annotated[float | None, typer.Option(help="µm per pixel of a tile [0.5].")]
Px = Annotated[int | None, typer.Option(help="Side of a tile, pixels [256].")]
Overlap = Annotated[int | None, typer.Option(help="Pixels that neighbours share [0].")]
DefaultMpp = Annotated[float | None, typer.Option("--default-mpp", help="µm per pixel of slides that do not say.")]
Anisotropic = Annotated[bool | None, typer.Option("--anisotropic", help="Accept pixels that are not square.")]
ReaderName = Annotated[str | None, typer.Option("--reader", help="Library that reads slides [auto].")]
Segmenter = Annotated[str | None, typer.Option(help="What finds the tissue: saturation, whole, … [saturation]")]
PresetName = Annotated[str | None, typer.Option("--preset", help="tcga, biopsy, resection or published [tcga].")]
Otsu = Annotated[bool | None, typer.Option("--otsu", help="Let every slide choose its threshold.")]
TissueArea = Annotated[
    float | None, typer.Option("--tissue-area", help="Least piece of tissue, 512 × 512 level-0 pixels [the preset's].")
]
Rule = Annotated[str | None, typer.Option(help="Points on tissue: four_pt, four_pt_hard, center, basic [four_pt].")]
Padding = Annotated[bool | None, typer.Option("--padding/--no-padding", help="Tiles may stick out [padding].")]
Quality = Annotated[bool | None, typer.Option("--quality/--no-quality", help="Measure every tile [quality].")]
MaxUnreadable = Annotated[
    float | None, typer.Option("--max-unreadable", help="Share of a slide's tiles that may be left out [0.01].")
]
Masks = Annotated[Path | None, typer.Option(help="Folder of <slide>.geojson that stand for the segmenter.")]
SlidesRoot = Annotated[
    Path | None, typer.Option("--slides-root", help="Folder that paths are relative to [the manifest's].")
]
Workers = Annotated[int, typer.Option(help="Processes; 0 takes one a core, or one beside a GPU.")]
Threads = Annotated[int, typer.Option(help="Of the arithmetic of each; another number may change the last digit.")]
Readers = Annotated[int, typer.Option(help="Threads that read and decode; 0 takes 1, or 8 beside a GPU.")]
Shard = Annotated[str, typer.Option(metavar="I/N", help="Do the I-th of N parts of the slides.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would be done, and write nothing.")]


def tile_settings(
    *,
    mag: float | None,
    mpp: float | None,
    px: int | None,
    overlap: int | None,
    preset: str | None,
    otsu: bool | None,
    tissue_area: float | None,
    **others: Any,
) -> "TileSettings":
    """The settings that options ask for; None is the default.

    Raises:
        ConfigError: two options contradict each other, or a value is not allowed.
    """
    from slidesurv.slides.resolution import Target, mpp_at
    from slidesurv.slides.settings import TileSettings
    from slidesurv.slides.tissue import PRESETS

    if mag is not None and mpp is not None:
        raise ConfigError(f"--mag {mag:g} and --mpp {mpp:g} say the same thing: give one of them.")
    if preset is not None and preset not in PRESETS:
        raise ConfigError(unknown("preset", preset, PRESETS))
    target = Target(**_given(mpp=mpp_at(mag) if mag is not None else mpp, px=px, overlap=overlap))
    numbers = replace(PRESETS[preset or "tcga"], **_given(otsu=otsu, tissue_area=tissue_area))
    return TileSettings(target=target, preset=numbers, **_given(**others))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def sources_of(slides: Path, root: Path | None) -> "Sources":
    """The slides of a folder, or of a manifest.

    Raises:
        DataError: there are none, or their names cannot be used.
    """
    from slidesurv.slides.manifest import find_slides, slides_of

    if slides.is_dir():
        return find_slides(slides)
    from slidesurv.cohorts.tables import read_rows

    return slides_of(read_rows(slides), root or slides.parent)


def pace_of(device: str, *, threads: int = 1, readers: int = 0, batch: int | None = None) -> "Pace":
    """Batches and threads: beside a GPU more of them, so that it never waits."""
    from slidesurv.slides.settings import Pace

    on_gpu = device != "cpu"
    return Pace(
        device=device,
        threads=threads,
        readers=readers or (min(8, os.cpu_count() or 1) if on_gpu else 1),
        batch=batch or (256 if on_gpu else 64),
    )


def part_of(shard: str) -> tuple[int, int]:
    """Understand ``2/4``.

    Raises:
        ConfigError: it is no such thing.
    """
    number, slash, parts = shard.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal()):
        raise ConfigError(f"--shard is '{shard}': write 2/4 for the second of four parts.")
    return int(number), int(parts)
