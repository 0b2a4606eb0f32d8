"""Optimisers against steps worked out by hand, the learning rate against its closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vicreg.optim import LARS, build_optimizer, warmup_cosine


def test_lars_takes_two_steps_as_worked_out_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    optimizer = LARS([weight], lr=0.5, momentum=0.5, weight_decay=0.1, trust=0.2)
    weight.grad = torch.tensor([[0.7, -0.4]])
    optimizer.step()
    # gradient + decay = (1, 0), norm 1; the weights' norm is 5; scale 0.2 * 5 / 1 = 1.
    torch.testing.assert_close(weight.data, torch.tensor([[2.5, 4.0]]))
    weight.grad = torch.tensor([[-0.25, 0.6]])
    optimizer.step()
    # gradient + decay = (0, 1); norm of (2.5, 4) is sqrt(22.25); velocity = (0.5, 0.2 sqrt(22.25)).
    drop = 0.5 * 0.2 * math.sqrt(22.25)
    torch.testing.assert_close(weight.data, torch.tensor([[2.25, 4.0 - drop]]))


def test_lars_gives_biases_plain_momentum() -> None:
    bias = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = LARS([bias], lr=0.1, momentum=0.9, weight_decay=5.0)
    for _ in range(2):
        bias.grad = torch.tensor([1.0, 0.0])
        optimizer.step()
    torch.testing.assert_close(bias.data, torch.tensor([1.0 - 0.1 - 0.19, 2.0]))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_lars_survives_zero_norms(value: float) -> None:
    weight = nn.Parameter(torch.full((2, 2), value))
    optimizer = LARS([weight], lr=0.1)
    weight.grad = torch.zeros(2, 2)
    optimizer.step()
    assert torch.equal(weight.data, torch.full((2, 2), value))


@pytest.mark.parametrize("name", ["adamw", "adam", "lars"])
def test_weight_decay_is_for_matrices_only(name: str) -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = build_optimizer(network, name, lr=0.1, betas=(0.9, 0.99), weight_decay=0.3)
    decays = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(decays) == 4
    for parameter in network.parameters():
        assert decays[id(parameter)] == (0.3 if parameter.dim() > 1 else 0.0)


def test_warmup_cosine_equals_pytorchs_schedulers() -> None:
    steps, rise = 50, 10
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - rise)
    wanted = [(step + 1) / rise for step in range(rise)]
    for _ in range(steps - rise):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert [warmup_cosine(step, steps, rise / steps) for step in range(steps)] == pytest.approx(
        wanted
    )


@given(steps=st.integers(1, 200), warmup=st.floats(0, 1), constant=st.booleans())
def test_factor_stays_between_zero_and_one_and_reaches_one(
    steps: int, warmup: float, constant: bool
) -> None:
    factors = [warmup_cosine(step, steps, warmup, constant=constant) for step in range(steps)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == 1
    if constant:
        assert factors[-1] == 1
