"""Products of float32 matrices on the processor by oneDNN, not by the library that PyTorch takes for them."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_LEAST = 2**22
"""Multiplications from which oneDNN pays."""


_AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class QuickProducts(TorchFunctionMode):
    """In this context large products of float32 matrices on the processor go to oneDNN, with their gradients."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take over `torch.matmul` of two matrices; everything else is PyTorch's."""
        if func is torch.matmul and len(args) == 2 and not kwargs and _takes(*args):
            return _Product.apply(*args)
        return func(*args, **(kwargs or {}))


def _takes(a: Any, b: Any) -> bool:
    return bool(
        _AVAILABLE
        and not torch.compiler.is_compiling()
        and a.ndim == 2
        and b.ndim == 2
        and a.dtype == b.dtype == torch.float32
        and a.device.type == b.device.type == "cpu"
        and a.shape[0] * a.shape[1] * b.shape[1] >= _LEAST
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a, b)
        return torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        a, b = ctx.saved_tensors
        needs_a, needs_b = ctx.needs_input_grad
        return (
            _Product.apply(gradient, b.T) if needs_a else None,
            _Product.apply(a.T, gradient) if needs_b else None,
        )
