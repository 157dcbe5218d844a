"""Tiles stand where the written procedure puts them, in its order; their file is the field's."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slide_files import needs, square, write_aperio, write_made
from slidesurv.errors import ConfigError, DataError
from slidesurv.slides.libraries import cv2
from slidesurv.slides.outline import write_outline
from slidesurv.slides.quality import measure, write_quality
from slidesurv.slides.reader import open_slide
from slidesurv.slides.resolution import Target, sample
from slidesurv.slides.tiles import RULES, grid, read_coords, write_coords
from slidesurv.slides.tissue import PRESETS, Preset, Tissue, find_tissue, outline_mask

ALL = Preset(tissue_area=0.0, hole_area=0.0, holes=100)
OVAL = np.array([(300 + round(200 * np.cos(a)), 260 + round(150 * np.sin(a))) for a in np.arange(0, 6.28, 0.05)])
HOLE = np.array([[250, 200], [350, 200], [350, 300], [250, 300]])
DISC = Tissue((OVAL.astype(np.int32),), ((HOLE.astype(np.int32),),))
DIMENSIONS = (600, 500)


def as_written(tissue, size, step, dimensions, rule, padding):
    """Section 2.2 word for word, one candidate at a time, through OpenCV's own test."""
    kept = []
    for contour, holes in zip(tissue.contours, tissue.holes, strict=True):
        x0, y0, w, h = cv2.boundingRect(contour)
        stop_x = x0 + w if padding else min(x0 + w, dimensions[0] - size + 1)
        stop_y = y0 + h if padding else min(y0 + h, dimensions[1] - size + 1)
        for x in range(x0, stop_x, step):
            for y in range(y0, stop_y, step):
                cx, cy, shift = x + size // 2, y + size // 2, int(0.5 * (size // 2))
                four = [(cx + a, cy + b) for a in (-shift, shift) for b in (-shift, shift)]
                points = {"basic": [(x, y)], "center": [(cx, cy)]}.get(rule, four)
                inside = [cv2.pointPolygonTest(contour, (float(px), float(py)), False) >= 0 for px, py in points]
                passes = any(inside) if rule == "four_pt" else all(inside)
                centre = (x + size / 2, y + size / 2)
                if passes and not any(cv2.pointPolygonTest(hole, centre, False) > 0 for hole in holes):
                    kept.append([x, y])
    return kept


def lay(tissue, size, step=None, dimensions=DIMENSIONS, **options):
    step = step or size
    return grid(tissue, size=(size, size), step=(step, step), dimensions=dimensions, **options)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize(("size", "step"), [(32, 32), (33, 33), (40, 17), (1, 30), (97, 97), (256, 128)])
def test_the_grid_is_that_of_the_written_procedure(rule, padding, size, step):
    tiles = lay(DISC, size, step, rule=rule, padding=padding)
    assert tiles.dtype == np.int64
    assert tiles.tolist() == as_written(DISC, size, step, DIMENSIONS, rule, padding)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1.0, 3.0, 4.0002, 16.0]),
    size=st.integers(2, 60),
    rule=st.sampled_from(sorted(RULES)),
)
def test_the_grid_of_any_mask_is_that_of_the_written_procedure(seed, scale, size, rule):
    random = np.random.default_rng(seed)
    noise = cv2.blur(random.standard_normal((40, 50)).astype(np.float32), (5, 5))
    tissue = outline_mask(noise > 0.02, (scale, scale), ALL)
    size, dimensions = round(size * scale / 2) + 1, (int(50 * scale), int(40 * scale))
    if size <= max(dimensions):
        assert lay(tissue, size, dimensions=dimensions, rule=rule).tolist() == as_written(
            tissue, size, size, dimensions, rule, padding=True
        )


