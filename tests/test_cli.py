"""The command line on real files: the whole way, and every wrong turn."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.datasets import load_wine

from vicreg import VICReg, load
from vicreg.cli import main
from vicreg.command_table import CommandFile
from vicreg.demo_command import demo
from vicreg.embed_command import embed
from vicreg.evaluate_command import evaluate
from vicreg.fit_command import fit
from vicreg.info_command import info
from vicreg.tune_command import tune

FAST = ["--steps", "10", "--hidden", "16", "--projector", "16", "16", "--n-components", "8", "-q"]
DIMENSIONS = [f"vicreg{place}" for place in range(8)]


class Told:
    """What a run of the command line printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("warnings.showwarning", None)  # main sets its own; undone afterwards

    def run(*arguments: object) -> Told:
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return Told(status, captured.out, captured.err)

    return run


def table(n: int = 178) -> pl.DataFrame:
    wine = load_wine(as_frame=True)
    frame = pl.from_pandas(wine.data.iloc[:, :5])
    return frame.with_columns(
        pl.Series("colour", ["red", "white", "rose"]).sample(
            len(frame), with_replacement=True, seed=0
        ),
        pl.Series("species", [f"kind {y}" for y in wine.target]),
        pl.Series("sample", [f"s{i:03}" for i in range(len(frame))]),
    ).head(n)


