"""CONCH's tower: a question asked of all tokens, compared with the same attention computed by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from slidesurv.errors import DataError
from slidesurv.slides.encoders.base import open_encoder
from slidesurv.slides.encoders.conch import CONCH

timm = pytest.importorskip("timm", reason="the extra slides is not installed")
WIDTH, DIM, HEADS = 24, 16, 8


@pytest.fixture
def state(monkeypatch) -> dict[str, Tensor]:
    for name, value in {"px": 32, "dim": DIM, "depth": 2, "heads": 4}.items():
        monkeypatch.setattr(CONCH, name, value)
    torch.manual_seed(0)
    trunk = timm.models.vision_transformer.VisionTransformer(32, 16, 3, 0, embed_dim=WIDTH, depth=2, num_heads=4)
    pool = {
        "query": (1, DIM),
        "attn.q_proj_weight": (DIM, DIM),
        "attn.k_proj_weight": (DIM, WIDTH),
        "attn.v_proj_weight": (DIM, WIDTH),
        "attn.in_proj_bias": (3 * DIM,),
        "attn.out_proj.weight": (DIM, DIM),
        "attn.out_proj.bias": (DIM,),
        "ln_q.weight": (DIM,),
        "ln_q.bias": (DIM,),
        "ln_k.weight": (WIDTH,),
        "ln_k.bias": (WIDTH,),
    }
    shapes = {f"attn_pool_contrast.{name}": shape for name, shape in pool.items()}
    shapes |= {"ln_contrast.weight": (DIM,), "ln_contrast.bias": (DIM,)}
    shapes |= {f"trunk.{name}": tuple(value.shape) for name, value in trunk.state_dict().items()}
    return {f"visual.{name}": torch.randn(shape) * 0.3 + 0.1 for name, shape in shapes.items()}


def by_hand(state: dict[str, Tensor], pixels: Tensor) -> Tensor:
    trunk = timm.models.vision_transformer.VisionTransformer(
        32, 16, 3, 0, global_pool="", embed_dim=WIDTH, depth=2, num_heads=4
    ).eval()
    trunk.load_state_dict({name[13:]: value for name, value in state.items() if name.startswith("visual.trunk.")})
    p = {name[26:]: value for name, value in state.items() if "attn_pool_contrast" in name}
    tokens = F.layer_norm(trunk(pixels), (WIDTH,), p["ln_k.weight"], p["ln_k.bias"])  # (B, 5, WIDTH)
    question = F.layer_norm(p["query"], (DIM,), p["ln_q.weight"], p["ln_q.bias"])  # (1, DIM)
    bias_q, bias_k, bias_v = p["attn.in_proj_bias"].chunk(3)
    q = (question @ p["attn.q_proj_weight"].T + bias_q).reshape(HEADS, 1, -1)
    k, v = (
        (tokens @ p[f"attn.{each}_proj_weight"].T + bias).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for each, bias in (("k", bias_k), ("v", bias_v))
    )  # (B, HEADS, 5, DIM / HEADS)
    weights = (q @ k.transpose(-1, -2) / (DIM // HEADS) ** 0.5).softmax(-1)
    answer = (weights @ v).transpose(1, 2).flatten(1)  # (B, DIM)
    answer = answer @ p["attn.out_proj.weight"].T + p["attn.out_proj.bias"]
    return F.layer_norm(answer, (DIM,), state["visual.ln_contrast.weight"], state["visual.ln_contrast.bias"])


def saved(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save(state, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def test_the_tower_is_the_attention_of_one_question(state, tmp_path):
    encoder = open_encoder("conch", weights=saved(state, tmp_path))
    tiles = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = by_hand(state, encoder._normalised(torch.from_numpy(tiles))).numpy()
    features = encoder.encode(tiles)
    assert features.shape == (3, DIM) and np.allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_text_tower_and_captioner_are_left_out(state, tmp_path):
    tiles = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    alone = open_encoder("conch", weights=saved(state, tmp_path)).encode(tiles)
    state |= {"text.token_embedding.weight": torch.ones(5, 4), "visual.attn_pool_caption.query": torch.ones(7, DIM)}
    state |= {"visual.proj_contrast": torch.ones(DIM, DIM), "logit_scale": torch.ones(())}
    assert np.array_equal(open_encoder("conch", weights=saved(state, tmp_path)).encode(tiles), alone)


def test_a_tower_with_a_missing_part_is_refused(state, tmp_path):
    del state["visual.attn_pool_contrast.ln_k.bias"]
    with pytest.raises(DataError, match=r"'attn_pool_contrast.ln_k.bias' is missing, expected \(24,\)"):
        open_encoder("conch", weights=saved(state, tmp_path))


def test_a_tower_for_other_tiles_is_refused(state, monkeypatch, tmp_path):
    monkeypatch.setattr(CONCH, "px", 48)
    with pytest.raises(DataError, match="make 16 features of tiles of 32 px, expected 16 of 48 px"):
        open_encoder("conch", weights=saved(state, tmp_path))


def test_weights_of_another_encoder_are_refused(state, uni_file):
    with pytest.raises(DataError, match="does not fit encoder 'conch': The weights have no 'cls_token'"):
        open_encoder("conch", weights=uni_file)


def test_a_file_of_safetensors_serves_as_well(state, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    assert open_encoder("conch", weights=tmp_path / "w.safetensors").encode(np.zeros((1, 32, 32, 3), np.uint8)).any()
