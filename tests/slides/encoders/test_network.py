"""What a network reads of a tile, and that neither its batch nor its device's memory changes the features."""

import numpy as np
import pytest
import torch
from PIL import Image

from slidesurv.errors import ConfigError
from slidesurv.slides.encoders.base import open_encoder
from slidesurv.slides.encoders.network import NetworkEncoder
from slidesurv.slides.encoders.vit import ProvGigaPath

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@pytest.fixture
def encoder(uni_file) -> NetworkEncoder:
    return open_encoder("uni", weights=uni_file)


def read_back(encoder: NetworkEncoder, tiles: np.ndarray) -> np.ndarray:
    """What the network is shown, as bytes (B, px, px, 3)."""
    pixels = encoder._normalised(torch.from_numpy(tiles))
    mean, deviation = (torch.tensor(each)[:, None, None] for each in encoder.colours)
    return (255 * (pixels * deviation + mean)).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("side", [32, 57, 20])
def test_tiles_are_resized_as_pillow_does(encoder, monkeypatch, name, side):
    monkeypatch.setattr(type(encoder), "filter", name)
    tiles = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    pillow = np.stack([np.asarray(Image.fromarray(tile).resize((28, 28), FILTERS[name])) for tile in tiles])
    away = np.abs(read_back(encoder, tiles) - pillow)
    assert away.max() < 2.001 and (away > 0.001).mean() < 0.03, "but for ties of Pillow's own rounding"


def test_a_tile_of_the_right_size_is_only_scaled(encoder, tiles):
    assert np.abs(read_back(encoder, tiles) - tiles).max() < 1e-4
    assert encoder._normalised(torch.from_numpy(tiles)).is_contiguous(memory_format=torch.channels_last)


def test_the_middle_is_cut_out_where_the_authors_do(encoder, monkeypatch):
    monkeypatch.setattr(type(encoder), "resized", 32)
    tiles = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert np.abs(read_back(encoder, tiles) - tiles[:, 2:-2, 2:-2]).max() < 1e-4
    assert encoder.transform.startswith("resize 32 bilinear, centre 28, mean")
    assert (ProvGigaPath.resized, ProvGigaPath.px) == (256, 224)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_tile_does_not_depend_on_the_tiles_beside_it(encoder, precision):
    tiles = np.random.default_rng(2).integers(0, 256, (19, 28, 28, 3), dtype=np.uint8)
    encoder.to("cpu", precision)
    whole = encoder.encode(tiles)
    assert np.array_equal(whole, np.concatenate([encoder.encode(tile[None]) for tile in tiles]))
    assert np.array_equal(whole[::-1], encoder.encode(tiles[::-1]))


def test_tiles_that_may_not_be_written_are_encoded_and_left_alone(encoder, tiles):
    before = tiles.copy()
    tiles.flags.writeable = False
    encoder.encode(tiles)
    assert np.array_equal(tiles, before)


def test_where_memory_runs_out_the_batch_is_halved_and_the_features_stay(encoder, monkeypatch):
    tiles = np.random.default_rng(2).integers(0, 256, (8, 28, 28, 3), dtype=np.uint8)
    whole, roomy = encoder.encode(tiles), encoder._features
    sizes = []

    def cramped(pixels):
        sizes.append(len(pixels))
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("no room")
        return roomy(pixels)

    monkeypatch.setattr(encoder, "_features", cramped)
    assert np.array_equal(encoder.encode(tiles), whole)
    assert sizes == [4, 2] + 8 * [1]


def test_a_tile_that_never_fits_is_an_error_of_the_device(encoder, tiles, monkeypatch):
    def full(pixels):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(encoder, "_features", full)
    with pytest.raises(ConfigError, match="One tile does not fit into the memory of 'cpu'"):
        encoder.encode(tiles)


def test_bfloat16_stays_close(encoder, tiles):
    exact = encoder.encode(tiles)
    encoder.to("cpu", "bfloat16")
    rough = encoder.encode(tiles)
    assert encoder.provenance["dtype"] == "bfloat16" and rough.dtype == np.float32
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosine.min() > 0.999 and not np.array_equal(exact, rough)


@pytest.mark.parametrize(
    ("device", "precision", "reason"),
    [("cpu", "float16", "choose bfloat16"), ("gpu", None, "cannot run on 'gpu'"), ("cuda:99", None, "cannot run on")],
)
def test_a_device_that_cannot_is_refused(encoder, device, precision, reason):
    with pytest.raises(ConfigError, match=reason):
        encoder.to(device, precision)
