"""Tissue is found as the procedure is written, down to the comparison signs."""

import cv2
import numpy as np
import pytest
from PIL import Image

from slide_files import glass, needs, square, write_made
from slidesurv.errors import ConfigError
from slidesurv.slides.faults import PixelError
from slidesurv.slides.outline import write_outline
from slidesurv.slides.quality import Limits, measure
from slidesurv.slides.reader import open_slide
from slidesurv.slides.segmenters.saturation import saturation
from slidesurv.slides.synthetic import write_pyramid
from slidesurv.slides.tiles import grid
from slidesurv.slides.tissue import PRESETS, Preset, find_tissue, outline_mask, segmenter, segmenters

ALL = Preset(tissue_area=0.0, hole_area=0.0, holes=100)


def mask_of(*boxes: tuple[int, int, int, int], holes=(), shape=(200, 300)) -> np.ndarray:
    """True in boxes (x, y, width, height), False in holes."""
    mask = np.zeros(shape, np.bool_)
    for value, group in ((True, boxes), (False, holes)):
        for x, y, width, height in group:
            mask[y : y + height, x : x + width] = value
    return mask


def find(path, **options):
    with open_slide(path, mpp=0.5) as slide:
        return find_tissue(slide, **options)


def boxes(contours) -> list[list[int]]:
    return sorted([*contour.min(0).tolist(), *contour.max(0).tolist()] for contour in contours)


def test_the_presets_are_those_of_the_specification():
    table = {
        "published": (8, 7, 4, False, 100, 16, 8),
        "biopsy": (15, 11, 2, False, 1, 1, 2),
        "resection": (15, 11, 4, False, 100, 16, 8),
        "tcga": (8, 7, 4, False, 16, 4, 8),
    }
    for name, (threshold, blur, close, otsu, tissue, hole, holes) in table.items():
        numbers = {"threshold": threshold, "blur": blur, "close": close, "otsu": otsu}
        assert PRESETS[name] == Preset(**numbers, tissue_area=tissue, hole_area=hole, holes=holes)


def test_a_piece_and_its_hole_are_outlined_in_level_0_pixels():
    tissue = outline_mask(mask_of((20, 30, 101, 81), holes=[(40, 50, 20, 10)]), (4.0, 4.0), ALL)
    assert boxes(tissue.contours) == [[80, 120, 480, 440]]
    assert boxes(tissue.holes[0]) == [[4 * 39, 4 * 49, 4 * 60, 4 * 60]]  # a hole's outline lies on the tissue around it
    assert tissue.contours[0].dtype == np.int32
    assert len(tissue.contours[0]) == 2 * (100 + 80)  # every pixel of the outline: no approximation


def test_scaling_cuts_to_whole_pixels_axis_by_axis():
    tissue = outline_mask(mask_of((10, 10, 11, 11)), (1.5, 2.3), ALL)
    assert boxes(tissue.contours) == [[15, 23, 30, 46]]


@pytest.mark.parametrize(("side", "kept"), [(65, 0), (66, 1)])
def test_a_piece_must_be_larger_than_the_limit_not_as_large(side, kept):
    # At a scale of 64, one unit of 512² level-0 pixels is 64 pixels of the mask; outlines run through pixel centres.
    tissue = outline_mask(mask_of((5, 5, side, 65)), (64.0, 64.0), Preset(tissue_area=64.0))
    assert (len(tissue), tissue.small) == (kept, 1 - kept)


def test_the_unit_of_area_is_cut_to_whole_pixels():
    # 512² / 60² = 72.8 counts as 72.
    assert len(outline_mask(mask_of((5, 5, 10, 9)), (60.0, 60.0), Preset(tissue_area=1.0))) == 0  # 9 × 8 = 72
    assert len(outline_mask(mask_of((5, 5, 74, 2)), (60.0, 60.0), Preset(tissue_area=1.0))) == 1  # 73 × 1


def test_all_holes_count_against_a_piece_even_those_that_are_not_kept():
    holes = [(10 + 12 * number, 10, 6, 6) for number in range(10)]  # each 8 area of outline 7 × 7, corners cut
    mask = mask_of((5, 5, 140, 20), holes=holes)
    hole = outline_mask(mask, (1.0, 1.0), ALL).holes[0]
    lost = sum(cv2.contourArea(contour) for contour in hole)
    net = 139 * 19 - lost
    unit = 512**2
    assert len(hole) == 10
    for limit, kept in ((net / unit, 0), ((net - 0.5) / unit, 1)):
        preset = Preset(tissue_area=limit, holes=2, hole_area=0.0)
        assert len(outline_mask(mask, (1.0, 1.0), preset)) == kept


