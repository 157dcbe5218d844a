"""Chunks of a bag: how they are dealt, and what their answers come to."""

import pytest
import torch

from reference.peers import as_bag
from slidesurv.models.micro_batch import deal, gather, mean_answer
from slidesurv.types import ModelOutput


@pytest.mark.parametrize(
    ("n", "size", "lengths"),
    [(5, 4, [3, 2]), (8, 4, [3, 3, 2]), (4, 4, [2, 2]), (3, 4, [3]), (1, 1, [1]), (3, 1, [1] * 3)],
)
def test_a_bag_is_dealt_into_chunks_as_published(n, size, lengths):
    chunks = deal(as_bag(torch.rand(n, 2)), size, training=False)
    assert [len(chunk) for chunk in chunks] == lengths
    assert sorted(torch.cat(chunks).tolist()) == list(range(n))


def test_a_bag_is_dealt_the_same_way_for_every_prediction_and_anew_in_training():
    one = as_bag(torch.rand(50, 2), "P-1")
    first, second = (torch.cat(deal(one, 8, training=False)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.cat(deal(as_bag(one.features, "P-2"), 8, training=False)))
    fresh, again = (torch.cat(deal(one, 8, training=True)) for _ in range(2))
    assert not torch.equal(fresh, again)


def test_a_mean_answer_has_the_mean_of_the_survival_and_of_the_risk():
    chunks = torch.randn(5, 4, dtype=torch.float64) * 3
    answer, parts = mean_answer(chunks, None), [ModelOutput(logits) for logits in chunks]
    torch.testing.assert_close(answer.survival, torch.stack([part.survival for part in parts]).mean(0))
    torch.testing.assert_close(answer.risk, torch.stack([part.risk for part in parts]).mean())


@pytest.mark.parametrize("scale", [50.0, 1e4])
def test_a_mean_answer_of_certain_chunks_is_finite(scale):
    chunks = (torch.tensor([[1.0, -1, 1, -1], [-1, -1, -1, -1]]) * scale).requires_grad_()
    answer = mean_answer(chunks, None)
    answer.logits.sum().backward()
    assert torch.isfinite(answer.logits).all()
    assert torch.isfinite(chunks.grad).all()


def test_attention_finds_its_way_back_to_its_tiles():
    tiles = as_bag(torch.arange(10.0)[:, None])
    chunks = deal(tiles, 4, training=False)
    shares = [tiles.features[chunk, 0] for chunk in chunks]
    torch.testing.assert_close(gather(shares, chunks) * len(chunks), torch.arange(10.0))
