"""The lean landmark attention is the literature's, and its shortcuts change nothing."""

import pytest
import torch

from slidesurv.nn.nystrom import SelfAttention


def literal(module: SelfAttention, tokens: torch.Tensor) -> torch.Tensor:
    """The layer as it is written down: zero rows prepended, every matrix whole."""
    m, heads = module.landmarks, module.heads
    n, dim = tokens.shape
    x = torch.nn.functional.pad(tokens, (0, 0, -n % m, 0))
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in module.qkv(x).chunk(3, -1))
    q = q * (dim // heads) ** -0.5
    landmark_q, landmark_k = (part.unflatten(1, (m, -1)).mean(2) for part in (q, k))
    a1, a2, a3 = (
        (a @ b.transpose(1, 2)).softmax(-1) for a, b in ((q, landmark_k), (landmark_q, landmark_k), (landmark_q, k))
    )
    z = a2.transpose(1, 2) / (a2.sum(-1).max() * a2.sum(-2).max())
    eye = torch.eye(m, dtype=z.dtype)
    for _ in range(6):
        az = a2 @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    out = a1 @ z @ a3 @ v + module.residual(v[None])[0]
    return module.output(out.transpose(0, 1).flatten(1))[-n:]


def made(*, exact: bool = False, landmarks: int = 16) -> SelfAttention:
    torch.manual_seed(0)
    return SelfAttention(32, heads=4, landmarks=landmarks, kernel=5, exact=exact).double().eval()


@pytest.mark.parametrize("n", [1, 2, 7, 15, 16, 17, 31, 33, 40, 64, 100])
def test_zero_rows_counted_once_give_the_layer_with_all_of_them(n):
    tokens = torch.randn(n, 32, dtype=torch.float64)
    torch.testing.assert_close(made()(tokens), literal(made(), tokens), atol=1e-10, rtol=0)


@pytest.mark.parametrize("n", [3, 16, 37])
def test_gradients_are_those_of_the_literal_layer(n):
    lean, plain = made(), made()
    tokens = torch.randn(n, 32, dtype=torch.float64)
    lean(tokens).square().sum().backward()
    literal(plain, tokens).square().sum().backward()
    for ours, theirs in zip(lean.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("n", [1, 5, 37])
def test_the_first_row_alone_is_the_first_row_of_all(n, exact):
    tokens = torch.randn(n, 32, dtype=torch.float64)
    module = made(exact=exact)
    torch.testing.assert_close(module.first(tokens), module(tokens)[:1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("rows", [1, 3, 8, 37])
def test_the_first_rows_alone_are_the_first_rows_of_all(rows):
    tokens = torch.randn(37, 32, dtype=torch.float64)
    module = made(exact=False)
    torch.testing.assert_close(module.first(tokens, rows), module(tokens)[:rows], atol=1e-12, rtol=0)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("n", [1, 5, 37])
def test_the_attention_of_the_first_token_rebuilds_its_output(n, exact):
    tokens = torch.randn(n, 32, dtype=torch.float64)
    module = made(exact=exact)
    values = module.qkv(tokens)[:, 64:].unflatten(-1, (4, -1)).transpose(0, 1)  # (H, n, d)
    mixed = (module.first_row(tokens)[:, None] @ values)[:, 0] + module.residual(values[None])[0, :, 0]
    torch.testing.assert_close(module.output(mixed.flatten()), module(tokens)[0], atol=1e-10, rtol=0)


def test_as_many_landmarks_as_tokens_come_close_to_exact_attention():
    tokens = torch.randn(64, 32, dtype=torch.float64)
    close, far = made(landmarks=64), made(landmarks=4)
    truth = made(exact=True, landmarks=64)(tokens)
    error = [(module(tokens) - truth).abs().max().item() for module in (close, far)]
    assert error[0] < 0.05 < error[1] * 5


def test_exact_attention_does_not_see_how_many_landmarks_there_are():
    tokens = torch.randn(9, 32, dtype=torch.float64)
    torch.testing.assert_close(made(exact=True, landmarks=2)(tokens), made(exact=True, landmarks=8)(tokens))
