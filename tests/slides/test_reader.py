"""A slide is read as OpenSlide reads it, faster; whatever is no slide, or a broken one, is named and left closed."""

import gzip
import os
import struct
import sys
import zlib
from importlib import reload
from pathlib import Path
from pickle import dumps, loads
from shutil import copy

import numpy as np
import openslide
import pytest
import simplejpeg
import tifffile
from PIL import Image

from slide_files import glass, needs, spoil, square, write_aperio, write_dicom, write_large, write_made
from slidesurv.errors import ConfigError, MissingExtra
from slidesurv.slides import libraries
from slidesurv.slides.batches import read_batches, refuse_unreadable
from slidesurv.slides.faults import FormatError, PixelError, ReadError, ResolutionError, SlideError, TileError
from slidesurv.slides.reader import TISSUE, on_white, open_slide, readers
from slidesurv.slides.resolution import Sampling, Target, sample
from slidesurv.slides.synthetic import write_pyramid
from slidesurv.slides.tiff import read_tables
from slidesurv.slides.tissue import find_tissue

OPTIONAL = {"tiffslide": 0, "fastslide": 60}  # how far the grey levels may differ from OpenSlide's


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_made(tmp_path_factory.mktemp("made") / "made.tif")


def their_region(path: Path, place: tuple[int, int], level: int, size: tuple[int, int]) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        return on_white(np.asarray(slide.read_region(place, level, size)))


def plan(px: int = 256) -> Sampling:
    return Sampling((px, px), (px, px), 0, (px, px), px)


def corners(side: int, px: int = 256) -> np.ndarray:
    x, y = np.mgrid[0:side:px, 0:side:px]
    return np.stack([x.ravel(), y.ravel()], 1)


@pytest.mark.parametrize("reader", ["turbo", "openslide"])
@pytest.mark.parametrize(
    ("place", "level", "size"),
    [((256, 512), 0, (256, 256)), ((13, 77), 0, (300, 200)), ((-40, -9), 0, (100, 60)), ((1000, 1000), 0, (256, 99)),
     ((5000, 0), 0, (9, 9)), ((128, 64), 1, (256, 256)), ((-64, 900), 1, (700, 300))],
)  # fmt: skip
def test_pixels_are_those_of_openslide(made, reader, place, level, size):
    with open_slide(made, reader=reader) as slide:
        region = slide.read(*place, level, *size)
    assert region.dtype == np.uint8 and region.shape == (size[1], size[0], 3)
    assert np.array_equal(region, their_region(made, place, level, size))


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs"])
@pytest.mark.parametrize(("x", "y"), [(240, 480), (1024, 1280), (333, 501), (2000, 2500), (4300, 3500)])
def test_pixels_of_real_slides_are_those_of_openslide(name, x, y):
    path = needs("slides", name)
    with open_slide(path, default_mpp=0.5) as slide:
        assert np.array_equal(slide.read(x, y, 0, 300, 300), their_region(path, (x, y), 0, (300, 300)))


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440"])
def test_chroma_is_read_as_it_is_stored(tmp_path, subsampling):
    tile = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    content = simplejpeg.encode_jpeg(tile, quality=90, colorsubsampling=subsampling)
    path = write_large(tmp_path / "s.tif", (512, 512), content, 256)
    with open_slide(path) as slide:
        region = slide.read(100, 100, 0, 300, 300)
    assert np.array_equal(region, their_region(path, (100, 100), 0, (300, 300)))


@pytest.mark.parametrize("colours", ["RGB", "YCBCR"])
def test_colours_are_read_as_they_are_stored(tmp_path, colours):
    path, pixels = tmp_path / "s.tif", square(512, 300)
    stored = {"outcolorspace": colours}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", compression="jpeg", compressionargs=stored)
    assert read_tables(path)[0].ycbcr == (colours == "YCBCR")
    with open_slide(path, mpp=0.5) as slide:
        region = slide.read(100, 100, 0, 300, 300)
    assert np.array_equal(region, their_region(path, (100, 100), 0, (300, 300)))
    assert np.abs(region[100, 100].astype(int) - pixels[200, 200]).max() < 6


def test_a_slide_says_what_it_is(made):
    with open_slide(made) as slide:
        assert slide.name == "made" and slide.dimensions == (1024, 1024)
        assert [(level.width, level.downsample) for level in slide.levels] == [(1024, 1), (512, 2), (256, 4)]
        assert slide.mpp == (0.5, 0.5) and slide.mpp_source == "metadata"