@pytest.fixture(params=["csv", "parquet"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"wine.{request.param}"
    if request.param == "csv":
        table().write_csv(path)
    else:
        table().write_parquet(path)
    return path


@pytest.fixture
def fitted(tmp_path: Path, run: Any) -> Path:
    table().write_csv(tmp_path / "t.csv")
    asides = ["--label", "species", "--id", "sample"]
    assert run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *asides, *FAST).status == 0
    return tmp_path / "m"


def test_fit_info_embed_and_evaluate_go_hand_in_hand(data: Path, tmp_path: Path, run: Any) -> None:
    model, out, report = tmp_path / "model", tmp_path / "Z.parquet", tmp_path / "r.html"
    told = run("fit", data, "--out", model, "--label", "species", "--id", "sample", *FAST)
    assert told.status == 0
    assert "fitted 178 rows x 6 columns in 10 steps" in told.out
    assert "note: batch_size lowered from 256 to 178" in told.out

    told = run("info", model)
    assert told.status == 0
    for fact in ("178", "category 1, number 5", "species", "sample", "n_components"):
        assert fact in told.out

    told = run("embed", model, data, "--out", out)
    assert told.out == f"wrote {out}: 178 rows x 8 dimensions\n"
    told = run("embed", model, data, "--out", out, "--json")
    facts = {"written": [str(out)], "rows": 178, "n_components": 8, "notes": []}
    assert json.loads(told.out) == facts
    Z = pl.read_parquet(out)
    assert Z.columns == ["sample", *DIMENSIONS]
    assert Z["sample"].to_list() == table()["sample"].to_list()
    wanted = load(model).transform(table().drop("species", "sample"))
    assert np.array_equal(Z.select(DIMENSIONS).to_numpy(), wanted)

    told = run("evaluate", model, data, "--report", report, "--no-controls")
    assert told.status == 0
    assert "by species, 3 classes" in told.out
    assert "note: these are the rows that the model was fitted on" in told.out
    assert "The embedding" in told.out
    page = report.read_text(encoding="utf-8")
    assert "<table>" in page
    assert '"s177"' in page


@pytest.mark.parametrize("link", [False, True])
def test_a_table_is_not_replaced_by_what_is_made_of_it(
    fitted: Path, tmp_path: Path, run: Any, link: bool
) -> None:
    data = tmp_path / "t.csv"
    before, out = data.read_bytes(), data
    if link:
        out = tmp_path / "link.csv"
        out.symlink_to(data)
    for option, arguments in (
        ("--out", ("embed", fitted, data)),
        ("--report", ("evaluate", fitted, data)),
        ("--watch", ("fit", data, "--out", tmp_path / "other", *FAST)),
        ("--report", ("tune", data, "--out", tmp_path / "other")),
        ("--watch", ("tune", data, "--out", tmp_path / "other")),
    ):
        told = run(*arguments, option, out)
        assert told.status == 2
        assert f"{option} must be another file than the table" in told.err
        assert data.read_bytes() == before
    assert not (tmp_path / "other").exists()


def test_a_page_takes_the_place_of_nothing_else_of_its_command(
    fitted: Path, tmp_path: Path, run: Any
) -> None:
    data, journal = tmp_path / "t.csv", tmp_path / "study"
    journal.write_text("a study")
    empty = tmp_path / "empty"
    empty.mkdir()
    new, folder = tmp_path / "new", {path: path.read_bytes() for path in fitted.iterdir()}
    tuned = ("tune", data, "--out", new, "--trials", "1", *FAST)
    for arguments, option, page, told in (
        (tuned, "--report", journal, "than the study's journal"),
        (tuned, "--watch", journal, "than the study's journal"),
        (tuned, "--report", tmp_path / "yet.journal", "than the study's journal"),
        (tuned, "--watch", tmp_path / "yet.journal", "than the study's journal"),
        ((*tuned, "--watch", tmp_path / "p.html"), "--report", tmp_path / "p.html", "of --watch"),
        (tuned, "--report", new, "than those of the model"),
        (tuned, "--report", new / "tuning" / "tuning.json", "than those of the model"),
        (tuned, "--watch", new / "page.html", "not be in .* when all else is done"),
        (("fit", data, "--out", new, *FAST), "--watch", new / "w.html", "not be in "),
        (("fit", data, "--out", empty, *FAST), "--watch", empty / "w.html", "not be in "),
        (("fit", data, "--out", fitted, *FAST), "--watch", fitted / "model.json", "than those of"),
        (("evaluate", fitted, data), "--report", fitted / "README.md", "than those of the model"),
    ):
        stored = page if page.name == "yet.journal" else journal
        storage = ("--storage", stored) if "tune" in arguments else ()
        found = run(*arguments, *storage, option, page)
        assert found.status == 2
        assert re.search(f"error: {option} must .*{told}", found.err), found.err
    for taken in (new, new / "study"):
        found = run(*tuned, "--storage", taken)
        assert found.status == 2
        assert "error: --storage must " in found.err
    assert {path: path.read_bytes() for path in fitted.iterdir()} == folder
    assert journal.read_text() == "a study"
    assert not new.exists()


def test_a_batch_that_is_a_feature_is_told_of(tmp_path: Path, run: Any) -> None:
    table().write_csv(tmp_path / "t.csv")
    for dropped in ((), ("--drop", "colour")):
        model = tmp_path / f"m{len(dropped)}"
        given = ("--label", "species", "--id", "sample", *dropped)
        run("fit", tmp_path / "t.csv", "--out", model, *given, *FAST)
        told = run("evaluate", model, tmp_path / "t.csv", "--batch", "colour", "--no-controls")
        assert told.status == 0
        assert ("was fitted on 'colour'" in told.out) == (not dropped)


@pytest.mark.parametrize("last", [True, False])
def test_a_label_that_the_model_remembers_may_be_named_again(
    fitted: Path, tmp_path: Path, run: Any, last: bool
) -> None:
    frame = table()
    others = [name for name in frame.columns if name != "species"]
    frame.select([*others, "species"] if last else ["species", *others]).write_csv(
        tmp_path / "t.csv"
    )
    named = run("evaluate", fitted, tmp_path / "t.csv", "--no-controls", "--json", "--label",
                "species", "--id", "sample")  # fmt: skip
    assert named.status == 0, named.err
    remembered = run("evaluate", fitted, tmp_path / "t.csv", "--no-controls", "--json")
    assert json.loads(named.out)["scores"] == json.loads(remembered.out)["scores"]


@pytest.mark.parametrize("columns", [["species"], ["sample"], ["species", "sample"], []])
def test_labels_and_ids_may_be_there_or_not(
    fitted: Path, tmp_path: Path, run: Any, columns: list[str]
) -> None:
    table().drop(columns).write_parquet(tmp_path / "new.parquet")
    assert run("embed", fitted, tmp_path / "new.parquet", "--out", tmp_path / "Z.csv").status == 0
    Z = pl.read_csv(tmp_path / "Z.csv")
    wanted = load(fitted).transform(table().drop("species", "sample"))
    np.testing.assert_allclose(Z.select(DIMENSIONS).to_numpy(), wanted, rtol=1e-6)
    assert Z.columns[0] == ("row" if "sample" in columns else "sample")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_are_found_by_name_and_further_ones_are_told_of(
    fitted: Path, tmp_path: Path, run: Any, suffix: str
) -> None:
    frame, data, out = table(), tmp_path / f"new.{suffix}", tmp_path / "Z.npy"

    def write(given: pl.DataFrame) -> None:
        (given.write_csv if suffix == "csv" else given.write_parquet)(data)

    wanted = load(fitted).transform(frame.drop("species", "sample"))
    write(frame.select(frame.columns[::-1]))
    told = run("embed", fitted, data, "--out", out)
    assert told.status == 0, told.err
    assert "note" not in told.out
    assert np.array_equal(np.load(out), wanted)
    write(frame.select(pl.lit(1).alias("new"), *frame.columns[::-1], pl.lit("x").alias("text")))
    told = run("embed", fitted, data, "--out", out)
    note = "ignored 2 columns that the model was not fitted on: 'new', 'text'"
    assert told.out.startswith(f"note: {note}\nwrote ")
    assert np.array_equal(np.load(out), wanted)
    card = json.loads(run("evaluate", fitted, data, "--no-controls", "--json").out)
    assert note in card["notes"]
    assert card["seen"]


def test_compressed_csv_files_and_a_delimiter_go_all_the_way(tmp_path: Path, run: Any) -> None:
    plain, packed, out = tmp_path / "t.csv", tmp_path / "p.csv.gz", tmp_path / "Z.npy"
    table().write_csv(plain)
    # As a spreadsheet writes it where decimal numbers have commas.
    rows = [
        ";".join(str(one).replace(".", ",") if isinstance(one, float) else str(one) for one in row)
        for row in table().rows()
    ]
    packed.write_bytes(gzip.compress("\n".join([";".join(table().columns), *rows]).encode()))
    named = ["--label", "species", "--id", "sample"]
    with_semicolons = ["--delimiter", ";"]
    assert run("fit", plain, "--out", tmp_path / "m", *named, *FAST).status == 0
    told = run("fit", packed, "--out", tmp_path / "n", *named, *with_semicolons, *FAST)
    assert told.status == 0, told.err
    wanted = load(tmp_path / "m").transform(table().drop("species", "sample"))
    told = run("embed", tmp_path / "n", packed, "--out", out, *with_semicolons)
    assert told.status == 0, told.err
    assert np.array_equal(np.load(out), wanted)
    assert np.load(tmp_path / "Z.ids.npy").tolist() == table()["sample"].to_list()
    told = run("embed", tmp_path / "n", packed, "--out", out)  # nothing remembers it
    assert_refused(told, "; save it with commas, and points in decimal numbers, or give --delim")
    cards = [
        json.loads(run("evaluate", tmp_path / "n", data, "--no-controls", "--json", *said).out)
        for data, said in ((plain, list[str]()), (packed, with_semicolons))
    ]
    assert cards[0]["scores"] == cards[1]["scores"]
    assert cards[1]["seen"]
    sizes = [
        json.loads(run("info", data, "--estimate", "--json", *named, *said).out)
        for data, said in ((plain, list[str]()), (packed, with_semicolons))
    ]
    assert sizes[0] == sizes[1]
    few = ["--trials", "1", "--finalists", "0"]
    told = run("tune", packed, "--out", tmp_path / "best", *few, *named, *with_semicolons, *FAST)
    assert told.status == 0, told.err
    assert load(tmp_path / "best").n_features_in_ == 6


def test_a_delimiter_is_of_all_csv_files_of_a_pair(tmp_path: Path, run: Any) -> None:
    table().select("alcohol", "sample").write_csv(tmp_path / "a.csv", separator="|")
    table().select("ash", "sample").write_csv(tmp_path / "b.txt", separator="|")
    table().select("ash", "sample").write_parquet(tmp_path / "b.parquet")
    out, embedded = ["--out", tmp_path / "m", "--id", "sample", *FAST], list[Any]()
    for second in ("b.txt", "b.parquet"):
        pair = ["--paired", tmp_path / second, "--delimiter", "|"]
        told = run("fit", tmp_path / "a.csv", *pair, *out)
        assert told.status == 0, told.err
        told = run("embed", tmp_path / "m", tmp_path / "a.csv", "--out", tmp_path / "Z.npy", *pair)
        assert told.status == 0, told.err
        embedded.append(np.load(tmp_path / "Z.npy"))
    assert np.array_equal(*embedded)


@pytest.mark.parametrize("given", ["", ";;", '"', "\\t", "\n", "§"])
def test_a_delimiter_is_one_character(fitted: Path, run: Any, given: str) -> None:
    told = run("info", fitted.parent / "t.csv", "--estimate", "--delimiter", given)
    assert_refused(told, f"--delimiter must be one character of ASCII other than a quote, or the "
                   f"word tab, however: {given!r}")  # fmt: skip


@pytest.mark.parametrize("name", ["tab", "TAB", "\t"])
def test_a_tab_has_a_name(tmp_path: Path, run: Any, name: str) -> None:
    table().write_csv(tmp_path / "t.csv", separator="\t")
    told = run("info", tmp_path / "t.csv", "--estimate", "--delimiter", name, "--json")
    assert json.loads(told.out)["columns"] == 8


@pytest.mark.parametrize("command", ["fit", "embed", "evaluate", "tune", "info"])
def test_a_delimiter_is_for_csv_files(fitted: Path, run: Any, command: str) -> None:
    data = fitted.parent / "t.parquet"
    table().write_parquet(data)
    before = sorted(fitted.parent.rglob("*"))
    arguments: dict[str, list[Any]] = {
        "fit": [data, "--out", fitted.parent / "m2"],
        "embed": [fitted, data, "--out", fitted.parent / "Z.csv"],
        "evaluate": [fitted, data],
        "tune": [data, "--out", fitted.parent / "m2"],
        "info": [data, "--estimate"],
    }
    told = run(command, *arguments[command], "--delimiter", ";")
    assert_refused(
        told, "--delimiter is for CSV files (.csv, .tsv, .txt), however: t.parquet; leave"
    )
    assert sorted(fitted.parent.rglob("*")) == before


def test_dropped_columns_are_no_features_and_remembered(
    data: Path, tmp_path: Path, run: Any
) -> None:
    model, out = tmp_path / "m", tmp_path / "Z.npy"
    # The label may be dropped, too, and a column twice.
    named = ["--label", "species", "--id", "sample"]
    dropped = ["colour", "ash", "species", "ash"]
    told = run("fit", data, "--out", model, *named, "--drop", *dropped, *FAST)
    assert told.status == 0, told.err
    assert "fitted 178 rows x 4 columns" in told.out
    assert load(model).aside_["drop"] == dropped
    assert json.loads(run("info", model, "--json").out)["drop"] == dropped
    assert "colour, ash, species, ash" in run("info", model).out
    assert "- set aside by --drop: colour\n" in (model / "README.md").read_text("utf-8")
    features = table().drop("species", "sample", "colour", "ash")
    wanted = VICReg(
        steps=10, hidden=(16,), projector=(16, 16), n_components=8, random_state=0
    ).fit_transform(features)
    for without in ([], ["colour"], dropped):
        table().drop(without).write_csv(tmp_path / "new.csv")
        told = run("embed", model, tmp_path / "new.csv", "--out", out)
        assert told.out.startswith("wrote "), told.out
        assert np.array_equal(np.load(out), wanted)
    table().with_columns(new=pl.lit(1)).write_csv(tmp_path / "new.csv")
    told = run("embed", model, tmp_path / "new.csv", "--out", out)
    assert told.out.startswith("note: ignored 1 column that the model was not fitted on: 'new'\n")
    told = run("evaluate", model, data, "--no-controls", "--json", "--label", "colour")
    card = json.loads(told.out)
    assert card["seen"]
    assert not [note for note in card["notes"] if "ignored" in note]


def test_a_refit_leaves_dropped_columns_out(tmp_path: Path, run: Any) -> None:
    cards = []
    for dropped in ([], ["--drop", "colour", "ash"]):
        frame = pl.concat([table()] * 2).drop("sample")
        if not dropped:
            frame = frame.drop("colour", "ash")
        frame.write_csv(tmp_path / "t.csv")
        named = ["--label", "species", *dropped]
        assert run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *named, *FAST).status == 0
        arguments = [tmp_path / "m", tmp_path / "t.csv", "--refit", "--no-controls", "--json"]
        cards.append(json.loads(run("evaluate", *arguments).out))
    assert cards[0]["scores"] == cards[1]["scores"]


