"""Texture tells tissues apart, is the same for the same tile, and means what its columns say."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slidesurv.errors import ConfigError
from slidesurv.slides.encoders.base import Weights, open_encoder
from slidesurv.slides.encoders.texture import DENSITY, TextureEncoder, densities
from slidesurv.slides.libraries import cv2
from slidesurv.slides.synthetic import LOOKS, Specimen, paint

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[3].parent / "shared/data")
ENCODER = TextureEncoder(None)


def column(features: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return features[:, ENCODER.columns.index(name)]


def cut(picture: NDArray[np.uint8], side: int = 256) -> NDArray[np.uint8]:
    """All tiles of a picture."""
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    tiles = picture[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(tiles.reshape(-1, side, side, 3))


def painted(name: str, *, strength: float = 0.5, seed: int = 0) -> NDArray[np.uint8]:
    specimen = Specimen(mixture={name: 1.0}, strength={name: strength}, coverage=1.0)
    return cut(paint(specimen, size=(1024, 512), seed=seed))


def nearest(train: NDArray, labels: NDArray, test: NDArray) -> NDArray:
    """The label of the nearest mean, in standard deviations of the training tiles."""
    mean, spread = train.mean(0), train.std(0) + 1e-6
    names = np.unique(labels)
    means = np.stack([((train[labels == name] - mean) / spread).mean(0) for name in names])
    return names[np.linalg.norm((test - mean)[:, None] / spread - means, axis=2).argmin(1)]


def test_every_feature_has_its_own_name():
    assert len(set(ENCODER.columns)) == len(ENCODER.columns) == ENCODER.dim == TextureEncoder.dim


def test_the_same_tile_gives_the_same_numbers_in_any_company():
    tiles = painted("tumour")
    whole = ENCODER.encode(tiles)
    assert whole.dtype == np.float32 and np.array_equal(whole[::-1], ENCODER.encode(tiles[::-1]))
    assert np.array_equal(whole[3:4], ENCODER.encode(tiles[3:4]))


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("side", [8, 33, 256])
def test_a_flat_tile_of_any_size_has_finite_features(side, level):
    features = ENCODER.encode(np.full((1, side, side, 3), level, np.uint8))
    assert np.isfinite(features).all()
    assert column(features, "grain_1px") == 0
    assert column(features, "haematoxylin_edges") == pytest.approx(0, abs=1e-5)


def test_stains_are_parted_as_scikit_image_does():
    colour = pytest.importorskip("skimage.color", reason="scikit-image is not installed")
    tile = np.random.default_rng(0).integers(1, 256, (20, 30, 3), dtype=np.uint8)
    scale = -np.log(1e-6)  # theirs is relative to the darkest they know
    assert np.allclose(densities(tile), scale * colour.rgb2hed(tile), atol=2e-5)


def test_neighbours_are_haralicks_as_scikit_image_has_them():
    feature = pytest.importorskip("skimage.feature", reason="scikit-image is not installed")
    tile = painted("gland")[:1]
    stain = densities(np.asarray(cv2.pyrDown(tile[0])))[..., 0]
    greys = np.minimum(cv2.convertScaleAbs(stain, alpha=100.0), 191) // 12
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    counts = feature.graycomatrix(greys, [1], angles, 16, symmetric=True).sum(3, keepdims=True).astype(float)
    counts /= counts.sum()
    for ours, theirs in {"contrast": "contrast", "homogeneity": "homogeneity", "energy": "energy"}.items():
        expected = feature.graycoprops(counts, theirs).item()
        assert column(ENCODER.encode(tile), f"haematoxylin_{ours}_2px") == pytest.approx(expected, rel=2e-3)
    expected = feature.graycoprops(counts, "correlation").item()
    assert column(ENCODER.encode(tile), "haematoxylin_likeness_2px") == pytest.approx(expected, rel=2e-3)


def test_patterns_of_a_picture_made_by_hand():
    tile = np.full((1, 64, 64, 3), 255, np.uint8)
    features = ENCODER.encode(tile)[0]
    patterns = [features[ENCODER.columns.index(f"eosin_pattern_{number}")] for number in range(10)]
    assert patterns == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0], "all eight neighbours are as dark as the pixel"


def test_nuclei_are_counted_and_sized():
    tile = np.full((256, 256, 3), 240, np.uint8)
    for place in range(4):
        cv2.circle(tile, (40 + 55 * place, 100), 8, (90, 60, 140), thickness=-1)
    features = ENCODER.encode(tile[None])
    assert column(features, "nuclei_in_100px_squared") == pytest.approx(4 * 1e4 / 256**2)
    assert column(features, "nuclei_size") == pytest.approx(np.sqrt(np.pi) * 8 / 20, rel=0.1)
    assert column(features, "nuclei_elongation") == pytest.approx(1.0, abs=0.1)
    assert column(features, "glass_share") > 0.95


def test_fibres_of_one_direction_are_told_from_noise():
    random = np.random.default_rng(0)
    stripes = np.repeat(random.integers(80, 250, (1, 256, 1)), 256, 0).repeat(3, 2).astype(np.uint8)
    noise = random.integers(80, 250, (256, 256, 1)).repeat(3, 2).astype(np.uint8)
    features = ENCODER.encode(np.stack([stripes, noise]))
    assert column(features, "haematoxylin_direction")[0] > 0.95 > 0.2 > column(features, "haematoxylin_direction")[1]
    assert column(features, "haematoxylin_fibres")[0] > 0.95


def test_darker_stain_is_a_larger_amount():
    pale, dark = (
        ENCODER.encode(
            np.uint8(255 * np.exp(-amount * np.array([0.65, 0.70, 0.29]))) * np.ones((1, 64, 64, 1), np.uint8)
        )
        for amount in (0.3, 0.9)
    )
    assert column(pale, "haematoxylin") == pytest.approx(0.3, abs=0.02)
    assert column(dark, "haematoxylin") == pytest.approx(0.9, abs=0.02)
    assert column(dark, "eosin") == pytest.approx(0, abs=0.02)


def test_painted_tissues_are_told_apart_and_their_strength_is_seen():
    train = {name: ENCODER.encode(painted(name, seed=1)) for name in LOOKS}
    test = {name: ENCODER.encode(painted(name, seed=2)) for name in LOOKS}
    labels = np.repeat(list(LOOKS), 8)
    found = nearest(np.concatenate(list(train.values())), labels, np.concatenate(list(test.values())))
    assert (found == labels).mean() > 0.95
    weak, strong = (ENCODER.encode(painted("tumour", strength=strength)) for strength in (0.0, 1.0))
    assert column(weak, "nuclei_haematoxylin").max() < column(strong, "nuclei_haematoxylin").min()


def test_weights_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="Encoder 'texture' has no weights"):
        TextureEncoder(Weights(tmp_path / "w", "0"))


def test_it_opens_without_weights_and_says_so():
    provenance = open_encoder("texture").provenance
    assert provenance["encoder_id"] == "texture" and provenance["weights_sha256"] == ""
    assert DENSITY[255] == 0 and DENSITY[0] == DENSITY[1], "black swallows as much as the darkest grey"


def test_tissues_of_real_tiles_are_told_apart():
    files = sorted((DATA / "tiles/nct_crc_val7k").glob("*/*.jpg"))
    if not files:
        pytest.skip(f"real data: '{DATA / 'tiles/nct_crc_val7k'}' is not here; set SLIDESURV_DATA")
    tiles = np.stack([cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files])
    labels = np.array([file.parent.name for file in files])
    features, part = ENCODER.encode(tiles), np.arange(len(files)) % 5
    found = labels.copy()
    for fold in range(5):
        found[part == fold] = nearest(features[part != fold], labels[part != fold], features[part == fold])
    assert (found == labels).mean() > 0.6, "one in seven is chance"


def test_a_tile_has_the_same_numbers_wherever_its_pixels_lie_in_memory():
    tile = np.random.default_rng(5).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    encoder, seen = open_encoder("texture"), []
    for size in range(1, 40):
        elsewhere = np.empty(tile.size + size, np.uint8)[size:].reshape(tile.shape)
        elsewhere[:] = tile
        seen.append(encoder.encode(elsewhere).tobytes())
    assert len(set(seen)) == 1
