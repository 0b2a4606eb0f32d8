"""Fits and embeddings are the same whatever the state around them, and leave it alone."""

from __future__ import annotations

import math
import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sklearn
import torch

from vicreg import VICReg, evaluate, load
from vicreg.plain_state import plain_state
from vicreg.precision import fastest_float32

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

X = np.random.default_rng(0).normal(size=(120, 6)) * [1, 1e-300, 1e-40, 1e100, 1, 1]


def model(seed: int = 0) -> VICReg:
    return VICReg(n_components=16, steps=20, random_state=seed, n_threads=1, device="cpu")


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


STATES = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "another device": lambda: torch.device("meta"),
    "NumPy's errors": lambda: np.errstate(all="raise"),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
def test_what_surrounds_a_fit_does_not_change_it(state: Any, tmp_path: Path) -> None:
    fitted = model().fit(X)
    wanted = fitted.transform(X)
    fitted.save(tmp_path / "model")
    with state():
        found = [model().fit(X).transform(X), fitted.transform(X)]
        found.append(load(tmp_path / "model").transform(X))
    for one in found:
        assert one.dtype == np.float32
        assert np.array_equal(one, wanted)


@plain_state()
def look_and_fail() -> None:
    assert torch.ones(1).dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()
    _ = 1 / 0


def test_the_state_is_given_back() -> None:
    with torch.no_grad(), torch.autocast("cpu"), default_dtype(torch.float64):
        with pytest.raises(ZeroDivisionError):
            look_and_fail()
        assert torch.ones(1).dtype == torch.float64
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_grad_enabled()


def test_fits_in_threads_are_those_one_after_the_other() -> None:
    wanted = [model(seed).fit(X).transform(X) for seed in range(4)]
    state = torch.get_rng_state()
    for _ in range(3):
        found: dict[int, NDArray[np.float32]] = {}

        def fit(seed: int, found: dict[int, NDArray[np.float32]] = found) -> None:
            found[seed] = model(seed).fit(X).transform(X)

        fits = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
        for one in fits:
            one.start()
        for one in fits:
            one.join()
        assert all(np.array_equal(found[seed], wanted[seed]) for seed in range(4))
    assert torch.equal(torch.get_rng_state(), state)


FORKED = """
import math
import multiprocessing
import numpy as np
import torch
from vicreg import VICReg

X = np.random.default_rng(0).normal(size=(300, 40))
torch.set_num_threads(2)

def fit(queue):
    queue.put(float(VICReg(steps=20, random_state=0, n_threads=1).fit(X).transform(X).sum()))

VICReg(steps=20, random_state=0, n_threads=1).fit(X)
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=fit, args=(queue,), daemon=True)
process.start()
print(queue.get(timeout=60))
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_process_forked_after_a_fit_of_one_thread_can_fit() -> None:
    """Threads of OpenMP are not forked: one that had some would be waited for without an end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", FORKED], env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr


def test_blocks_that_overlap_leave_the_library_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's switch is the process's: of two threads the first one to leave must not turn it."""
    monkeypatch.setattr("vicreg.precision.onednn_is_exact", lambda: True)
    switch: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = switch.fp32_precision
    first, second = fastest_float32(math.inf), fastest_float32(math.inf)
    with ExitStack() as stack:
        first.__enter__()
        stack.enter_context(second)
        first.__exit__(None, None, None)
        assert switch.fp32_precision == "bf16"
    assert switch.fp32_precision == before


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_asked_of_all_transformers_change_no_score(kind: str) -> None:
    random = np.random.default_rng(0)
    table = random.normal(size=(120, 3))
    labels = (table[:, 0] > 0).astype(int)
    model = VICReg(n_components=6, projector=(8,), steps=5, random_state=0)
    wanted = evaluate(model, table, labels).scores
    with sklearn.config_context(transform_output=kind):
        assert evaluate(model, table, labels).scores == wanted
        assert type(model.fit_transform(table)).__module__.startswith(kind)
