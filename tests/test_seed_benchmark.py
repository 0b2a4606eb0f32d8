"""The seed's job: the benchmark's ways to do it do the same job."""

from __future__ import annotations

import numpy as np
import pytest

import seed
from vicreg import TuningResult

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32) * 3
DRAWN = [seed.drawn_parameters(np.random.default_rng(k)) for k in range(3)]


@pytest.mark.filterwarnings("ignore::vicreg.CollapseWarning")
def test_stacks_fit_what_one_by_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed, "STEPS", 20)
    alone = seed.one_by_one(seed.our_fit)(X, DRAWN, [0, 1, 2])
    stacked = seed.in_stacks(X, DRAWN, [0, 1, 2])
    for (_, one), (_, other) in zip(alone, stacked, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=0.05 * np.abs(one).max())


@pytest.mark.filterwarnings("ignore::vicreg.CollapseWarning")
def test_the_whole_job_searches_the_seeds_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed, "STEPS", 5)
    found = seed.tuned(X, np.arange(40) % 2, 3)
    assert isinstance(found, TuningResult)
    for trial in found.trials:
        assert trial["state"] == "complete"
        assert 5 <= trial["batch_size"] <= 20
        assert 50 <= trial["projector_width"] <= 200
    assert found.best_config.steps == 5
    assert found.best_config.n_components == 50
    assert not found.best_config.shared_weights
