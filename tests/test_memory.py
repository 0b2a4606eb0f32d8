"""The predicted peak of memory is what a process really takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import memory


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize("kind", ["array", "frame"])
@pytest.mark.parametrize(
    ("place", "what"),
    [(6, "fit"), (8, "fit"), (13, "fit"), (3, "transform"), (12, "transform")],
)
def test_prediction_is_within_a_quarter_of_the_peak(place: int, what: str, kind: str) -> None:
    program = Path(memory.__file__)
    run = [sys.executable, str(program), "--one", str(place), what, kind]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    peak, predicted = json.loads(done.stdout)
    assert 0.75 * peak <= predicted <= 1.25 * peak
