"""Partners of rows: near ones and those of the same group, each as likely."""

from __future__ import annotations

import torch
from scipy.stats import chisquare

from vicreg.partners import Mates


def test_every_other_row_of_a_group_is_drawn_as_often_and_no_row_outside() -> None:
    groups = torch.tensor([4, 9, 4, 4, 7, 9, 4, 4])
    mates, generator = Mates.of(groups), torch.Generator().manual_seed(0)
    for row in range(len(groups)):
        drawn = mates.draw(torch.full((6000,), row), generator)
        others = [place for place in range(8) if groups[place] == groups[row] and place != row]
        counts = torch.bincount(drawn, minlength=8)
        if not others:
            assert counts[row] == 6000
            continue
        assert int(counts.sum()) == int(counts[others].sum())
        if len(others) > 1:
            assert chisquare(counts[others].numpy()).pvalue > 1e-3


def test_positions_may_come_in_any_order_and_more_than_once() -> None:
    groups = torch.arange(50).repeat(3)[torch.randperm(150, generator=torch.Generator())]
    positions = torch.randint(150, (5000,), generator=torch.Generator().manual_seed(1))
    drawn = Mates.of(groups).draw(positions, torch.Generator().manual_seed(2))
    assert torch.equal(groups[drawn], groups[positions])
    assert bool((drawn != positions).all())
