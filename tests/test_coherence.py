"""Coherence against what must be, and the rule against the arithmetic it states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsRegressor

from vicreg import VICReg
from vicreg.coherence import coherence, fineness
from vicreg.networks import Rows
from vicreg.rules import COHERENT, LITTLE_NOISE, NOT_FINE, TENFOLD, by_coherence
from vicreg.views import Layout

if TYPE_CHECKING:
    from collections.abc import Callable

NO_CODES = torch.zeros(400, 0, dtype=torch.int32)


def of_numbers(
    numbers: torch.Tensor, measure: Callable[..., float] = coherence, seed: int = 0
) -> float:
    rows = Rows(numbers, torch.zeros(len(numbers), 0, dtype=torch.int32))
    generator = torch.Generator().manual_seed(seed)
    return measure(rows, Layout.plain(numbers.shape[1]), [], generator)


def mixed(sizes: list[float], seed: int = 0) -> torch.Tensor:
    """Twelve columns that are mixtures of as many directions as there are sizes."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(400, len(sizes), generator=generator) * torch.tensor(sizes)
    return directions @ torch.randn(len(sizes), 12, generator=generator)


def test_two_columns_are_what_a_neighbours_regression_tells() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(400, 1, generator=generator)
    second = first + 0.5 * torch.randn(400, 1, generator=generator)
    told = []
    for known, asked in ((first, second), (second, first)):
        # Without the row itself: its neighbours among the others.
        model = KNeighborsRegressor(11).fit(known, asked)
        with_itself = model.predict(known)
        others = (11 * with_itself - asked.numpy()) / 10
        told.append(1 - ((others - asked.numpy()) ** 2).sum() / (400 * asked.numpy().var()))
    assert min(told) - 1e-5 <= of_numbers(torch.cat([first, second], 1)) <= max(told) + 1e-5


def test_shuffled_columns_have_none_and_a_curve_has_all() -> None:
    place = torch.rand(400, generator=torch.Generator().manual_seed(0))
    curve = torch.stack([place.sin(), place.cos(), place.square(), place.exp()], 1)
    curve = (curve - curve.mean(dim=0)) / curve.std(dim=0)
    assert of_numbers(curve) > 0.9
    random = np.random.default_rng(0)
    shuffled = np.column_stack([random.permutation(column) for column in curve.numpy().T])
    assert of_numbers(torch.from_numpy(shuffled)) < 0.1


def test_copies_of_a_category_are_told() -> None:
    code = torch.randint(0, 3, (400, 1), generator=torch.Generator().manual_seed(0))
    rows = Rows(torch.zeros(400, 0), code.repeat(1, 4).to(torch.int32))
    found = coherence(rows, Layout.plain(0, 4), [3] * 4, torch.Generator().manual_seed(0))
    assert found == pytest.approx(1.0)


def test_parts_of_one_column_do_not_tell_each_other() -> None:
    numbers = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    doubled = numbers.repeat(1, 2)
    layout = Layout(2, torch.tensor([0, 1, 0, 1]), torch.zeros(0, dtype=torch.int64), torch.ones(4))
    generator = torch.Generator().manual_seed(0)
    assert coherence(Rows(doubled, NO_CODES), layout, [], generator) < 0.1


def test_a_single_column_and_constant_columns_have_none() -> None:
    assert of_numbers(torch.randn(20, 1)) == 0
    assert of_numbers(torch.zeros(20, 3)) == 0


def test_of_a_single_direction_flat_and_sharp_are_the_same_space() -> None:
    assert of_numbers(mixed([1.0]), fineness) == 0