def test_tuning_and_estimates_leave_dropped_columns_out(tmp_path: Path, run: Any) -> None:
    table().write_csv(tmp_path / "t.csv")
    given = [tmp_path / "t.csv", "--label", "species", "--drop", "sample", "ash"]
    assert json.loads(run("info", *given, "--estimate", "--json").out)["columns"] == 5
    told = run("tune", *given, "--out", tmp_path / "m", "--trials", "1", "--finalists", "0",
               "--report", tmp_path / "r.html", *FAST)  # fmt: skip
    assert told.status == 0, told.err
    model = load(tmp_path / "m")
    assert model.n_features_in_ == 5
    assert model.aside_["drop"] == ["sample", "ash"]
    assert run("embed", tmp_path / "m", given[0], "--out", tmp_path / "Z.csv").out.startswith("wr")


def test_a_column_of_either_table_of_a_pair_may_be_dropped(tmp_path: Path, run: Any) -> None:
    table().select("alcohol", "ash", "sample", "colour").write_csv(tmp_path / "a.csv")
    table().select("magnesium", "sample", "species", "colour").write_csv(tmp_path / "b.csv")
    pair = [tmp_path / "a.csv", "--paired", tmp_path / "b.csv", "--id", "sample"]
    dropped = ["--drop", "species", "colour", "ash"]
    told = run("fit", *pair, "--out", tmp_path / "m", *dropped, *FAST)
    assert told.status == 0, told.err
    facts = json.loads(run("info", tmp_path / "m", "--json").out)
    assert (facts["columns"], facts["paired_columns"]) == (1, 1)
    told = run("embed", tmp_path / "m", *pair, "--out", tmp_path / "Z.npy")
    assert told.out.startswith("wrote "), told.out
    told = run("fit", *pair, "--out", tmp_path / "n", "--drop", "malic_acid", *FAST)
    assert_refused(told, "a.csv has no column 'malic_acid'; it has alcohol, ash, sample, colour")


def test_a_model_of_before_dropping_is_read(fitted: Path, run: Any) -> None:
    model = load(fitted)
    del model.aside_["drop"]  # as it was written then
    model.save(fitted)
    assert "drop" not in json.loads((fitted / "model.json").read_text("utf-8"))["aside"]
    assert json.loads(run("info", fitted, "--json").out)["drop"] == []
    data = fitted.parent / "t.csv"
    assert run("embed", fitted, data, "--out", fitted.parent / "Z.csv").out.startswith("wrote ")
    assert run("evaluate", fitted, data, "--no-controls").status == 0


def test_a_second_tables_columns_are_found_by_name_too(tmp_path: Path, run: Any) -> None:
    table().select("alcohol", "malic_acid").write_csv(tmp_path / "a.csv")
    table().select("ash", "magnesium").write_csv(tmp_path / "b.csv")
    pair = ["--paired", tmp_path / "b.csv"]
    assert run("fit", tmp_path / "a.csv", "--out", tmp_path / "m", *pair, *FAST).status == 0
    wanted = load(tmp_path / "m").transform(tmp_path / "a.csv", X_paired=tmp_path / "b.csv")
    table().select("magnesium", "alcohol", "ash").write_csv(tmp_path / "b.csv")
    told = run("embed", tmp_path / "m", tmp_path / "a.csv", "--out", tmp_path / "Z.npy", *pair)
    assert told.out.startswith("note: ignored 1 column that the model was not fitted on: 'alcohol'")
    assert np.array_equal(np.load(tmp_path / "Z.npy"), wanted)


def test_the_label_is_no_feature(tmp_path: Path, run: Any) -> None:
    with_label, without = tmp_path / "a.csv", tmp_path / "b.csv"
    table().drop("sample").write_csv(with_label)
    table().drop("sample", "species").write_csv(without)
    run("fit", with_label, "--out", tmp_path / "ma", "--label", "species", *FAST)
    run("fit", without, "--out", tmp_path / "mb", *FAST)
    for model in ("ma", "mb"):
        run("embed", tmp_path / model, with_label if model == "ma" else without,
            "--out", tmp_path / f"{model}.npy")  # fmt: skip
    assert np.array_equal(np.load(tmp_path / "ma.npy"), np.load(tmp_path / "mb.npy"))


def test_groups_and_weights_are_columns_and_no_features(tmp_path: Path, run: Any) -> None:
    frame = table().with_columns(
        pl.Series("patient", [f"p{i // 3}" for i in range(178)]),
        pl.Series("weight", [i % 3 for i in range(178)]),
    )
    frame.write_csv(tmp_path / "t.csv")
    asides = ["--label", "species", "--id", "sample", "--groups", "patient", "--weight", "weight"]
    told = run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *asides, *FAST)
    assert told.status == 0
    assert "left out 60 rows of weight 0" in told.out
    model = load(tmp_path / "m")
    assert model.n_features_in_ == 6
    wanted = VICReg(
        steps=10, hidden=(16,), projector=(16, 16), n_components=8, random_state=0, n_threads=1
    ).fit(table().drop("species", "sample"), groups=frame["patient"], sample_weight=frame["weight"])
    assert np.array_equal(
        model.transform(table().drop("species", "sample")),
        wanted.transform(table().drop("species", "sample")),
    )
    told = run("info", tmp_path / "m")
    assert "patient" in told.out
    assert "weight" in told.out
    assert run("embed", tmp_path / "m", tmp_path / "t.csv", "--out", tmp_path / "Z.csv").status == 0


