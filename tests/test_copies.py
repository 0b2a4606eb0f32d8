"""Corrupted copies of rows: independent of each other, and embedded wherever a network is."""

from __future__ import annotations

from itertools import combinations
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vicreg.copies import embedded_copies, swapped_copies
from vicreg.networks import JointEmbedding, Rows
from vicreg.views import Layout

N_ROWS, N_COLUMNS = 400, 20
#: No value is there twice.
ROWS = Rows(
    torch.arange(float(N_ROWS * N_COLUMNS)).view(N_ROWS, N_COLUMNS),
    torch.zeros(N_ROWS, 0, dtype=torch.int32),
)
LAYOUT = Layout.plain(N_COLUMNS)


def copies_of(chosen: np.ndarray[tuple[int], np.dtype[np.intp]], seed: int = 0) -> list[Rows]:
    return swapped_copies(ROWS, LAYOUT, chosen, count=10, swap=0.3, random_state=seed)


def test_values_swapped_in_two_copies_of_a_row_have_nothing_to_do_with_each_other() -> None:
    copies = copies_of(np.arange(N_ROWS))
    same = both = 0
    for one, other in combinations(copies, 2):
        swapped = (one.numbers != ROWS.numbers) & (other.numbers != ROWS.numbers)
        both += int(swapped.sum())
        same += int((swapped & (one.numbers == other.numbers)).sum())
    assert both / (45 * N_ROWS * N_COLUMNS) == pytest.approx(0.09, abs=0.005)
    # By chance, once in 399 times; 32,400 pairs of swaps.
    assert same / both == pytest.approx(1 / 399, abs=0.002)


def test_copies_are_of_the_chosen_rows_and_take_from_all() -> None:
    chosen = np.array([7, 3, 399])
    donors = set()
    for seed in range(20):
        for copy in copies_of(chosen, seed):
            taken = copy.numbers != ROWS.numbers[torch.from_numpy(chosen)]
            donors |= set((copy.numbers[taken] // N_COLUMNS).int().tolist())
            # A column keeps its own values.
            assert torch.equal(copy.numbers % N_COLUMNS, ROWS.numbers[:3] % N_COLUMNS)
    assert len(donors) > 390


def test_copies_follow_from_the_seed_and_leave_the_rows_as_they_are() -> None:
    before = ROWS.numbers.clone()
    one, same, other = (copies_of(np.arange(50), seed) for seed in (0, 0, 1))
    assert all(torch.equal(a.numbers, b.numbers) for a, b in zip(one, same, strict=True))
    assert not any(torch.equal(a.numbers, b.numbers) for a, b in zip(one, other, strict=True))
    assert torch.equal(ROWS.numbers, before)


def test_copies_are_embedded_where_the_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    places = []

    def embed(network: nn.Module, rows: Rows) -> Tensor:
        places.append(rows.numbers.device.type)
        return torch.full((len(rows), 3), float(len(places)))

    monkeypatch.setattr("vicreg.copies.embed", embed)
    network = cast("JointEmbedding", nn.Linear(2, 2, device="meta"))
    embedded = embedded_copies(network, copies_of(np.arange(5)))
    assert places == ["meta"] * 10
    assert embedded.shape == (5, 10, 3)
    assert np.array_equal(embedded[0, :, 0], np.arange(1.0, 11.0))