def test_pieces_follow_each_other_and_each_is_walked_column_by_column():
    boxes = [np.array([[x, y], [x + 99, y], [x + 99, y + 49], [x, y + 49]], np.int32) for x, y in ((300, 10), (0, 200))]
    tiles = lay(Tissue(tuple(boxes), ((), ())), 25, dimensions=(500, 500), rule="center")
    first = [[x, y] for x in (300, 325, 350, 375) for y in (10, 35)]
    second = [[x, y] for x in (0, 25, 50, 75) for y in (200, 225)]
    assert tiles.tolist() == first + second


def test_a_border_counts_as_inside_a_piece_and_as_outside_a_hole():
    box = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], np.int32)
    assert [0, 0] in lay(Tissue((box,), ((),)), 10, rule="basic").tolist()
    assert [100, 100] in lay(Tissue((box,), ((),)), 10, 10, rule="basic").tolist()
    hole = np.array([[20, 20], [45, 20], [45, 45], [20, 45]], np.int32)
    tiles = lay(Tissue((box,), ((hole,),)), 10, rule="basic").tolist()
    assert [40, 10] in tiles and [40, 30] in tiles and [30, 30] not in tiles  # centres (45, 15), (45, 35), (35, 35)


def test_the_four_points_are_a_quarter_of_the_side_from_the_centre():
    sliver = np.array([[24, 0], [24, 400], [26, 400], [26, 0]], np.int32)  # 2 pixels wide
    assert len(lay(Tissue((sliver,), ((),)), 100, rule="four_pt")) == 0  # points at 49 and 99 of x = 24
    wide = np.array([[24, 0], [24, 400], [49, 400], [49, 0]], np.int32)
    assert len(lay(Tissue((wide,), ((),)), 100, rule="four_pt")) == 4
    assert len(lay(Tissue((wide,), ((),)), 100, rule="four_pt_hard")) == 0


# Row 9.
def test_a_slide_that_is_smaller_than_a_tile_has_none():
    box = np.array([[0, 0], [200, 0], [200, 200], [0, 200]], np.int32)
    assert lay(Tissue((box,), ((),)), 256, dimensions=(200, 200)).shape == (0, 2)
    assert len(lay(Tissue((box,), ((),)), 256, dimensions=(200, 600))) == 1
    assert lay(Tissue((), ()), 256).shape == (0, 2)


def test_without_padding_no_tile_sticks_out():
    box = np.array([[0, 0], [599, 0], [599, 499], [0, 499]], np.int32)
    inside = lay(Tissue((box,), ((),)), 90, padding=False)
    assert (inside + 90 <= DIMENSIONS).all() and len(inside) == 6 * 5
    assert len(lay(Tissue((box,), ((),)), 90)) == 7 * 6


def test_an_unknown_rule_is_named():
    with pytest.raises(ConfigError, match=r"Unknown rule 'four'\. Did you mean 'four_pt'"):
        lay(DISC, 32, rule="four")


def test_tiles_that_are_not_square_in_pixels_are_laid_axis_by_axis():
    box = np.array([[0, 0], [399, 0], [399, 399], [0, 399]], np.int32)
    tiles = grid(Tissue((box,), ((),)), size=(200, 100), step=(200, 100), dimensions=(400, 400))
    assert tiles.tolist() == [[x, y] for x in (0, 200) for y in (0, 100, 200, 300)]


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    with open_slide(write_made(tmp_path_factory.mktemp("made") / "made.tif"), mpp=0.2628) as opened:
        yield opened


def save(path, slide, coords, target=None):
    target = target or Target()
    sampling = sample(slide.levels, slide.mpp, target)
    write_coords(path, coords, slide=slide, target=target, sampling=sampling, attributes={"segmenter": "saturation"})
    return path


