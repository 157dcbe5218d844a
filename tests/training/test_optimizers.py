"""Optimizers and rates against their written rules."""

import pytest
import torch

from slidesurv.config.training import TrainingSection
from slidesurv.training.optimizers import make_optimizer, rate


def walk(optimizer: str, steps: int, **settings) -> torch.Tensor:
    weight = torch.nn.Parameter(torch.full((2, 2), 1.0))
    recipe = TrainingSection(optimizer=optimizer, learning_rate=0.1, weight_decay=0, **settings)
    moved = make_optimizer([weight], recipe)
    for _ in range(steps):
        moved.zero_grad()
        weight.square().sum().backward()
        moved.step()
    return weight.detach()


def test_lookahead_keeps_half_the_way_of_six_steps():
    fast = walk("radam", 6)
    assert torch.equal(walk("lookahead", 5), walk("radam", 5))
    torch.testing.assert_close(walk("lookahead", 6), 1 + 0.5 * (fast - 1))


def test_adamw_decays_matrices_and_leaves_biases():
    bias, matrix = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3, 3))
    recipe = TrainingSection(optimizer="adamw", learning_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer([bias, matrix], recipe)
    (0 * bias.sum() + 0 * matrix.sum()).backward()
    optimizer.step()
    assert torch.equal(bias, torch.ones(3))
    torch.testing.assert_close(matrix, torch.full((3, 3), 0.95))


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        *(("constant", 99, 1.0), ("step", 29, 1.0), ("step", 30, 0.1), ("step", 60, 0.01)),
        *(("warmup", 0, 0.1), ("warmup", 1, 1.0), ("cosine", 0, 1.0), ("cosine", 50, 0.5)),
    ],
)
def test_rates_follow_their_schedule(schedule, epoch, expected):
    assert rate(TrainingSection(schedule=schedule, learning_rate=1, epochs=100), epoch) == pytest.approx(expected)
