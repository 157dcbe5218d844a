"""Hugging Face's layout, renamed, is the same function as its own program: tokens recorded from it."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reference.dinov2 import filled, pixels, records
from slidesurv.errors import DataError
from slidesurv.slides.encoders.base import encoders, open_encoder
from slidesurv.slides.encoders.dinov2 import Midnight12k

pytest.importorskip("timm", reason="the extra slides is not installed")
RECORDS = records()


def shrink(monkeypatch, record, **choices) -> None:
    sizes = {"px": record["px"], "depth": record["num_hidden_layers"], "heads": record["num_attention_heads"]}
    for name, value in {**sizes, "dim": 2 * record["hidden_size"], **choices}.items():
        monkeypatch.setattr(Midnight12k, name, value)


def tile(record) -> np.ndarray:
    shown = pixels(len(record["shapes"]), record["px"])[0].permute(1, 2, 0)
    return (255 * shown).round().to(torch.uint8).numpy()[None]


@pytest.mark.parametrize(
    "record",
    RECORDS,
    ids=lambda record: f"{record['num_register_tokens']}-{record['use_swiglu_ffn']}-{record['image_size']}",
)
def test_golden_tokens_of_the_layouts_own_program(record, monkeypatch, tmp_path):
    shrink(monkeypatch, record, colours=((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    save_file(filled(record["shapes"]), tmp_path / "model.safetensors")
    features = open_encoder("midnight-12k", weights=tmp_path / "model.safetensors").encode(tile(record))
    tokens = np.array(record["tokens"])
    expected = np.concatenate([tokens[0], tokens[1 + record["num_register_tokens"] :].mean(0)])
    assert np.allclose(features[0], expected, atol=2e-5)


def test_a_parameter_that_is_not_known_does_not_fit(monkeypatch, tmp_path):
    record = RECORDS[0]
    shrink(monkeypatch, record)
    save_file({**filled(record["shapes"]), "encoder.layer.0.adapter": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"'blocks.0.adapter' is \(2,\), expected none"):
        open_encoder("midnight-12k", weights=tmp_path / "model.safetensors")


def test_weights_of_timms_layout_are_refused(uni_file):
    with pytest.raises(DataError, match=r"have no 'embeddings.cls_token'"):
        open_encoder("midnight-12k", weights=uni_file)


def test_the_families_have_the_widths_of_their_cards():
    widths = {name: encoders[name].dim for name in ("phikon-v2", "hibou-b", "hibou-l", "midnight-12k")}
    assert widths == {"phikon-v2": 1024, "hibou-b": 768, "hibou-l": 1024, "midnight-12k": 3072}