def test_a_name_keeps_its_last_letters(tmp_path):  # never rstrip(".svs")
    write_made(tmp_path / "PT_0007vs.tif", 256)
    with open_slide(tmp_path / "PT_0007vs.tif") as slide:
        assert slide.name == "PT_0007vs"


def test_a_tile_that_was_never_scanned_is_white(tmp_path):
    path = write_large(tmp_path / "s.tif", (512, 512), simplejpeg.encode_jpeg(square(256, 100)), 256)
    table = read_tables(path)[0]
    counts = struct.pack("<4I", *table.counts.tolist())
    spoil(
        path, lambda content: content.__setitem__(slice(content.index(counts) + 4, content.index(counts) + 8), bytes(4))
    )
    with open_slide(path) as slide:
        assert (slide.read(256, 0, 0, 256, 256) == 255).all() and slide.read(0, 0, 0, 256, 256).min() < 255
        assert np.array_equal(slide.read(0, 0, 0, 512, 512), their_region(path, (0, 0), 0, (512, 512)))


@pytest.mark.parametrize("reader", ["turbo", "openslide"])
@pytest.mark.parametrize("side", [128, 512])
def test_a_tile_of_another_size_than_the_file_says_is_refused(tmp_path, reader, side):
    path = write_large(tmp_path / "s.tif", (512, 512), simplejpeg.encode_jpeg(square(side, 50)), 256)
    with open_slide(path, reader=reader) as slide, pytest.raises(TileError):
        slide.read(0, 0, 0, 256, 256)


@pytest.mark.parametrize("reader", OPTIONAL)
def test_optional_readers_agree(made, reader):
    pytest.importorskip(reader, reason=f"the reader '{reader}' is not installed")
    with open_slide(made) as ours, open_slide(made, reader=reader) as theirs:
        assert theirs.levels == ours.levels and theirs.mpp == ours.mpp
        for place in ((0, 0, 0, 256, 256), (900, 30, 0, 256, 200), (128, 64, 1, 100, 100)):
            difference = np.abs(ours.read(*place).astype(int) - theirs.read(*place))
            assert difference.max() <= OPTIONAL[reader] and difference.mean() <= OPTIONAL[reader] / 20


@pytest.mark.parametrize("reader", ["auto", "wsidicom", "pydicom"])
def test_a_dicom_is_read(tmp_path, reader):
    pixels = np.random.default_rng(0).integers(0, 256, (75, 88, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    path = write_dicom(tmp_path / "s.dcm", pixels, mpp=0.25)
    if reader == "wsidicom":
        pytest.importorskip(reader, reason=f"the reader '{reader}' is not installed")
    with open_slide(path, reader=reader) as slide:
        assert slide.dimensions == (704, 600) and slide.mpp == pytest.approx((0.25, 0.25))
        region = slide.read(-20, 100, 0, 724, 600)
    assert (region[:, :20] == 255).all() and (region[500:] == 255).all()
    assert np.abs(region[:500, 20:].astype(int) - pixels[100:]).mean() < 20


def test_a_dicom_that_no_slide_library_takes_is_put_together():
    pytest.importorskip("pydicom", reason="the reader 'pydicom' is not installed")
    path = needs("slides", "small_dicom.dcm")
    with pytest.raises(ReadError, match="--reader wsidicom or pydicom"):
        open_slide(path, default_mpp=0.5)
    with open_slide(path, reader="pydicom", default_mpp=0.5) as slide:
        assert slide.dimensions == (3236, 2638) and slide.mpp_source == "default"
        seam = slide.read(495, 1000, 0, 10, 400).astype(int)  # frames are 500 wide
    assert np.abs(seam[:, 4] - seam[:, 5]).mean() < 2 * np.abs(seam[:, 2] - seam[:, 3]).mean()


@pytest.mark.parametrize("reader", ["tiffslide", "fastslide", "wsidicom", "pydicom"])
def test_a_reader_that_is_not_installed_is_named_with_what_installs_it(made, monkeypatch, reader):
    monkeypatch.setitem(sys.modules, reader, None)
    with pytest.raises(MissingExtra, match=rf"reader '{reader}'.*pip install 'slidesurv\[readers\]'"):
        open_slide(made, reader=reader)


def test_without_the_extra_the_first_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtra, match=r"library 'cv2'.*pip install 'slidesurv\[slides\]'"):
        reload(libraries)


def test_an_unknown_reader_is_named(made):
    with pytest.raises(ConfigError, match=r"Unknown reader 'turbot'\. Did you mean 'turbo'"):
        open_slide(made, reader="turbot")
    assert {"openslide", "turbo", "plain"} <= set(readers.names())


# Row 1: cut short.
@pytest.mark.parametrize("keep", [0.2, 0.6, 0.999])
def test_a_slide_that_is_cut_short_is_refused_with_both_sizes(made, tmp_path, keep):
    path, content = tmp_path / "cut.tif", made.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ReadError, match=r"^E_READ: .*cut\.tif' is cut short: .* to byte \d+, the file ends at \d+\."):
        open_slide(path)


