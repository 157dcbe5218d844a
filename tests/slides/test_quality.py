"""Each number of quality rises with what it is named after, and with nothing else."""

import cv2
import numpy as np
import pytest

from slide_files import glass, needs
from slidesurv.errors import ConfigError, DataError
from slidesurv.slides.quality import COLUMNS, Limits, measure, read_quality, write_quality
from slidesurv.slides.reader import open_slide
from slidesurv.slides.synthetic import LOOKS, Specimen, paint


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    """(6, 256, 256, 3) one tile of each type."""
    specimens = [Specimen(mixture={name: 1.0}, coverage=1.0) for name in LOOKS]
    return np.stack([paint(specimen, size=(256, 256), seed=1) for specimen in specimens])


def only(tile: np.ndarray) -> dict[str, float]:
    return {name: float(values[0]) for name, values in measure(tile[None]).items()}


def test_tissue_has_no_pen_and_no_fold(tissue):
    quality = measure(tissue)
    assert list(quality) == list(COLUMNS)
    for name, values in quality.items():
        assert values.shape == (6,) and values.dtype == np.float32
        assert ((values >= 0) & (values <= 1)).all(), name
    assert quality["pen"].max() < 0.01 and quality["fold"].max() < 0.05


def test_blur_rises_with_every_blur(tissue):
    blurred = [tissue[0], *(cv2.GaussianBlur(tissue[0], (0, 0), sigma) for sigma in (1, 2, 4))]
    values = measure(np.stack(blurred))["blur"]
    assert (np.diff(values) > 0.02).all()
    assert only(glass(256, 256))["blur"] == 1.0  # nothing in it that could be sharp


@pytest.mark.parametrize("colour", [(20, 110, 70), (30, 60, 160), (20, 20, 22)])
def test_ink_is_counted_by_its_area(tissue, colour):
    tile = tissue[1].copy()
    tile[:, :64] = colour
    assert only(tile)["pen"] == pytest.approx(0.25, abs=0.02)


def test_layers_of_tissue_are_a_fold():
    tile = paint(Specimen(mixture={"tumour": 1.0}, strength={"tumour": 1.0}, coverage=1.0), size=(256, 256), seed=1)
    shares = [only((243 * (tile / 243.0) ** layers).astype(np.uint8))["fold"] for layers in (1, 2, 3)]
    assert shares[0] < 0.05 and shares[1] > 0.2 and shares[2] > 0.4


def test_glass_is_background(tissue):
    tile = tissue[1].copy()
    tile[:64] = glass(64, 256)
    assert only(tile)["background"] == pytest.approx(0.25, abs=0.03)
    assert only(glass(50, 50))["background"] == 1.0


def test_limits_keep_tiles_within_all_of_them():
    quality = {name: np.zeros(4, np.float32) for name in COLUMNS}
    quality["pen"][1], quality["blur"][2], quality["background"][3] = 0.6, 0.8, 1.0
    assert Limits().keep(quality).tolist() == [True, False, True, True]
    assert Limits(blur=0.8, background=0.9).keep(quality).tolist() == [True, False, True, False]
    assert Limits(pen=1.0).keep(quality).all()


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_limit_out_of_range_is_refused(value):
    with pytest.raises(ConfigError, match=r"The limit of 'fold' is .*: give a share from 0 to 1"):
        Limits(fold=value)


def test_what_is_written_is_read_again(tissue, tmp_path):
    coords = np.arange(12).reshape(6, 2)
    quality = measure(tissue)
    write_quality(tmp_path / "s.csv", coords, quality)
    places, again = read_quality(tmp_path / "s.csv")
    assert places.tolist() == coords.tolist()
    for name in COLUMNS:
        np.testing.assert_allclose(again[name], quality[name], atol=5e-5)
    write_quality(tmp_path / "none.csv", coords[:0], measure(tissue[:0]))
    assert read_quality(tmp_path / "none.csv")[0].shape == (0, 2)


@pytest.mark.parametrize("text", ["x,y,blur\n1,2,0.5\n", "x,y,blur,pen,fold,background\n1,2,a,0,0,0\n"])
def test_a_table_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=r"s\.csv' is no table of quality"):
        read_quality(tmp_path / "s.csv")


def test_real_tissue_is_clean():
    folder = needs("tiles", "nct_crc_val7k")
    tiles = np.stack([cv2.imread(str(path))[..., ::-1] for path in sorted(folder.rglob("*.jpg"))])
    quality = measure(np.ascontiguousarray(tiles))
    assert quality["pen"].max() < 0.01 and quality["fold"].max() < 0.01 and quality["blur"].max() < 0.6


def test_real_ink_is_seen():
    pytest.importorskip("pydicom", reason="the reader 'pydicom' is not installed")
    with open_slide(needs("slides", "small_dicom.dcm"), reader="pydicom", default_mpp=2.0) as slide:
        pen = slide.read(2790, 900, 0, 60, 60)  # on the green line
        clean = slide.read(1000, 1200, 0, 256, 256)
    assert only(pen)["pen"] > 0.9 and only(clean)["pen"] < 0.01