@pytest.mark.parametrize(
    ("asides", "message"),
    [
        (["--groups", "patient"], "has no column 'patient'"),
        (["--weight", "mass"], "has no column 'mass'"),
        (["--weight", "colour"], "sample_weight must hold numbers, however: it holds"),
        (["--groups", "gap"], "groups must name a group for every row, however: 1 missing"),
        (["--weight", "gap"], "sample_weight must be finite and not negative, however: nan in row"),
    ],
)
def test_bad_groups_and_weights_leave_one_line_and_no_model(
    tmp_path: Path, run: Any, asides: list[str], message: str
) -> None:
    gap = pl.Series("gap", [None, *range(177)])
    table().with_columns(gap).write_parquet(tmp_path / "t.parquet")
    told = run("fit", tmp_path / "t.parquet", "--out", tmp_path / "m", *asides, *FAST)
    assert told.status == 2
    assert told.err.startswith("vicreg: error: ")
    assert message in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_counts_are_asked_for(tmp_path: Path, run: Any) -> None:
    random = np.random.default_rng(0)
    counts = random.poisson(random.gamma(0.3, 4.0, (60, 30)))
    frame = pl.DataFrame(counts, schema=[f"gene{i}" for i in range(30)])
    frame.write_csv(tmp_path / "t.csv")
    paths = [tmp_path / "t.csv", "--out", tmp_path / "m"]
    options = ["--kind", "counts", "--n-top-columns", "12", "--thin", "0.5"]
    told = run("fit", *paths, *options, *FAST)
    assert "dropped 18 less variable columns: 'gene" in told.out
    assert load(tmp_path / "m").thin == 0.5
    frame.with_columns(gene7=pl.lit(-1)).write_csv(tmp_path / "t.csv")
    told = run("fit", *paths, *options, *FAST)
    assert told.status == 2
    assert "not negative and none missing, however: -1 in column 'gene7', row 0" in told.err


