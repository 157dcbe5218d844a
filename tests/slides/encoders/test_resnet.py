"""ResNet-50 cut after its third stage is torchvision's, folded or not, at any size of tile."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slidesurv.errors import ConfigError, DataError
from slidesurv.files import sha256
from slidesurv.slides.encoders import resnet
from slidesurv.slides.encoders.base import open_encoder
from slidesurv.slides.encoders.network import IMAGENET
from slidesurv.slides.encoders.resnet import ResNet50

torchvision = pytest.importorskip("torchvision", reason="the extra slides is not installed")


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """All of ResNet-50, with batch norms that have seen something."""
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None).eval()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.3, 0.7)
        nn.init.normal_(norm.bias, 0.0, 0.1)
        norm.running_mean.normal_(0.0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def file(plain, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(plain.state_dict(), path)
    return path


def trunk(network: nn.Module) -> nn.Sequential:
    return nn.Sequential(*list(network.children())[:7])


def clam(network: nn.Module, tiles: np.ndarray) -> np.ndarray:
    mean, deviation = (torch.tensor(each)[:, None, None] for each in IMAGENET)
    pixels = (torch.from_numpy(tiles).permute(0, 3, 1, 2).contiguous() / 255 - mean) / deviation
    with torch.inference_mode():
        return trunk(network)(pixels).mean((2, 3)).numpy()


def noise(side: int, tiles: int = 2) -> np.ndarray:
    return np.random.default_rng(side).integers(0, 256, (tiles, side, side, 3), dtype=np.uint8)


def test_the_trunk_has_the_parameters_of_the_specification(plain):
    assert sum(parameter.numel() for parameter in trunk(plain).parameters()) == 8_543_296


@pytest.mark.parametrize("side", [64, 256])
def test_features_are_those_of_the_plain_network_without_resizing(plain, file, side):
    tiles = noise(side)
    features, expected = open_encoder("resnet50", weights=file).encode(tiles), clam(plain, tiles)
    assert features.shape == (2, 1024) and features.min() >= 0
    assert np.abs(features - expected).max() < 1e-6 * np.abs(expected).max()


def test_resnet50_224_resizes_and_the_two_differ(plain, file):
    at_224, tiles = open_encoder("resnet50-224", weights=file), noise(256, 1)
    assert np.allclose(at_224.encode(noise(224, 1)), clam(plain, noise(224, 1)), rtol=1e-4, atol=1e-6)
    assert not np.allclose(at_224.encode(tiles), open_encoder("resnet50", weights=file).encode(tiles), rtol=1e-2)
    assert at_224.transform.startswith("resize 224 bilinear, mean 0.485")


def test_bfloat16_keeps_the_direction_and_leaves_float32_as_it_was(file):
    encoder, tiles = open_encoder("resnet50", weights=file), noise(64)
    exact = encoder.encode(tiles)
    encoder.to("cpu", "bfloat16")
    rough = encoder.encode(tiles)
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert 0.9999 < cosine.min() < 1
    encoder.to("cpu", "float32")
    assert np.array_equal(encoder.encode(tiles), exact)


def test_a_deeper_network_is_refused(plain, tmp_path):
    state = plain.state_dict()
    state |= {name.replace("layer3.5", "layer3.6"): state[name] for name in list(state) if "layer3.5" in name}
    torch.save(state, tmp_path / "deep.pth")
    with pytest.raises(DataError, match=r"deep.pth' does not fit encoder 'resnet50': .*'layer3.6.conv1.bias'"):
        open_encoder("resnet50", weights=tmp_path / "deep.pth")


def test_a_network_without_batch_norms_is_refused(plain, tmp_path):
    torch.save({name: value for name, value in plain.state_dict().items() if "bn" not in name}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"have no 'bn1.weight'"):
        open_encoder("resnet50", weights=tmp_path / "w.pth")


def test_the_release_is_known_by_its_hash_and_the_second_refused(file, monkeypatch):
    digest = sha256(file)[:8]
    monkeypatch.setattr(resnet, "RELEASES", {digest: "IMAGENET1K_V1"})
    assert open_encoder("resnet50", weights=file).provenance["encoder_revision"] == "IMAGENET1K_V1"
    monkeypatch.setattr(resnet, "RELEASES", {digest: "IMAGENET1K_V2"})
    with pytest.raises(DataError, match=r"it is IMAGENET1K_V2. Features are made with version 1"):
        open_encoder("resnet50", weights=file)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of torch's, and a server that has a file."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    (tmp_path / "resnet50-0676ba61.pth").write_bytes(b"weights")
    monkeypatch.setattr(resnet, "URL", (tmp_path / "resnet50-0676ba61.pth").as_uri())
    return tmp_path / "cache"


def test_without_weights_nothing_is_fetched_unasked(cache):
    with pytest.raises(ConfigError, match=r"not in '.*resnet50-0676ba61.pth'. Run 'slidesurv weights resnet50'"):
        open_encoder("resnet50")
    assert not cache.exists()


def test_weights_are_fetched_once(cache, monkeypatch):
    fetch = torch.hub.download_url_to_file
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, to, **_: fetch(url, to, progress=False))
    found = ResNet50.find(network=True)
    assert found.path == cache / "checkpoints/resnet50-0676ba61.pth" and found.path.read_bytes() == b"weights"
    monkeypatch.delattr(torch.hub, "download_url_to_file")
    assert ResNet50.find(network=True) == found


def test_weights_with_another_hash_are_not_kept(cache):
    with pytest.raises(ConfigError, match=r"Cannot fetch file://.*invalid hash value"):
        ResNet50.find(network=True)
    assert not [path for path in cache.rglob("*") if path.is_file()]
