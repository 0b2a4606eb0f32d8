"""A step reads nothing back, and on a GPU a recorded step is the step itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vicreg.companions import with_companions
from vicreg.config import Config
from vicreg.fitting import fit_embedder
from vicreg.preparation import build_network
from vicreg.sources import read
from vicreg.step import BEFORE_CAPTURE, TrainingStep
from vicreg.table import TableEncoder
from vicreg.views import corruption

X = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
CONFIG = Config(
    batch_size=64,
    hidden=(32,),
    projector=(32, 32),
    n_components=32,
    detail_share=0.5,
    sides="both",
    spectrum="learnt",
)

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


class NothingRead(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails where a value or a shape depends on what a tensor holds: a GPU would be waited for."""

    READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = operator.overloadpacket.__name__
        assert not name.startswith(self.READS), f"{name} reads a value"
        if name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple):
            chosen = [one for one in args[1] if one is not None]
            assert all(one.dtype is not torch.bool for one in chosen), f"{name} counts rows"
        return operator(*args, **(kwargs or {}))


def made(config: Config = CONFIG, device: str = "cpu", **settings: Any) -> TrainingStep:
    place = torch.device(device)
    table = TableEncoder.fit(read(X))
    rows = table.transform(read(X)).to(place)
    layout = table.layout.to(place)
    if config.block_share:
        layout = with_companions(layout, rows, table.cardinalities, 0)
    return TrainingStep(
        build_network(table, config, 0).to(place).train(),
        rows,
        layout,
        corruption(swap=0.3, mask=config.mask, noise=config.noise, block_share=config.block_share),
        config,
        generator=torch.Generator(place).manual_seed(0),
        **settings,
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mask": 0.2, "noise": 0.1},
        {"block_share": 0.5},
        {"clip_norm": 1.0, "optimizer": "lars"},
        {"projector": (256,)},  # more dimensions than rows
    ],
)
def test_a_step_reads_no_value_back(settings: dict[str, Any]) -> None:
    step = made(replace(CONFIG, **settings))
    step(1.0)  # what is made once may be looked at
    with NothingRead():  # type: ignore[no-untyped-call]
        step(1.0)


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        (float, "_local_scalar_dense reads a value"),
        (bool, "reads a value"),
        (torch.nonzero, "nonzero reads a value"),
        (lambda tensor: tensor[tensor > 0], "index counts rows"),
    ],
)
def test_what_reads_a_value_is_noticed(reads: Any, message: str) -> None:
    watched = NothingRead()  # type: ignore[no-untyped-call]
    with pytest.raises(AssertionError, match=message), watched:
        reads(torch.ones(1))


@on_a_gpu
@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_recorded_step_is_the_step(name: Literal["adam", "adamw"], bfloat16: bool) -> None:
    config = replace(CONFIG, optimizer=name)
    steps = [made(config, "cuda", bfloat16=bfloat16, capture=capture) for capture in (False, True)]
    for number in range(4 * BEFORE_CAPTURE):
        for step in steps:
            step(1 / (1 + number))
    as_they_are, recorded = ([*step.network.parameters()] for step in steps)
    for one, other in zip(as_they_are, recorded, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert steps[0].mean_terms() == pytest.approx(steps[1].mean_terms(), rel=1e-4)


@on_a_gpu
def test_a_step_on_a_gpu_is_not_waited_for() -> None:
    for capture in (False, True):
        step = made(device="cuda", bfloat16=True, capture=capture)
        for _ in range(2 * BEFORE_CAPTURE):
            step(1.0)
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(1.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
def test_a_fit_on_a_gpu_gives_an_embedding_near_the_processors() -> None:
    on_cpu, on_gpu = (
        fit_embedder(read(X), CONFIG, seed=0, device=device, untrained=True).embed(read(X))
        for device in ("cpu", "cuda")
    )
    # Details are rotated by draws of the device's own generator: the learnt components are alike.
    learnt = slice(0, CONFIG.n_learnt)
    np.testing.assert_allclose(on_cpu[:, learnt], on_gpu[:, learnt], rtol=1e-3, atol=1e-3)
    trained = fit_embedder(read(X), Config(steps=60), seed=0, device="cuda")
    assert np.isfinite(trained.embed(read(X))).all()
