"""Every encoder says what it is, and what is missing is missed before the first tile."""

import h5py
import numpy as np
import pytest

from slidesurv.errors import ConfigError, DataError, MissingExtra
from slidesurv.files import sha256
from slidesurv.slides.encoders import base
from slidesurv.slides.encoders.base import encoders, need, open_encoder
from slidesurv.slides.store import FeatureStore, write_features


@pytest.mark.parametrize("name", encoders.names())
def test_every_encoder_says_what_it_is(name):
    part = encoders[name]
    assert part.__doc__ and part.licence and part.dim > 0 and (part.px is None or part.px > 0)
    assert part.url.startswith("https://") or name == "texture"


def test_an_unknown_encoder_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"Unknown encoder 'virchow3'. Did you mean 'virchow"):
        open_encoder("virchow3")


def test_a_file_of_weights_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read the weights '.*none.bin': No such file"):
        open_encoder("uni", weights=tmp_path / "none.bin")


def test_a_library_that_is_missing_is_named_with_its_extra():
    with pytest.raises(MissingExtra, match=r"Encoder 'e' needs the library 'no_such_library'.*slidesurv\[tflite\]"):
        need("no_such_library.part", "e", "tflite")


def test_features_carry_their_origin_into_the_file(uni_file, tiles, tmp_path):
    encoder = open_encoder("uni", weights=uni_file)
    features = encoder.encode(tiles)
    write_features(
        tmp_path / "s.h5", features, np.zeros((5, 2), int), encoder=encoder.name, attributes=encoder.provenance
    )
    with h5py.File(tmp_path / "s.h5") as file:
        said = dict(file.attrs)
    assert said["encoder_id"] == "uni" and said["weights_sha256"] == sha256(uni_file)
    assert said["transform"] == "resize 28 bilinear, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    assert said["dtype"] == "float32" and said["encoder_revision"] == ""
    assert "encoder_id=uni" in FeatureStore(tmp_path).header("s").origin


def test_no_tiles_give_no_features(uni_file, tiles):
    assert open_encoder("uni", weights=uni_file).encode(tiles[:0]).shape == (0, 32)


@pytest.mark.parametrize("shape", [(28, 28, 3), (1, 28, 20, 3), (1, 28, 28, 4), (1, 3, 28, 28)])
def test_what_is_no_square_rgb_tile_is_refused(shape):
    with pytest.raises(DataError, match="cannot be encoded: give"):
        open_encoder("texture").encode(np.zeros(shape, np.uint8))


def test_tiles_of_floats_are_refused(tiles):
    with pytest.raises(DataError, match=r"Tiles of float64 \(5, 28, 28, 3\)"):
        open_encoder("texture").encode(tiles / 255)


def test_features_that_are_not_finite_never_leave_an_encoder(tiles, monkeypatch):
    encoder = open_encoder("texture")
    monkeypatch.setattr(type(encoder), "_encode", lambda self, tiles: np.full((5, 88), np.nan, np.float32))
    with pytest.raises(DataError, match="'texture' made features that are not finite in float32"):
        encoder.encode(tiles)


def test_the_hash_is_of_the_content(tmp_path):
    (tmp_path / "w").write_bytes(b"weights" * 1000)
    assert base.weights_at(tmp_path / "w").sha256 == sha256(tmp_path / "w")
