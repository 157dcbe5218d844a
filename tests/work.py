"""Calls for the engine's tests; at the top level of a module, so that worker processes can import them."""

import os
import time
from pathlib import Path

import torch

from slidesurv.errors import DataError


def draw(seed: int, output: Path) -> None:
    torch.manual_seed(seed)
    output.write_text(str(torch.randn(50, 50).matmul(torch.randn(50, 50)).sum().item()))


def linger(output: Path) -> None:
    output.with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(60)


def refuse(output: Path) -> None:
    raise DataError("the slide is torn")


def forget(output: Path) -> None:
    pass


def blunder(output: Path) -> None:
    raise ZeroDivisionError
