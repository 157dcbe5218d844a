"""Each family of timm's layout is the network that its authors' constructor makes, and is pooled as it says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from slidesurv.errors import DataError
from slidesurv.slides.encoders.base import encoders, open_encoder
from slidesurv.slides.encoders.vit import UNI, VisionEncoder, pooled

timm = pytest.importorskip("timm", reason="the extra slides is not installed")

SWIGLU = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU}
VIRCHOW = {"init_values": 1e-5, "mlp_ratio": 5.3375, "global_pool": "", "dynamic_img_size": True, **SWIGLU}
OPTIMUS = {"img_size": 224, "init_values": 1e-5, "dynamic_img_size": False}
# The constructors that the model cards give, but for depth and width.
CARDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "uni": ("vit_large_patch16_224", {"init_values": 1e-5, "dynamic_img_size": True}, 16),
    "uni2-h": (
        "vit_giant_patch14_224",
        {
            "img_size": 224,
            "patch_size": 14,
            "num_heads": 24,
            "init_values": 1e-5,
            "mlp_ratio": 2.66667 * 2,
            "no_embed_class": True,
            "reg_tokens": 8,
            "dynamic_img_size": True,
            **SWIGLU,
        },
        24,
    ),
    "virchow": ("vit_huge_patch14_224", VIRCHOW, 16),
    "virchow2": ("vit_huge_patch14_224", {**VIRCHOW, "reg_tokens": 4}, 16),
    "prov-gigapath": (
        "vit_giant_patch14_dinov2",
        {"img_size": 224, "patch_size": 16, "init_values": 1e-5, "mlp_ratio": 5.33334},
        24,
    ),
    "h-optimus-0": ("vit_giant_patch14_reg4_dinov2", OPTIMUS, 24),
    "h-optimus-1": ("vit_giant_patch14_reg4_dinov2", OPTIMUS, 24),
    "h0-mini": ("vit_base_patch14_reg4_dinov2", {**OPTIMUS, "mlp_ratio": 5.33334, **SWIGLU}, 12),
}
WIDTH = 48


def shrink(monkeypatch, part: type[VisionEncoder]) -> None:
    """Make a family as narrow and shallow as the test's weights."""
    monkeypatch.setattr(part, "depth", 2)
    monkeypatch.setattr(part, "dim", WIDTH if part.pooling == "class" else 2 * WIDTH)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("name", CARDS)
def test_a_family_is_its_cards_network(name, suffix, scatter, monkeypatch, tmp_path):
    architecture, choices, heads = CARDS[name]
    part = encoders[name]
    assert part.heads == heads
    card = scatter(timm.create_model(architecture, embed_dim=WIDTH, depth=2, num_classes=0, **choices))
    path = tmp_path / f"weights.{suffix}"
    save_file(card.state_dict(), path) if suffix == "safetensors" else torch.save(card.state_dict(), path)
    shrink(monkeypatch, part)
    encoder = open_encoder(name, weights=path)
    tiles = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    if part.resized:
        tiles = np.pad(tiles, ((0, 0), (16, 16), (16, 16), (0, 0)))
    with torch.inference_mode():
        tokens = card.forward_features(encoder._normalised(torch.from_numpy(tiles))).numpy()
    expected = tokens[:, 0]
    if part.pooling == "class and mean":
        expected = np.concatenate([expected, tokens[:, -256:].mean(1)], 1)  # 16 × 16 patches stand last
    assert np.allclose(encoder.encode(tiles), expected, rtol=1e-4, atol=1e-5)


def test_the_families_have_the_widths_of_their_cards():
    widths = {name: encoders[name].dim for name in CARDS}
    assert widths == {
        "uni": 1024,
        "uni2-h": 1536,
        "virchow": 2560,
        "virchow2": 2560,
        "prov-gigapath": 1536,
        "h-optimus-0": 1536,
        "h-optimus-1": 1536,
        "h0-mini": 1536,
    }


def test_pooling_is_the_class_token_then_the_mean_of_the_patches_without_the_registers():
    tokens = torch.tensor([[[1.0, 2.0], [100.0, 100.0], [3.0, 5.0], [5.0, 9.0]]])  # class, register, two patches
    assert pooled(tokens, 2, mean=True).tolist() == [[1.0, 2.0, 4.0, 7.0]]
    assert pooled(tokens, 2, mean=False).tolist() == [[1.0, 2.0]]


def test_a_shallower_file_is_refused(uni_file, monkeypatch):
    monkeypatch.setattr(UNI, "depth", 3)
    with pytest.raises(DataError, match=r"'blocks.2.attn.proj.bias' is missing, expected \(32,\)"):
        open_encoder("uni", weights=uni_file)


def test_a_file_of_another_width_or_tile_is_refused(uni_file, monkeypatch):
    monkeypatch.setattr(UNI, "dim", 64)
    with pytest.raises(DataError, match="make 32 features of tiles of 28 px, expected 64 of 28 px"):
        open_encoder("uni", weights=uni_file)
    monkeypatch.setattr(UNI, "dim", 32)
    monkeypatch.setattr(UNI, "px", 56)
    with pytest.raises(DataError, match="make 32 features of tiles of 28 px, expected 32 of 56 px"):
        open_encoder("uni", weights=uni_file)


def test_a_width_that_the_heads_cannot_share_is_refused(uni_file, monkeypatch):
    monkeypatch.setattr(UNI, "heads", 5)
    with pytest.raises(DataError, match="width 32 cannot have 5 heads"):
        open_encoder("uni", weights=uni_file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("cls_token"), "have no 'cls_token', but 'blocks.0"),
        (lambda state: state.update(pos_embed=torch.zeros(1, 7, 32)), "7 positions are no square"),
        (lambda state: state.update(head=torch.zeros(3)), r"'head' is \(3,\), expected none"),
    ],
)
def test_what_is_no_such_transformer_is_refused(small_uni, tmp_path, change, reason):
    state = {name: value.clone() for name, value in small_uni.state_dict().items()}
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=reason):
        open_encoder("uni", weights=Path(tmp_path / "w.safetensors"))
