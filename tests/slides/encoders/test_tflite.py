"""A network in a TensorFlow Lite file: its own scale, its own shape, and real weights where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from slidesurv.errors import ConfigError, DataError
from slidesurv.slides.encoders.base import open_encoder
from slidesurv.slides.encoders.tflite import MobileNetV1
from slidesurv.slides.libraries import cv2

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[3].parent / "shared/data")
interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="the extra tflite is not installed")


@pytest.fixture
def file() -> Path:
    path = DATA / "encoders" / MobileNetV1.file
    if not path.exists():
        pytest.skip(f"real data: '{path}' is not here; set SLIDESURV_DATA")
    return path


def test_weights_are_asked_for():
    with pytest.raises(ConfigError, match=r"'mobilenet-v1' are not looked for. Give --weights FILE: 'mobilenet_v1"):
        open_encoder("mobilenet-v1")


def test_what_is_no_tflite_file_is_refused(tmp_path):
    (tmp_path / "w.tflite").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"w.tflite' is no TFLite file"):
        open_encoder("mobilenet-v1", weights=tmp_path / "w.tflite")


def test_features_are_the_networks_bytes_on_its_scale(file):
    tiles = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    network = interpreter.Interpreter(model_path=str(file))
    network.allocate_tensors()
    network.set_tensor(network.get_input_details()[0]["index"], tiles[1:2])
    network.invoke()
    bytes_ = network.get_tensor(network.get_output_details()[0]["index"]).ravel()
    features = open_encoder("mobilenet-v1", weights=file).encode(tiles)
    assert features.shape == (3, 1024) and features.dtype == np.float32
    assert np.allclose(features[1], bytes_ * 0.02353, rtol=1e-3)
    assert np.array_equal(features[1:2], open_encoder("mobilenet-v1", weights=file).encode(tiles[1:2]))


def test_a_network_of_another_shape_is_refused(file, monkeypatch):
    monkeypatch.setattr(MobileNetV1, "dim", 512)
    with pytest.raises(DataError, match=r"\[1024\].*'mobilenet-v1' has uint8, 224 px in and 512 out"):
        open_encoder("mobilenet-v1", weights=file)


def test_tissues_of_real_tiles_are_told_apart(file):
    files = sorted((DATA / "tiles/nct_crc_val7k").glob("*/*.jpg"))
    if not files:
        pytest.skip(f"real data: '{DATA / 'tiles/nct_crc_val7k'}' is not here; set SLIDESURV_DATA")
    encoder = open_encoder("mobilenet-v1", weights=file)
    features = encoder.encode(np.stack([cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for f in files]))
    labels = np.array([f.parent.name for f in files])
    away = np.linalg.norm(features[:, None] - features, axis=2) + 1e9 * np.eye(len(files))
    assert (labels[away.argmin(1)] == labels).mean() > 0.75, "0.83 in the notes of the file's source"
    assert encoder.transform == "resize 224 area"
