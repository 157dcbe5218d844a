"""Made-up slides are slides: read by OpenSlide, in the colours of the stains, with looks that follow their strength."""

import time

import numpy as np
import openslide
import pytest
from scipy.ndimage import label

from slidesurv.errors import ConfigError
from slidesurv.slides.normalise import fit_normaliser
from slidesurv.slides.reader import open_slide
from slidesurv.slides.synthetic import EOSIN, GLASS, HAEMATOXYLIN, LOOKS, Specimen, paint, write_pyramid, write_slide
from slidesurv.slides.tissue import PRESETS, find_tissue

MIXTURE = {"tumour": 2.0, "stroma": 1.0, "fat": 1.0}


def density(pixels: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(pixels, 1) / GLASS)


def only(name: str, strength: float, side: int = 512, **options) -> np.ndarray:
    specimen = Specimen(mixture={name: 1.0}, strength={name: strength}, coverage=1.0, **options)
    return paint(specimen, size=(side, side), seed=4)


def test_openslide_reads_the_pyramid_and_its_mpp(tmp_path):
    write_slide(tmp_path / "s.tif", Specimen(mixture=MIXTURE), size=(1300, 1040), mpp=0.2628)
    with openslide.OpenSlide(tmp_path / "s.tif") as slide:
        assert slide.level_dimensions == ((1300, 1040), (650, 520), (325, 260))
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(0.2628, rel=1e-5)


def test_the_colours_that_were_painted_are_in_the_file(tmp_path):
    pixels = only("stroma", 0.5)
    write_pyramid(tmp_path / "s.tif", pixels, mpp=0.5)
    with open_slide(tmp_path / "s.tif") as slide:
        read = slide.read(0, 0, 0, 512, 512)
    assert np.abs(read.mean((0, 1)) - pixels.mean((0, 1))).max() < 2


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_slide(tmp_path / name, Specimen(mixture=MIXTURE), size=(512, 512), seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("coverage", [0.0, 0.3, 0.7])
def test_tissue_covers_what_was_asked(coverage):
    pixels = paint(Specimen(mixture={"stroma": 1.0}, coverage=coverage), size=(1024, 1024))
    assert (density(pixels)[..., 1] > 0.08).mean() == pytest.approx(coverage, abs=0.05)


def test_tissue_is_found_where_it_was_painted(tmp_path):
    write_slide(tmp_path / "s.tif", Specimen(mixture=MIXTURE), size=(1536, 1536), seed=3)
    with open_slide(tmp_path / "s.tif") as slide:
        tissue = find_tissue(slide, preset=PRESETS["biopsy"])
        assert len(tissue) >= 1
        reach = np.ptp(np.concatenate(tissue.contours), axis=0)
    assert (reach > 0.6 * 1536).all()


def test_the_stains_are_haematoxylin_and_eosin():
    pixels = paint(Specimen(mixture={"tumour": 1.0, "stroma": 1.0}, coverage=0.9), size=(1024, 1024))
    found = np.array(fit_normaliser("macenko", pixels[None]).record["stains"]).reshape(2, 3)
    for stain, pure in zip(found, (HAEMATOXYLIN, EOSIN), strict=True):
        cosine = stain @ pure / np.linalg.norm(pure)
        assert cosine > 0.97


def test_more_stain_is_denser():
    plain, strong = (density(only("gland", 0.5, stain=(1.0, amount))).mean((0, 1)) for amount in (1.0, 1.5))
    assert strong[1] > 1.2 * plain[1]


@pytest.mark.parametrize("name", ["tumour", "lymphocytes"])
def test_nuclei_take_more_room_with_strength(name):
    dark = [(density(only(name, strength))[..., 0] > 0.35).mean() for strength in (0.0, 0.5, 1.0)]
    assert dark[0] < dark[1] < dark[2]


def test_fibres_thicken_and_fat_cells_grow_with_strength():
    weak, strong = (density(only("stroma", strength))[..., 1].std() for strength in (0.0, 1.0))
    assert strong > 1.5 * weak
    cells = []
    for strength in (0.0, 1.0):
        empty, count = label(density(only("fat", strength, side=1024))[..., 1] < 0.08)
        cells.append(np.median(np.sort(np.bincount(empty.ravel())[1:])[-20:]) if count else 0)
    assert cells[1] > 1.3 * cells[0]


def test_strength_may_go_beyond_the_two_looks():
    look = Specimen(mixture={"tumour": 1.0}, strength={"tumour": -3.0}).look("tumour")
    assert look.nuclei == 0 and look.haematoxylin == 0
    assert Specimen(mixture=MIXTURE).look("tumour").radius == sum(look.radius for look in LOOKS["tumour"]) / 2


def test_unknown_tissue_and_no_tissue_are_refused():
    with pytest.raises(ConfigError, match=r"Unknown tissue type 'tumor'\. Did you mean 'tumour'"):
        Specimen(mixture={"tumor": 1.0})
    with pytest.raises(ConfigError, match="without tissue cannot be painted"):
        Specimen(mixture={})


def test_a_slide_is_painted_in_about_a_second(tmp_path):
    start = time.process_time()
    write_slide(tmp_path / "s.tif", Specimen(mixture=dict.fromkeys(LOOKS, 1.0)), size=(2048, 2048))
    assert time.process_time() - start < 3.0  # half a second on a quiet core
