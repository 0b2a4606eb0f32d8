"""The main job on its two real inputs, with the figures that it must reach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.compute
import pyarrow.parquet
import pytest
from sklearn.datasets import load_digits

from vicreg import load
from vicreg.cli import main


@pytest.mark.slow
def test_demo_beats_the_raw_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    main(["demo", "--out", str(out), "--quiet", "--json"])
    told = json.loads(capsys.readouterr().out)

    blobs = told["cards"]["blobs"]["scores"]
    assert blobs["vicreg"]["silhouette"] >= 0.60
    assert 0.30 <= blobs["raw unscaled"]["silhouette"] <= 0.32
    digits = told["cards"]["digits"]["scores"]
    assert told["cards"]["digits"]["held_out"]
    assert digits["vicreg"]["silhouette"] >= 0.22
    assert digits["vicreg"]["10-NN"] >= digits["raw"]["10-NN"] - 0.01

    table = pyarrow.parquet.read_table(out / "embeddings.parquet")
    assert table.num_rows == 100 + 1797
    stored = table.filter(pyarrow.compute.equal(table["table"], "digits"))
    X = load_digits().data
    again = load(out / "model").transform(X)
    for place in (0, 127):
        assert np.array_equal(stored[f"vicreg{place}"].to_numpy(), again[:, place])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count('<section class="card"') == 2
    assert "blobs" in page
    assert "digits" in page
