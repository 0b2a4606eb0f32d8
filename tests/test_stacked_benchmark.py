"""The prototype of stacked trials against the package's own step."""

from __future__ import annotations

import pytest
import torch

from problems import seed_problem
from stacked import DOUBLE, check


@pytest.mark.parametrize("padded", [False, True])
def test_a_stack_follows_its_trials_alone(padded: bool) -> None:
    problem = seed_problem(2, padded=padded)
    assert check(problem, dtype=torch.float64, most=DOUBLE, way="bmm", update="tensors") > 0
    with pytest.raises(AssertionError, match="must follow the trials' alone"):
        check(problem, dtype=torch.float64, most=0, way="bmm", update="tensors")