def test_pairs_go_all_the_way(tmp_path: Path, run: Any) -> None:
    first = table().select("alcohol", "malic_acid", "sample", "species")
    second = table().select("sample", "ash", "magnesium")
    first.write_csv(tmp_path / "a.csv")
    second.write_parquet(tmp_path / "b.parquet")
    asides = ["--label", "species", "--id", "sample"]
    paths = [tmp_path / "a.csv", "--out", tmp_path / "m", "--paired", tmp_path / "b.parquet"]
    assert run("fit", *paths, *asides, *FAST).status == 0
    assert json.loads(run("info", tmp_path / "m", "--json").out)["paired_columns"] == 2
    paths = [tmp_path / "a.csv", "--out", tmp_path / "Z.parquet"]
    told = run("embed", tmp_path / "m", *paths, "--paired", tmp_path / "b.parquet")
    assert told.status == 0
    wanted = load(tmp_path / "m").transform(
        first.drop("sample", "species"), X_paired=second.drop("sample")
    )
    Z = pl.read_parquet(tmp_path / "Z.parquet").select(DIMENSIONS).to_numpy()
    assert np.array_equal(Z, wanted)
    second.reverse().write_parquet(tmp_path / "b.parquet")
    told = run("embed", tmp_path / "m", *paths, "--paired", tmp_path / "b.parquet")
    assert told.status == 2
    assert "same rows in the same order, however: row 0 is 's177', not 's000'" in told.err


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["1", "2", ""], [1, 2, None], ""),
        (["1", "02", ""], [1.0, 2.0, None], ""),
        (["1.5", "2", ""], [1.5, 2.0, None], ""),
        (["2024-01-01", "2024-02-29", ""], [date(2024, 1, 1), date(2024, 2, 29), None], ""),
        (["007", "NA", ""], ["007", "NA", None], ""),
        (["007", "NA", ""], ["7", "NA", None], "row 0 is '7', not '007'"),
        (["1", "x", ""], [1, 2, None], "row 1 is '2', not 'x'"),
        (["1", "3", ""], [1, 2, None], "row 1 is 2, not 3"),
        (["1", "2", ""], [1, 2, 3], "row 2 is 3, not None"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_ids_of_a_csv_file_are_those_of_a_parquet_file(
    tmp_path: Path, first: list[str], second: list[Any], message: str, turned: bool
) -> None:
    pl.DataFrame({"id": first}).write_csv(tmp_path / "a.csv")
    pl.DataFrame({"id": second}).write_parquet(tmp_path / "b.parquet")
    paths = [tmp_path / "a.csv", tmp_path / "b.parquet"]
    tables = [CommandFile(path, ids=["id"]).read() for path in paths]
    if turned:
        tables.reverse()
        message = re.sub("is (.*), not (.*)", r"is \2, not \1", message)
    if not message:
        tables[0].check_same_rows(tables[1], "id")
        return
    with pytest.raises(ValueError, match=f"same rows in the same order, however: {message}$"):
        tables[0].check_same_rows(tables[1], "id")


@pytest.mark.parametrize("name", ["sample", "number"])
def test_npy_files_come_with_their_ids(fitted: Path, tmp_path: Path, run: Any, name: str) -> None:
    numbers = [pl.Series("number", range(1000, 1178))] if name == "number" else []
    frame = table().with_columns(*numbers)
    frame.write_parquet(tmp_path / "n.parquet")
    chosen = ["--id", "number"] if name == "number" else []
    out = tmp_path / "Z.npy"
    told = run("embed", fitted, tmp_path / "n.parquet", "--out", out, *chosen)
    assert told.status == 0, told.err
    assert np.load(out, allow_pickle=False).shape == (178, 8)
    ids = np.load(tmp_path / "Z.ids.npy", allow_pickle=False)
    assert ids.tolist() == frame[name].to_list()


IDS = ["7", "007", "1E3", "1000", "00000", "NA", "None", "", " x", 'say "a, b"', "1.0", "0x1F"]


def named(ids: list[str]) -> pl.DataFrame:
    return (
        pl.concat([table()] * -(-len(ids) // 178))
        .head(len(ids))
        .with_columns(sample=pl.Series(ids))
    )


@pytest.mark.parametrize("chosen", [[], ["--id", "sample"]])
@pytest.mark.parametrize(("name", "separator"), [("t.csv", ","), ("t.tsv", "\t")])
def test_ids_come_out_to_the_letter(
    fitted: Path,
    tmp_path: Path,
    run: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    separator: str,
    chosen: list[str],
) -> None:
    monkeypatch.setattr("vicreg.embed_command.ENTRIES", 1)
    ids = [f"{row:04}" for row in range(1024)] + IDS  # these are a block of their own
    named(ids).write_csv(tmp_path / name, separator=separator)
    for out in ("Z.parquet", "Z.csv", "Z.npy"):
        told = run("embed", fitted, tmp_path / name, "--out", tmp_path / out, *chosen)
        assert told.status == 0, told.err
    assert pl.read_parquet(tmp_path / "Z.parquet")["sample"].fill_null("").to_list() == ids
    with (tmp_path / "Z.csv").open(newline="", encoding="utf-8") as file:
        assert [row["sample"] for row in csv.DictReader(file)] == ids
    assert np.load(tmp_path / "Z.ids.npy", allow_pickle=False).tolist() == ids


def test_numbers_that_name_rows_are_missing_as_empty_ids_in_a_npy_file(
    fitted: Path, tmp_path: Path, run: Any
) -> None:
    numbers = [None, 2**53 + 1, *range(176)]
    table().with_columns(sample=pl.Series(numbers)).write_parquet(tmp_path / "t.parquet")
    assert run("embed", fitted, tmp_path / "t.parquet", "--out", tmp_path / "Z.npy").status == 0
    wanted = ["" if number is None else str(number) for number in numbers]
    assert np.load(tmp_path / "Z.ids.npy", allow_pickle=False).tolist() == wanted


def test_a_report_calls_rows_what_the_file_does(fitted: Path, tmp_path: Path, run: Any) -> None:
    named([f"{row:03}" for row in range(178)]).write_csv(tmp_path / "t.csv")
    report = tmp_path / "r.html"
    told = run("evaluate", fitted, tmp_path / "t.csv", "--report", report, "--no-controls")
    assert told.status == 0, told.err
    assert '"007"' in report.read_text(encoding="utf-8")


def test_groups_are_told_apart_to_the_letter(tmp_path: Path, run: Any) -> None:
    groups = ["7", "007"] + ["1"] * 176
    table().with_columns(group=pl.Series(groups)).write_csv(tmp_path / "t.csv")
    asides = ["--id", "sample", "--label", "species", "--groups", "group"]
    told = run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *asides, *FAST)
    assert "2 of 178 rows are alone in their group" in told.out
    groups[5] = "NA"
    table().with_columns(group=pl.Series(groups)).write_csv(tmp_path / "t.csv")
    told = run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *asides, *FAST)
    assert "groups must name a group for every row, however: 1 missing, the first in row 5" in (
        told.err
    )


def test_json_is_one_line_for_a_machine(fitted: Path, tmp_path: Path, run: Any) -> None:
    data = tmp_path / "t.csv"
    for arguments in (
        ["fit", data, "--out", tmp_path / "m2", "--label", "species", "--id", "sample", *FAST],
        ["info", fitted],
        ["embed", fitted, data, "--out", tmp_path / "Z.csv"],
        ["evaluate", fitted, data, "--no-controls"],
    ):
        told = run(*arguments, "--json")
        assert told.status == 0, told.err
        assert told.out.count("\n") == 1
        assert isinstance(json.loads(told.out), dict)


def test_options_override_a_preset(tmp_path: Path, run: Any) -> None:
    table().write_csv(tmp_path / "t.csv")
    model = tmp_path / "m"
    told = run("fit", tmp_path / "t.csv", "--out", model, "--preset", "seed", "--nu", "0.2",
               "--steps", "5", "--projector", "64", "--random-state", "3", "-q")  # fmt: skip
    assert told.status == 0, told.err
    params = load(model).get_params()
    assert params["nu"] == 0.2
    assert params["projector"] == (64,)
    assert params["hidden"] == ()
    assert params["shared_weights"] is False
    assert params["random_state"] == 3


def test_a_search_names_fields_of_a_preset(tmp_path: Path, run: Any) -> None:
    table().write_csv(tmp_path / "t.csv")
    model = tmp_path / "m"
    told = run("tune", tmp_path / "t.csv", "--out", model, "--preset", "seed", "--steps", "5",
               "--search", "projector_width=8,16", "lr=0.001:0.1:log", "--only", "--trials", "2",
               "--finalists", "0", "-q")  # fmt: skip
    assert told.status == 0, told.err
    params = load(model).get_params()
    assert params["projector"] in ((8,), (16,))
    assert params["optimizer"] == "adam"
    trials = pl.read_csv(model / "tuning" / "trials.csv")
    assert {"projector_width", "lr"} <= set(trials.columns)
    assert not {"projector_depth", "lam"} & set(trials.columns)


def test_refit_scores_rows_that_the_fit_has_not_seen(tmp_path: Path, run: Any) -> None:
    frame = pl.concat([table()] * 2)
    frame.drop("sample").write_csv(tmp_path / "t.csv")
    data, model = tmp_path / "t.csv", tmp_path / "m"
    run("fit", data, "--out", model, "--label", "species", *FAST)
    told = run("evaluate", model, data, "--refit", "--no-controls", "--json")
    card = json.loads(told.out)
    assert card["held_out"]
    assert not card["seen"]
    assert card["n_scored"] == 107


def test_a_mixed_and_messy_table_goes_all_the_way(tmp_path: Path, run: Any) -> None:
    path = tmp_path / "messy.csv"
    rows = ["when,amount,word,ok,empty,same,name,mark"]
    for i in range(60):
        amount = "" if i % 7 == 0 else f"{i * 1.5}"
        mark = "-" if i == 13 else i % 3
        rows.append(
            f"2024-0{1 + i % 9}-11 0{i % 10}:30:00,{amount},w{i % 3},{i % 2 == 0},,1,id-{i},{mark}"
        )
    path.write_text("\n".join(rows), encoding="utf-8")
    told = run("fit", path, "--out", tmp_path / "m", *FAST)
    assert told.status == 0, told.err
    assert "note: dropped 1 constant column: 'same'" in told.out
    assert "note: dropped 1 empty column: 'empty'" in told.out
    assert "note: dropped 1 identifier-like column: 'name'" in told.out
    assert "note: column 'mark' is text because of '-' in row 13, though nearly all" in told.out
    facts = json.loads(run("info", tmp_path / "m", "--json").out)
    assert facts["kinds"] == {"boolean": 1, "category": 2, "datetime": 1, "number": 1}
    assert run("embed", tmp_path / "m", path, "--out", tmp_path / "Z.csv").status == 0


def test_help_and_version_are_there(run: Any) -> None:
    assert "--n-components" in run("fit", "--help").out
    told = " ".join(run("--help").out.replace("│", " ").split())
    for command in (demo, fit, embed, evaluate, tune, info):
        assert command.__doc__ is not None
        assert f"{command.__name__} {command.__doc__.splitlines()[0]}" in told
        assert command.__doc__.split()[-1] in run(command.__name__, "--help").out
    told = run("--version")
    assert (told.status, told.out.strip()) == (0, "0.1.0")


GOOD = "a,b\n" + "\n".join(f"{i % 7},{i * i % 5}" for i in range(12)) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "empty.csv is empty"),
        ("header.csv", b"a,b\n", "needs at least one row"),
        ("one.csv", b"a,b\n1,2\n", "at least two rows"),
        ("constant.csv", b"a,b\n1,1\n1,1\n", "no column to learn from: dropped 2 constant"),
        ("missing.csv", b"a,b\n,\n,\n", "no column to learn from: dropped 2 empty"),
        (
            "infinite.csv",
            b"a,b\n1,2\ninf,3\n4,4\n",
            "infinity or a value too large: column 'a', row 1",
        ),
        ("twice.csv", b"a,a\n1,2\n3,4\n", "unique, however: 'a' more than once"),
        ("ragged.csv", b"a,b\n1,2,3\n4\n", "not a readable CSV file"),
        ("binary.csv", bytes(range(256)) * 9, "not a readable CSV file: it holds binary data"),
        ("text.parquet", b"hello", "not a readable Parquet file"),
        ("sheet.xlsx", b"PK", "must end in .csv, .tsv, .parquet or .h5ad, however: sheet.xlsx"),
        ("nowhere.csv", None, "no such file"),
    ],
)
def test_bad_tables_leave_one_line_and_no_model(
    tmp_path: Path, run: Any, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.iterdir())
    told = run("fit", tmp_path / name, "--out", tmp_path / "m", *FAST)
    assert_refused(told, message)
    assert sorted(tmp_path.iterdir()) == before


