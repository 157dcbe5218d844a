"""What a job would do, from the heads of files alone; nothing is written."""

from pathlib import Path

from slidesurv.slides.faults import SlideError
from slidesurv.slides.job import Job
from slidesurv.slides.manifest import SlideFile, Sources
from slidesurv.slides.prefetch import Clock
from slidesurv.slides.resolution import sample
from slidesurv.slides.settings import Pace, TileSettings
from slidesurv.slides.settle import finished
from slidesurv.slides.tiling import TileStage, opened

__all__ = ["preview"]


def preview(
    sources: Sources, folder: Path, settings: TileSettings, *, masks: Path | None = None
) -> list[tuple[str, str, str, str, str]]:
    """Say what would be done with every slide.

    Args:
        sources: the slides.
        folder: of the job, which may not be there yet.
        settings: what a tile should be.
        masks: folder of outlines that stand for the segmenter.

    Returns:
        A row a slide: its id, its size, its µm per pixel, who says so, and what would be done or why it cannot be.
    """
    stage = TileStage(Job(folder, settings.target.folder), sources.root, settings, Pace(), masks)
    return [_row(stage, each) for each in sources.slides]


def _row(stage: TileStage, each: SlideFile) -> tuple[str, str, str, str, str]:
    if finished(stage, each):
        return each.slide, "", "", "", "done already"
    try:
        with opened(each, stage.root, stage.settings, Clock()) as slide:
            sampling = sample(slide.levels, slide.mpp, stage.settings.target, name=each.slide)
            what = f"tiles of {sampling.size[0]} px, read at level {sampling.level}"
            width, height = slide.dimensions
            return each.slide, f"{width} × {height}", f"{slide.mpp[0]:g}", slide.mpp_source, what
    except SlideError as error:
        return each.slide, "", "", "", stage.job.anonymous(str(error), stage.root)
