"""A tile is a piece of tissue of the same size on every slide."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slidesurv.errors import ConfigError
from slidesurv.slides.batches import read_batches
from slidesurv.slides.faults import ResolutionError
from slidesurv.slides.reader import open_slide
from slidesurv.slides.resolution import Level, Target, best_level, mpp_at, resize, sample, settle_mpp


def pyramid(*downsamples: float, side: int = 100_000) -> list[Level]:
    return [Level(round(side / d), round(side / d), d) for d in downsamples]


def settle(manifest=None, metadata=None, default=None, **options):
    return settle_mpp("s", manifest=manifest, metadata=metadata, default=default, **options)


# Row 8.
@pytest.mark.parametrize(
    ("mpp", "size", "level", "region"),
    [(0.5, 256, 0, 256), (0.25, 512, 0, 512), (0.2628, 487, 0, 487), (0.499, 257, 0, 257), (0.2522, 508, 0, 508)],
)
def test_tiles_of_a_scanner_with_levels_1_4_16(mpp, size, level, region):
    plan = sample(pyramid(1, 4.0001, 16.002), (mpp, mpp), Target())
    assert (plan.size, plan.level, plan.region) == ((size, size), level, (region, region))


@pytest.mark.parametrize(("mpp", "level", "region"), [(0.25, 1, 256), (0.2628, 0, 487), (0.125, 2, 256), (0.5, 0, 256)])
def test_a_smaller_level_is_read_where_it_is_fine_enough(mpp, level, region):
    plan = sample(pyramid(1, 2, 4, 8), (mpp, mpp), Target())
    assert (plan.level, plan.region) == (level, (region, region))


def test_a_level_that_misses_by_a_rounding_of_the_scanner_is_fine_enough():
    plan = sample(pyramid(1, 4.0003), (0.25, 0.25), Target(mpp=1.0))
    assert plan.level == 1 and plan.region == (256, 256)


@given(
    mpp=st.floats(0.06, 4.0),
    target=st.floats(0.06, 4.0),
    px=st.integers(16, 1024),
    downsamples=st.lists(st.floats(1.1, 6.0), max_size=4),
)
def test_the_physical_size_is_exact_to_half_a_pixel(mpp, target, px, downsamples):
    levels = pyramid(*np.cumprod([1.0, *downsamples]))
    wanted = Target(mpp=target, px=px)
    if mpp > 1.2 * target:
        with pytest.raises(ResolutionError):
            sample(levels, (mpp, mpp), wanted)
        return
    plan = sample(levels, (mpp, mpp), wanted)
    pixel = levels[plan.level].downsample * mpp  # µm of a pixel of the level that is read
    assert abs(plan.size[0] * mpp - wanted.um) <= mpp / 2 * (1 + 1e-9)
    assert abs(plan.region[0] * pixel - wanted.um) <= pixel / 2 * (1 + 1e-9)
    assert plan.region[0] >= px or plan.level == 0
    assert pixel <= max(mpp, target * px / (px - 0.5)) * (1 + 1e-9)


@pytest.mark.parametrize("mpp", [0.2628, 0.25, 0.5, 0.37])
def test_the_same_tissue_has_the_same_size_in_every_tile(tmp_path, mpp):
    side = math.ceil(128 / mpp)
    y, x = (np.mgrid[0:side, 0:side] + 0.5) * mpp - 64  # µm from the middle of the tile
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[x**2 + y**2 < 40**2] = 0  # a nucleus of 40 µm
    Image.fromarray(picture).save(tmp_path / "s.png")
    with open_slide(tmp_path / "s.png", mpp=mpp) as slide:
        plan = sample(slide.levels, slide.mpp, Target())
        tile = next(read_batches(slide, np.zeros((1, 2), np.int64), plan)).pixels[0]
    dark = 1 - tile[..., 0] / 255.0
    assert tile.shape == (256, 256, 3)
    assert 2 * math.sqrt(dark.sum() / math.pi) == pytest.approx(160, abs=0.5)  # 80 µm are 160 pixels
    centre = (dark * np.arange(256)).sum() / dark.sum()
    assert centre == pytest.approx(127.5, abs=0.5)


def test_pixels_that_are_not_square_give_tiles_that_are():
    plan = sample(pyramid(1, 2), (0.25, 0.5), Target())
    assert plan.size == (512, 256) and plan.step == (512, 256) and plan.level == 0
    plan = sample(pyramid(1, 2), (0.125, 0.25), Target())
    assert plan.size == (1024, 512) and plan.level == 1 and plan.region == (512, 256)
    assert resize(np.zeros((2, 256, 512, 3), np.uint8), 256).shape == (2, 256, 256, 3)


@pytest.mark.parametrize(("overlap", "step"), [(0, 487), (128, 244), (255, 2)])
def test_neighbours_overlap_by_what_was_asked(overlap, step):
    assert sample(pyramid(1), (0.2628, 0.2628), Target(overlap=overlap)).step == (step, step)


def test_shrinking_is_by_area_and_a_region_of_the_right_size_is_not_touched():
    regions = np.zeros((1, 4, 4, 3), np.uint8)
    regions[0, :2, :2] = [[[0, 4, 8]], [[4, 8, 12]]]
    assert resize(regions, 2)[0, 0, 0].tolist() == [2, 6, 10]
    assert resize(regions, 4) is regions


def test_a_slide_that_is_too_coarse_is_refused_and_one_nearly_fine_enough_is_enlarged():
    with pytest.raises(ResolutionError, match=r"'x' has 1 µm per pixel; tiles of 0\.5 would be enlarged\. Ask for 1"):
        sample(pyramid(1), (1.0, 1.0), Target(), name="x")
    plan = sample(pyramid(1), (0.55, 0.55), Target())
    assert plan.size == (233, 233) and plan.px == 256
    assert resize(np.zeros((1, 233, 233, 3), np.uint8), 256).shape == (1, 256, 256, 3)


@pytest.mark.parametrize(("magnification", "mpp"), [(40, 0.25), (20, 0.5), (10, 1.0), (5, 2.0)])
def test_a_magnification_is_another_word_for_mpp(magnification, mpp):
    assert mpp_at(magnification) == mpp
    assert Target(mpp=mpp).folder == f"{magnification}x_256px_0px_overlap"


def test_other_resolutions_have_folders_too():
    assert Target(mpp=0.4, px=224, overlap=12).folder == "25x_224px_12px_overlap"


@pytest.mark.parametrize("magnification", [0, -20, float("nan")])
def test_a_magnification_of_nothing_is_refused(magnification):
    with pytest.raises(ConfigError, match="give 20, 40 or 10"):
        mpp_at(magnification)


@pytest.mark.parametrize(
    ("choice", "message"),
    [({"mpp": 0.0}, "cannot have 0.0 µm"), ({"mpp": 20}, "give 0.05 to 10"), ({"mpp": math.nan}, "nan"),
     ({"overlap": 256}, "overlap by 256 px: give 0 to 255"), ({"overlap": -1}, "give 0 to 255")],
)  # fmt: skip
def test_impossible_tiles_are_refused(choice, message):
    with pytest.raises(ConfigError, match=message):
        Target(**choice)


@pytest.mark.parametrize(
    ("downsample", "level"), [(64, 2), (63.9, 1), (16, 1), (15, 0), (1, 0), (0.5, 0), (1000, 2)]
)  # fmt: skip
def test_the_best_level_is_the_smallest_that_is_fine_enough(downsample, level):
    assert best_level(pyramid(1, 16, 64), downsample) == level


# Rows 6, 7.
def test_the_manifest_comes_before_the_metadata_and_the_metadata_before_the_default():
    assert settle(0.25, (0.5, 0.5), 1.0) == ((0.25, 0.25), "manifest")
    assert settle(None, (0.5, 0.5), 1.0) == ((0.5, 0.5), "metadata")
    assert settle(None, None, 1.0) == ((1.0, 1.0), "default")


def test_a_slide_that_says_nothing_is_refused_with_three_remedies_and_a_hint():
    with pytest.raises(ResolutionError, match=r"column 'mpp' of the manifest, give --default-mpp .*, or repair"):
        settle()
    with pytest.raises(ResolutionError, match=r"objective is called 40×, which often means 0\.25"):
        settle(power=40.0)


@pytest.mark.parametrize("value", [0.0, -0.5, math.nan, math.inf, 250.0])
def test_an_implausible_mpp_is_refused_with_its_value(value):
    for stated, source in (
        ({"manifest": value}, "manifest"),
        ({"metadata": (value, value)}, "metadata"),
        ({"metadata": (0.5, value)}, "metadata"),
        ({"default": value}, "--default-mpp"),
    ):
        with pytest.raises(ResolutionError, match=rf"{value:g}.* µm per pixel, says .*{source}\. Plausible is 0\.05"):
            settle(**stated)


def test_an_implausible_metadata_is_not_papered_over_by_the_default():
    with pytest.raises(ResolutionError):
        settle(metadata=(250.0, 250.0), default=0.5)
    assert settle(manifest=0.25, metadata=(250.0, 250.0))[1] == "manifest"


def test_pixels_that_are_not_square_need_to_be_allowed():
    assert settle(metadata=(0.5, 0.52))[0] == (0.5, 0.52)
    with pytest.raises(ResolutionError, match=r"0\.5 µm per pixel across and 0\.53 down.* 5%: .*--anisotropic"):
        settle(metadata=(0.5, 0.53))
    assert settle(metadata=(0.5, 0.53), anisotropic=True)[0] == (0.5, 0.53)
