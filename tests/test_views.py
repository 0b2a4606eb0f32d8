"""Views: measured rates, marginals, whole columns, and nothing but the explicit generator."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from vicreg.networks import Rows
from vicreg.views import Compose, Layout, Mask, Noise, Sample, Swap, corruption, two_views

N, P, Q = 2000, 6, 3


def table() -> Rows:
    # Every number and code is its own row's, so that its origin can be told: row + 10000 * column.
    rows = torch.arange(N).unsqueeze(1)
    numbers = (rows + 10_000 * torch.arange(P)).float()
    return Rows(numbers, (1 + rows + 10_000 * torch.arange(Q)).to(torch.int32))


def whole_sample(layout: Layout | None = None) -> Sample:
    return Sample(table(), torch.arange(N), layout or Layout.plain(P, Q))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def within_binomial(share: float, rate: float, n: int) -> bool:
    return abs(share - rate) <= 4 * math.sqrt(rate * (1 - rate) / n) + 1e-12


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 0.6, 0.9, 1.0])
def test_swap_replaces_the_stated_share(rate: float) -> None:
    before, after = table(), Swap(rate)(table(), whole_sample(), generator())
    assert within_binomial(float((after.numbers != before.numbers).float().mean()), rate, N * P)
    assert within_binomial(float((after.codes != before.codes).float().mean()), rate, N * Q)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.6, 1.0])
def test_mask_replaces_the_stated_share(rate: float) -> None:
    numbers = torch.ones(N, P)
    rows = Rows(numbers, torch.ones(N, Q, dtype=torch.int32))
    sample = Sample(rows, torch.arange(N), Layout.plain(P, Q))
    after = Mask(rate)(rows, sample, generator())
    assert within_binomial(float((after.numbers == 0).float().mean()), rate, N * P)
    assert within_binomial(float((after.codes == 0).float().mean()), rate, N * Q)


def test_a_swapped_value_comes_from_the_same_column_of_another_row() -> None:
    before, after = table(), Swap(1.0)(table(), whole_sample(), generator())
    assert bool((after.numbers != before.numbers).all())
    assert bool((after.codes != before.codes).all())
    assert torch.equal((after.numbers // 10_000).long(), torch.arange(P).expand(N, P))
    assert torch.equal((after.codes - 1) // 10_000, torch.arange(Q).expand(N, Q))


def test_swap_of_a_batch_draws_from_the_whole_table() -> None:
    positions = torch.arange(10)
    sample = Sample(table(), positions, Layout.plain(P, Q))
    after = Swap(1.0)(table().take(positions), sample, generator())
    origins = after.numbers % 10_000
    assert bool((origins != positions.unsqueeze(1)).all())
    assert float(origins.max()) > 100


def test_every_other_row_is_as_likely_to_be_the_donor() -> None:
    small = Rows(torch.arange(5.0).unsqueeze(1), torch.zeros(5, 0, dtype=torch.int32))
    positions = torch.full((20_000,), 2)
    sample = Sample(small, positions, Layout.plain(1))
    donors = Swap(1.0)(small.take(positions), sample, generator()).numbers.long().squeeze()
    counts = torch.bincount(donors, minlength=5)
    assert counts[2] == 0
    assert scipy.stats.chisquare(counts[counts > 0]).pvalue > 1e-3


def test_swap_keeps_a_columns_marginal() -> None:
    values = torch.randn(N, 1, generator=generator(3)).exp()
    rows = Rows(values, torch.zeros(N, 0, dtype=torch.int32))
    after = Swap(1.0)(rows, Sample(rows, torch.arange(N), Layout.plain(1)), generator())
    assert scipy.stats.ks_2samp(values.squeeze(), after.numbers.squeeze()).pvalue > 1e-3


@pytest.mark.parametrize("corrupt", [Swap(0.5), Mask(0.5)])
def test_numbers_of_one_column_go_together(corrupt: Swap | Mask) -> None:
    layout = Layout(4, torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([3, 3, 3]), torch.ones(P))
    before = table()
    before = Rows(before.numbers + 1, before.codes)
    after = corrupt(before, Sample(before, torch.arange(N), layout), generator())
    changed = after.numbers != before.numbers
    for group in ([0, 1], [2, 3, 4]):
        for place in group[1:]:
            assert torch.equal(changed[:, place], changed[:, group[0]])
    assert not torch.equal(changed[:, 0], changed[:, 2])
    code_changed = after.codes != before.codes
    assert torch.equal(code_changed[:, 0], code_changed[:, 2])
    if isinstance(corrupt, Swap):  # and from the same donor
        assert torch.equal((after.numbers % 10_000)[:, 0], (after.numbers % 10_000)[:, 1])


def test_noise_has_the_stated_deviation_and_spares_flags() -> None:
    layout = Layout.plain(P, Q)._replace(noisy=torch.tensor([1.0, 1, 1, 1, 1, 0]))
    before = Rows(torch.zeros(N, P), table().codes)
    after = Noise(0.3)(before, Sample(before, torch.arange(N), layout), generator())
    assert float(after.numbers[:, :5].std()) == pytest.approx(0.3, rel=0.03)
    assert float(after.numbers[:, :5].mean()) == pytest.approx(0, abs=0.01)
    assert bool((after.numbers[:, 5] == 0).all())
    assert torch.equal(after.codes, before.codes)


def test_composition_goes_from_swap_to_mask_to_noise() -> None:
    kinds = [type(part) for part in corruption(swap=0.1, mask=0.2, noise=0.3).parts]
    assert kinds == [Swap, Mask, Noise]
    assert corruption(swap=0, mask=0, noise=0) == Compose(())
    after = Compose((Swap(1.0), Mask(1.0)))(table(), whole_sample(), generator())
    assert bool((after.numbers == 0).all())


def test_one_sided_views_leave_the_first_as_it_is() -> None:
    first, second = two_views(whole_sample(), Swap(0.5), generator(), sides="one")
    assert torch.equal(first.numbers, table().numbers)
    assert not torch.equal(second.numbers, table().numbers)


def test_two_sided_views_differ_from_the_rows_and_from_each_other() -> None:
    first, second = two_views(whole_sample(), Swap(0.5), generator())
    assert not torch.equal(first.numbers, table().numbers)
    assert not torch.equal(first.numbers, second.numbers)


def test_the_explicit_generator_is_the_only_source_of_randomness() -> None:
    everything = corruption(swap=0.3, mask=0.2, noise=0.1)
    before = torch.get_rng_state()
    first, again, other = (
        two_views(whole_sample(), everything, generator(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[1].numbers, again[1].numbers)
    assert not torch.equal(first[1].numbers, other[1].numbers)
