"""Views: measured rates, marginals, whole columns, and nothing but the explicit generator."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import scipy.stats
import torch

from vicreg.networks import Rows
from vicreg.partners import Near
from vicreg.views import (
    LIVES,
    Compose,
    Corruption,
    Donors,
    Layout,
    Mask,
    Noise,
    Swap,
    TwoViews,
    _blank,
    _exchange,
    corruption,
)

N, P, Q = 2000, 6, 3


def table() -> Rows:
    # Every number and code is its own row's, so that its origin can be told: row + 10000 * column.
    rows = torch.arange(N).unsqueeze(1)
    numbers = (rows + 10_000 * torch.arange(P)).float()
    return Rows(numbers, (1 + rows + 10_000 * torch.arange(Q)).to(torch.int32))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def corrupted(
    corrupt: Corruption,
    rows: Rows | None = None,
    *,
    of: Rows | None = None,
    layout: Layout | None = None,
    seed: int = 0,
) -> Rows:
    """A corrupted copy of rows of a table: the whole of it, unless told otherwise."""
    of = table() if of is None else of
    rows = of if rows is None else rows
    layout = layout or Layout.plain(of.numbers.shape[1], of.codes.shape[1])
    copy = Rows(rows.numbers.clone(), rows.codes.clone())
    random = generator(seed)
    corrupt(copy, Donors(of, layout, len(rows), random), random)
    return copy


def two(corrupt: Corruption, seed: int = 0, sides: str = "both") -> tuple[Rows, Rows]:
    views = TwoViews(table(), Layout.plain(P, Q), corrupt, N, generator(seed), sides=sides)
    both = views(torch.arange(N))
    return both.take(slice(0, N)), both.take(slice(N, None))


def within_binomial(share: float, rate: float, n: int) -> bool:
    return abs(share - rate) <= 4 * math.sqrt(rate * (1 - rate) / n) + 1e-12


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 0.6, 0.9, 1.0])
def test_swap_replaces_the_stated_share(rate: float) -> None:
    before, after = table(), corrupted(Swap(rate))
    rate = min(rate, 1 - 1 / N)  # where every entry is swapped, a donor may be the row itself
    assert within_binomial(float((after.numbers != before.numbers).float().mean()), rate, N * P)
    assert within_binomial(float((after.codes != before.codes).float().mean()), rate, N * Q)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.6, 1.0])
def test_mask_replaces_the_stated_share(rate: float) -> None:
    numbers = torch.ones(N, P)
    rows = Rows(numbers, torch.ones(N, Q, dtype=torch.int32))
    after = corrupted(Mask(rate), of=rows)
    assert within_binomial(float((after.numbers == 0).float().mean()), rate, N * P)
    assert within_binomial(float((after.codes == 0).float().mean()), rate, N * Q)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_small_tables_swap_the_stated_share_too(rate: float) -> None:
    # One in ten donors is the row itself: that entry stays, and the others make up for it.
    of = table().take(slice(0, 10))
    rows = of.take(torch.arange(20_000) % 10)
    after = corrupted(Swap(rate), rows, of=of)
    share = float((after.numbers != rows.numbers).float().mean())
    assert within_binomial(share, rate, rows.numbers.numel())


def test_a_swapped_value_comes_from_the_same_column() -> None:
    after = corrupted(Swap(1.0))
    assert torch.equal((after.numbers // 10_000).long(), torch.arange(P).expand(N, P))
    assert torch.equal((after.codes - 1) // 10_000, torch.arange(Q).expand(N, Q))


def test_swap_of_a_batch_draws_from_the_whole_table_column_by_column() -> None:
    rows = table().take(slice(0, 10))
    origins = corrupted(Swap(1.0), rows, of=table()).numbers % 10_000
    assert float(origins.max()) > 100
    assert len(set(origins[0].tolist())) == P


def test_every_row_is_as_likely_to_be_the_donor() -> None:
    of = table().take(slice(0, 5))
    after = corrupted(Swap(1.0), of.take(torch.full((20_000,), 2)), of=of)
    counts = torch.bincount(after.numbers[:, 0].long(), minlength=5)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_donors_are_renewed_an_eighth_at_a_time() -> None:
    donors = Donors(table(), Layout.plain(P, Q), 80, generator())
    seen = [donors.renewed().numbers.clone() for _ in range(LIVES + 2)]
    changed = [(one != other).any(dim=1) for one, other in itertools.pairwise(seen)]
    assert all(int(some.sum()) == 80 // LIVES for some in changed)
    assert bool(torch.stack(changed[:LIVES]).sum(dim=0).eq(1).all())


def test_swap_keeps_a_columns_marginal() -> None:
    values = torch.randn(N, 1, generator=generator(3)).exp()
    rows = Rows(values, torch.zeros(N, 0, dtype=torch.int32))
    after = corrupted(Swap(1.0), of=rows)
    assert scipy.stats.ks_2samp(values.squeeze(), after.numbers.squeeze()).pvalue > 1e-3


@pytest.mark.parametrize("corrupt", [Swap(0.5), Mask(0.5)])
def test_numbers_of_one_column_go_together(corrupt: Swap | Mask) -> None:
    layout = Layout(4, torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([3, 3, 3]), torch.ones(P))
    before = table()
    before = Rows(before.numbers + 1, before.codes)
    after = corrupted(corrupt, of=before, layout=layout)
    changed = after.numbers != before.numbers
    for group in ([0, 1], [2, 3, 4]):
        for place in group[1:]:
            assert torch.equal(changed[:, place], changed[:, group[0]])
    assert not torch.equal(changed[:, 0], changed[:, 2])
    code_changed = after.codes != before.codes
    assert torch.equal(code_changed[:, 0], code_changed[:, 2])
    if isinstance(corrupt, Swap):  # and from the same donor
        assert torch.equal((after.numbers % 10_000)[:, 0], (after.numbers % 10_000)[:, 1])


@pytest.mark.parametrize("corrupt", [Swap(0.5), Mask(0.5)])
def test_as_many_numbers_as_columns_need_not_be_the_columns(corrupt: Swap | Mask) -> None:
    # A number with its flag beside a category: two numbers, two columns.
    of = Rows(table().numbers[:, :2] + 1, table().codes[:, :1])
    layout = Layout(2, torch.tensor([0, 0]), torch.tensor([1]), torch.ones(2))
    changed = corrupted(corrupt, of=of, layout=layout).numbers != of.numbers
    assert torch.equal(changed[:, 0], changed[:, 1])


def test_noise_has_the_stated_deviation_and_spares_flags() -> None:
    layout = replace(Layout.plain(P, Q), noisy=torch.tensor([1.0, 1, 1, 1, 1, 0]))
    before = Rows(torch.zeros(N, P), table().codes)
    after = corrupted(Noise(0.3), of=before, layout=layout)
    assert float(after.numbers[:, :5].std()) == pytest.approx(0.3, rel=0.03)
    assert float(after.numbers[:, :5].mean()) == pytest.approx(0, abs=0.01)
    assert bool((after.numbers[:, 5] == 0).all())
    assert torch.equal(after.codes, before.codes)


def test_composition_goes_from_swap_to_mask_to_noise() -> None:
    kinds = [type(part) for part in corruption(swap=0.1, mask=0.2, noise=0.3).parts]
    assert kinds == [Swap, Mask, Noise]
    assert corruption(swap=0, mask=0, noise=0) == Compose(())
    after = corrupted(Compose((Swap(1.0), Mask(1.0))))
    assert bool((after.numbers == 0).all())


def test_one_sided_views_leave_the_first_as_it_is() -> None:
    first, second = two(Swap(0.5), sides="one")
    assert torch.equal(first.numbers, table().numbers)
    assert not torch.equal(second.numbers, table().numbers)


def test_two_sided_views_differ_from_the_rows_and_from_each_other() -> None:
    first, second = two(Swap(0.5))
    assert not torch.equal(first.numbers, table().numbers)
    assert not torch.equal(first.numbers, second.numbers)


def test_the_explicit_generator_is_the_only_source_of_randomness() -> None:
    everything = corruption(swap=0.3, mask=0.2, noise=0.1)
    before = torch.get_rng_state()
    first, again, other = (two(everything, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[1].numbers, again[1].numbers)
    assert not torch.equal(first[1].numbers, other[1].numbers)


@pytest.mark.parametrize(
    "corrupt", [Swap(0.3), Mask(0.4), Compose((Swap(0.5), Mask(0.1))), Compose(())]
)
@pytest.mark.parametrize("sides", ["both", "one"])
def test_views_in_bfloat16_are_views_rounded_afterwards(corrupt: Corruption, sides: str) -> None:
    rows = Rows(torch.randn(N, P, generator=generator(3)), table().codes)
    of_dtype = [
        TwoViews(rows, Layout.plain(P, Q), corrupt, N, generator(), sides=sides, dtype=dtype)
        for dtype in (None, torch.bfloat16)
    ]
    for _ in range(3):
        exact, rounded = (views(torch.arange(N)) for views in of_dtype)
        assert torch.equal(exact.numbers.bfloat16(), rounded.numbers)
        assert torch.equal(exact.codes, rounded.codes)


@pytest.mark.parametrize("corrupt", [Noise(0.5), Compose((Swap(0.3), Noise(0.5)))])
def test_what_computes_with_values_gets_them_exact(corrupt: Corruption) -> None:
    views = TwoViews(table(), Layout.plain(P, Q), corrupt, N, generator(), dtype=torch.bfloat16)(
        torch.arange(N)
    )
    assert views.numbers.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exchanged_bits_are_exchanged_entries(dtype: torch.dtype) -> None:
    unusual = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-40, 3.0], dtype=dtype)
    rows, others = (unusual[torch.randint(7, (50, 4), generator=generator(s))] for s in (0, 1))
    codes = torch.randint(-5, 5, (50, 4), generator=generator(2), dtype=torch.int32)
    chosen = torch.rand(50, 4, generator=generator(3)) < 0.5
    for own, other in ((rows, others), (codes, codes.flip(0))):
        exchanged, blanked = own.clone(), own.clone()
        _exchange(exchanged, other, chosen)
        _blank(blanked, chosen)
        wanted = torch.where(chosen, other, own)
        torch.testing.assert_close(exchanged, wanted, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(exchanged == 0, wanted == 0)
        wanted = own.masked_fill(chosen, 0)
        torch.testing.assert_close(blanked, wanted, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_second_views_are_made_of_near_rows_by_the_stated_share(share: float) -> None:
    near = (torch.arange(N).unsqueeze(1) + torch.tensor([1, 2, 3])) % N
    views = TwoViews(
        table(), Layout.plain(P, Q), Compose(()), N, generator(), near=Near(near, share)
    )
    first, second = views(torch.arange(N)).halves()
    assert torch.equal(first.numbers, table().numbers)
    ahead = (second.numbers - first.numbers) % N
    assert torch.equal(ahead, ahead[:, :1].expand(N, P))  # a row comes whole
    assert torch.equal(second.codes[:, :1] - first.codes[:, :1], second.numbers[:, :1].int()
                       - first.numbers[:, :1].int())  # fmt: skip
    counts = torch.bincount(ahead[:, 0].long(), minlength=4)[:4]
    assert within_binomial(1 - float(counts[0]) / N, share, N)
    if share == 1.0:
        assert scipy.stats.chisquare(counts[1:]).pvalue > 1e-3


def test_values_are_swapped_in_from_rows_by_their_weight() -> None:
    rows = Rows(torch.arange(4.0).repeat_interleave(25).view(100, 1), torch.zeros(100, 0).int())
    weights = rows.numbers[:, 0].double()  # kinds of rows 0 to 3, by weight 0 : 1 : 2 : 3
    donors = Donors(rows, Layout.plain(1), 60_000, generator(), weights)
    shares = torch.bincount(donors.renewed().numbers[:, 0].long()) / 60_000
    assert shares[0] == 0
    torch.testing.assert_close(shares[1:], torch.tensor([1, 2, 3]) / 6, atol=0.01, rtol=0)