def test_a_real_slide_that_is_cut_short_is_refused(tmp_path):
    content = needs("slides", "CMU-1-Small-Region.svs").read_bytes()
    (tmp_path / "cut.svs").write_bytes(content[: int(0.6 * len(content))])
    with pytest.raises(ReadError, match="is cut short"):
        open_slide(tmp_path / "cut.svs")


# Rows 2, 3, 5: no slide at all.
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.svs", b"", "has 0 bytes"), ("a.svs", b"<!DOCTYPE html><html>403</html>", "is a web page"),
     ("a.svs", b"\n <html>", "is a web page"), ("a.svs", gzip.compress(b"x", mtime=0), "is a gzip archive"),
     ("a.svs", b"%PDF-1.7", "is a PDF"), ("a.svs", b"nothing", "is an unknown format"),
     ("a.svs.partial", b"II*\0", "is an unfinished download"), ("a.tif.part", b"II*\0", "is an unfinished download"),
     ("a.mrxs", b"\xff\xd8\xff", "has no companion folder 'a' beside it, where MIRAX")],
)  # fmt: skip
def test_what_is_no_slide_is_called_what_it_is(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=rf"^E_FORMAT: .*{message}"):
        open_slide(tmp_path / name, default_mpp=0.5)


# Row 4: a damaged tile.
@pytest.mark.parametrize("reader", ["turbo", "openslide"])
@pytest.mark.parametrize("damage", ["zeros", "ends early", "half"])
def test_a_damaged_tile_is_left_out_and_the_others_are_unharmed(made, tmp_path, reader, damage):
    path = Path(copy(made, tmp_path / "s.tif"))
    with open_slide(path, reader=reader) as slide:
        good = next(read_batches(slide, corners(1024), plan())).pixels
    table, bad = read_tables(path)[0], 6  # row 1, column 2 of four: corner (512, 256)
    start, count = int(table.offsets[bad]), int(table.counts[bad])

    def change(content):
        middle, end = start + count // 2, start + count
        if damage == "ends early":
            content[middle : middle + 2] = b"\xff\xd9"
        else:
            first = start if damage == "zeros" else middle
            content[first:end] = bytes(end - first)

    with open_slide(spoil(path, change), reader=reader) as slide:
        batches = list(read_batches(slide, corners(1024), plan(), size=7))
        with pytest.raises(TileError, match=r"^E_READ: .*left out; fetch the slide again"):
            slide.read(512, 256, 0, 256, 256)
    lost = corners(1024).tolist().index([512, 256])
    places = np.concatenate([batch.places for batch in batches])
    assert places.tolist() == [place for place in range(16) if place != lost]
    assert np.array_equal(np.concatenate([batch.pixels for batch in batches]), good[places])
    assert len([reason for batch in batches for reason in batch.unreadable]) == 1


@pytest.mark.parametrize("reader", ["turbo", "openslide"])
def test_what_cannot_be_read_passes_for_tissue_so_that_its_tiles_are_laid_and_counted(made, tmp_path, reader):
    path = Path(copy(made, tmp_path / "s.tif"))
    with open_slide(path, reader=reader) as slide:
        good = slide.picture(1.0)
    table = read_tables(path)[0]
    start, count = int(table.offsets[6]), int(table.counts[6])

    def change(content):
        content[start : start + count] = bytes(count)

    with open_slide(spoil(path, change), reader=reader) as slide:
        picture = slide.picture(1.0)
    lost = np.zeros(good.shape[:2], bool)
    lost[256:512, 512:768] = True
    assert (picture[lost] == TISSUE).all()
    assert np.array_equal(picture[~lost], good[~lost])


def test_a_slide_with_many_damaged_tiles_is_refused():
    refuse_unreadable("s", 1, 100)
    with pytest.raises(ReadError, match=r"2 of 100 tiles of slide 's' cannot be read; at most 1\.0%"):
        refuse_unreadable("s", 2, 100)
    refuse_unreadable("s", 2, 100, most=0.05)


