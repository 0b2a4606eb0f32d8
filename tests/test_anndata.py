"""AnnData, in memory and as a file: cells as rows, genes as names."""

from __future__ import annotations

import builtins
import json
import resource
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from vicreg import VICReg, embed_command, evaluate, inference, load
from vicreg.cli import main

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    anndata = pytest.importorskip("anndata")
    import h5py

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
        obs=pd.DataFrame(
            {"kind": ["a", "b"] * 60, "donor": np.arange(120) // 4},
            index=[f"cell{i}" for i in range(120)],
        ),
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
    turned = evaluate(fitted, data[:, ::-1], data.obs["kind"], maps=False)
    assert turned.seen  # the very table of the fit
    assert turned.scores == evaluate(fitted, data, data.obs["kind"], maps=False).scores


@pytest.mark.parametrize("sparse", [True, False])
def test_genes_are_found_by_their_names(sparse: bool) -> None:
    data = annotated(sparse=sparse)
    model = VICReg(**SMALL).fit(data)
    wanted = model.transform(data)
    order = np.random.default_rng(1).permutation(230)
    assert np.array_equal(model.transform(data[:, order]), wanted)
    other = annotated(sparse=sparse)[:, :3].copy()
    other.var_names = ["other0", "other1", "other2"]
    more = anndata.concat([data, other], axis=1)
    assert np.array_equal(model.transform(more[:, ::-1]), wanted)
    plain = VICReg(**SMALL).fit(data.to_df())
    assert np.array_equal(plain.transform(data[:, order]), plain.transform(data))


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_frames_of_embeddings_bear_the_names_of_the_cells() -> None:
    data = annotated()
    model = VICReg(**SMALL).set_output(transform="pandas")
    assert model.fit_transform(data).index.equals(data.obs_names)
    assert model.transform(data[5:9]).index.equals(data.obs_names[5:9])


def test_genes_that_cannot_be_found_are_named() -> None:
    data = annotated()
    model = VICReg(**SMALL).fit(data)
    with pytest.raises(ValueError, match="the 230 columns .*however: 1 missing: 'gene229'; it has"):
        model.transform(data[:, :-1])
    told = "however: 7 missing: 'gene0', .*, 'gene4' and 2 more; it has 'gene7', "
    with pytest.raises(ValueError, match=told):
        model.transform(data[:, 7:])
    twice = data.copy()
    twice.var_names = [*data.var_names[:-1], "gene0"]
    with pytest.raises(ValueError, match="1 missing: 'gene229'"):
        model.transform(twice)
    with pytest.raises(ValueError, match="names must be unique"):
        VICReg(**SMALL).fit(data[:, :-1]).transform(twice)
    told = "names of genes must be unique, however: 'gene0' more than once; .*make_unique"
    with pytest.raises(ValueError, match=told):
        VICReg(**SMALL).fit(twice)
    paired = VICReg(**SMALL).fit(data.to_df(), X_paired=data)
    wanted = paired.transform(X_paired=data)
    assert np.array_equal(paired.transform(X_paired=data[:, ::-1]), wanted)


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
    with pytest.raises(ModuleNotFoundError, match="pip install anndata"):
        VICReg(**SMALL).fit(tmp_path / "cells.h5ad")


@pytest.fixture(autouse=True)
def _warnings_shown_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warnings.showwarning", warnings.showwarning)  # main sets its own


def on_the_command_line(tmp_path: Path, *arguments: str) -> None:
    """Run in this process, with paths in a folder where an argument begins with @."""
    main([str(tmp_path / one[1:]) if one.startswith("@") else one for one in arguments])


FIT = ("--n-components", "8", "--hidden", "16", "--projector", "16", "16", "--steps", "10", "-q")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """An h5ad file, and a model fitted on it by the command line."""
    annotated().write_h5ad(tmp_path / "cells.h5ad")
    on_the_command_line(
        tmp_path, "fit", "@cells.h5ad", "--out", "@m", "--label", "kind", "--groups", "donor", *FIT
    )
    return tmp_path


def test_columns_of_an_h5ad_file_are_set_aside_by_name(cells: Path) -> None:
    model, data = load(cells / "m"), annotated()
    assert model.aside_["label"] == "kind"
    assert model.feature_names_in_.tolist() == list(data.var_names)
    wanted = VICReg(**{**SMALL, "n_threads": None}).fit(data, groups=data.obs["donor"])
    assert np.array_equal(model.transform(data), wanted.transform(data))


def test_genes_may_be_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = annotated()
    data.obs[data.var_names[0]] = 1.0  # a column may be called as a gene is
    data.write_h5ad(tmp_path / "cells.h5ad")
    genes = list(data.var_names[[0, 5]])
    # Columns of obs are no features anyway; naming one does no harm.
    given = ("@cells.h5ad", "--label", "kind", "--drop", *genes, "donor")
    on_the_command_line(tmp_path, "info", *given, "--estimate", "--json")
    assert json.loads(capsys.readouterr().out)["columns"] == data.n_vars - 2
    on_the_command_line(tmp_path, "fit", *given, "--out", "@m", *FIT)
    model, rest = load(tmp_path / "m"), data[:, ~data.var_names.isin(genes)].copy()
    assert model.feature_names_in_.tolist() == list(rest.var_names)
    wanted = VICReg(**{**SMALL, "n_threads": None}).fit(rest).transform(rest)
    assert np.array_equal(model.transform(data), wanted)
    capsys.readouterr()
    for out in ("Z.npy", "other.h5ad"):
        on_the_command_line(tmp_path, "embed", "@m", "@cells.h5ad", "--out", f"@{out}")
    assert "note" not in capsys.readouterr().out
    assert np.array_equal(np.load(tmp_path / "Z.npy"), wanted)
    assert anndata.read_h5ad(tmp_path / "other.h5ad").shape == data.shape
    for refit in ((), ("--refit",)):
        on_the_command_line(
            tmp_path, "evaluate", "@m", "@cells.h5ad", "--no-controls", "--json", *refit
        )
        card = json.loads(capsys.readouterr().out)
        assert card["seen"]  # by a refit too: there are too few rows to hold some out
        assert not [note for note in card["notes"] if "ignored" in note]
    # A label is a column of obs, whatever a gene is called.
    on_the_command_line(tmp_path, "fit", "@cells.h5ad", "--out", "@n", "--label", genes[0], *FIT)
    assert load(tmp_path / "n").n_features_in_ == data.n_vars
    with pytest.raises(SystemExit):
        on_the_command_line(tmp_path, "fit", "@cells.h5ad", "--out", "@o", "--drop", "no", *FIT)
    assert f"has no column 'no'; it has {data.var_names[0]}, " in capsys.readouterr().err


def test_names_of_cells_go_along_with_their_embedding(cells: Path) -> None:
    for name in ("Z.parquet", "Z.npy"):
        on_the_command_line(cells, "embed", "@m", "@cells.h5ad", "--out", f"@{name}")
    wanted = load(cells / "m").transform(annotated())
    table = pd.read_parquet(cells / "Z.parquet")
    assert table.pop("obs_names").tolist() == [f"cell{i}" for i in range(120)]
    assert np.array_equal(table.to_numpy(), wanted)
    assert np.load(cells / "Z.ids.npy").tolist() == [f"cell{i}" for i in range(120)]
    on_the_command_line(cells, "embed", "@m", "@cells.h5ad", "--out", "@Z.csv", "--id", "donor")
    assert pd.read_csv(cells / "Z.csv")["donor"].tolist() == [i // 4 for i in range(120)]


@pytest.mark.parametrize("out", ["other.h5ad", "cells.h5ad"])
def test_an_embedding_is_written_into_an_h5ad_file(
    cells: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_command, "ENTRIES", 1)  # the smallest blocks: three of them
    monkeypatch.setattr(inference, "BLOCK", 50)
    on_the_command_line(cells, "embed", "@m", "@cells.h5ad", "--out", f"@{out}")
    written, data = anndata.read_h5ad(cells / out), annotated()
    assert np.array_equal(written.obsm["X_vicreg"], load(cells / "m").transform(data))
    assert np.array_equal(written.X.toarray(), data.X.toarray())
    assert written.obs["kind"].tolist() == data.obs["kind"].tolist()
    assert {path.name for path in cells.iterdir()} == {"cells.h5ad", "m", out}


def test_an_h5ad_file_is_copied_as_it_is_but_for_the_embedding(cells: Path) -> None:
    annotated().write_h5ad(cells / "cells.h5ad", compression="gzip")
    sizes = []
    for _ in range(3):  # an earlier embedding gives its room to the next
        on_the_command_line(cells, "embed", "@m", "@cells.h5ad", "--out", "@cells.h5ad")
        sizes.append((cells / "cells.h5ad").stat().st_size)
    with h5py.File(cells / "cells.h5ad") as file:
        assert file["X/data"].compression == "gzip"
    assert sizes[-1] <= sizes[0] + 2 * 8192


def test_a_file_without_a_group_of_embeddings_is_written_anew(cells: Path) -> None:
    with h5py.File(cells / "cells.h5ad", "r+") as file:
        del file["obsm"]
    on_the_command_line(cells, "embed", "@m", "@cells.h5ad", "--out", "@other.h5ad")
    written = anndata.read_h5ad(cells / "other.h5ad")
    assert np.array_equal(written.obsm["X_vicreg"], load(cells / "m").transform(annotated()))
    assert np.array_equal(written.X.toarray(), annotated().X.toarray())


@pytest.mark.parametrize("out", ["other.h5ad", "cells.h5ad"])
@pytest.mark.parametrize("room", ["for less than the copy", "for the copy alone"])
def test_a_full_disk_leaves_an_h5ad_file_as_it_was(cells: Path, out: str, room: str) -> None:
    (cells / "other.h5ad").write_bytes(b"old")
    before = {path: path.read_bytes() for path in cells.iterdir() if path.is_file()}
    size = (cells / "cells.h5ad").stat().st_size
    most = size + 1000 if room == "for the copy alone" else size // 2
    # In a process of its own: what the system refuses to HDF5 may end it.
    code = (
        "import resource; from vicreg.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {resource.RLIM_INFINITY})); "
        f"main(['embed', 'm', 'cells.h5ad', '--out', {out!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cells, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("vicreg: error: ")
    assert "File too large" in line
    assert {path: path.read_bytes() for path in cells.iterdir() if path.is_file()} == before


def test_genes_of_another_run_are_found_by_name_and_others_are_told_of(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = annotated()
    other = annotated()[:, :2].copy()
    other.var_names = ["new0", "new1"]
    anndata.concat([other, data[:, ::-1].copy()], axis=1, merge="first").write_h5ad(
        cells / "run.h5ad"
    )
    capsys.readouterr()
    told = "ignored 2 columns that the model was not fitted on: 'new0', 'new1'"
    on_the_command_line(cells, "embed", "@m", "@run.h5ad", "--out", "@Z.npy")
    assert f"note: {told}\n" in capsys.readouterr().out
    assert np.array_equal(np.load(cells / "Z.npy"), load(cells / "m").transform(data))
    on_the_command_line(cells, "embed", "@m", "@run.h5ad", "--out", "@Z.npy", "--json")
    assert json.loads(capsys.readouterr().out)["notes"] == [told]
    on_the_command_line(cells, "evaluate", "@m", "@run.h5ad", "--no-controls", "--json")
    card = json.loads(capsys.readouterr().out)
    assert told in card["notes"]
    assert card["seen"]


def layered(*, without_x: bool = False) -> Any:
    """Counts in a layer and in raw (with another gene), and their logarithms in X."""
    data = annotated()
    logs = data.copy()
    logs.layers["counts"] = data.X.copy()
    logs.raw = data[:, ::-1]
    logs.X = None if without_x else data.X.log1p()
    return logs


@pytest.mark.parametrize("layer", ["counts", "raw"])
def test_a_layer_is_taken_for_the_matrix_and_remembered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layer: str
) -> None:
    layered().write_h5ad(tmp_path / "cells.h5ad")
    given = ("@cells.h5ad", "--layer", layer)
    on_the_command_line(tmp_path, "fit", *given, "--out", "@m", "--label", "kind", *FIT)
    model, data = load(tmp_path / "m"), annotated()
    if layer == "raw":
        data = data[:, ::-1]
    wanted = VICReg(**{**SMALL, "n_threads": None}).fit(data).transform(data)
    assert np.array_equal(model.transform(data), wanted)
    assert np.array_equal(model.transform(layered()), wanted)
    assert np.array_equal(model.transform(tmp_path / "cells.h5ad"), wanted)
    capsys.readouterr()
    for out in ("Z.npy", "other.h5ad"):
        on_the_command_line(tmp_path, "embed", "@m", "@cells.h5ad", "--out", f"@{out}")
    assert np.array_equal(np.load(tmp_path / "Z.npy"), wanted)
    written = anndata.read_h5ad(tmp_path / "other.h5ad")
    assert np.array_equal(written.obsm["X_vicreg"], wanted)
    assert np.array_equal(written.X.toarray(), layered().X.toarray())
    given = ("@cells.h5ad", "--layer", "X")
    with pytest.raises(SystemExit):
        on_the_command_line(tmp_path, "embed", "@m", *given, "--out", "@X.npy")
    assert "counts must be whole numbers" in capsys.readouterr().err
    on_the_command_line(tmp_path, "evaluate", "@m", "@cells.h5ad", "--no-controls", "--json")
    assert json.loads(capsys.readouterr().out)["seen"]
    on_the_command_line(tmp_path, "info", "@m", "--json")
    assert json.loads(capsys.readouterr().out)["layer"] == layer
    assert f"- read from the layer {layer}" in (tmp_path / "m" / "README.md").read_text()


def test_tuning_and_estimates_take_a_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layered(without_x=True).write_h5ad(tmp_path / "cells.h5ad")
    given = ("@cells.h5ad", "--layer", "counts")
    on_the_command_line(tmp_path, "info", *given, "--estimate", "--json")
    assert json.loads(capsys.readouterr().out)["columns"] == 230
    few = ("--trials", "1", "--finalists", "0", "--label", "kind")
    on_the_command_line(tmp_path, "tune", *given, "--out", "@m", *few, *FIT)
    assert load(tmp_path / "m").aside_["layer"] == "counts"
    on_the_command_line(tmp_path, "embed", "@m", "@cells.h5ad", "--out", "@Z.npy")


def test_a_remembered_layer_is_no_column_of_a_csv_file(tmp_path: Path) -> None:
    data = annotated()
    data.var_names = ["counts", *data.var_names[1:]]
    data.layers["counts"] = data.X
    data.write_h5ad(tmp_path / "cells.h5ad")
    data.to_df().to_csv(tmp_path / "cells.csv", index=False)
    given = ("@cells.h5ad", "--layer", "counts")
    on_the_command_line(tmp_path, "fit", *given, "--out", "@m", *FIT)
    for name in ("cells.h5ad", "cells.csv"):
        on_the_command_line(tmp_path, "embed", "@m", f"@{name}", "--out", f"@{name}.npy")
    assert np.array_equal(np.load(tmp_path / "cells.h5ad.npy"), np.load(tmp_path / "cells.csv.npy"))


def test_counts_in_a_layer_are_told_of_where_x_holds_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "X holds no counts, but layers['counts'] does: --layer counts"
    data = layered()
    assert any(note.startswith(told) for note in VICReg(**SMALL).fit(data).notes_)
    with pytest.raises(ValueError, match="column 'gene.*X holds no counts, but layers"):
        VICReg(**SMALL, kind="counts").fit(data)
    assert not any("layer" in note for note in VICReg(**SMALL, kind="table").fit(data).notes_)
    del data.layers["counts"]
    data.write_h5ad(tmp_path / "cells.h5ad")
    on_the_command_line(tmp_path, "fit", "@cells.h5ad", "--out", "@m", *FIT)
    assert "note: X holds no counts, but raw.X does: --layer raw" in capsys.readouterr().out
    assert any("raw.X" in note for note in load(tmp_path / "m").notes_)
    data = annotated()
    data.layers["counts"] = data.X
    assert not any("layer" in note for note in VICReg(**SMALL).fit(data).notes_)


def test_info_and_the_card_of_a_model_name_genes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = annotated(sparse=False)
    data.X[:, 17] = 0
    data.write_h5ad(tmp_path / "cells.h5ad")
    second = annotated(sparse=False)
    second.X[:, 5] = 0
    second.var_names = [f"protein{i}" for i in range(second.n_vars)]
    second.write_h5ad(tmp_path / "second.h5ad")
    pair = ("@cells.h5ad", "--paired", "@second.h5ad")
    on_the_command_line(tmp_path, "fit", *pair, "--out", "@m", *FIT)
    told = capsys.readouterr().out
    assert "dropped 1 constant column: 'gene17'" in told
    assert "X_paired: dropped 1 constant column: 'protein5'" in told
    on_the_command_line(tmp_path, "info", "@m", "--json")
    assert json.loads(capsys.readouterr().out)["dropped"] == {"gene17": "constant"}
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "| gene0 | number | value |" in card
    assert "- left out, constant: gene17" in card
    assert "x17" not in card


def test_a_batch_called_as_a_gene_is_no_feature(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = annotated()
    data.obs["gene3"] = np.array(["p", "q"])[np.random.default_rng(0).integers(0, 2, data.n_obs)]
    data.write_h5ad(cells / "cells.h5ad")
    on_the_command_line(
        cells, "evaluate", "@m", "@cells.h5ad", "--batch", "gene3", "--no-controls", "--json"
    )
    card = json.loads(capsys.readouterr().out)
    assert not any("so of course it tells batches apart" in note for note in card["notes"])


def test_messages_and_notes_name_genes() -> None:
    data = annotated()
    dense = data.X.toarray()
    dense[3, 17] = -1
    harmed = anndata.AnnData(scipy.sparse.csr_matrix(dense), obs=data.obs, var=data.var)
    with pytest.raises(ValueError, match="however: -1 in column 'gene17', row 3"):
        VICReg(**SMALL, kind="counts").fit(harmed)
    model = VICReg(**SMALL, n_top_columns=200).fit(data)
    with pytest.raises(ValueError, match="however: -1 in column 'gene17', row 3"):
        model.transform(harmed)
    (note,) = [note for note in model.notes_ if note.startswith("dropped 30 less variable")]
    dropped = [int(name[1:]) for name in model.embedder_.table.dropped]
    assert note.endswith(f"'gene{dropped[0]}', 'gene{dropped[1]}', 'gene{dropped[2]}', "
                         f"'gene{dropped[3]}', 'gene{dropped[4]}' and 25 more")  # fmt: skip


def test_a_report_on_an_h5ad_file_names_its_cells(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on_the_command_line(
        cells, "evaluate", "@m", "@cells.h5ad", "--no-controls", "--report", "@r.html", "--json"
    )
    card = json.loads(capsys.readouterr().out)
    assert "silhouette" in card["scores"]["vicreg"]  # by the label of the fit
    assert "cell17" in (cells / "r.html").read_text()
    on_the_command_line(cells, "info", "@cells.h5ad", "--estimate", "--json")
    assert json.loads(capsys.readouterr().out)["columns"] == 230


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("embed", "@m", "@cells.h5ad", "--out", "@o.csv", "--id", "no"), "has no column 'no'; it"),
        (
            ("fit", "@cells.h5ad", "--out", "@o", "--label", "gene1"),
            "has no column 'gene1'; it has",
        ),
        (("embed", "@m", "@genes.csv", "--out", "@o.h5ad"), "is written from another one"),
        (
            ("fit", "@cells.h5ad", "--out", "@o", "--layer", "no", *FIT),
            "cells.h5ad has no layer 'no'; it has X, spliced",
        ),
        (
            ("embed", "@m", "@genes.csv", "--out", "@o.csv", "--layer", "spliced"),
            "--layer names a layer of an h5ad file, however: genes.csv",
        ),
        (
            ("fit", "@bare.h5ad", "--out", "@o", *FIT),
            "X is None; take a layer, adata.layers[NAME] or --layer NAME: spliced",
        ),
        (("info", "@m", "--layer", "spliced"), "options of a fit go with --estimate"),
        (("embed", "@m", "@cells.h5ad", "--out", "@o.h5"), "must end in .parquet, .csv, .npy or"),
        (("fit", "@none.h5ad", "--out", "@o"), "no such file"),
        (
            ("embed", "@m", "@empty.h5ad", "--out", "@o.npy"),
            "empty.h5ad: Found array with 0 sample",
        ),
        (
            ("embed", "@m", "@empty.h5ad", "--out", "@o.csv"),
            "empty.h5ad: Found array with 0 sample",
        ),
        (
            ("fit", "@cells.h5ad", "--out", "@o", "--groups", "no", "--watch", "@o.html"),
            "has no column 'no'",
        ),
        (
            ("tune", "@cells.h5ad", "--out", "@o", "--trials", "1", "--label", "no"),
            "no column 'no'",
        ),
        (
            ("fit", "@cells.h5ad", "--paired", "@turned.h5ad", "--out", "@o", "-q"),
            "turned.h5ad must have the same rows in the same order, however: row 0 is 'cell119'",
        ),
    ],
)
def test_what_is_wrong_with_an_h5ad_file_is_said_before_anything_is_written(
    cells: Path, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    annotated()[::-1].copy().write_h5ad(cells / "turned.h5ad")
    (cells / "genes.csv").write_text("gene0\n1\n")
    data = annotated()
    data.layers["spliced"] = data.X
    data.write_h5ad(cells / "cells.h5ad")
    data[:0].copy().write_h5ad(cells / "empty.h5ad")
    data.X = None
    data.write_h5ad(cells / "bare.h5ad")
    with pytest.raises(SystemExit) as stopped:
        on_the_command_line(cells, *arguments)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err
    assert not list(cells.glob("o*"))


def test_a_column_of_cells_may_have_the_name_that_their_names_would_get(tmp_path: Path) -> None:
    data = annotated()
    data.obs["obs_names"] = range(120)
    data.write_h5ad(tmp_path / "cells.h5ad")
    on_the_command_line(tmp_path, "fit", "@cells.h5ad", "--out", "@m", *FIT)
    on_the_command_line(tmp_path, "embed", "@m", "@cells.h5ad", "--out", "@Z.csv")
    assert pd.read_csv(tmp_path / "Z.csv")["row"].tolist() == list(range(120))


@pytest.mark.parametrize("is_fitted", [True, False])
def test_a_card_calls_genes_by_their_names(is_fitted: bool) -> None:
    data = annotated()
    genes = [str(name) for name in data.var_names]
    model = VICReg(steps=5, n_components=8, hidden=(8,), projector=(8,), random_state=0)
    if is_fitted:
        model.fit(data[:, ::-1].copy())
    card = evaluate(model, data, data.obs["kind"], controls=False, show=genes[3:4])
    assert card.view is not None
    assert card.view.columns[0].name == genes[3]
    wanted = np.asarray(data.X[:, 3].todense()).ravel()[card.view.rows]
    assert np.array_equal(np.asarray(card.view.columns[0].values, dtype=float), wanted)
    assert {one.name for one in card.view.importance} <= set(genes)
