"""Optimisers against steps worked out by hand, the learning rate against its closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vicreg.optim import LARS, FlatOptimizer, warmup_cosine


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


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 2))


def one_by_one(network: nn.Module, name: str) -> torch.optim.Optimizer:
    """The optimiser of the same name over the parameters as they are."""
    groups = [
        {"params": [p for p in network.parameters() if p.dim() > 1], "weight_decay": 0.3},
        {"params": [p for p in network.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if name == "lars":
        return LARS(groups, 0.1, momentum=0.9)
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(groups, lr=0.1, betas=(0.9, 0.99))


@pytest.mark.parametrize("clip_norm", [0.0, 0.05, 1e6])
@pytest.mark.parametrize("name", ["adamw", "adam", "lars"])
def test_a_flat_optimiser_steps_as_pytorchs_does_layer_by_layer(
    name: str, clip_norm: float
) -> None:
    flat, plain = layers(), layers()
    optimizer = FlatOptimizer(
        flat, name, lr=0.1, betas=(0.9, 0.99), weight_decay=0.3, clip_norm=clip_norm
    )
    reference = one_by_one(plain, name)
    generator = torch.Generator().manual_seed(1)
    for rate in (0.1, 0.05, 0.2):
        rows = torch.randn(20, 3, generator=generator)
        optimizer.set_rate(rate)
        optimizer.step(flat(rows).square().mean())
        for group in reference.param_groups:
            group["lr"] = rate
        reference.zero_grad()
        plain(rows).square().mean().backward()
        if clip_norm:
            nn.utils.clip_grad_norm_(plain.parameters(), clip_norm)
        reference.step()
        for one, other in zip(flat.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_parameters_that_are_not_trained_stay_as_they_are() -> None:
    network = nn.Linear(3, 2)
    network.weight.requires_grad_(False)
    weight, bias = network.weight.clone(), network.bias.clone()
    optimizer = FlatOptimizer(network, "adam", lr=0.1, betas=(0.9, 0.99), weight_decay=0.3)
    optimizer.step(network(torch.ones(4, 3)).sum())
    assert torch.equal(network.weight, weight)
    assert network.weight.grad is None
    assert not torch.equal(network.bias, bias)


def test_released_parameters_have_their_values_and_a_memory_each() -> None:
    network = layers()
    optimizer = FlatOptimizer(network, "adamw", lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    optimizer.step(network(torch.randn(4, 3)).sum())
    places = {one.untyped_storage().data_ptr() for one in network.parameters()}
    assert len(places) == 1
    before = [one.detach().clone() for one in network.parameters()]
    optimizer.release()
    after = list(network.parameters())
    assert len({one.untyped_storage().data_ptr() for one in after}) == len(after)
    for one, wanted in zip(after, before, strict=True):
        assert torch.equal(one, wanted)
        assert one.untyped_storage().nbytes() == 4 * one.numel()
        assert one.grad is None


@settings(max_examples=30, deadline=None)
@given(bound=st.floats(1e-3, 10), size=st.floats(1e-3, 1e3))
def test_clipping_bounds_the_norm_and_keeps_the_direction(bound: float, size: float) -> None:
    network = nn.Linear(3, 1)
    optimizer = FlatOptimizer(
        network, "adam", lr=0.0, betas=(0.9, 0.99), weight_decay=0.0, clip_norm=bound
    )
    rows = size * torch.tensor([[1.0, 2.0, -2.0]])
    optimizer.step(network(rows).sum())  # the gradient is the row, and 1
    assert network.weight.grad is not None
    assert network.bias.grad is not None
    gradient = torch.cat([network.weight.grad[0], network.bias.grad])
    wanted = torch.cat([rows[0], torch.ones(1)])
    factor = min(1.0, bound / float(wanted.norm()))
    torch.testing.assert_close(gradient, wanted * factor, rtol=1e-5, atol=1e-7)


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
