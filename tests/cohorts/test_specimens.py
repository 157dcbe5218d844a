"""A cohort of painted slides carries the truth that was planted, and is gone on with rather than mixed up."""

import json

import numpy as np
import openslide
import pytest

from slidesurv.cohorts.planted import amounts
from slidesurv.cohorts.specimens import SlideTruth, write_specimens
from slidesurv.cohorts.synthetic import Truth, write_synthetic
from slidesurv.engine import Outcome
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_json
from training_runs import contents

TINY = SlideTruth(patients=3, genes=20, side=512)


def darkness(path) -> float:
    """Share of the tissue that is as dark as a nucleus."""
    with openslide.OpenSlide(path) as slide:
        red = np.asarray(slide.get_thumbnail((1024, 1024)))[..., 0]
    return (red < 140).sum() / (red < 225).sum()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        write_specimens(tmp_path / name, TINY, seed=seed)
    one, same, other = (contents(tmp_path / name) for name in "abc")
    assert one == same
    assert one.keys() == other.keys() and len(one) == 6
    assert [name for name in one if one[name] == other[name]] == []


def test_the_number_of_workers_changes_no_byte(tmp_path):
    for workers in (1, 2):
        write_specimens(tmp_path / str(workers), TINY, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_openslide_reads_a_pyramid_of_half_a_micrometre(tmp_path):
    write_specimens(tmp_path, TINY)
    with openslide.OpenSlide(tmp_path / "slides" / "SYN-0002-01.tiff") as slide:
        assert slide.level_dimensions == ((512, 512), (256, 256))
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(0.5)


def test_the_programme_shows_in_the_pixels(tmp_path):
    write_specimens(tmp_path, SlideTruth(patients=24, genes=20, side=512), seed=1)
    programme = read_json(tmp_path / "planted.json")["programme"]
    dark = [darkness(tmp_path / "slides" / f"{patient}-01.tiff") for patient in programme]
    assert np.corrcoef(dark, list(programme.values()))[0, 1] > 0.5


@pytest.mark.parametrize("visible", [0.0, 0.6, 1.0])
def test_the_first_look_follows_the_programme_as_far_as_it_is_visible_and_no_other_does(visible):
    random = np.random.default_rng(0)
    z = random.standard_normal(4000)
    looks = np.array([amounts(each, 3, SlideTruth(visible=visible), random) for each in z])
    assert np.corrcoef(z, looks.T)[0, 1:] == pytest.approx([visible, 0, 0], abs=0.05)
    assert looks.std(0) == pytest.approx(np.ones(3), abs=0.05)


def test_the_patients_are_those_of_the_cohort_of_features(tmp_path):
    write_specimens(tmp_path / "pixels", TINY, seed=7)
    write_synthetic(tmp_path / "features", Truth(patients=3, genes=20, tiles=(3, 5), width=8), seed=7)
    for name in ("cohort.csv", "expression.csv"):
        assert (tmp_path / "pixels" / name).read_bytes() == (tmp_path / "features" / name).read_bytes()
    pixels, features = (read_json(tmp_path / name / "planted.json") for name in ("pixels", "features"))
    assert pixels["programme"] == features["programme"]
    assert "20 genes" in pixels["text"] and "nuclei" in pixels["text"]


def test_a_second_call_paints_what_is_missing_and_nothing_else(tmp_path):
    write_specimens(tmp_path, TINY)
    before = contents(tmp_path)
    (tmp_path / "slides" / "SYN-0001-01.tiff").unlink()
    ended: list[Outcome] = []
    write_specimens(tmp_path, TINY, report=ended.append)
    assert [each.name for each in ended if each.status == "done"] == ["SYN-0001-01"]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("other", [{"seed": 1}, {"truth": SlideTruth(patients=4, genes=20, side=512)}])
def test_another_cohort_in_the_same_folder_is_refused_and_nothing_is_touched(tmp_path, other):
    write_specimens(tmp_path, TINY)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="holds a made-up cohort of another seed or truth"):
        write_specimens(tmp_path, **{"truth": TINY, **other})
    assert contents(tmp_path) == before


def test_a_cohort_of_features_is_not_gone_on_with_in_pixels(tmp_path):
    (tmp_path / "planted.json").write_text(json.dumps({"text": "one gene programme", "programme": {}}))
    with pytest.raises(ConfigError, match="one gene programme"):
        write_specimens(tmp_path, TINY)


def test_a_slide_that_cannot_be_written_ends_the_cohort(tmp_path):
    (tmp_path / "slides").write_text("in the way")
    with pytest.raises(DataError, match="Cannot write"):
        write_specimens(tmp_path, TINY)
