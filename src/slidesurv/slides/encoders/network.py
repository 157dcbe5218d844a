"""Encoders that are PyTorch networks: transform, device, precision and batches."""

from abc import abstractmethod
from contextlib import nullcontext
from typing import ClassVar, ContextManager, Literal  # noqa: UP035 - the class, for an annotation

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.errors import ConfigError, DataError
from slidesurv.slides.encoders.base import Encoder, Precision, Weights
from slidesurv.slides.encoders.state import read_state

__all__ = ["CLIP", "HALF", "IMAGENET", "NetworkEncoder"]

Colour = tuple[float, float, float]

# (mean, standard deviation) of red, green and blue in [0, 1].
IMAGENET: tuple[Colour, Colour] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP: tuple[Colour, Colour] = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF: tuple[Colour, Colour] = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
# Tiles at a time. On a CPU so few that their activations stay in the cache; from 16 on PyTorch takes other kernels, and
# a tile's last digits would depend on how many tiles came with it.
CPU_CHUNK = 8
GPU_CHUNK = 128


class NetworkEncoder(Encoder):
    """A network, from a file of weights.

    Attributes:
        colours: mean and deviation that the network was taught with.
        resized: side that tiles are brought to before the middle ``px`` is cut out; None is ``px``.
        filter: of the resizing; both are antialiased as Pillow's are.
        usual: precision that its authors use on a GPU.
        network: on its device.
    """

    px: ClassVar[int | None] = 224
    colours: ClassVar[tuple[Colour, Colour]] = IMAGENET
    resized: ClassVar[int | None] = None
    filter: ClassVar[Literal["bilinear", "bicubic"]] = "bilinear"
    usual: ClassVar[Precision] = "float32"

    def __init__(self, weights: Weights | None) -> None:
        assert weights is not None, "find() of a network gives weights or raises"
        super().__init__(weights)
        state = read_state(weights.path)
        try:
            self.network = self._build(state).eval().requires_grad_(False)
        except DataError as error:
            raise DataError(f"'{weights.path}' does not fit encoder '{self.name}': {error}") from error
        self.to("cpu")

    @abstractmethod
    def _build(self, state: dict[str, Tensor]) -> nn.Module:
        """Make the network that a state belongs to; `fill` raises where it does not fit."""

    def require(self, *, dim: int, px: int) -> None:
        """Check what weights are for.

        Raises:
            DataError: features of another width, or tiles of another side.
        """
        if (dim, px) != (self.dim, self.px):
            raise DataError(
                f"The weights make {dim} features of tiles of {px} px, expected {self.dim} of {self.px} px. Give this "
                "very encoder's file."
            )

    @abstractmethod
    def _features(self, pixels: Tensor) -> Tensor:
        """Make (B, D) of (B, 3, px, px), which are normalised and channels-last."""

    @override
    def to(self, device: str, precision: Precision | None = None) -> None:
        try:
            place = torch.device(device)
            self.network.to(place).to(memory_format=torch.channels_last)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"Encoder '{self.name}' cannot run on '{device}': {reason}. Choose cpu.") from error
        on_cpu = place.type == "cpu"
        if on_cpu and precision == "float16":
            raise ConfigError("A CPU multiplies float16 a hundred times slower than float32: choose bfloat16.")
        self.precision = precision or ("float32" if on_cpu else self.usual)
        self._mean, self._deviation = (255 * torch.tensor(each, device=place)[:, None, None] for each in self.colours)
        self._chunk = min(CPU_CHUNK, 4 * torch.get_num_threads()) if on_cpu else GPU_CHUNK

    @property
    @override
    def transform(self) -> str:
        side = self.resized or self.px
        steps = [f"resize {side} {self.filter}"] if side else []
        steps += [f"centre {self.px}"] if side != self.px else []
        mean, deviation = (" ".join(f"{value:g}" for value in each) for each in self.colours)
        return ", ".join([*steps, f"mean {mean}", f"std {deviation}"])

    @override
    def _encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(np.require(tiles, requirements=["C", "W"]))  # (B, h, h, 3)
        features: list[Tensor] = []
        done = 0
        while done < len(pixels):
            part = pixels[done : done + self._chunk]
            try:
                features.append(self._run(part))
                done += len(part)
            except torch.OutOfMemoryError as error:
                self._make_do_with_less(error)
        return np.asarray(torch.cat(features).cpu().numpy())

    def _make_do_with_less(self, error: torch.OutOfMemoryError) -> None:
        """Take half as many tiles at a time from now on, where the memory of the device is too small."""
        if self._chunk == 1:
            raise ConfigError(
                f"One tile does not fit into the memory of '{self._mean.device}' beside encoder '{self.name}': close "
                "what else uses it, or choose cpu."
            ) from error
        self._chunk //= 2

    def _run(self, tiles: Tensor) -> Tensor:
        with torch.inference_mode(), self._autocast():
            return self._features(self._normalised(tiles)).float()

    def _autocast(self) -> ContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self._mean.device.type, getattr(torch, self.precision))

    def _normalised(self, tiles: Tensor) -> Tensor:
        """Turn (B, h, h, 3) bytes into (B, 3, px, px) of the colours' scale, in channels-last order."""
        pixels = self._sized(tiles.permute(0, 3, 1, 2))  # (B, 3, px, px)
        if self._mean.device.type == "cuda":
            pixels = pixels.pin_memory()
        pixels = pixels.to(self._mean.device, non_blocking=True).float()
        return pixels.sub_(self._mean).div_(self._deviation)

    def _sized(self, pixels: Tensor) -> Tensor:
        """Resize bytes, on the CPU whatever the device: there it is as quick, and as close to Pillow, as it can be."""
        side = self.resized or self.px or pixels.shape[-1]
        if side != pixels.shape[-1]:
            pixels = F.interpolate(pixels, (side, side), mode=self.filter, antialias=True)
        edge = (side - (self.px or side)) // 2
        pixels = pixels[..., edge : side - edge, edge : side - edge]
        return pixels.contiguous(memory_format=torch.channels_last)
