"""The state of PyTorch, NumPy and scikit-learn that this package needs, whatever its caller set."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import sklearn
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["plain_state", "threads"]


@contextmanager
def plain_state() -> Iterator[None]:
    """Within this block tensors are float32 on the CPU unless said otherwise, and gradients there.

    For whoever calls from under :func:`torch.no_grad`, inference mode, autocast, with another
    default dtype or device, has NumPy raise what it passes over by default, or has scikit-learn's
    transformers give frames. Also a decorator.

    Examples
    --------
    >>> import torch
    >>> from vicreg.plain_state import plain_state
    >>> with torch.no_grad(), plain_state():
    ...     (torch.ones(2, requires_grad=True) * 2).requires_grad
    True
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if sklearn.get_config()["transform_output"] != "default":
            stack.enter_context(sklearn.config_context(transform_output="default"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        # Both cost something: the first is the whole process's, the second slows every call.
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many threads of the CPU, for the time of a block; with None as many as there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