def assert_refused(told: Told, message: str) -> None:
    assert told.status == 2
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("vicreg: error: ")
    assert message in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,c\n1,2\n3,4\n", "fitted on, however: 1 missing: 'b'; it has 'a', 'c'"),
        ("a\n1\n2\n", "the 2 columns that the model was fitted on, however: 1 missing: 'b'"),
        (
            "a,b\nx,2\ny,4\n",
            "column 'a' held numbers when the model was fitted, however: it holds 'x'",
        ),
        ("a,b\n-inf,2\n1,4\n", "infinity or a value too large: column 'a', row 0"),
        ("a,b\n", "at least one row"),
    ],
)
def test_bad_new_tables_leave_one_line_and_no_output(
    tmp_path: Path, run: Any, content: str, message: str
) -> None:
    (tmp_path / "good.csv").write_text(GOOD, encoding="utf-8")
    assert run("fit", tmp_path / "good.csv", "--out", tmp_path / "m", *FAST).status == 0
    (tmp_path / "new.csv").write_text(content, encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    told = run("embed", tmp_path / "m", tmp_path / "new.csv", "--out", tmp_path / "Z.parquet")
    assert_refused(told, message)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "t.csv", "--out", "m2", "--lr", "-1"], "lr must be"),
        (["fit", "t.csv", "--out", "m2", "--lr", "fast"], "--lr"),
        (["fit", "t.csv", "--out", "m2", "--steps", "2.9"], "must be a whole number, however: 2.9"),
        (["fit", "t.csv", "--out", "m2", "--steps", "0.4"], "must be a whole number, however: 0.4"),
        (["fit", "t.csv", "--out", "m2", "--hidden", "8", "12.9"], "--hidden must be a whole numb"),
        (["fit", "t.csv", "--out", "m2", "--random-state", "1.9"], "must be a whole number"),
        (["tune", "t.csv", "--out", "m2", "--trials", "1.9"], "must be a whole number"),
        (["fit", "t.csv", "--out", "m2", "--n-threads", "33000"], "n_threads must be None or an i"),
        (["fit", "t.csv", "--out", "m2", "--lam", "1e300"], "lam must be a finite number at least"),
        (["fit", "t.csv", "--out", "m2", "--nonsense", "1"], "--nonsense"),
        (["fit", "t.csv"], "--out"),
        (["fit"], "requires an argument"),
        (["fly"], "fly"),
        (["fit", "t.csv", "--out", "m2", "--preset", "best"], "preset must be one of"),
        (["fit", "t.csv", "--out", "m2", "--label", "klass"], "has no column 'klass'; it has"),
        (["fit", "t.csv", "--out", "m2", "--id", "nr"], "has no column 'nr'"),
        (["fit", "t.csv", "--out", "m2", "--device", "abacus"], "device must be"),
        (["fit", "t.csv", "--out", "t.csv"], "exists and is not a model folder"),
        (["fit", "t.csv", "--out", "."], ". cannot be replaced: it is the current folder"),
        (["fit", "t.csv", "--out", "t.csv/m"], "t.csv is not a folder"),
        (["fit", "t.csv", "--out", "m2", "--random-state", "-1"], "--random-state"),
        (["fit", "t.csv", "--out", "m2", "--device", "meta"], "device must be"),
        (["embed", "m", "t.csv", "--out", "t.csv/Z.csv"], "t.csv is not a folder"),
        (["evaluate", "m", "t.csv", "--report", "m"], "m is a folder; choose a file's name"),
        (["embed", "m", "t.csv", "--out", "Z.txt"], "out must end in"),
        (["embed", "m", "t.csv", "--out", "Z.csv", "--id", "nr"], "has no column 'nr'"),
        (["embed", "nowhere", "t.csv", "--out", "Z.csv"], "no model folder at nowhere"),
        (["evaluate", "m", "t.csv", "--label", "klass"], "has no column 'klass'"),
        (
            ["evaluate", "m", "t.csv", "--label", "alcohol"],
            "--label must name a column that is no feature of the model, however: 'alcohol' is one",
        ),
        (["embed", "m", "t.csv", "--out", "Z.csv", "--id", "ash"], "(vicreg fit --id ash)"),
        (["fit", "t.csv", "--out", "m2", "--kind", "counts"], "column 'colour' holds text. Leave"),
        (["tune", "t.csv", "--out", "m2", "--search"], "--search must be followed by NAME"),
        (["info", "t.csv", "--estimate", "--groups", "who"], "has no column 'who'"),
        (["evaluate", "m", "t.csv", "--batch", "plate"], "has no column 'plate'"),
        (["evaluate", "m", "t.csv", "--show", "plate"], "show must name columns of the table"),
        (["info", "t.csv"], "no model folder at t.csv"),
        (["info", "m", "--lr", "0.1"], "options of a fit go with --estimate"),
        (
            ["fit", "t.csv", "--out", "m2", "--drop", "ash", "ashes"],
            "has no column 'ashes'; it has",
        ),
        (["tune", "t.csv", "--out", "m2", "--drop", "ashes"], "has no column 'ashes'; it has alco"),
        (["info", "t.csv", "--estimate", "--drop", "ashes"], "has no column 'ashes'; it has alco"),
        (["info", "m", "--drop", "ash"], "options of a fit go with --estimate"),
        (["info", "m", "--delimiter", ";"], "options of a fit go with --estimate"),
        (["fit", "t.csv", "--out", "m2", "--delimiter", ";"], "by ','; give --delimiter ','"),
        (["info", "m", "--estimate"], "m is a folder; give a CSV, Parquet or h5ad file"),
        (["info", "t.csv", "--estimate", "--lr", "-1"], "lr must be"),
        (["info", "t.csv", "--estimate", "--label", "klass"], "has no column 'klass'"),
    ],
)
def test_bad_arguments_leave_one_line_and_nothing_else(
    fitted: Path, run: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(fitted.parent)
    before = sorted(fitted.parent.rglob("*"))
    assert_refused(run(*arguments), message)
    assert sorted(fitted.parent.rglob("*")) == before


def test_a_search_is_told_of_groups_and_weights(tmp_path: Path, run: Any) -> None:
    frame = table().with_columns(
        pl.Series("patient", [f"p{row // 6}" for row in range(178)]),
        pl.Series("weight", [1.0 + row % 2 for row in range(178)]),
    )
    frame.write_csv(tmp_path / "t.csv")
    asides = ["--label", "species", "--id", "sample", "--groups", "patient", "--weight", "weight"]
    few = ["--trials", 1, "--finalists", 0, "--search", "lam=5:50", "--only", *FAST]
    told = run("tune", tmp_path / "t.csv", "--out", tmp_path / "m", *asides, *few)
    assert told.status == 0, told.err
    assert "note: batch_size lowered from 256 to 178" in told.out
    model = load(tmp_path / "m")
    assert model.n_features_in_ == 6
    assert model.fitted_with_ == ["groups", "sample_weight"]
    assert model.aside_["groups"] == "patient"
    fitted = run("fit", tmp_path / "t.csv", "--out", tmp_path / "m2", *asides, *FAST)
    assert fitted.status == 0
    sizes = [
        json.loads(run("info", tmp_path / "t.csv", "--estimate", *asides[:n], "--json").out)
        for n in (4, 8)
    ]
    assert [size["columns"] for size in sizes] == [8, 6]


@pytest.mark.parametrize("told_apart", [True, False])
def test_a_name_is_searched_once(tmp_path: Path, run: Any, told_apart: bool) -> None:
    table(5).write_csv(tmp_path / "t.csv")
    ranges = ["--search", "lam=1:5", *(["--search"] * told_apart), "lam=2:3"]
    told = run("tune", tmp_path / "t.csv", "--out", tmp_path / "m", *ranges)
    assert_refused(told, "--search must name an argument once, however: lam twice")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_space_is_read_with_a_byte_order_mark_and_without(
    tmp_path: Path, run: Any, mark: bytes
) -> None:
    table().write_csv(tmp_path / "t.csv")
    (tmp_path / "space.toml").write_bytes(mark + b"lamda = 3\n")
    told = run("tune", tmp_path / "t.csv", "--out", tmp_path / "m",
               "--space", tmp_path / "space.toml")  # fmt: skip
    assert_refused(told, "space: there is no argument 'lamda'")


def test_a_space_that_cannot_be_read_is_refused(tmp_path: Path, run: Any) -> None:
    table().write_csv(tmp_path / "t.csv")
    (tmp_path / "broken.toml").write_text("lam = [", encoding="utf-8")
    tune = ["tune", tmp_path / "t.csv", "--out", tmp_path / "m", "--space"]
    broken, none = tmp_path / "broken.toml", tmp_path / "none.toml"
    assert_refused(run(*tune, broken), f"--space: {broken} is not TOML: ")
    assert_refused(run(*tune, none), f"--space: no such file: {none}")
    assert_refused(run(*tune, tmp_path), f"--space: {tmp_path} is a folder; give a TOML file")


def test_memory_is_estimated_for_a_table(data: Path, run: Any) -> None:
    asides = ["--label", "species", "--id", "sample"]
    small = json.loads(run("info", data, "--estimate", *asides, "--json").out)
    assert (small["rows"], small["columns"]) == (178, 6)
    wide = ["--projector", "4096", "4096"]
    large = json.loads(run("info", data, "--estimate", *asides, *wide, "--json").out)
    weights = 4096 * 4096 + 128 * 4096
    assert large["fit"] > small["fit"] + 4 * 4 * weights
    assert large["transform"] == small["transform"]
    told = run("info", data, "--estimate", *asides).out
    assert f"{small['fit'] / 2**20:,.0f} MiB" in told
    # What the peak is made of: the table, the largest phase, and less of the others.
    parts = dict(re.findall(r"^ *(.+?) +(\d+) MiB *$", told, re.MULTILINE))
    training = sum(int(size) for name, size in parts.items() if name.startswith("training: "))
    assert int(parts["encoded table"]) + training <= small["fit"] / 2**20
    assert len(parts) == 10


def test_an_id_with_a_dimensions_name_is_refused(tmp_path: Path, run: Any) -> None:
    frame = table().rename({"sample": "vicreg0"})
    frame.write_csv(tmp_path / "t.csv")
    aside = ["--id", "vicreg0"]
    assert run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *aside, *FAST).status == 0
    told = run("embed", tmp_path / "m", tmp_path / "t.csv", "--out", tmp_path / "Z.csv")
    assert_refused(told, "the id column 'vicreg0' has a dimension's name; rename it")
    assert not (tmp_path / "Z.csv").exists()


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("harm", ["missing", "altered"])
def test_a_harmed_model_is_refused(fitted: Path, run: Any, name: str, harm: str) -> None:
    path = fitted / name
    if harm == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    told = run("embed", fitted, fitted.parent / "t.csv", "--out", fitted.parent / "Z.csv")
    assert_refused(told, name)
    assert not (fitted.parent / "Z.csv").exists()


@pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
def test_a_full_disk_leaves_the_old_output(fitted: Path, run: Any, suffix: str) -> None:
    out = fitted.parent / f"Z.{suffix}"
    out.write_text("old", encoding="utf-8")
    before = sorted(fitted.parent.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the system refuses to write on
    try:
        told = run("embed", fitted, fitted.parent / "t.csv", "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_refused(told, "File too large")
    assert out.read_text(encoding="utf-8") == "old"
    assert sorted(fitted.parent.iterdir()) == before


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("kind", ["category", "number"])
def test_blocks_of_a_file_give_what_the_whole_gives(
    fitted: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, suffix: str, kind: str
) -> None:
    row = pl.int_range(30 * 178)
    # An id whose values grow with the blocks, or that is missing in all of the last ones.
    ids = row.cast(pl.String) if kind == "category" else pl.when(row < 3000).then(row)
    frame = pl.concat([table()] * 30).with_columns(sample=ids)
    data, out = tmp_path / f"t.{suffix}", tmp_path / "Z.parquet"
    if suffix == "csv":
        frame.write_csv(data)
    else:
        written = frame
        if kind == "category":
            written = frame.with_columns(pl.col("sample").cast(pl.Categorical))
        # Blocks do not end where row groups do.
        pyarrow.parquet.write_table(written.to_arrow(), data, row_group_size=700)
    monkeypatch.setattr("vicreg.embed_command.ENTRIES", 1)
    wanted = load(fitted).transform(frame.drop("species", "sample"))
    told = run("embed", fitted, data, "--out", out)
    assert told.status == 0, told.err
    assert pyarrow.parquet.ParquetFile(out).metadata.num_row_groups == 6
    Z = pl.read_parquet(out)
    assert np.array_equal(Z.select(DIMENSIONS).to_numpy(), wanted)
    assert Z["sample"].cast(pl.String).to_list() == frame["sample"].cast(pl.String).to_list()
    assert run("embed", fitted, data, "--out", tmp_path / "Z.npy").status == 0
    assert np.array_equal(np.load(tmp_path / "Z.npy"), wanted)


def test_a_fault_in_a_later_block_is_named_by_its_row(
    fitted: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, out = pl.concat([table()] * 30), tmp_path / "Z.parquet"
    monkeypatch.setattr("vicreg.embed_command.ENTRIES", 1)
    harmed = frame.with_columns(
        alcohol=pl.when(pl.int_range(pl.len()) == 4321).then(math.inf).otherwise("alcohol")
    )
    harmed.write_parquet(tmp_path / "t.parquet")
    told = run("embed", fitted, tmp_path / "t.parquet", "--out", out)
    assert_refused(told, "column 'alcohol', row 4321")
    assert not out.exists()


def test_pairs_are_compared_in_every_block(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pl.concat([table()] * 7).with_columns(sample=pl.int_range(7 * 178))
    first = frame.select("alcohol", "malic_acid", "sample")
    second = frame.select("sample", "ash", "magnesium")
    first.write_csv(tmp_path / "a.csv")
    second.write_parquet(tmp_path / "b.parquet", row_group_size=400)
    pair = ["--paired", tmp_path / "b.parquet"]
    model, out = tmp_path / "m", tmp_path / "Z.parquet"
    asides = ["--id", "sample"]
    assert run("fit", tmp_path / "a.csv", "--out", model, *pair, *asides, *FAST).status == 0
    monkeypatch.setattr("vicreg.embed_command.ENTRIES", 1)
    assert run("embed", model, tmp_path / "a.csv", "--out", out, *pair).status == 0
    wanted = load(model).transform(first.drop("sample"), X_paired=second.drop("sample"))
    assert np.array_equal(pl.read_parquet(out).select(DIMENSIONS).to_numpy(), wanted)
    second.with_columns(
        sample=pl.when(pl.col("sample") == 1200).then(-1).otherwise("sample")
    ).write_parquet(tmp_path / "b.parquet")
    told = run("embed", model, tmp_path / "a.csv", "--out", out, *pair)
    assert_refused(told, "same rows in the same order, however: row 1200 is -1, not 1200")
    second[:-1].write_parquet(tmp_path / "b.parquet")
    told = run("embed", model, tmp_path / "a.csv", "--out", out, *pair)
    assert_refused(told, "in the same order, however: 1245 rows, not 1246")


@pytest.mark.slow
def test_ctrl_c_in_a_real_fit_keeps_what_is_trained(tmp_path: Path) -> None:
    table().write_csv(tmp_path / "t.csv")
    command = [sys.executable, "-m", "vicreg.cli", "fit", "t.csv", "--out", "m",
               "--label", "species", "--steps", "60000", "--hidden", "8",
               "--projector", "8"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "TERM": "xterm"}
    ours, theirs = pty.openpty()  # the bar is drawn on a terminal only
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=theirs, stdout=subprocess.PIPE, env=environment
    )
    os.close(theirs)
    shown = b""
    while b"steps/s" not in shown:  # the bar has news after 2,000 steps
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    while chunk := read_terminal(ours):
        shown += chunk
    out = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0
    assert "vicreg: warning: interrupted at step" in shown.decode()
    assert "note: interrupted from the keyboard: trained only in part" in out
    model = load(tmp_path / "m")
    assert model.history_["stopped"] == "interrupted"
    features = table().drop("species")
    asked = {**model.get_params(), "verbose": False, "steps": 10}
    start = VICReg(**asked)._fit(features, untrained=True)
    assert not np.allclose(model.transform(features), start.transform(features), atol=1e-3)


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_ctrl_c_is_told_in_one_line(
    command: str, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table().write_csv(tmp_path / "t.csv")
    if command == "evaluate":
        assert run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *FAST).status == 0
    calls = []

    def interrupting(*_: object) -> None:
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr("vicreg.training.TrainingStep.__call__", interrupting)
    arguments: dict[str, list[object]] = {
        "fit": [tmp_path / "t.csv", "--out", tmp_path / "m", *FAST],
        "evaluate": [tmp_path / "m", tmp_path / "t.csv"],
    }
    told = run(command, *arguments[command])
    assert (told.status, told.out, told.err) == (130, "", "vicreg: interrupted\n")
    assert calls == [1]


def test_ctrl_c_in_a_search_says_where_its_trials_are(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table().write_csv(tmp_path / "t.csv")

    def interrupting(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vicreg.training.TrainingStep.__call__", interrupting)
    told = run("tune", tmp_path / "t.csv", "--out", tmp_path / "m", "--trials", 2, *FAST)
    assert told.status == 130
    assert told.err == (
        f"vicreg: interrupted: finished trials are kept in {tmp_path / 'm.journal'}, "
        "the same command again adds to them\n"
    )
    monkeypatch.undo()
    monkeypatch.setattr("warnings.showwarning", None)
    again = run("tune", tmp_path / "t.csv", "--out", tmp_path / "m", "--trials", 1, *FAST, "--json")
    assert json.loads(again.out)["trials"] == {"complete": 1, "fail": 1}


@pytest.mark.slow
@pytest.mark.parametrize("second_after", [None, 0.0, 0.01, 0.1])
@pytest.mark.parametrize("command", ["fit", "embed"])
def test_sigterm_leaves_nothing_half_done(
    command: str, second_after: float | None, tmp_path: Path, run: Any
) -> None:
    table(300).write_csv(tmp_path / "t.csv")
    assert run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *FAST).status == 0
    before = (tmp_path / "m" / "model.json").read_bytes()
    # Each stops in the middle of its work, and says so.
    of, arguments = {
        "fit": (
            "vicreg.training.TrainingStep.mean_terms",
            ["t.csv", "--out", "m", "--watch", "live.html", *FAST],
        ),
        "embed": ("vicreg.embedding_file._into_table", ["m", "t.csv", "--out", "Z.csv"]),
    }[command]
    code = (
        "import sys, time, pkgutil\n"
        "from vicreg.cli import main\n"
        # In short sleeps: a signal in the moment before a sleep begins waits until it ends.
        "def there(*_): print('there', flush=True); [time.sleep(0.01) for _ in range(6000)]\n"
        f"owner, _, name = {of!r}.rpartition('.')\n"
        "setattr(pkgutil.resolve_name(owner), name, there)\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, command, *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGTERM)
    if second_after is not None:  # timeout and schedulers send it twice
        time.sleep(second_after)
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "vicreg: terminated\n")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"t.csv", "m", *(["live.html"] if command == "fit" else [])}
    assert (tmp_path / "m" / "model.json").read_bytes() == before
    if command == "fit":
        assert "VICReg on t.csv: stopped" in (tmp_path / "live.html").read_text(encoding="utf-8")


def test_the_command_line_leaves_signals_as_they_were(run: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run("info", "nothing").status == 2
    assert signal.getsignal(signal.SIGTERM) is before
    with ThreadPoolExecutor(1) as pool:  # a thread cannot have signals of its own
        assert pool.submit(run, "info", "nothing").result().status == 2


def read_terminal(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # the other side was closed
        return b""


def test_a_model_of_groups_scores_a_table_of_a_single_one(tmp_path: Path, run: Any) -> None:
    frame = table().with_columns(patient=pl.Series([f"p{i % 9}" for i in range(table().height)]))
    frame.write_csv(tmp_path / "t.csv")
    frame.with_columns(patient=pl.lit("p1")).write_csv(tmp_path / "one.csv")
    model = tmp_path / "m"
    named = ["--label", "species", "--groups", "patient"]
    assert run("fit", tmp_path / "t.csv", "--out", model, *named, *FAST).status == 0
    told = run("evaluate", model, tmp_path / "one.csv")
    assert told.status == 0
    assert "controls are fitted without the groups of the model" in told.out
    refused = run("evaluate", model, tmp_path / "one.csv", "--refit")
    assert refused.status == 2
    assert "groups must name at least two groups" in refused.err


def test_a_label_that_the_model_remembers_and_that_tells_nothing_here_is_left_out(
    fitted: Path, tmp_path: Path, run: Any
) -> None:
    frame = table().with_columns(pl.lit("u").alias("species"))
    frame.write_csv(tmp_path / "one.csv")
    told = run("evaluate", fitted, tmp_path / "one.csv", "--no-controls")
    assert told.status == 0
    assert (
        "scored without labels: 'species', which the model remembers, has 1 class here" in told.out
    )
    told = run("evaluate", fitted, tmp_path / "one.csv", "--label", "species", "--no-controls")
    assert told.status == 2
    assert "must hold at least two classes" in told.err


@pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
def test_ids_of_any_kind_of_text_name_rows_and_lists_do_not(
    fitted: Path, tmp_path: Path, run: Any, suffix: str
) -> None:
    frame = table().to_arrow()
    place, ids = frame.column_names.index("sample"), frame["sample"].to_pylist()
    data, out = tmp_path / "t.parquet", tmp_path / f"Z.{suffix}"
    view = frame.set_column(place, "sample", pa.array(ids, pa.string_view()))
    pyarrow.parquet.write_table(view, data)
    assert run("embed", fitted, data, "--out", out).status == 0
    out.unlink()
    for odd in ([[one] for one in ids], [str(one).encode() for one in ids]):
        pyarrow.parquet.write_table(frame.set_column(place, "sample", pa.array(odd)), data)
        told = run("embed", fitted, data, "--out", out)
        assert told.status == 2
        assert "ids must hold text, numbers or dates, however: 'sample' holds" in told.err
        assert not out.exists()