# Rows 6, 7: micrometres per pixel.
def test_the_manifest_wins_over_the_file_and_the_file_over_the_default(tmp_path, made):
    tifffile.imwrite(tmp_path / "s.tif", glass(256, 256), tile=(256, 256), photometric="rgb", compression="jpeg")
    for path, stated, found in (
        (made, {"mpp": 0.25, "default_mpp": 1.0}, (0.25, "manifest")),
        (made, {"default_mpp": 1.0}, (0.5, "metadata")),
        (tmp_path / "s.tif", {"default_mpp": 1.0}, (1.0, "default")),
    ):
        with open_slide(path, **stated) as slide:
            assert (slide.mpp[0], slide.mpp_source) == found
    with pytest.raises(ResolutionError, match=r"^E_MPP: .*'s' does not say .*manifest, give --default-mpp .*repair"):
        open_slide(tmp_path / "s.tif")


def test_a_real_slide_without_mpp_is_refused_and_runs_with_a_default():
    path = needs("slides", "TCGA-CR-7395-01A-01-TS1.svs")
    with pytest.raises(ResolutionError, match="does not say its µm per pixel"):
        open_slide(path)
    with open_slide(path, default_mpp=0.5) as slide:
        assert slide.mpp_source == "default"


def test_a_slide_of_screen_resolution_is_refused(tmp_path):
    write_pyramid(tmp_path / "s.tif", glass(256, 256), mpp=25400 / 72)
    with pytest.raises(ResolutionError, match=r"352\.7.* µm per pixel, says the slide's metadata"):
        open_slide(tmp_path / "s.tif", default_mpp=0.5)


# Row 9: a level that does not fit into memory.
def test_a_large_single_level_is_shrunk_block_by_block(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "s.png")
    with open_slide(tmp_path / "s.png", mpp=0.5) as slide:
        picture = slide.picture(64.0, most=1000)
        assert picture.shape == (5, 8, 3)
        assert np.array_equal(slide.picture(64.0), pixels)
        whole = pixels[64:128, 128:192].reshape(-1, 3).mean(0)
        assert np.abs(picture[1, 2] - whole).max() <= 1
        assert slide.thumbnail(100).shape == (60, 100, 3) and slide.thumbnail().shape == pixels.shape


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak of memory")
def test_a_slide_of_ten_thousand_million_pixels_stays_below_a_gigabyte(tmp_path):
    tile = simplejpeg.encode_jpeg(square(1024, 500), quality=80, colorsubsampling="420")
    path = write_large(tmp_path / "s.tif", (100_000, 100_000), tile, 1024)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    with open_slide(path) as slide:
        tissue = find_tissue(slide)
    assert len(tissue) + tissue.small > 9000
    assert peak() - before < 1000


def peak() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


# Row 11: kinds of pixels.
def test_alpha_is_laid_on_white(tmp_path):
    pixels = np.zeros((40, 30, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:20, :, 3] = 255
    pixels[20:, :15, 3] = 51
    Image.fromarray(pixels).save(tmp_path / "s.png")
    with open_slide(tmp_path / "s.png", mpp=0.5) as slide:
        region = slide.read(0, 0, 0, 30, 40)
    assert region[5, 5].tolist() == [200, 0, 0] and region[30, 20].tolist() == [255, 255, 255]
    assert region[30, 5].tolist() == [244, 204, 204]  # a fifth of the colour, four fifths of white


@pytest.mark.parametrize(
    ("name", "mode"), [("s.png", "L"), ("s.png", "I;16"), ("s.jpg", "CMYK"), ("s.tif", "CMYK"), ("s.png", "1")]
)
def test_pixels_of_other_kinds_are_refused(tmp_path, name, mode):
    Image.fromarray(np.zeros((30, 30), np.uint16)).convert(mode).save(tmp_path / name)
    with pytest.raises(PixelError, match=rf"^E_PIXELS: .*pixels of kind '{mode}'.*convert it"):
        open_slide(tmp_path / name, mpp=0.5)


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [(np.zeros((512, 512, 3), np.uint16), {"photometric": "rgb"}, "3 channels of 16 bits"),
     (np.zeros((512, 512), np.uint8), {"photometric": "minisblack"}, "1 channels of 8 bits")],
)  # fmt: skip
def test_pyramids_of_other_pixels_are_refused(tmp_path, pixels, options, message):
    tifffile.imwrite(tmp_path / "s.tif", pixels, tile=(256, 256), **options)
    with pytest.raises(PixelError, match=rf"^E_PIXELS: .*{message}"):
        open_slide(tmp_path / "s.tif", mpp=0.5)


