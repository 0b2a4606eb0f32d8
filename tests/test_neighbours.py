"""Near rows: the same as scikit-learn finds, never the row itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

import vicreg.neighbours
from vicreg.neighbours import near_rows
from vicreg.networks import Rows


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def mixed(n: int) -> Rows:
    numbers = torch.randn(n, 4, generator=generator())
    codes = torch.randint(0, 3, (n, 2), generator=generator()).to(torch.int32)
    return Rows(numbers, codes)


def test_neighbours_are_those_of_numbers_and_one_hot_codes() -> None:
    rows = mixed(1500)  # more than a block
    hot = [np.eye(3)[rows.codes[:, place].numpy()] for place in range(2)]
    dense = np.column_stack([rows.numbers.numpy(), *hot])
    wanted = NearestNeighbors(n_neighbors=6).fit(dense).kneighbors(return_distance=False)
    assert np.array_equal(near_rows(rows, [3, 3], 6, generator()).numpy(), wanted)


def test_a_row_has_no_more_neighbours_than_there_are_others() -> None:
    found = near_rows(mixed(4), [3, 3], 10, generator())
    assert [sorted(row) for row in found.tolist()] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_a_copy_of_a_row_is_its_neighbour_and_the_row_is_not() -> None:
    one = mixed(50)
    twice = Rows(one.numbers.repeat(2, 1), one.codes.repeat(2, 1))
    found = near_rows(twice, [3, 3], 1, generator()).squeeze()
    assert torch.equal(found, torch.arange(100).roll(50))


def test_large_tables_look_among_some_of_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vicreg.neighbours, "MOST_CANDIDATES", 30)
    rows = mixed(200)
    found = near_rows(rows, [3, 3], 3, generator())
    assert found.shape == (200, 3)
    assert len(set(found.flatten().tolist())) <= 30
    assert bool((found != torch.arange(200).unsqueeze(1)).all())