def test_the_file_is_that_of_trident_with_exact_sizes(slide, tmp_path):
    coords = np.array([[0, 0], [0, 487], [487, 0]])
    path = save(tmp_path / "made_patches.h5", slide, coords, Target(overlap=64))
    with h5py.File(path) as file:
        assert list(file) == ["coords"] and file["coords"].dtype == np.int64 and file["coords"].shape == (3, 2)
        said = dict(file["coords"].attrs)
    expected = {
        "patch_size": 256, "patch_size_level0": 487, "level0_magnification": 40, "target_magnification": 20,
        "overlap": 64, "level0_width": 1024, "level0_height": 1024, "name": "made", "mpp_target": 0.5,
        "mpp_source": "manifest", "tile_um": 128.0, "segmenter": "saturation",
    }  # fmt: skip
    assert {key: said[key] for key in expected} == expected
    assert said["mpp_slide"].tolist() == [0.2628, 0.2628] and said["step_level0"].tolist() == [365, 365]


def test_what_is_written_is_read_again_and_twice_gives_the_same_bytes(slide, tmp_path):
    for coords in (np.zeros((0, 2), np.int64), np.array([[3, 4], [5, 6]])):
        save(tmp_path / "a.h5", slide, coords)
        save(tmp_path / "b.h5", slide, coords)
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
        again, attributes = read_coords(tmp_path / "a.h5")
        assert again.dtype == np.int64 and again.shape == coords.shape and again.tolist() == coords.tolist()
        assert attributes["patch_size"] == 256


def test_files_of_other_tools_are_read(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("coords", data=np.array([[7, 8]], np.int32)).attrs["patch_level"] = 1
    coords, attributes = read_coords(tmp_path / "s.h5")
    assert coords.tolist() == [[7, 8]] and coords.dtype == np.int64 and attributes["patch_level"] == 1


def test_a_file_that_was_changed_or_is_another_is_refused(slide, tmp_path):
    path = save(tmp_path / "a.h5", slide, np.array([[3, 4], [5, 6]]))
    with h5py.File(path, "a") as file:
        file["coords"][1] = [5, 7]
    with pytest.raises(DataError, match=r"a\.h5': its coordinates are not those that were written"):
        read_coords(path)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["coords"] = np.zeros(4)
    with pytest.raises(DataError, match=r"coords has shape \(4,\), expected \(N, 2\)"):
        read_coords(tmp_path / "b.h5")
    for content in (b"", path.read_bytes()[:300]):
        (tmp_path / "c.h5").write_bytes(content)
        with pytest.raises(DataError, match=r"c\.h5' has no coordinates that can be read"):
            read_coords(tmp_path / "c.h5")


# Row 40.
def test_nothing_a_slide_says_of_a_person_reaches_a_file(tmp_path):
    path = write_aperio(tmp_path / "s.svs", square(1024, 800), secret="DOE-JANE")
    out = tmp_path / "out"
    with open_slide(path) as slide:
        tissue = find_tissue(slide, preset=PRESETS["biopsy"])
        sampling = sample(slide.levels, slide.mpp, Target())
        coords = grid(tissue, size=sampling.size, step=sampling.step, dimensions=slide.dimensions)
        save(out / "s_patches.h5", slide, coords)
        write_outline(out / "s.geojson", tissue)
        pixels = np.stack([slide.read(x, y, 0, 256, 256) for x, y in coords.tolist()])
        write_quality(out / "s.csv", coords, measure(pixels))
    assert len(coords) > 4
    for file in out.iterdir():
        content = file.read_bytes()
        assert b"DOE" not in content and str(tmp_path).encode() not in content


def test_real_regions_are_tiled(tmp_path):
    folder = needs("cohorts", "roi", "slides")
    counts = {}
    for path in sorted(folder.glob("*.tif"))[::6]:
        with open_slide(path) as slide:
            tissue = find_tissue(slide, segmenter="whole", preset=Preset(tissue_area=0.0))
            sampling = sample(slide.levels, slide.mpp, Target())
            coords = grid(tissue, size=sampling.size, step=sampling.step, dimensions=slide.dimensions)
            counts[path.name] = len(coords)
            columns, rows = (round(side / size) for side, size in zip(slide.dimensions, sampling.size, strict=True))
            assert columns * rows <= len(coords) or min(slide.dimensions) < sampling.size[0]
    assert sum(counts.values()) > len(counts)
