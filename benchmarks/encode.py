"""Tiles to features: ResNet-50 cut after its third stage against CLAM's way of running it, and texture.

    OMP_NUM_THREADS=2 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/encode.py [--weights FILE]

The peer is torchvision's network in float32, evaluated as it is written, on 16 tiles of 256 px at once. Ours turns
bytes into its input as well; the peer is handed its own. Without --weights they are random, on which neither speed nor
the agreement of the two depends. The features are compared before anything is timed.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from numpy.typing import NDArray
from race import extra_megabytes, race
from torch import nn

from slidesurv.slides.encoders.base import Encoder, open_encoder
from slidesurv.slides.encoders.network import IMAGENET
from slidesurv.slides.synthetic import Specimen, paint

TILES, PX = 16, 256
GFLOP = 8.56  # of a tile of 256 px


def random_weights(folder: Path) -> Path:
    """ResNet-50 with batch norms that neither silence nor swell what passes."""
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.3, 0.7)
        norm.running_var.uniform_(0.5, 1.5)
    torch.save(network.state_dict(), folder / "resnet50.pth")
    return folder / "resnet50.pth"


def plain_network(weights: Path) -> nn.Module:
    network = torchvision.models.resnet50(weights=None).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    return nn.Sequential(*list(network.children())[:7])


def plain_features(network: nn.Module, pixels: torch.Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        return network(pixels).mean((2, 3)).numpy()


def plain_pixels(tiles: NDArray[np.uint8]) -> torch.Tensor:
    mean, deviation = (torch.tensor(each)[:, None, None] for each in IMAGENET)
    return (torch.from_numpy(tiles).permute(0, 3, 1, 2).contiguous() / 255 - mean) / deviation


def opened(weights: Path, precision: str) -> Encoder:
    return open_encoder("resnet50", weights=weights, precision=precision)


def compare(name: str, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    cosine = F.cosine_similarity(torch.from_numpy(ours), torch.from_numpy(theirs)).min()
    print(f"  {name}: largest error {error:.1e} of the largest feature, least cosine {cosine:.6f}")


def best(call: partial, repeats: int = 3) -> float:
    """The fewest seconds that a call took."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def ceiling(precision: torch.dtype) -> float:
    """GFLOP/s of a product of two large matrices, the most that arithmetic can give here."""
    with torch.inference_mode():
        a, b = torch.randn(2, 2048, 2048).to(precision)
        return 2 * 2048**3 / best(partial(torch.mm, a, b)) / 1e9


def bottleneck(name: str, encoder: Encoder, tiles: NDArray[np.uint8], precision: torch.dtype) -> None:
    """Print where the time goes: the bytes' way to the network, or the network against the arithmetic's ceiling."""
    part = torch.from_numpy(tiles[:8])
    bytes_ = best(partial(encoder._normalised, part)) / 8
    whole = best(partial(encoder.encode, tiles)) / TILES
    reached = GFLOP / whole
    print(
        f"  {name}: {1 / whole:.1f} tiles/s; {bytes_ / whole:.1%} of the time is normalising, the rest convolutions at "
        f"{reached:.0f} GFLOP/s, {reached / ceiling(precision):.0%} of a matrix product's"
    )


def resnet(weights: Path, tiles: NDArray[np.uint8]) -> None:
    exact, rough = opened(weights, "float32"), opened(weights, "bfloat16")
    network, pixels = plain_network(weights), plain_pixels(tiles)
    theirs = plain_features(network, pixels)
    print(f"\nResNet-50 to its third stage, {TILES} tiles of {PX} px, {torch.get_num_threads()} threads")
    compare("float32", exact.encode(tiles), theirs)
    compare("bfloat16", rough.encode(tiles), theirs)
    race(
        "features of 16 tiles, float32",
        partial(exact.encode, tiles),
        {"plain": partial(plain_features, network, pixels)},
        repeats=3,
    )
    race(
        "features of 16 tiles, bfloat16",
        partial(rough.encode, tiles),
        {"plain, float32": partial(plain_features, network, pixels)},
        repeats=3,
    )
    bottleneck("float32", exact, tiles, torch.float32)
    bottleneck("bfloat16", rough, tiles, torch.bfloat16)
    print(
        f"  memory of 256 tiles at once: {extra_megabytes(partial(exact.encode, np.repeat(tiles, 16, 0))):.0f} MB extra"
    )


def texture() -> None:
    """Print the tiles of painted tissue that a second of one core is enough for."""
    picture = paint(Specimen(mixture={"tumour": 0.5, "stroma": 0.5}, coverage=1.0), size=(4 * PX, 4 * PX))
    tiles = np.ascontiguousarray(picture.reshape(4, PX, 4, PX, 3).swapaxes(1, 2).reshape(TILES, PX, PX, 3))
    encoder = open_encoder("texture")
    start = time.process_time()
    for _ in range(10):
        encoder.encode(tiles)
    print(f"texture: {10 * TILES / (time.process_time() - start):.0f} tiles of {PX} px a second of one core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="ResNet-50's; random ones where it is not given")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    tiles = np.random.default_rng(0).integers(0, 256, (TILES, PX, PX, 3), dtype=np.uint8)
    texture()
    with TemporaryDirectory() as folder:
        resnet(arguments.weights or random_weights(Path(folder)), tiles)


if __name__ == "__main__":
    main()
