"""What the tuning benchmark makes of its records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from search_summary import LABELS, markdown, on_other_rows, summarise

TRIALS = 40


def records(seed: int = 0) -> dict[str, Any]:
    """Trials that are all as good as each other: what they score is luck, on either rows."""
    random = np.random.default_rng(seed)

    def truth() -> dict[str, float]:
        return dict(zip(("linear", "knn", "silhouette"), random.normal(size=3), strict=True))

    trials = [
        {
            "table": f"table {table}",
            "trial": trial,
            "truth": (told := truth()),
            "again": truth(),
            "objectives": {"knows": told["knn"], "guesses": random.normal()},
        }
        for table in range(30)
        for trial in range(TRIALS)
    ]
    return {"machine": "", "version": "", "trials": trials}


def mean(rows: list[dict[str, float]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def test_the_best_of_many_equals_is_above_the_default_on_its_own_rows_alone() -> None:
    kept = records()
    own, other = summarise(kept), summarise(on_other_rows(kept))
    # The largest of 40 means of three: 2.16 deviations of 1 / sqrt(3).
    assert mean(own["best"], "overall") == pytest.approx(1.25, abs=0.25)
    by_labels = other["objectives"][LABELS]
    assert abs(mean(by_labels, "overall")) < 0.4
    assert abs(mean(by_labels, "rho overall")) < 0.1
    assert LABELS in markdown(other)


def test_an_objective_that_knows_a_truth_agrees_with_it() -> None:
    summary = summarise(records())
    assert mean(summary["objectives"]["knows"], "rho knn") == pytest.approx(1)
    assert abs(mean(summary["objectives"]["guesses"], "rho knn")) < 0.1
