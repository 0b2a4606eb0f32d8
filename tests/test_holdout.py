"""Which rows are held out: by class as far as that can be, and by whole groups."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from vicreg.holdout import check_groups, hold_out, some_of


def rare(labels: np.ndarray) -> list[int]:
    """How many of ten rare rows are held out, by several seeds."""
    splits = [hold_out(len(labels), 0.3, seed, labels=labels)[1] for seed in range(12)]
    return [int((test >= 190).sum()) for test in splits]


LABELS = np.repeat([0, 1], [190, 10])


def test_classes_have_their_share_on_both_sides_as_scikit_learn_has_it() -> None:
    expected = train_test_split(np.arange(200), test_size=0.3, stratify=LABELS, random_state=4)
    for found, wanted in zip(hold_out(200, 0.3, 4, labels=LABELS), expected, strict=True):
        assert np.array_equal(found, np.sort(wanted))


@pytest.mark.parametrize("changed", [[0], [0, 1]], ids=["one row alone", "two rows alone"])
def test_a_class_of_a_single_row_leaves_the_others_their_share(changed: list[int]) -> None:
    labels = LABELS.copy()
    labels[changed] = [-1 - place for place in changed]
    assert rare(labels) == [3] * 12


def test_more_classes_than_held_out_rows_are_not_looked_at() -> None:
    train, test = hold_out(178, 0.3, 0, labels=np.arange(178) // 2)
    assert len(test) == 54
    assert not np.intersect1d(train, test).size


def test_no_group_is_on_both_sides() -> None:
    groups = np.arange(100) // 5
    train, test = hold_out(100, 0.3, 0, groups=groups)
    assert len(train) + len(test) == 100
    assert not np.intersect1d(groups[train], groups[test]).size


def test_two_groups_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 3 groups.* however: 2; leave them out"):
        check_groups(np.array([0, 1, 1, 0]))


def test_some_rows_are_drawn_from_all_of_them() -> None:
    found = some_of(np.arange(1000), 100, np.random.default_rng(0))
    assert np.array_equal(found, np.unique(found))
    assert 350 < found.mean() < 650


def test_as_many_training_rows_as_classes_are_enough_and_fewer_are_not_stratified() -> None:
    for n_rows in (99, 100, 101):
        train, test = hold_out(n_rows, 0.9, 0, labels=np.arange(n_rows) % 10)
        assert len(train) + len(test) == n_rows
