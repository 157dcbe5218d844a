"""Slides for tests, whole and broken."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile

from slidesurv.slides.synthetic import Specimen, paint, write_pyramid

__all__ = [
    "DATA",
    "SPECIMEN",
    "glass",
    "needs",
    "spoil",
    "square",
    "write_aperio",
    "write_dicom",
    "write_large",
    "write_made",
]

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[1].parent / "shared/data")
SPECIMEN = Specimen(mixture={"tumour": 2, "stroma": 1, "fat": 0.5})


def needs(*parts: str) -> Path:
    """A real file, or a skip that says why."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data: '{path}' is not here; set SLIDESURV_DATA")
    return path


def write_made(path: Path, side: int = 1024, mpp: float = 0.5, seed: int = 0) -> Path:
    """A small slide with glass and tissue."""
    write_pyramid(path, paint(SPECIMEN, size=(side, side), mpp=mpp, seed=seed), mpp=mpp)
    return path


def glass(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 243, np.uint8)


def square(side: int, inner: int, colour: tuple[int, int, int] = (200, 80, 160)) -> np.ndarray:
    """Glass with a square of one colour in the middle."""
    pixels = glass(side, side)
    start = (side - inner) // 2
    pixels[start : start + inner, start : start + inner] = colour
    return pixels


def spoil(path: Path, change: Callable[[bytearray], None]) -> Path:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def write_aperio(path: Path, pixels: np.ndarray, secret: str) -> Path:
    """An Aperio slide whose label, macro and properties hold a secret."""
    text = f"Aperio Image Library v11.2.1\n{pixels.shape[1]}x{pixels.shape[0]} (256x256) JPEG/RGB Q=80"
    said = f"{text}|AppMag = 20|MPP = 0.5|User = {secret}|Patient = {secret}|Filename = {secret}"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels, tile=(256, 256), photometric="rgb", compression="jpeg", description=said, metadata=None)
        tiff.write(pixels[::8, ::8], photometric="rgb", compression="jpeg", description=text, metadata=None)
        for kind, name in ((1, "label"), (9, "macro")):
            described = f"Aperio Image Library v11.2.1\n{name} 128x128|{secret}"
            tiff.write(glass(128, 128), photometric="rgb", subfiletype=kind, description=described, metadata=None)
    return path


def write_large(path: Path, size: tuple[int, int], tile: bytes, side: int, mpp: float = 0.5) -> Path:
    """A tiled TIFF of one level, of any size, all of whose tiles are the same bytes of the file."""
    columns, rows = (-(-pixels // side) for pixels in size)
    count = columns * rows
    start = 8 + len(tile)
    arrays = np.full(count, 8, "<u4").tobytes() + np.full(count, len(tile), "<u4").tobytes()
    bits = start + len(arrays)
    per_cm = struct.pack("<II", round(1e4 / mpp), 1)
    tags = [
        (256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 3, bits), (259, 3, 1, 7), (262, 3, 1, 6), (277, 3, 1, 3),
        (282, 5, 1, bits + 6), (283, 5, 1, bits + 6), (296, 3, 1, 3), (322, 4, 1, side), (323, 4, 1, side),
        (324, 4, count, start), (325, 4, count, start + 4 * count),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    head = struct.pack("<2sHI", b"II", 42, bits + 6 + 8)
    path.write_bytes(head + tile + arrays + struct.pack("<HHH", 8, 8, 8) + per_cm + directory)
    return path


def write_dicom(path: Path, pixels: np.ndarray, mpp: float) -> Path:
    """A whole-slide DICOM of one level, in frames of 256 pixels."""
    pydicom = pytest.importorskip("pydicom", reason="the reader 'pydicom' is not installed")
    (height, width), side, uid = pixels.shape[:2], 256, "1.2.826.0.1.3680043.8.498."
    padded = np.pad(pixels, [(0, -height % side), (0, -width % side), (0, 0)])
    corners = [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
    frames = [simplejpeg.encode_jpeg(padded[y : y + side, x : x + side].copy()) for y, x in corners]

    def only(**values: object) -> list[object]:
        return [fill(pydicom.Dataset(), **values)]

    def fill(dataset, **values: object):
        for name, value in values.items():
            setattr(dataset, name, value)
        return dataset

    meta = fill(
        pydicom.dataset.FileMetaDataset(), MediaStorageSOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6",
        MediaStorageSOPInstanceUID=uid + "1", TransferSyntaxUID="1.2.840.10008.1.2.4.50",
    )  # fmt: skip
    dataset = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    fill(
        dataset, SOPClassUID=meta.MediaStorageSOPClassUID, SOPInstanceUID=uid + "1", SeriesInstanceUID=uid + "2",
        StudyInstanceUID=uid + "3", FrameOfReferenceUID=uid + "4", Modality="SM", ContainerIdentifier="made",
        ImageType=["DERIVED", "PRIMARY", "VOLUME", "NONE"], Rows=side, Columns=side, NumberOfFrames=len(frames),
        TotalPixelMatrixColumns=width, TotalPixelMatrixRows=height, TotalPixelMatrixFocalPlanes=1,
        NumberOfOpticalPaths=1, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0,
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, DimensionOrganizationType="TILED_FULL",
        ImagedVolumeWidth=width * mpp / 1000, ImagedVolumeHeight=height * mpp / 1000, ImagedVolumeDepth=1.0,
        FocusMethod="AUTO", ExtendedDepthOfField="NO", ImageOrientationSlide=[0, -1, 0, -1, 0, 0],
        SharedFunctionalGroupsSequence=only(
            PixelMeasuresSequence=only(PixelSpacing=[mpp / 1000, mpp / 1000], SliceThickness=1)
        ),
        OpticalPathSequence=only(OpticalPathIdentifier="1"),
        TotalPixelMatrixOriginSequence=only(XOffsetInSlideCoordinateSystem=0, YOffsetInSlideCoordinateSystem=0),
        PixelData=pydicom.encaps.encapsulate(frames),
    )  # fmt: skip
    dataset.save_as(path, enforce_file_format=True)
    return path