def test_the_largest_holes_are_kept_if_they_are_large_enough():
    sizes = [30, 8, 20, 14]
    holes = [(10 + 40 * number, 20, size, size) for number, size in enumerate(sizes)]
    mask = mask_of((2, 2, 200, 100), holes=holes)

    def widths(**limits):
        preset = Preset(tissue_area=0.0, **limits)
        return [hole[:, 0].max() - hole[:, 0].min() - 1 for hole in outline_mask(mask, (1.0, 1.0), preset).holes[0]]

    assert widths(holes=8, hole_area=0.0) == [30, 20, 14, 8]
    assert widths(holes=2, hole_area=0.0) == [30, 20]
    assert widths(holes=8, hole_area=250 / 512**2) == [30, 20]  # 14 has an outline of about 223
    assert widths(holes=0, hole_area=0.0) == []


def test_a_piece_inside_a_hole_is_a_piece():
    mask = mask_of((10, 10, 100, 100), holes=[(30, 30, 60, 60)])
    mask[50:70, 50:70] = True
    tissue = outline_mask(mask, (1.0, 1.0), ALL)
    assert boxes(tissue.contours) == [[10, 10, 109, 109], [50, 50, 69, 69]]
    assert sorted(map(len, tissue.holes)) == [0, 1]


def test_an_empty_mask_has_no_pieces():
    tissue = outline_mask(mask_of(), (4.0, 4.0), ALL)
    assert tissue.contours == () and tissue.holes == () and tissue.small == 0


def test_the_mask_is_median_threshold_and_closing_of_the_saturation():
    picture = glass(120, 120)
    picture[20:60, 20:60] = (200, 180, 190)  # saturation 255 · 20 / 200 = 25
    picture[20:60, 64:100] = (200, 180, 190)  # four pixels of glass between
    picture[80:110, 80:110] = (200, 194, 200)  # saturation 8
    picture[90, 20] = (255, 0, 0)  # a speck that the median removes
    plain = saturation(picture, Preset(threshold=8, blur=7, close=0))
    assert plain[30, 30] and not plain[30, 62] and not plain[95, 95] and not plain[90, 20]
    assert saturation(picture, Preset(threshold=7, blur=7, close=0))[95, 95]  # above the threshold, not at it
    assert saturation(picture, Preset(close=6))[30, 25:95].all()
    assert not saturation(picture, Preset(threshold=30, close=0)).any()
    assert saturation(picture, Preset(threshold=200, close=0, otsu=True))[30, 30]  # Otsu takes no threshold


def test_an_even_median_is_refused():
    with pytest.raises(ConfigError, match="aperture is 8: give an odd number"):
        Preset(blur=8)


def test_the_level_that_is_best_for_64_is_looked_at(tmp_path):
    pixels = square(2048, 1024)
    write_pyramid(tmp_path / "s.tif", pixels, mpp=0.5)  # levels 1, 2, 4, 8
    with open_slide(tmp_path / "s.tif") as slide:
        assert slide.picture(64.0).shape == (256, 256, 3)
        piece = find_tissue(slide, preset=Preset(tissue_area=1.0))
    assert np.abs(np.array(boxes(piece.contours)[0]) - [512, 512, 1528, 1528]).max() <= 2 * 8


# Row 10.
def test_a_white_slide_has_no_tissue(tmp_path):
    Image.fromarray(glass(700, 900)).save(tmp_path / "s.png")
    for preset in PRESETS.values():
        assert len(find(tmp_path / "s.png", preset=preset)) == 0


def test_a_slide_of_pen_loses_every_tile_to_the_default_limits(tmp_path):
    pixels = glass(1100, 1100)
    for colour, top in (((20, 90, 60), 20), ((30, 40, 140), 380), ((25, 25, 30), 740)):  # green, blue, black
        pixels[top : top + 340] = colour
    Image.fromarray(pixels).save(tmp_path / "s.png")
    with open_slide(tmp_path / "s.png", mpp=0.5) as slide:
        tissue = find_tissue(slide, preset=PRESETS["biopsy"])
        coords = grid(tissue, size=(100, 100), step=(100, 100), dimensions=slide.dimensions)
        pixels = np.stack([slide.read(x, y, 0, 100, 100) for x, y in coords.tolist()])
    assert len(coords) > 30 and Limits().keep(measure(pixels)).sum() <= 0.1 * len(coords)