def test_fineness_is_what_scikit_learns_components_and_neighbours_tell() -> None:
    # Two columns of two numbers each: there are no halves but these, either way round.
    numbers = mixed([5.0, 1.0])[:, :4]
    wanted = []
    for half, rest in (([0, 1], [2, 3]), ([2, 3], [0, 1])):
        known, asked = (
            PCA(whiten=True).fit(numbers[:, chosen].double()) for chosen in (half, rest)
        )
        target = asked.transform(numbers[:, rest].double())
        told = []
        for power in (0.25, 2.0):
            size = known.explained_variance_ ** (power / 2)
            space = known.transform(numbers[:, half].double()) * size
            others = KNeighborsRegressor(10).fit(space, target)
            near = others.kneighbors(return_distance=False)  # without the row itself
            told.append(1 - ((target[near].mean(axis=1) - target) ** 2).sum() / (target**2).sum())
        wanted.append(told[0] - told[1])
    layout = Layout(2, torch.tensor([0, 0, 1, 1]), torch.zeros(0, dtype=torch.int64), torch.ones(4))
    rows = Rows(numbers, NO_CODES)
    found = fineness(rows, layout, [], torch.Generator().manual_seed(0))
    # Which way round is drawn eight times over.
    means = [(wanted[0] * count + wanted[1] * (8 - count)) / 8 for count in range(9)]
    assert min(abs(found - mean) for mean in means) < 1e-4
    assert means[1] - means[0] > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_small_directions_that_tell_make_a_table_fine_and_noise_does_not(seed: int) -> None:
    noise = torch.randn(400, 12, generator=torch.Generator().manual_seed(seed))
    assert of_numbers(mixed([10.0, 1.0, 1.0], seed), fineness, seed) > 0.1
    assert abs(of_numbers(mixed([10.0], seed) + noise, fineness, seed)) < NOT_FINE
    assert abs(of_numbers(noise, fineness, seed)) < NOT_FINE


def test_fineness_does_not_depend_on_units_or_places_of_a_table() -> None:
    numbers = mixed([4.0, 2.0, 1.0])
    assert of_numbers(100 * numbers + 7, fineness) == pytest.approx(
        of_numbers(numbers, fineness), abs=2e-3
    )


def test_more_columns_than_rows_are_the_same_space_by_the_smaller_product() -> None:
    numbers = mixed([4.0, 2.0, 1.0])[:30]
    wide = numbers.repeat(1, 10) / 10**0.5  # ten copies are one column of their size
    layout = Layout(
        12, torch.arange(12).repeat(10), torch.zeros(0, dtype=torch.int64), torch.ones(120)
    )
    no_codes = torch.zeros(30, 0, dtype=torch.int32)
    found = fineness(Rows(wide, no_codes), layout, [], torch.Generator().manual_seed(0))
    assert found == pytest.approx(of_numbers(numbers, fineness), abs=2e-3)


def test_a_single_column_and_constant_columns_are_not_fine() -> None:
    assert of_numbers(torch.randn(20, 1), fineness) == 0
    assert of_numbers(torch.zeros(20, 3), fineness) == 0


def test_noise_falls_with_fineness_and_is_for_coherent_tables_alone() -> None:
    noise = [by_coherence(0.9, 0.5, fine).spectrum for fine in (-1.0, 0.0, NOT_FINE)]
    assert noise == [LITTLE_NOISE] * 3
    tenth = by_coherence(0.9, 0.5, NOT_FINE + TENFOLD).spectrum
    assert tenth == pytest.approx(LITTLE_NOISE / 10)
    assert by_coherence(0.1, 0.5, 0.5).spectrum == by_coherence(0.1, 0.5).spectrum


@pytest.mark.parametrize("swap", [0.0, 0.3, 0.5, 1.0])
def test_views_differ_in_as_many_entries_either_way(swap: float) -> None:
    rule = by_coherence(COHERENT - 0.01, swap)
    assert (rule.sides, rule.swap) == ("one", swap)
    rule = by_coherence(COHERENT, swap)
    assert rule.sides == "both"
    assert 1 - (1 - rule.swap) ** 2 == pytest.approx(swap, abs=1e-5)


def test_a_fit_follows_the_table_and_keeps_what_was_chosen() -> None:
    random = np.random.default_rng(0)
    alone, together = random.normal(size=(150, 6)), random.normal(size=(150, 1)) @ np.ones((1, 6))
    found = {}
    for name, X in {"alone": alone, "together": together}.items():
        model = VICReg(16, hidden=(16,), projector=(16,), steps=5, random_state=0).fit(X)
        config = model.embedder_.config
        found[name] = config.sides, config.spectrum
        assert (model.sides, model.spectrum) == ("auto", "auto")
    assert found == {"alone": ("one", 6.0), "together": ("both", 0.2)}
    asked = VICReg(16, hidden=(16,), projector=(16,), sides="both", swap=0.2, steps=5)
    config = asked.fit(alone).embedder_.config
    assert (config.sides, config.swap) == ("both", 0.2)
