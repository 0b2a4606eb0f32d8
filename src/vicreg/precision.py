"""Which library multiplies matrices, and in which number format."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bfloat16_pays", "fastest_float32", "onednn_is_exact"]

#: Where oneDNN begins to win, measured with one thread on products of a training step; and so does
#: bfloat16, whose conversions cost as much as a call.
FEWEST_MULTIPLICATIONS = 1_500_000


@contextmanager
def fastest_float32(multiplications: float) -> Iterator[None]:
    """Within this block float32 products take the fastest library that keeps float32 accuracy.

    PyTorch takes MKL by default, which runs at half speed on processors that are not Intel's.
    Where oneDNN is allowed to round to bfloat16 it takes the products over, and on a processor
    without matrix tiles (AMX) it computes them in full float32 all the same: measured on an AVX-512
    machine, 110 to 250 GF/s at the same error. With AMX it would really round, so there MKL stays.
    A call of oneDNN takes 10 microseconds more, so small products stay with MKL too.

    Parameters
    ----------
    multiplications : float
        Of the largest product in the block: rows x columns x inner dimension. With infinity every
        product goes to oneDNN, if it is exact: there a row of a product comes out the same to the
        bit wherever in the matrix it stands, which MKL's small products do not grant.

    Examples
    --------
    >>> import torch
    >>> from vicreg.precision import fastest_float32
    >>> with fastest_float32(2 * 2 * 1):
    ...     torch.eye(2) @ torch.ones(2, 1)
    tensor([[1.],
            [1.]])
    """
    if multiplications < FEWEST_MULTIPLICATIONS or not onednn_is_exact():
        yield
        return
    _allowed.enter()
    try:
        yield
    finally:
        _allowed.leave()


class _Allowed:
    """PyTorch's switch, which is the process's, for blocks of several threads that overlap."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, ""

    def enter(self) -> None:
        switch: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        with self._lock:
            if not self._inside:
                self._before, switch.fp32_precision = switch.fp32_precision, "bf16"
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.mkldnn.matmul.fp32_precision = self._before  # type: ignore[attr-defined]


_allowed = _Allowed()


@cache
def onednn_is_exact() -> bool:
    """Whether oneDNN, allowed to round, computes float32 products in full float32 all the same."""
    switchable = hasattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision")
    without_tiles = not torch.cpu._is_amx_tile_supported()
    return switchable and torch.backends.cpu.get_cpu_capability() == "AVX512" and without_tiles


def bfloat16_pays(device: torch.device, multiplications: float) -> bool:
    """Whether training multiplies faster in bfloat16: where the processor has it, on enough work.

    On a CPU that means AVX-512 BF16 (or AMX): 400 GF/s a core where float32 has 230.

    Parameters
    ----------
    device : torch.device
    multiplications : float
        Of a step's largest product: rows x columns x inner dimension.

    Examples
    --------
    >>> import torch
    >>> from vicreg.precision import bfloat16_pays
    >>> bfloat16_pays(torch.device("cpu"), 1000)
    False
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    enough = multiplications >= FEWEST_MULTIPLICATIONS
    return enough and bool(torch.cpu._is_avx512_bf16_supported())
