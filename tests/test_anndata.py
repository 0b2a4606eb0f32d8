"""AnnData, in memory and as a file: cells as rows, genes as names."""

from __future__ import annotations

import builtins
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from vicreg import VICReg, evaluate, load

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    anndata = pytest.importorskip("anndata")

SMALL: dict[str, Any] = {
    "n_components": 8,
    "hidden": (16,),
    "projector": (16, 16),
    "steps": 10,
    "random_state": 0,
    "n_threads": 1,
}


def annotated(*, sparse: bool = True) -> Any:
    random = np.random.default_rng(0)
    counts = random.poisson(random.gamma(0.2, 4.0, (120, 230))).astype(np.float32)
    return anndata.AnnData(
        scipy.sparse.csr_matrix(counts) if sparse else counts,
        obs=pd.DataFrame({"kind": ["a", "b"] * 60}, index=[f"cell{i}" for i in range(120)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(230)]),
    )


@pytest.mark.parametrize("sparse", [True, False])
def test_an_anndata_is_its_matrix_with_the_genes_names(tmp_path: Path, sparse: bool) -> None:
    data = annotated(sparse=sparse)
    dense = data.X.toarray() if sparse else data.X
    model = VICReg(**SMALL)
    data.obsm["X_vicreg"] = model.fit_transform(data)
    assert np.array_equal(data.obsm["X_vicreg"], VICReg(**SMALL).fit_transform(dense))
    assert model.feature_names_in_[[0, -1]].tolist() == ["gene0", "gene229"]
    assert any(note.startswith("read as counts") for note in model.notes_)
    path = tmp_path / "cells.h5ad"
    data.write_h5ad(path)
    model.save(tmp_path / "m")
    for given in (path, str(path)):
        assert np.array_equal(load(tmp_path / "m").transform(given), data.obsm["X_vicreg"])


def test_an_anndata_is_scored_with_a_column_of_its_cells_as_labels() -> None:
    data = annotated()
    fitted = VICReg(**SMALL).fit(data)
    for model in (fitted, VICReg(**SMALL)):
        card = evaluate(model, data, data.obs["kind"], maps=False)
        assert set(card.scores) >= {"vicreg", "raw", "pca", "untrained", "shuffled"}
    with pytest.raises(ValueError, match="must be in the same order"):
        evaluate(fitted, data[:, ::-1], data.obs["kind"], maps=False)


def test_genes_in_another_order_are_refused() -> None:
    data = annotated()
    model = VICReg(**SMALL).fit(data)
    with pytest.raises(ValueError, match="must be in the same order"):
        model.transform(data[:, ::-1])
    with pytest.raises(ValueError, match="now missing:\n- gene229"):
        model.transform(data[:, :-1])


def test_matrices_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    annotated().write_h5ad(path)
    backed = anndata.read_h5ad(path, backed="r")
    with pytest.raises(ValueError, match=r"it is backed; call .to_memory\(\)"):
        VICReg(**SMALL).fit(backed)
    backed.file.close()
    with pytest.raises(ValueError, match="X is None"):
        VICReg(**SMALL).fit(anndata.AnnData(obs=annotated().obs, var=annotated().var))
    path.write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="cells.h5ad is not a readable h5ad file"):
        VICReg(**SMALL).fit(path)
    with pytest.raises(FileNotFoundError, match="no such file: .*none.h5ad"):
        VICReg(**SMALL).fit(tmp_path / "none.h5ad")


def test_without_anndata_a_file_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cells.h5ad").write_bytes(b"")
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "anndata":
            raise ModuleNotFoundError("No module named 'anndata'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vicreg\[omics\]'"):
        VICReg(**SMALL).fit(tmp_path / "cells.h5ad")