def test_faint_tissue_needs_a_lower_threshold(tmp_path):
    Image.fromarray(square(1200, 900, (240, 231, 236))).save(tmp_path / "s.png")  # saturation 10
    assert len(find(tmp_path / "s.png", preset=PRESETS["biopsy"])) == 0
    assert len(find(tmp_path / "s.png", preset=Preset(tissue_area=1.0))) == 1


def test_a_tiny_biopsy_is_found_by_its_preset_and_counted_as_small_by_others(tmp_path):
    Image.fromarray(square(1500, 700)).save(tmp_path / "s.png")
    assert len(find(tmp_path / "s.png", preset=PRESETS["biopsy"])) == 1
    missed = find(tmp_path / "s.png")
    assert (len(missed), missed.small) == (0, 1)


# Row 11.
def test_black_padding_is_no_tissue(tmp_path):
    pixels = square(2600, 2200)
    pixels[:, :150] = 0
    Image.fromarray(pixels).save(tmp_path / "s.png")
    (box,) = boxes(find(tmp_path / "s.png", preset=PRESETS["tcga"]).contours)
    assert np.abs(np.array(box) - [200, 200, 2399, 2399]).max() <= 1  # closing by an even square shifts by one


def test_inverted_colours_are_refused(tmp_path):
    Image.fromarray(255 - square(1000, 500)).save(tmp_path / "s.png")
    with pytest.raises(PixelError, match=r"'s' is dark on 75% of its area: its colours are inverted"):
        find(tmp_path / "s.png")


def test_a_segmenter_is_one_decorated_function(tmp_path):
    @segmenter("left half")
    def left_half(picture, preset):
        return np.arange(picture.shape[1]) < np.full((picture.shape[0], 1), picture.shape[1] / 2)

    Image.fromarray(glass(1200, 1200)).save(tmp_path / "s.png")
    tissue = find(tmp_path / "s.png", segmenter="left half", preset=Preset(tissue_area=1.0))
    assert boxes(tissue.contours) == [[0, 0, 599, 1199]]
    assert {"saturation", "whole", "left half"} <= set(segmenters())
    assert len(find(tmp_path / "s.png", segmenter="whole", preset=Preset(tissue_area=1.0))) == 1
    with pytest.raises(ConfigError, match=r"Unknown segmenter 'saturated'\. Did you mean 'saturation'"):
        find(tmp_path / "s.png", segmenter="saturated")


def test_two_segmenters_of_one_name_are_refused():
    def other(picture, preset):
        return picture[..., 0] > 0

    with pytest.raises(ConfigError, match="Two segmenters are called 'saturation'"):
        segmenter("saturation")(other)


def test_the_same_slide_gives_the_same_pieces(tmp_path):
    path = write_made(tmp_path / "s.tif")
    for name in ("a", "b"):
        write_outline(tmp_path / name, find(path, preset=PRESETS["biopsy"]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "preset", "size", "tiles"),
    [("CMU-1-Small-Region.svs", "biopsy", 256, (45, 60)), ("TCGA-CR-7395-01A-01-TS1.svs", "tcga", 256, (160, 180))],
)
def test_on_real_slides_tiles_lie_on_tissue_and_tissue_lies_under_tiles(name, preset, size, tiles):
    path = needs("slides", name)
    with open_slide(path, mpp=0.5) as slide:
        tissue = find_tissue(slide, preset=PRESETS[preset])
        coords = grid(tissue, size=(size, size), step=(size, size), dimensions=slide.dimensions)
        picture = slide.picture()
        scale = slide.dimensions[0] / picture.shape[1]
        pixels = np.stack([slide.read(x, y, 0, size, size) for x, y in coords.tolist()])
    assert tiles[0] <= len(coords) <= tiles[1]
    background = measure(pixels)["background"]
    assert background.max() < 0.95 and np.median(background) < 0.3
    tissue_mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(tissue_mask, [(contour / scale).astype(np.int32) for contour in tissue.contours], 1)
    tiled = np.zeros_like(tissue_mask)
    for x, y in (coords / scale).astype(int).tolist():
        tiled[y : y + int(size / scale), x : x + int(size / scale)] = 1
    assert tiled[tissue_mask > 0].mean() > 0.9
