"""Networks against dense equivalents and against the two architectures that they must have."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vicreg.config import Config, preset
from vicreg.networks import Encoder, JointEmbedding, Rows, TableLinear, projector
from vicreg.preparation import build_network
from vicreg.table import TableEncoder


def rows_of(n: int, n_numbers: int, cardinalities: list[int], seed: int = 0) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(n, n_numbers, generator=generator)
    codes = [torch.randint(0, c, (n, 1), generator=generator) for c in cardinalities]
    joined = torch.cat(codes, 1) if codes else torch.zeros(n, 0)
    return Rows(numbers, joined.to(torch.int32))


def one_hot(rows: Rows, cardinalities: list[int]) -> Tensor:
    hot = [
        nn.functional.one_hot(rows.codes[:, place].long(), cardinality).float()
        for place, cardinality in enumerate(cardinalities)
    ]
    return torch.cat([rows.numbers, *hot], 1)


@pytest.mark.parametrize(
    ("n_numbers", "cardinalities"), [(3, []), (3, [4]), (0, [4, 2]), (5, [2, 7, 3])]
)
def test_table_layer_equals_a_dense_layer_on_one_hot_codes(
    n_numbers: int, cardinalities: list[int]
) -> None:
    rows = rows_of(11, n_numbers, cardinalities)
    layer = TableLinear(n_numbers, cardinalities, 6)
    dense = torch.cat([layer.weight, layer.codes.T], 1)
    assert layer.bias is not None
    wanted = one_hot(rows, cardinalities) @ dense.T + layer.bias
    torch.testing.assert_close(layer(rows), wanted)


def test_gradient_reaches_every_parameter() -> None:
    network = JointEmbedding(
        [Encoder(3, [4, 2], hidden=[8], n_components=5, skip=True)], [projector(5, [7, 6])]
    )
    z1, z2 = network(rows_of(80, 3, [4, 2]))
    assert z1.shape == z2.shape == (40, 6)
    (z1.square().sum() + (z2 * z1.detach()).sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    "layers",
    [
        {"hidden": []},
        {"hidden": [], "final_relu": True},
        {"hidden": [8], "skip": True, "n_neighbourhood": 3, "n_details": 4, "shaped": True},
        {"hidden": [8, 6], "final_relu": True, "n_details": 4, "n_waves": 7},
        {"hidden": [8, 6], "batch_norm": False, "skip": True},
    ],
)
def test_a_folded_network_is_the_same_map_and_leaves_the_other_as_it_was(
    layers: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    network = JointEmbedding([Encoder(3, [4, 2], n_components=5, **layers)], [projector(5, [6])])
    for name, parameter in network.named_parameters():
        if "details" in name or "neighbourhoods" in name:
            nn.init.normal_(parameter)
    for _ in range(5):
        network(rows_of(80, 3, [4, 2]))  # the norms learn means and variances
    network.eval()
    before = copy.deepcopy(network.state_dict())
    rows = rows_of(50, 3, [4, 2])
    with torch.no_grad():
        folded = network.folded()
        torch.testing.assert_close(folded.embed(rows), network.embed(rows), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in folded.encoders.modules())
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def seed_network() -> JointEmbedding:
    table = TableEncoder.fit(torch.randn(20, 100).numpy())
    return build_network(table, Config(**{**preset("seed"), "projector": (200,)}), seed=0)


def test_seed_preset_is_the_seed_architecture() -> None:
    network = seed_network()
    assert len(network.encoders) == len(network.projectors) == 2
    encoder, expander = network.encoders[0], network.projectors[0]
    assert isinstance(encoder, Encoder)
    assert tuple(encoder.first.weight.shape) == (50, 100)
    assert encoder.first.bias is not None
    assert [type(layer) for layer in encoder.rest] == [nn.ReLU]
    assert encoder.skip is None
    assert isinstance(expander, nn.Sequential)
    dense, relu = expander
    assert isinstance(dense, nn.Linear)
    assert (dense.in_features, dense.out_features) == (50, 200)
    assert dense.bias is not None
    assert isinstance(relu, nn.ReLU)
    assert sum(p.numel() for p in network.parameters()) == 2 * (100 * 50 + 50 + 50 * 200 + 200)


def test_separate_networks_start_apart_and_their_mean_is_the_embedding() -> None:
    network = seed_network().eval()
    rows = rows_of(9, 100, [])
    first, second = (
        torch.relu(rows.numbers @ encoder.first.weight.T + encoder.first.bias)  # type: ignore[union-attr,operator]
        for encoder in network.encoders
    )
    assert not torch.allclose(first, second)
    torch.testing.assert_close(network.embed(rows), (first + second) / 2)


def test_paper_preset_is_the_paper_architecture() -> None:
    table = TableEncoder.fit(torch.randn(20, 10).numpy())
    network = build_network(table, Config(**preset("paper")), seed=0)
    (expander,) = network.projectors
    assert isinstance(expander, nn.Sequential)
    kinds = [type(layer) for layer in expander]
    block = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds == [*block, *block, nn.Linear]
    assert expander[-1].bias is None
    (encoder,) = network.encoders
    assert isinstance(encoder, Encoder)
    assert [type(layer) for layer in encoder.rest] == [nn.BatchNorm1d, nn.ReLU, nn.Linear]


@pytest.mark.parametrize("branches", [1, 2])
def test_first_and_second_views_go_their_ways(branches: int) -> None:
    encoders = [Encoder(4, [], hidden=[8], n_components=3) for _ in range(branches)]
    projectors = [projector(3, [5]) for _ in range(branches)]
    network = JointEmbedding(encoders, projectors).eval()
    views = rows_of(12, 4, [])
    for place, projection in enumerate(network(views)):
        view = views.take(slice(6 * place, 6 * place + 6))
        own = place % branches
        torch.testing.assert_close(projection, projectors[own](encoders[own](view)))


def test_skip_adds_a_linear_map_of_the_input() -> None:
    encoder = Encoder(4, [3], hidden=[8], n_components=2, skip=True).eval()
    rows = rows_of(6, 4, [3])
    assert encoder.skip is not None
    with_skip, linear = encoder(rows), encoder.skip(rows)
    encoder.skip = None
    torch.testing.assert_close(with_skip - linear, encoder(rows))


def test_no_projector_is_the_identity() -> None:
    points = torch.randn(4, 3)
    assert torch.equal(projector(3, [])(points), points)


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again = seed_network(), None
    torch.set_rng_state(before)
    table = TableEncoder.fit(torch.randn(20, 100).numpy())
    torch.set_rng_state(before)
    again = build_network(table, Config(**{**preset("seed"), "projector": (200,)}), seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
