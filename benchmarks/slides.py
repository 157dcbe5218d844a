"""Tile and encode slides of 25,000² and 100,000² pixels: the memory must be the same, whatever the slide.

The slides are pyramids of JPEG tiles as scanners write them, with the bytes of two tiles, one of glass and one of
tissue, in place of all: 100,000² pixels are 2 MB on the disk, and are read and decoded like any others. Tissue is a
square in the middle. Every job runs in a process of its own, whose peak is what the system says of it; the libraries
alone are the peak of a process that only imports them.

    OMP_NUM_THREADS=1 python benchmarks/slides.py [TILES_A_SIDE]
"""

import os
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import simplejpeg
from race import peak_megabytes

from slidesurv.slides.job import Job
from slidesurv.slides.manifest import SlideFile
from slidesurv.slides.run import run_job
from slidesurv.slides.settings import EncodeSettings, Pace, TileSettings
from slidesurv.slides.settle import finished
from slidesurv.slides.synthetic import Specimen, paint
from slidesurv.slides.tiling import TileStage

SIDE, MPP = 256, 0.5
USUAL = 100  # tiles a side of the square of tissue


def write_huge(path: Path, side: int, tissue: int, *, levels: int = 4, factor: int = 4) -> None:
    """Write a pyramid of ``levels``, with ``tissue`` × ``tissue`` tiles of tissue in the middle of level 0."""
    texture = paint(Specimen(mixture={"tumour": 1.0}, coverage=1.0), size=(SIDE, SIDE))
    kinds = [simplejpeg.encode_jpeg(tile, quality=80) for tile in (np.full_like(texture, 243), texture)]
    places = 8, 8 + len(kinds[0])
    content = bytearray(b"".join(kinds))
    directories = []
    for level in range(levels):
        size, wide = side // factor**level, max(1, tissue // factor**level)
        across = -(-size // SIDE)
        middle = np.abs(np.arange(across) - (across - 1) / 2) < wide / 2
        is_tissue = (middle[:, None] & middle[None]).ravel()
        start = 8 + len(content)
        content += np.where(is_tissue, places[1], places[0]).astype("<u4").tobytes()
        content += np.where(is_tissue, len(kinds[1]), len(kinds[0])).astype("<u4").tobytes()
        content += struct.pack("<HHHII", 8, 8, 8, round(1e4 / MPP / factor**level), 1)
        directories.append((size, start, across**2))
    body, first = bytes(content), 8 + len(content)
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, first) + body)
        for number, directory in enumerate(directories):
            here = _directory(*directory, reduced=number > 0)
            after = file.tell() + len(here) + 4
            file.write(here + struct.pack("<I", after if number + 1 < len(directories) else 0))


def _directory(size: int, start: int, count: int, *, reduced: bool) -> bytes:
    bits = start + 8 * count
    tags = [
        (254, 4, 1, int(reduced)), (256, 4, 1, size), (257, 4, 1, size), (258, 3, 3, bits), (259, 3, 1, 7),
        (262, 3, 1, 6), (277, 3, 1, 3), (282, 5, 1, bits + 6), (283, 5, 1, bits + 6), (296, 3, 1, 3),
        (322, 4, 1, SIDE), (323, 4, 1, SIDE), (324, 4, count, start), (325, 4, count, start + 4 * count),
    ]  # fmt: skip
    return struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)


def work(slides: Path, job: Path, *, encode: bool) -> None:
    """Tile, and encode where that is asked for; print tiles, seconds and the peak of this process."""
    began = time.monotonic()
    tiles, features = TileSettings(), EncodeSettings(encoder="texture")
    if not encode:
        tiles, features = replace(tiles, quality=False), None
    tally = run_job(slides, job, tiles, features, pace=Pace())
    assert not tally.failed, tally.failed
    made = max(each.tiles for each in tally.settled)
    print(f"{made:>7,} tiles  {time.monotonic() - began:6.1f} s  {peak_megabytes():6.0f} MB")


def scan(job: Path) -> None:
    """How long it takes to find a slide done, by its record and its attributes."""
    (name,) = [path.name for path in job.iterdir() if path.name.endswith("overlap")]
    stage = TileStage(Job(job, name), job.parent / "slides", TileSettings(), Pace())
    each = SlideFile("100000", "100000.tif")
    began = time.monotonic()
    for _ in range(100):
        assert finished(stage, each)
    print(f"\nfinding a slide done that is: {10 * (time.monotonic() - began):.1f} ms")


def alone(*words: str) -> None:
    subprocess.run([sys.executable, __file__, *words], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def main(tissue: int) -> None:
    with TemporaryDirectory() as name:
        for title, side, levels, what in (
            ("25,000², pyramid, tiled and encoded", 25_000, 4, "encode"),
            ("100,000², pyramid, tiled and encoded", 100_000, 4, "encode"),
            ("100,000², one level, tiled", 100_000, 1, "tile"),
        ):
            folder = Path(name) / f"{side}-{levels}"
            (folder / "slides").mkdir(parents=True)
            write_huge(folder / f"slides/{side}.tif", side, min(tissue, side // SIDE - 2), levels=levels)
            print(f"{title:<40}", end="", flush=True)
            alone(what, str(folder / "slides"), str(folder / "job"))
        scan(Path(name) / "100000-4/job")
    print(f"the libraries alone: {peak_megabytes():.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] in (["tile"], ["encode"]):
        work(Path(sys.argv[2]), Path(sys.argv[3]), encode=sys.argv[1] == "encode")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else USUAL)
