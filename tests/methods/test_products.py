"""Large products on PyTorch's processor: another library, the same values and gradients."""

import keras
import numpy as np
import pytest

from scbch_keras import backend

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's own")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def product_and_gradients(torch, context, a, b, weight):
    a, b = (torch.from_numpy(values).requires_grad_() for values in (a, b))
    with context():
        result = keras.ops.matmul(a, b)
    (result * torch.from_numpy(weight)).sum().backward()
    return [values.detach().numpy() for values in (result, a.grad, b.grad)]


@pytest.mark.parametrize("rows", [1, 7, 128])
def test_products_and_gradients_are_those_of_float64(torch, rows):
    rng = np.random.default_rng(rows)
    a, b, weight = (
        rng.standard_normal(shape).astype("float32") for shape in ((rows, 2048), (2048, 2056), (rows, 2056))
    )
    exact = [a.astype("float64") @ b, weight.astype("float64") @ b.T, a.T.astype("float64") @ weight]
    for result, expected in zip(
        product_and_gradients(torch, backend.products, a, b, weight), exact, strict=True
    ):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_a_large_product_is_taken_over_and_twice_derived(torch):
    a, b = torch.ones(4, 2048, requires_grad=True), torch.ones(2048, 2048)
    with backend.products():
        result = torch.matmul(a, b)
        (first,) = torch.autograd.grad((result**2).sum(), a, create_graph=True)
        first.sum().backward()
    assert "_Product" in type(result.grad_fn).__name__
    assert float(a.grad[0, 0]) == 2 * 2048 * 2048


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3, 16, 4096), "float32"), ((128, 4096), "float64"), ((128, 4096), "bfloat16"), ((2, 16), "float32")],
)
def test_all_else_stays_bit_for_bit(torch, shape, dtype):
    a = torch.randn(shape).to(getattr(torch, dtype))
    b = torch.randn((shape[-1], 512)).to(a.dtype)
    with backend.products():
        result = torch.matmul(a, b)
    assert torch.equal(result, torch.matmul(a, b))
