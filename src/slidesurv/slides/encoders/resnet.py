"""ResNet-50 cut after its third stage, with ImageNet weights: CLAM's features (Lu et al., Nature Biomed. Eng. 2021).

Written from the specification, section 2.4. Differs: every batch norm is folded into the convolution before it, which
is the same function to 1e-6, and tiles lie in memory channels-last, a few at a time. In bfloat16 the weights are
rounded once instead of at every use.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, final
from urllib.error import URLError

import torch
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.errors import ConfigError, DataError
from slidesurv.files import replacing
from slidesurv.slides.encoders.base import Precision, Weights, encoders, weights_at
from slidesurv.slides.encoders.network import NetworkEncoder
from slidesurv.slides.encoders.state import entries, fill

__all__ = ["ResNet50", "ResNet50At224"]

URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2))  # blocks, width, stride of the first; the fourth stage is cut off
# The files' names end in the first digits of their sha256.
RELEASES = {"0676ba61": "IMAGENET1K_V1", "11ad3fa6": "IMAGENET1K_V2"}
EPSILON = 1e-5  # of a batch norm


@encoders.register("resnet50")
class ResNet50(NetworkEncoder):
    """As CLAM was until March 2024, and as MCAT's features are: tiles are not resized.

    Attributes:
        weights: torchvision's file of ResNet-50, or timm's ``resnet50.tv_in1k``.
    """

    dim = 1024
    px: ClassVar[int | None] = None
    licence = "BSD-3-Clause (torchvision); ImageNet's terms are for non-commercial research"
    url = URL

    @classmethod
    @override
    def find(cls, *, network: bool) -> Weights:
        path = Path(torch.hub.get_dir()) / "checkpoints" / URL.rpartition("/")[2]
        if not path.exists():
            _fetch(path, network)
        return weights_at(path)

    @override
    def _build(self, state: dict[str, Tensor]) -> nn.Module:
        assert self.weights is not None
        release = RELEASES.get(self.weights.sha256[:8], "")
        if release == "IMAGENET1K_V2":
            raise DataError(f"it is {release}. Features are made with version 1: give {URL}.")
        self.weights = Weights(self.weights.path, self.weights.sha256, release)
        self._folded = folded(state)
        return fill(_Trunk(), self._folded)

    @override
    def to(self, device: str, precision: Precision | None = None) -> None:
        fill(self.network, self._folded)  # from what was read, not from what an earlier precision left of it
        super().to(device, precision)
        self.network.to(getattr(torch, self.precision))

    @override
    def _features(self, pixels: Tensor) -> Tensor:
        stages = self.network(pixels)  # (B, 1024, h / 16, h / 16)
        return torch.mean(stages, (2, 3), dtype=torch.float32)


@final
@encoders.register("resnet50-224")
class ResNet50At224(ResNet50):
    """As CLAM is today: tiles are resized to 224 pixels, which gives other features than ``resnet50``."""

    px: ClassVar[int | None] = 224


class _Trunk(nn.Sequential):
    """The stem and three stages, in torchvision's names, with a bias in the place of every batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = 64
        for number, (blocks, width, stride) in enumerate(STAGES, start=1):
            first = _Bottleneck(before, width, stride)
            before = 4 * width
            others = [_Bottleneck(before, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *others))


class _Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1)
        self.conv3 = nn.Conv2d(width, 4 * width, 1)
        self.downsample = nn.Conv2d(before, 4 * width, 1, stride=stride) if before != 4 * width else nn.Identity()

    @override
    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(self.conv1(x).relu_()).relu_()  # (B, width, h, w)
        return self.conv3(inner).add_(self.downsample(x)).relu_()  # (B, 4 width, h, w)


def folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold every batch norm of a ResNet's first three stages into the convolution before it.

    Args:
        state: as torchvision names it.

    Returns:
        A weight and a bias for every convolution.

    Raises:
        DataError: a batch norm is missing.
    """
    out = {}
    for name, weight in state.items():
        if weight.ndim == 4 and not name.startswith("layer4."):
            conv = name.removesuffix(".weight")
            gain, shift, mean, variance = (value.double() for value in entries(state, *_norm_after(conv)))
            scale = gain / (variance + EPSILON).sqrt()  # (width,)
            place = conv.removesuffix(".0")
            out[f"{place}.weight"] = (weight.double() * scale[:, None, None, None]).float()
            out[f"{place}.bias"] = (shift - mean * scale).float()
    return out


def _norm_after(conv: str) -> list[str]:
    norm = f"{conv[:-1]}1" if conv.endswith("downsample.0") else conv.replace("conv", "bn")
    return [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]


def _fetch(path: Path, network: bool) -> None:
    if not network:
        raise ConfigError(
            f"The weights of ResNet-50 are not in '{path}'. Run 'slidesurv weights resnet50' where there is a network, "
            f"or give --weights FILE, which is {URL}."
        )
    with replacing(path) as temporary:
        try:
            torch.hub.download_url_to_file(URL, str(temporary), hash_prefix="0676ba61", progress=False)
        except (URLError, RuntimeError) as error:
            raise ConfigError(f"Cannot fetch {URL}: {error}. Try again, or give --weights FILE.") from error
