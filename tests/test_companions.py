import numpy as np
import pytest
import torch

from vicreg.companions import MOST_SEEDS, companions
from vicreg.networks import Rows
from vicreg.views import Donors, Layout, Swap


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(numbers: torch.Tensor) -> Rows:
    return Rows(numbers, torch.zeros(len(numbers), 0, dtype=torch.int32))


def test_numbers_are_in_the_order_of_their_squared_correlation() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 9)) @ random.normal(size=(9, 9))
    X[:, 4] *= -100
    found = companions(plain(torch.from_numpy(X).float()), Layout.plain(9), [], generator())
    correlations = np.asarray(np.corrcoef(X.T)) ** 2
    np.fill_diagonal(correlations, 2)
    wanted = np.argsort(np.argsort(-correlations, axis=1), axis=1)
    assert np.array_equal(found.numpy(), wanted)


def test_a_category_goes_with_what_it_tells_whatever_its_number_of_codes() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(1, 4, size=(600, 1))
    many = random.integers(1, 40, size=(600, 1))
    told = np.choose(codes - 1, [-1.0, 3.0, 0.5]) + 0.1 * random.normal(size=(600, 1))
    noise = random.normal(size=(600, 1))
    rows = Rows(
        torch.from_numpy(np.hstack([noise, told])).float(),
        torch.from_numpy(np.hstack([many, codes, codes])).int(),
    )
    layout = Layout(5, torch.tensor([0, 1]), torch.tensor([2, 3, 4]), torch.ones(2))
    found = companions(rows, layout, [40, 4, 4], generator())
    assert found[3].argsort().tolist()[:3] == [3, 4, 1]  # itself, its copy, the number it tells
    assert found[1, [3, 4]].max() < found[1, [0, 2]].min()


def test_parts_of_one_column_stand_for_it_together_and_a_constant_column_comes_last() -> None:
    a, b = torch.randn(2, 300, 1, generator=generator())
    rows = plain(torch.cat([a, 0 * a, torch.cat([b, a + 0.2 * b], dim=1), b], dim=1))
    layout = Layout(4, torch.tensor([0, 1, 2, 2, 3]), torch.tensor([], dtype=torch.int64),
                    torch.ones(5))  # fmt: skip
    found = companions(rows, layout, [], generator())
    assert found.shape == (4, 4)
    assert found[0].tolist() == [0, 3, 1, 2]


def test_columns_that_are_constant_in_the_sample_are_not_companions() -> None:
    numbers = torch.randn(500, 24, generator=generator())
    numbers[:, 1] += 2 * numbers[:, 0]
    numbers[:, 4:] = torch.linspace(-0.5, 1.5, 20)
    # Some of their means are rounded: something is left of a column without its mean.
    assert (numbers[:, 4:] - numbers[:, 4:].mean(dim=0)).norm(dim=0).max() > 0
    found = companions(plain(numbers), Layout.plain(24), [], generator())
    for place in range(4, 24):  # all others in the order in which they are
        others = [column for column in range(24) if column != place]
        assert found[place].argsort().tolist() == [place, *others]
    # Little variation around a mean is variation.
    numbers[:, 4] = 1 + 1e-3 * numbers[:, 2]
    assert companions(plain(numbers), Layout.plain(24), [], generator())[2, 4] == 1


def test_blocks_of_a_wide_table_are_built_around_some_of_its_columns() -> None:
    numbers = torch.randn(50, 400, generator=generator())
    found = companions(plain(numbers), Layout.plain(400), [], generator())
    assert found.shape == (MOST_SEEDS, 400)
    assert len({int(row.argmin()) for row in found}) == MOST_SEEDS
    assert torch.equal(found.sort(dim=1).values, torch.arange(400).expand(256, 400).int())


@pytest.mark.parametrize("rate", [0.07, 0.3, 1.0])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_blocks_keep_the_rate_and_hold_columns_that_go_together(rate: float, share: float) -> None:
    # Two groups of five columns, copies of each other within the group.
    one, other = torch.arange(4000.0)[:, None], torch.randperm(4000, generator=generator())[:, None]
    table = plain(torch.cat([one.expand(-1, 5), other.float().expand(-1, 5)], dim=1))
    layout = Layout.plain(10)
    together = companions(table, layout, [], generator())
    layout = Layout(10, layout.numbers, layout.codes, layout.noisy, together)
    rows = table.take(torch.arange(4000))
    Swap(rate, share)(rows, Donors(table, layout, 4000, generator(1), None), generator(1))
    swapped = rows.numbers != table.numbers
    assert float(swapped.float().mean()) == pytest.approx(rate, abs=0.01)
    if share == 1 and rate == 0.3:  # three or so columns, all of one group
        groups = swapped[:, :5].any(dim=1) & swapped[:, 5:].any(dim=1)
        assert not groups.any()
        assert set(swapped.sum(dim=1).tolist()) <= {2, 3, 4}


def test_without_companions_or_a_share_every_entry_is_drawn_on_its_own() -> None:
    table = plain(torch.randn(100, 6, generator=generator()))
    layout = Layout.plain(6)
    known = Layout(6, layout.numbers, layout.codes, layout.noisy,
                   companions(table, layout, [], generator()))  # fmt: skip
    results = []
    for swap, where in ((Swap(0.3), layout), (Swap(0.3), known), (Swap(0.3, 0.5), layout)):
        rows = table.take(torch.arange(100))
        swap(rows, Donors(table, where, 100, generator(1)), generator(1))
        results.append(rows.numbers)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
