"""Coherence against what must be, and the rule against the arithmetic it states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsRegressor

from vicreg import VICReg
from vicreg.coherence import clumpiness, coherence, fineness
from vicreg.config import Config, preset
from vicreg.networks import Rows
from vicreg.rules import (
    CLUMPY,
    COHERENT,
    LITTLE_NOISE,
    NOT_FINE,
    TENFOLD,
    auto_values,
    by_coherence,
)
from vicreg.table import TableEncoder
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


def clumps(n_clumps: int, spread: float, seed: int = 0) -> torch.Tensor:
    """400 rows of twelve columns around so many centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(n_clumps, 12, generator=generator)
    rows = centres.repeat(400 // n_clumps, 1)
    return rows + spread * torch.randn(len(rows), 12, generator=generator)


@pytest.mark.parametrize("seed", range(3))
def test_clumps_that_all_columns_see_make_a_table_clumpy(seed: int) -> None:
    assert of_numbers(clumps(10, 0.1, seed), clumpiness, seed) > 0.7
    # All columns tell each other's places, but no place has more rows than another.
    even = torch.rand(400, 3, generator=torch.Generator().manual_seed(seed))
    mixture = torch.randn(3, 12, generator=torch.Generator().manual_seed(seed + 1))
    of_even = of_numbers((even - 0.5) @ mixture, clumpiness, seed)
    assert of_even < 0.5 < of_numbers(clumps(10, 0.3, seed), clumpiness, seed)
    noise = torch.randn(400, 12, generator=torch.Generator().manual_seed(seed))
    assert abs(of_numbers(noise, clumpiness, seed)) < 0.05


def test_halves_that_clump_by_different_things_are_not_clumpy() -> None:
    # Two columns of six numbers each: there are no halves but these.
    numbers = torch.cat([clumps(10, 0.1)[:, :6], clumps(10, 0.1).roll(1, 0)[:, 6:]], dim=1)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    unlike = torch.cat([numbers[:, :6], numbers[order, 6:]], dim=1)
    owner = torch.tensor([0] * 6 + [1] * 6)
    layout = Layout(2, owner, torch.zeros(0, dtype=torch.int64), torch.ones(12))

    def of_two(space: torch.Tensor) -> float:
        generator = torch.Generator().manual_seed(0)
        return clumpiness(Rows(space, NO_CODES), layout, [], generator)

    assert of_two(numbers) > 0.7
    assert abs(of_two(unlike)) < 0.05


def test_clumpiness_is_the_rand_index_of_scikit_learns_clusters() -> None:
    numbers = clumps(20, 0.5)[:, :4]
    layout = Layout(2, torch.tensor([0, 0, 1, 1]), torch.zeros(0, dtype=torch.int64), torch.ones(4))
    found = clumpiness(Rows(numbers, NO_CODES), layout, [], torch.Generator().manual_seed(0))
    indices = [
        adjusted_rand_score(
            *(
                KMeans(10, random_state=seed).fit_predict(numbers[:, own])
                for own in ([0, 1], [2, 3])
            )
        )
        for seed in range(30)
    ]
    assert found == pytest.approx(np.mean(indices), abs=0.03)


def test_rows_of_few_values_and_few_rows_have_fewer_clusters() -> None:
    two_values = clumps(2, 0.0)
    assert of_numbers(two_values, clumpiness) == 1
    assert of_numbers(torch.zeros(20, 3), clumpiness) == 0  # one cluster in both halves
    assert of_numbers(torch.randn(20, 1), clumpiness) == 0  # no halves
    for n_rows in (2, 12, 19):  # two clusters need 20 rows
        assert of_numbers(torch.randn(n_rows, 12), clumpiness) == 0


def test_neighbourhoods_go_where_coherent_columns_have_no_clusters_in_common() -> None:
    assert by_coherence(0.9, 0.5, clumpy=CLUMPY).neighbourhood_scale == 1
    assert by_coherence(0.9, 0.5, clumpy=CLUMPY - 0.01).neighbourhood_scale == 0
    assert by_coherence(0.1, 0.5, clumpy=0.0).neighbourhood_scale == 1


def test_details_are_steeper_where_columns_go_their_own_ways() -> None:
    assert by_coherence(COHERENT, 0.5, few=True).detail_power == 1
    assert by_coherence(COHERENT - 0.01, 0.5, few=True).detail_power == 1.5
    assert by_coherence(COHERENT - 0.01, 0.5).detail_power == 1


def test_details_are_flatter_where_many_rows_have_coherent_columns() -> None:
    assert by_coherence(COHERENT, 0.5, many=True).detail_power == 0.5
    assert by_coherence(COHERENT - 0.01, 0.5, many=True).detail_power == 1
    X = np.random.default_rng(0).normal(size=(1001, 1)) @ np.ones((1, 6))
    table = TableEncoder.fit(X)
    rows = table.transform(X)
    for n_rows, power in ((1001, 0.5), (1000, 1)):
        some = rows.take(slice(0, n_rows))
        assert auto_values(Config(), some, table.layout, [table], 0)["detail_power"] == power


@pytest.mark.parametrize(("n_rows", "n_columns"), [(1500, 20), (1501, 20), (100, 256), (100, 257)])
def test_few_rows_of_few_dimensions_have_steeper_details(n_rows: int, n_columns: int) -> None:
    X = np.random.default_rng(0).normal(size=(n_rows, n_columns))
    table = TableEncoder.fit(X)
    found = auto_values(Config(), table.transform(X), table.layout, [table], 0)
    assert found["detail_power"] == (1.5 if (n_rows, n_columns) in ((1500, 20), (100, 256)) else 1)


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
        found[name] = config.sides, config.spectrum, config.detail_power
        assert (model.sides, model.spectrum) == ("auto", "auto")
        assert (model.detail_power, model.neighbourhood_scale) == ("auto", "auto")
    assert found == {"alone": ("one", 6.0, 1.5), "together": ("both", 0.2, 1.0)}
    asked = VICReg(16, hidden=(16,), projector=(16,), sides="both", swap=0.2, steps=5)
    config = asked.fit(alone).embedder_.config
    assert (config.sides, config.swap) == ("both", 0.2)


def test_a_fit_has_neighbourhoods_where_coherent_columns_clump_or_where_asked() -> None:
    random = np.random.default_rng(0)
    # A cloud in eight dimensions that all columns see, and ten clumps of it.
    mixture = random.normal(size=(8, 40))
    even = random.normal(size=(300, 8)) @ mixture
    clumpy = (random.normal(size=(10, 8)).repeat(30, 0) + 0.1 * even[:, :8]) @ mixture
    settings = {"n_components": 40, "hidden": (16,), "projector": (16,), "steps": 5}
    settings |= {"detail_share": 0.5, "random_state": 0}
    embedders = [VICReg(**settings).fit(X).embedder_ for X in (even, clumpy)]  # type: ignore[arg-type]
    found = [one.config for one in embedders]
    assert [config.sides for config in found] == ["both", "both"]
    assert [config.neighbourhood_scale for config in found] == [0, 1]
    assert [config.n_neighbourhood for config in found] == [0, 5]
    told = [[note for note in one.notes if "neighbourhoods" in note] for one in embedders]
    assert told[0] == [
        "no neighbourhoods: columns tell of each other, yet two halves of them fall into different "
        "clusters; neighbourhood_scale=1 has them all the same"
    ]
    assert told[1] == []
    asked = VICReg(**settings, neighbourhood_scale=0.7).fit(even)  # type: ignore[arg-type]
    assert asked.embedder_.config.neighbourhood_scale == 0.7


@pytest.mark.parametrize("name", ["seed", "paper"])
def test_what_there_is_none_of_is_not_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> float:
        raise AssertionError("nothing depends on it")

    for measure in ("coherence", "fineness", "clumpiness"):
        monkeypatch.setattr(f"vicreg.rules.{measure}", asked)
    config = Config(**preset(name))
    X = np.random.default_rng(0).normal(size=(100, 4))
    table = TableEncoder.fit(X)
    found = auto_values(config, table.transform(X), table.layout, [table], 0)
    assert (found["neighbourhood_scale"], found["detail_power"]) == (1, 1)
