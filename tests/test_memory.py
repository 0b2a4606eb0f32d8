"""The predicted peak of memory is what a process really takes."""

from __future__ import annotations

import statistics
import sys

import pytest

import memory

#: What the rules look at fits into gaps of the heap or not, as a process's memory happens to lie:
#: 124 to 197 MB in 25 processes of one fit, where those of other shapes lie within a twentieth.
BY_CHANCE = 13, "fit", "array"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize("kind", ["array", "frame"])
@pytest.mark.parametrize(
    ("place", "what"),
    [(6, "fit"), (8, "fit"), (13, "fit"), (3, "transform"), (12, "transform")],
)
def test_prediction_is_within_a_quarter_of_the_peak(place: int, what: str, kind: str) -> None:
    processes = 5 if (place, what, kind) == BY_CHANCE else 1
    found, predicted = memory.peaks(place, what, kind, processes=processes)
    peak = statistics.median(found)
    assert 0.75 * peak <= predicted <= 1.25 * peak
