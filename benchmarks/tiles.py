"""Read the tiles of one slide: ours against plain OpenSlide loops, and against the decoding alone.

A slide of 20,480 × 20,480 pixels is made (JPEG, 4:2:0, a 4096² synthetic texture five times each way); 1,024
neighbouring tiles of 256 px are read in scan order, from a warm page cache. The peers are written after what the
field's tools do: ``read_region(...).convert("RGB")``, one tile at a time.

    OMP_NUM_THREADS=1 python benchmarks/tiles.py [SLIDE]

With SLIDE, at most 16 × 16 tiles of a real TIFF or SVS are read instead.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import imagecodecs
import numpy as np
import openslide
from numpy.typing import NDArray
from race import extra_megabytes, race

from slidesurv.slides.batches import read_batches
from slidesurv.slides.reader import open_slide
from slidesurv.slides.resolution import Sampling
from slidesurv.slides.synthetic import LOOKS, Specimen, paint, write_pyramid
from slidesurv.slides.tiff import read_tables

PX, SIDE, REPEATS, TILES = 256, 4096, 5, 32

Coords = NDArray[np.int64]


def make(path: Path) -> None:
    texture = paint(Specimen(mixture=dict.fromkeys(LOOKS, 1.0), coverage=1.0), size=(SIDE, SIDE))
    write_pyramid(path, np.tile(texture, (REPEATS, REPEATS, 1)), mpp=0.5)


def corners(offset: int, across: int, down: int) -> Coords:
    """Neighbouring tiles, column by column."""
    x, y = np.meshgrid(np.arange(across), np.arange(down), indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1) * PX + PX + offset


def ours(path: Path, coords: Coords, threads: int = 1) -> int:
    sampling = Sampling((PX, PX), (PX, PX), 0, (PX, PX), PX)
    with open_slide(path, default_mpp=0.5) as slide:
        return sum(int(batch.pixels[0, 0, 0, 0]) for batch in read_batches(slide, coords, sampling, threads=threads))


def theirs(path: Path, coords: Coords) -> int:
    with openslide.OpenSlide(path) as slide:
        tiles = (slide.read_region((x, y), 0, (PX, PX)).convert("RGB") for x, y in coords.tolist())
        return sum(int(np.asarray(tile)[0, 0, 0]) for tile in tiles)


def decode_only(path: Path, coords: Coords) -> None:
    """The bound: libjpeg-turbo on the same tiles of the file, each once, into one place."""
    table = read_tables(path)[0]
    out = np.empty((table.tile[1], table.tile[0], 3), np.uint8)
    first = coords.min(0) // table.tile
    last = (coords.max(0) + PX - 1) // table.tile
    colours = "YCBCR" if table.ycbcr else "RGB"
    with path.open("rb") as file:
        for row in range(first[1], last[1] + 1):
            for column in range(first[0], last[0] + 1):
                number = row * table.columns + column
                content = os.pread(file.fileno(), int(table.counts[number]), int(table.offsets[number]))
                if table.compression == 7:
                    imagecodecs.jpeg8_decode(
                        content, tables=table.tables or None, colorspace=colours, outcolorspace="RGB", out=out
                    )
                else:
                    imagecodecs.jpeg2k_decode(content, out=out)


def same_pixels(path: Path, coords: Coords) -> int:
    """The largest difference of grey levels over some tiles."""
    with open_slide(path, default_mpp=0.5) as slide, openslide.OpenSlide(path) as peer:
        tiles = [
            (slide.read(x, y, 0, PX, PX), np.asarray(peer.read_region((x, y), 0, (PX, PX)).convert("RGB")))
            for x, y in coords[::7].tolist()
        ]
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in tiles)


def compare(path: Path, across: int, down: int) -> None:
    for title, offset in (("aligned to the file's tiles", 0), ("100 px off", 100)):
        coords = corners(offset, across, down)
        print(f"\nlargest difference to OpenSlide, {title}: {same_pixels(path, coords)} grey levels")
        peers: dict[str, Callable[[], object]] = {
            "ours, 2 threads": partial(ours, path, coords, threads=2),
            "OpenSlide, convert('RGB')": partial(theirs, path, coords),
            "decoding alone (libjpeg-turbo, OpenJPEG)": partial(decode_only, path, coords),
        }
        race(f"{len(coords)} tiles, {title}, the slide opened anew", partial(ours, path, coords), peers)
    print(f"\nextra memory of ours: {extra_megabytes(partial(ours, path, coords)):.0f} MB")


def main() -> None:
    cv2.setNumThreads(1)
    if len(sys.argv) > 1:
        width, height = read_tables(Path(sys.argv[1]))[0].size
        return compare(Path(sys.argv[1]), min(16, width // PX - 2), min(16, height // PX - 2))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        make(path)
        return compare(path, TILES, TILES)


if __name__ == "__main__":
    main()
