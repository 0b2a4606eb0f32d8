"""Batches: whole epochs, never short, reproducible."""

from __future__ import annotations

import itertools

import pytest
import torch

from vicreg.batches import permuted_batches


def first(n: int, n_rows: int, batch_size: int, seed: int = 0) -> list[torch.Tensor]:
    batches = permuted_batches(n_rows, batch_size, torch.Generator().manual_seed(seed))
    return list(itertools.islice(batches, n))


@pytest.mark.parametrize(("n_rows", "batch_size"), [(12, 4), (13, 4), (5, 5), (7, 1)])
def test_an_epoch_takes_no_row_twice_and_no_batch_is_short(n_rows: int, batch_size: int) -> None:
    per_epoch = n_rows // batch_size
    batches = first(3 * per_epoch, n_rows, batch_size)
    assert all(len(batch) == batch_size for batch in batches)
    for epoch in range(3):
        rows = torch.cat(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(set(rows.tolist())) == per_epoch * batch_size
        assert int(rows.max()) < n_rows


def test_every_epoch_has_an_order_of_its_own() -> None:
    one, other = first(2, 100, 100)
    assert not torch.equal(one, other)


def test_the_seed_decides_the_order() -> None:
    assert torch.equal(torch.cat(first(5, 20, 6)), torch.cat(first(5, 20, 6)))
    assert not torch.equal(torch.cat(first(5, 20, 6)), torch.cat(first(5, 20, 6, seed=1)))