@pytest.mark.parametrize("name", ["s.png", "s.jpg", "s.tif"])
def test_a_plain_picture_needs_a_stated_mpp_and_its_dpi_mean_nothing(tmp_path, name):
    Image.fromarray(square(90, 40)).save(tmp_path / name, dpi=(50800, 50800))
    with pytest.raises(ResolutionError):
        open_slide(tmp_path / name)
    with open_slide(tmp_path / name, mpp=0.5) as slide:
        assert slide.dimensions == (90, 90) and np.abs(slide.read(45, 45, 0, 1, 1) - [200.0, 80, 160]).max() < 9


# Row 12: files that would burst a reader.
def test_a_picture_that_would_not_fit_into_memory_is_refused(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6)))
    (tmp_path / "bomb.png").write_bytes(content + chunk(b"IEND", b""))
    with pytest.raises(PixelError, match=r"^E_PIXELS: .*too large for a plain picture.*pyramid"):
        open_slide(tmp_path / "bomb.png", mpp=0.5)


def test_a_tiff_that_claims_more_pixels_than_any_slide_is_refused(tmp_path):
    path = write_large(tmp_path / "s.tif", (512, 512), simplejpeg.encode_jpeg(glass(256, 256)), 256)
    side = struct.pack("<I", 512)

    def change(content):
        for tag in (256, 257):
            place = content.rindex(struct.pack("<HHI", tag, 4, 1) + side) + 8
            content[place : place + 4] = struct.pack("<I", 2**20)

    with pytest.raises(PixelError, match="claims 1048576 × 1048576 pixels"):
        open_slide(spoil(path, change))


def test_a_tiff_whose_directories_run_in_a_circle_is_refused(tmp_path):
    path = write_large(tmp_path / "s.tif", (512, 512), simplejpeg.encode_jpeg(glass(256, 256)), 256)
    spoil(path, lambda content: content.__setitem__(slice(-4, None), content[4:8]))
    with pytest.raises(ReadError, match="run in a circle at byte"):
        open_slide(path)


# Row 16: what is no file.
def test_links_pipes_devices_and_folders_are_refused_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.svs")
    (tmp_path / "link.svs").symlink_to(tmp_path / "nowhere.svs")
    for path, fault, message in (
        (tmp_path / "pipe.svs", FormatError, "is a pipe"),
        (tmp_path / "link.svs", ReadError, "is a link that leads nowhere"),
        (tmp_path / "none.svs", ReadError, "cannot be found"),
        (tmp_path, FormatError, "is a folder"),
        (Path("/dev/zero"), FormatError, "is a device"),
    ):
        with pytest.raises(fault, match=message):
            open_slide(path, mpp=0.5)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = write_made(tmp_path / "s.tif", 256)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(ReadError, match="may not be read by this user"):
        open_slide(path)


# Row 40: what a slide says of a person.
def test_labels_and_macros_stay_closed_and_only_names_of_private_things_are_told(tmp_path, monkeypatch):
    path = write_aperio(tmp_path / "s.svs", square(1024, 700), secret="DOE-JANE")

    def opened(*_):
        raise AssertionError("a label or macro image was opened")

    monkeypatch.setattr(openslide._AssociatedImageMap, "__getitem__", opened)
    with open_slide(path) as slide:
        slide.thumbnail()
        slide.read(0, 0, 0, 300, 300)
        assert {"aperio.User", "aperio.Patient", "picture 'label'", "picture 'macro'"} <= set(slide.reader.private)
        assert "DOE" not in str(slide.reader.private)


def test_faults_keep_their_code_between_processes():
    fault = loads(dumps(TileError("torn")))  # as a pool of workers does
    assert isinstance(fault, SlideError) and str(fault) == "E_READ: torn" and fault.code == "E_READ"


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_whatever_the_number_of_threads(made, threads):
    with open_slide(made) as slide:
        target = Target(mpp=1.0, px=100)
        sampling = sample(slide.levels, slide.mpp, target)
        places = corners(800, 61)
        batches = list(read_batches(slide, places, sampling, size=50, threads=threads))
        assert [len(batch.places) for batch in batches] == [50, 50, 50, 46]
        assert np.concatenate([batch.places for batch in batches]).tolist() == list(range(196))
        single = [slide.read(x, y, sampling.level, *sampling.region) for x, y in places.tolist()]
        assert sampling.region == (100, 100)
        assert np.array_equal(np.concatenate([batch.pixels for batch in batches]), np.stack(single))
