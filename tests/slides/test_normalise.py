"""Stain normalisation brings slides of two laboratories together and leaves glass alone."""

import numpy as np
import pytest

from slide_files import glass
from slidesurv.errors import ConfigError, DataError
from slidesurv.slides.normalise import NORMALISERS, fit_normaliser
from slidesurv.slides.synthetic import Specimen, paint


def stained(stain: tuple[float, float], coverage: float = 0.8) -> np.ndarray:
    specimen = Specimen(mixture={"tumour": 1.0, "stroma": 1.0, "gland": 1.0}, stain=stain, coverage=coverage)
    return paint(specimen, size=(512, 512), seed=2)[None]


@pytest.mark.parametrize("name", NORMALISERS)
def test_two_stains_of_one_tissue_come_together(name):
    pale, strong = stained((0.6, 0.6)), stained((1.4, 1.4))
    before = np.abs(pale.astype(float) - strong).mean()
    changed = [fit_normaliser(name, slide)(slide).astype(float) for slide in (pale, strong)]
    assert np.abs(changed[0] - changed[1]).mean() < 0.5 * before


@pytest.mark.parametrize("name", NORMALISERS)
def test_glass_stays_glass(name):
    slide = stained((1.0, 1.0), coverage=0.4)
    changed = fit_normaliser(name, slide)(slide)
    corner = slide[0, :20, :20].astype(int)
    assert np.abs(changed[0, :20, :20] - corner).max() <= 16 and changed.dtype == np.uint8
    assert changed.shape == slide.shape


def test_the_slide_is_fitted_once_and_the_record_says_what_was_found():
    slide = stained((1.0, 1.0))
    normalise = fit_normaliser("macenko", slide)
    assert normalise.name == "macenko" and set(normalise.record) == {"stains", "amounts"}
    halves = np.concatenate([normalise(slide[:, :, :256]), normalise(slide[:, :, 256:])], axis=2)
    assert np.array_equal(halves, normalise(slide))
    assert normalise(slide[:0]).shape == (0, 512, 512, 3)
    assert set(fit_normaliser("reinhard", slide).record) == {"mean", "std"}


def test_a_slide_of_glass_cannot_be_fitted():
    with pytest.raises(DataError, match="0 pixels of the sample are tissue; 1000 are needed to fit 'macenko'"):
        fit_normaliser("macenko", glass(256, 256)[None])
    with pytest.raises(ConfigError, match=r"Unknown normalisation 'macenka'\. Did you mean 'macenko'"):
        fit_normaliser("macenka", glass(256, 256)[None])


def test_the_stains_of_a_slide_are_nearly_those_that_torchstain_finds():
    torchstain = pytest.importorskip("torchstain", reason="torchstain is not installed")
    slide = stained((1.0, 1.0))
    peer = torchstain.normalizers.MacenkoNormalizer(backend="numpy")
    peer.fit(slide[0], Io=255)
    theirs = peer.HERef.T / np.linalg.norm(peer.HERef.T, axis=1, keepdims=True)  # (2, 3)
    ours = np.reshape(fit_normaliser("macenko", slide).record["stains"], (2, 3))
    assert (theirs * ours).sum(1) == pytest.approx(
        [1, 1], abs=0.02
    )  # it leaves out pixels that are faint in one channel
