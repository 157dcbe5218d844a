"""Where numbers run: switches are put back, bfloat16 stays near, devices that are not there are named."""

from pathlib import Path

import pytest
import torch

from slidesurv.errors import ConfigError
from slidesurv.models.vgat import VGA, VGAT
from slidesurv.selection.prompts import ESE
from slidesurv.training.device import autocast, fast_matmul, peak_memory, pick_device
from slidesurv.types import Bag, Sizes


def made_bag(n: int, width: int = 32) -> Bag:
    features = torch.rand(n, width, generator=torch.Generator().manual_seed(0))
    return Bag("P", features, torch.zeros(n, 2, dtype=torch.int64), torch.zeros(n, dtype=torch.int64))


def made(**choices) -> VGAT:
    torch.manual_seed(0)
    model = VGAT(Sizes(tile=32, bins=4, embedding=16), dim=32, ese=ESE(prompts=64), vga=VGA(width=32), **choices)
    model.prepare([made_bag(300)], seed=0)
    return model


def test_the_switch_keeps_float32_accuracy_and_is_put_back():
    before = torch.backends.mkldnn.matmul.fp32_precision
    a, b = torch.rand(2, 300, 300, dtype=torch.float64)
    with fast_matmul(True):
        product = a.float() @ b.float()
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    torch.testing.assert_close(product.double(), a @ b, rtol=1e-5, atol=0)


def test_the_switch_is_put_back_after_an_error():
    before = torch.backends.mkldnn.matmul.fp32_precision
    with pytest.raises(RuntimeError), fast_matmul(True):
        raise RuntimeError
    assert torch.backends.mkldnn.matmul.fp32_precision == before


@pytest.mark.parametrize("attention", ["nystrom", "exact"])
def test_bfloat16_stays_near_float32_in_both_directions(attention):
    model = made(attention=attention).eval()
    exact = model(made_bag(200), None).logits
    with autocast(torch.device("cpu"), "bfloat16"):
        near = model.train().eval()(made_bag(200), None).logits
    near.float().sum().backward()
    assert (near - exact).abs().max() < 0.05
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_device_that_is_not_there_is_named_with_the_remedy():
    missing = "cuda:7" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ConfigError, match=f"Device '{missing}' cannot be used here.*auto"):
        pick_device(missing)
    with pytest.raises(ConfigError, match="Device 'abacus'"):
        pick_device("abacus")


def test_auto_is_a_device_that_works():
    assert torch.ones(1, device=pick_device("auto")).item() == 1


@pytest.mark.slow
def test_a_bag_of_400_000_tiles_is_predicted_within_8_gigabytes():
    from resource import RUSAGE_SELF, getrusage

    before = getrusage(RUSAGE_SELF).ru_maxrss
    model = made().eval()
    model.explains = True
    with torch.inference_mode():
        output = model(made_bag(400_000), None)
    assert output.attention.shape == (400_000,)
    assert torch.isfinite(output.logits).all()
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 8e6  # in kB


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process set its mark back")
def test_the_peak_of_memory_is_that_of_the_work_inside():
    with peak_memory() as small:
        torch.ones(1)
    with peak_memory() as large:
        torch.ones(50_000_000)  # 200 MB
    assert small.megabytes < 50
    assert 190 < large.megabytes < 260
