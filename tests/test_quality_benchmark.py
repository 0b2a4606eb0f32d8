"""The quality benchmark: nothing leaks, nothing is dropped, rivals get the same chance."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_rel
from sklearn.datasets import make_blobs
from sklearn.metrics import average_precision_score, log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import check_random_state

import methods
import quality
import records
import scores
import summary
import tables
import vicreg
import vicreg.training
from quality import Contestant
from records import Record
from vicreg import VICReg, vicreg_loss
from vicreg.config import Config
from vicreg.sources import read

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SOURCE = Path(__file__).parent.parent / "src" / "vicreg"
SHORT: dict[str, Any] = {"n_components": 16, "hidden": (32,), "projector": (32, 32), "steps": 60}
EMBEDDINGS = [*methods.COMPARED, *methods.CONTROLS]


def made_table() -> tables.Table:
    """Three clusters in eight numbers, one of them binned into a category."""
    X, y = make_blobs(300, 8, centers=3, cluster_std=4.0, random_state=0)
    frame = pd.DataFrame(X, columns=[f"x{column}" for column in range(8)])
    frame["x7"] = np.where(frame["x7"] > 0, "high", "low")
    return tables.Table("made", frame, y.astype(str))


TABLE = made_table()


def scores_of(method: str, table: tables.Table, **overrides: Any) -> dict[str, float]:
    return quality.measure(Contestant(method, method, {**SHORT, **overrides}), table, 0)[0]


# What is measured


@pytest.mark.parametrize("method", [*EMBEDDINGS, "boosting"])
def test_shuffled_labels_drop_every_score_to_chance(method: str) -> None:
    measured = scores_of(method, TABLE)
    assert measured["linear"] > 0.75
    # Of one shuffling, on 90 test rows, silhouette and ARI deviate by 0.02: a mean of four.
    shuffled = [np.random.default_rng(seed).permutation(TABLE.y) for seed in range(4)]
    found = [scores_of(method, replace(TABLE, y=y)) for y in shuffled]
    by_chance = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    for probe in {"linear", "knn"} & set(by_chance):
        assert abs(by_chance[probe] - 1 / 3) < 0.12, probe
    for agreement in {"silhouette", "ari"} & set(by_chance):
        assert by_chance[agreement] < 0.03, agreement


def test_shuffled_columns_drop_the_embedding_to_raws_level() -> None:
    X, y = make_blobs(300, 40, centers=4, cluster_std=6.0, random_state=0)
    table = tables.Table("made", X, y.astype(str))
    learnt, of_nothing, raw = (
        scores_of(method, table, steps=200)["silhouette"]
        for method in ("vicreg", "shuffled", "raw")
    )
    assert learnt > raw + 0.1
    assert of_nothing < raw + 0.02


@pytest.mark.parametrize("method", EMBEDDINGS)
def test_no_fit_sees_a_test_row(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spaces: list[np.ndarray[Any, Any]] = []

    def caught(train: Any, test: Any, *labels: Any, **_: Any) -> dict[str, float]:
        spaces.append(train)
        return {}

    monkeypatch.setattr(quality, "score", caught)
    scores_of(method, TABLE)
    _, test = quality.split_rows(TABLE, 0)
    altered: Any = TABLE.X.copy()
    altered.iloc[test, :7] = 1e3
    altered.iloc[test, 7] = "low"
    scores_of(method, replace(TABLE, X=altered))
    np.testing.assert_array_equal(spaces[0], spaces[1])


def test_splits_are_70_to_30_and_stratified() -> None:
    y = np.repeat(["a", "b"], [100, 900])
    table = tables.Table("made", np.zeros((1000, 1)), y)
    train, test = quality.split_rows(table, 0)
    assert sorted([*train, *test]) == list(range(1000))
    assert len(test) == 300
    assert (y[test] == "a").sum() == 30
    assert set(test) != set(quality.split_rows(table, 1)[1])


def test_no_group_is_torn_apart() -> None:
    groups = np.arange(200) // 10
    table = tables.Table("made", np.zeros((200, 1)), np.repeat("a", 200), groups)
    train, test = quality.split_rows(table, 0)
    assert not set(groups[train]) & set(groups[test])
    assert len(test) == 60


def test_a_rare_class_is_scored_by_its_average_precision() -> None:
    random = np.random.default_rng(0)
    y = np.where(random.random(400) < 0.1, "1", "0")
    Z = random.normal(size=(400, 3)) + 1.5 * (y == "1")[:, None]
    found = scores.score(Z[:300], Z[300:], y[:300], y[300:], rare="1")
    likely = KNeighborsClassifier(10).fit(Z[:300], y[:300]).predict_proba(Z[300:])[:, 1]
    assert found["knn"] == pytest.approx(average_precision_score(y[300:] == "1", likely))
    assert set(found) == set(scores.MEASURES)


# The rivals


@pytest.mark.parametrize("rows", [300, 2000], ids=["without early stop", "with early stop"])
@pytest.mark.parametrize("block_share", [0.0, 0.5], ids=["on their own", "blocks"])
def test_with_vicregs_loss_the_rivals_loop_gives_vicregs_network(
    rows: int, block_share: float
) -> None:
    X = np.random.default_rng(0).normal(size=(rows, 5))
    settings = {**SHORT, "steps": 120, "lr": 0.02, "patience": 2, "block_share": block_share}
    model = VICReg(**settings, random_state=3, n_threads=1, device="cpu").fit(X)
    assert (model.history_["stopped"] == "early") == (rows == 2000)
    config = Config(**settings)
    weights = {name: getattr(config, name) for name in ("lam", "mu", "nu", "gamma", "eps")}
    rival = methods.fit_with(
        lambda embedder: methods.Projected(
            embedder, lambda z1, z2: vicreg_loss(z1, z2, **weights).total
        ),
        read(X),
        config,
        seed=int(check_random_state(3).randint(2**31 - 1)),
    )
    ours = model.embedder_.network.state_dict()
    for name, theirs in rival.network.state_dict().items():
        assert torch.equal(theirs, ours[name]), name


def test_rivals_change_the_views_and_nothing_else() -> None:
    default = Config().as_dict()
    for method in methods.PEERS:
        changed = {
            name for name, value in methods.settings(method, {}).items() if value != default[name]
        }
        assert changed <= {"sides", "swap", "mask", "noise"}, method
    assert methods.settings("vicreg", {}) == default


def test_contrastive_loss_is_the_cross_entropy_of_cosines() -> None:
    z1, z2 = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).unbind()
    cosines = np.array([[float(torch.cosine_similarity(a, b, dim=0)) for b in z2] for a in z1])
    likely = np.exp(cosines) / np.exp(cosines).sum(axis=1, keepdims=True)
    wanted = -np.log(likely.diagonal()).mean()
    assert float(methods.info_nce(z1, z2)) == pytest.approx(wanted, rel=1e-5)


def test_barlow_twins_weighs_numpys_correlations() -> None:
    z1, z2 = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0)).unbind()
    between = np.corrcoef(z1.numpy().T, z2.numpy().T)[:3, 3:]
    on, off = np.eye(3, dtype=bool), ~np.eye(3, dtype=bool)
    wanted = ((1 - between[on]) ** 2).sum() + 5e-3 * (between[off] ** 2).sum()
    assert float(methods.barlow_twins(z1, z2)) == pytest.approx(wanted, rel=1e-3)


def test_denoiser_adds_squared_error_and_cross_entropy() -> None:
    model = VICReg(**SHORT, random_state=0)._fit(TABLE.X, untrained=True)
    denoiser = methods.Denoiser(model.embedder_).eval()
    rows = model.embedder_.table.transform(read(TABLE.X))
    with torch.no_grad():
        told = denoiser.decoder(model.embedder_.network.learnt(rows))
        both = rows.take(torch.arange(len(rows)).repeat(2))
        loss = float(denoiser(both))
    squared = (told[:, :7] - rows.numbers).square().mean(dim=0).sum()
    likely = torch.softmax(told[:, 7:], dim=1).double().numpy()
    entropy = log_loss(rows.codes[:, 0], likely / likely.sum(1, keepdims=True), labels=[0, 1, 2])
    assert loss == pytest.approx((float(squared) + entropy) / 8, rel=1e-5)


# The records


def run(out: Path, *arguments: str) -> None:
    quality.main(
        ["--tables", "digits", "--splits", "2", "--jobs", "1", "--out", str(out), *arguments]
    )


def test_a_second_run_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.json"
    run(out, "--methods", "raw")
    first = (tmp_path / "results.jsonl").read_bytes()
    assert len(first.splitlines()) == 2
    page = (tmp_path / "results.md").read_text(encoding="utf-8")

    def fails(*_: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(quality, "run_task", fails)
    run(out, "--methods", "raw")
    run(out, "--methods", "raw", "--report-only")
    assert (tmp_path / "results.jsonl").read_bytes() == first
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == page
    assert json.loads(out.read_text(encoding="utf-8"))["tables"]["digits"]["raw"]["splits"] == 2
    with pytest.raises(AssertionError, match="measured again"):
        run(out, "--methods", "raw", "pca")
    assert "split" in capsys.readouterr().out


def test_other_settings_or_code_are_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    place = {"folder": tmp_path, "records": path}
    short, long = (Contestant("mine", "vicreg", {"steps": steps}) for steps in (10, 20))
    records.append(path, short.record("digits", 0, scores={"knn": 0.5}))
    assert quality.tasks(["digits"], 1, [short], **place) == []
    assert [task.contestants for task in quality.tasks(["digits"], 2, [short, long], **place)] == [
        (long,),
        (short, long),
    ]
    monkeypatch.setattr(quality, "version", lambda method: f"another {method}")
    assert len(quality.tasks(["digits"], 1, [short], **place)) == 1


def test_files_that_versions_leave_out_are_there() -> None:
    assert {path.stem for path in SOURCE.glob("*.py")} >= records.SHELLS | records.TABLE_FILES


def test_versions_leave_out_no_file_that_a_fit_depends_on() -> None:
    code = "import sys, vicreg.fitting; print(*(one for one in sys.modules if 'vicreg.' in one))"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    loaded = {name.removeprefix("vicreg.") for name in done.stdout.split()}
    assert {"training", "label_free"} <= loaded
    assert loaded & records.SHELLS <= {"progress"}  # a bar, which changes no number


def test_half_a_fit_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(60, 5))

    factor = vicreg.training._Course.factor

    def interrupted(course: Any, step: int) -> float:
        if step == 5:
            raise KeyboardInterrupt
        return factor(course, step)

    monkeypatch.setattr("vicreg.training._Course.factor", interrupted)
    with pytest.raises(KeyboardInterrupt):
        methods.fit("vicreg", X, random_state=0, overrides=SHORT)


def test_the_version_is_that_of_the_code_a_method_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = dict.fromkeys(("__init__", "table", "training", "cli"), "x = 1\n")

    def versions() -> tuple[str, str]:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        records.version.cache_clear()
        return records.version("raw"), records.version("vicreg")

    monkeypatch.setattr(vicreg, "__file__", str(tmp_path / "__init__.py"))
    of_raw, of_vicreg = versions()
    files["cli"] = "x = 2\n"
    files["training"] = '"""Told."""\nx = 1  # one\n'
    assert versions() == (of_raw, of_vicreg)
    files["training"] = "x = 2\n"
    assert versions()[0] == of_raw
    assert versions()[1] != of_vicreg
    files["table"] = "x = 2\n"
    assert versions()[0] != of_raw
    records.version.cache_clear()


def test_a_line_cut_short_and_a_score_that_is_no_number_are_read(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    records.append(path, made_record(scores={"knn": float("nan"), "ari": 0.5}))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"table": "dig')
    (found,) = records.read_records(path)
    assert np.isnan(found.scores["knn"])
    assert found.scores["ari"] == 0.5
    assert records.read_records(tmp_path / "none.jsonl") == []


def test_a_method_that_fails_is_shown_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(contestant: Contestant, *_: Any) -> Any:
        if contestant.name == "pca":
            raise ValueError("no such luck")
        return {"linear": 0.5}, 0.1

    monkeypatch.setattr(quality, "measure", fails)
    run(tmp_path / "results.json", "--methods", "raw", "pca")
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "**failed**: pca on digits, split 0: ValueError: no such luck" in page
    assert "| digits | 0.500 | 2 failed |" in page
    run(tmp_path / "results.json", "--methods", "raw", "pca")
    assert len((tmp_path / "results.jsonl").read_bytes().splitlines()) == 6
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "nu=1"], "--set and --name go together"),
        (["--name", "mine"], "--set and --name go together"),
        (["--set", "nu=1", "--name", "scarf"], "not a method's"),
        (["--set", "nu", "--name", "mine"], "NAME=VALUE"),
        (["--set", "gain=1", "--name", "mine"], "gain"),
        (["--set", "nu=-1", "--name", "mine"], "nu must be"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=message):
        run(tmp_path / "results.json", *arguments)


def test_a_list_is_measured_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "run", lambda *_: None)
    monkeypatch.setattr(tables, "install", lambda *_: None)
    out = tmp_path / "results.json"
    same = ["--methods", "raw", "--out", str(out)]
    for arguments, lists in (
        ([], ["main"]),
        (["--list", "further"], ["further"]),
        (["--tables", "khan", "sonar"], ["main", "further"]),
        (["--fast"], ["main"]),
    ):
        quality.main([*arguments, *same])
        head = json.loads(out.read_text(encoding="utf-8"))["head"]
        assert head["lists"] == lists
        assert {tables.LISTED[name].of for name in head["tables"]} == set(lists)
        if arguments[:1] in ([], ["--list"]):
            assert tuple(head["tables"]) == tables.of_list(lists[0])
        assert f"list: {', '.join(lists)})" in out.with_suffix(".md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="--fast takes tables of the main list, however"):
        quality.main(["--fast", "--list", "further", *same])


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        tmp_path / "results.json",
        *("--methods", "raw", "--jobs", "2", "--set", "steps=3", "--set", "hidden=[16]"),
        *("--name", "short"),
    )
    found = records.read_records(tmp_path / "results.jsonl")
    assert sorted((one.method, one.split) for one in found) == [
        *(("raw", 0), ("raw", 1)),
        *(("short", 0), ("short", 1)),
    ]
    assert not any(one.error for one in found)
    assert found[-1].overrides == {"steps": 3, "hidden": [16]} or found[-1].method == "raw"
    assert all("1 thread(s)" in one.machine for one in found)
    assert "- short: steps=3, hidden=[16]" in capsys.readouterr().out


# The report


def made_record(table: str = "a", split: int = 0, method: str = "raw", **found: Any) -> Record:
    return Record(table, split, method, **{"version": "1", "settings": "", **found})


def made_records(linear: dict[tuple[str, str], list[float]]) -> list[Record]:
    return [
        made_record(table, split, method, scores={"linear": score})
        for (table, method), of_splits in linear.items()
        for split, score in enumerate(of_splits)
    ]


LINEAR = {
    ("a", "raw"): [0.5, 0.6, 0.7],
    ("a", "scarf"): [0.6, 0.6, 0.8],
    ("a", "vicreg"): [0.7, 0.9, 0.8],
    ("a", "mine"): [0.4, 0.4, 0.4],
    ("b", "raw"): [0.9, 0.9, 0.9],
    ("b", "scarf"): [0.8, 0.8, 0.8],
    ("b", "vicreg"): [0.8, 0.8, 0.8],
    ("b", "mine"): [0.9, 0.9, 0.9],
}


def test_differences_are_paired_with_scipys_interval() -> None:
    found = summary.summarise(made_records(LINEAR), ["a", "b"], 3, by_precision=())
    to_raw = found["tables"]["a"]["vicreg"]["to_raw"]["linear"]
    between = ttest_rel(LINEAR["a", "vicreg"], LINEAR["a", "raw"]).confidence_interval(0.95)
    assert to_raw["difference"] - to_raw["interval"] == pytest.approx(between.low)
    assert to_raw["difference"] + to_raw["interval"] == pytest.approx(between.high)
    average = found["averages"]["vicreg"]["linear"]
    over_tables = ttest_rel([0.8, 0.8], [0.6, 0.9]).confidence_interval(0.95)
    assert average["mean"] == pytest.approx(0.8)
    assert average["difference"] + average["interval"] == pytest.approx(over_tables.high)
    assert average["share"] == 0.5


def test_ranks_share_equals_and_a_configuration_takes_the_defaults_place() -> None:
    averages = summary.summarise(made_records(LINEAR), ["a", "b"], 3, by_precision=())["averages"]
    ranks = {method: found["linear"]["rank"] for method, found in averages.items()}
    assert ranks == {
        "raw": (3 + 1) / 2,
        "scarf": (2 + 2.5) / 2,
        "vicreg": (1 + 2.5) / 2,
        "mine": (3 + 1.5) / 2,
    }


def test_an_unfinished_table_is_in_no_average_and_a_failure_is_last() -> None:
    made = made_records(LINEAR)
    of_b = [one for one in made if (one.table, one.method) == ("b", "vicreg")]
    unfinished = summary.summarise(
        [one for one in made if one not in of_b[:1]], ["a", "b"], 3, by_precision=()
    )
    assert unfinished["head"]["incomplete"] == ["b"]
    assert unfinished["averages"]["vicreg"]["linear"]["mean"] == pytest.approx(0.8)
    assert "in no average: b" in summary.markdown(unfinished)
    failed = summary.summarise(
        [replace(one, scores={}, error="bang") if one in of_b else one for one in made],
        ["a", "b"],
        3,
        by_precision=(),
    )
    average = failed["averages"]["vicreg"]["linear"]
    assert average["rank"] == (1 + 3) / 2
    assert average["share"] == 0.5
    assert "bang" in summary.markdown(failed)


def test_a_wanted_record_goes_before_a_later_one() -> None:
    old, new = made_record(settings="old"), made_record(settings="new")
    assert records.chosen([old, new], {old.key}) == [old]
    assert records.chosen([old, new], set()) == [new]


def test_versions_that_are_mixed_are_told() -> None:
    made = [made_record(split=split, version=str(split), scores={"ari": 0}) for split in (0, 1)]
    found = summary.summarise(made, ["a"], 2, by_precision=())
    assert "raw mixes versions" in summary.markdown(found)


# The tables


def test_a_file_of_the_keel_kind_gives_numbers_text_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "made.dat"
    path.write_text("1, A1, 0.5, yes\n2, A2, 1e2, no \n", encoding="utf-8")
    listed = tables.Listed("made", "made==1", "made.dat", "made", 2, 2, 1, 2)
    table = tables._read_keel(listed, path)
    X: Any = table.X
    assert X.to_dict("list") == {"x0": [1.0, 2.0], "x1": ["A1", "A2"], "x2": [0.5, 100.0]}
    assert table.y.tolist() == ["yes", "no"]


def test_a_table_that_is_not_the_listed_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.load("digits").X.shape == (1797, 64)
    monkeypatch.setitem(tables.LISTED, "digits", tables.LISTED["digits"]._replace(classes=9))
    with pytest.raises(ValueError, match="digits: 1797 rows, 64 numeric .* 9 classes are listed"):
        tables.load("digits")


def test_every_table_is_on_one_list() -> None:
    names = [
        line.split("\t")[0]
        for file in tables.LISTS.values()
        for line in (BENCHMARKS / file).read_text(encoding="utf-8").splitlines()[1:]
    ]
    assert len(set(names)) == len(names)
    assert [name for of in tables.LISTS for name in tables.of_list(of)] == names
    assert set(quality.FAST_TABLES) < set(tables.of_list("main"))
    assert not set(tables.RARE) - set(names)
    assert all(re.search(r"==\d", listed.package) for listed in tables.LISTED.values())


def test_further_tables_are_more_columns_than_rows_as_often_as_not() -> None:
    further = [tables.LISTED[name] for name in tables.of_list("further")]
    wide = [one for one in further if one.numeric + one.categorical > one.rows]
    assert len(further) / 2 <= len(wide) < len(further)


def test_series_of_several_channels_become_one_row(tmp_path: Path) -> None:
    for part, rows in (("TRAIN", "1,2:3,4:up\n"), ("TEST", "5,6:7,8:down\n9,0:1,2:up\n")):
        text = f"@problemName made: of two\n@data\n{rows}"
        (tmp_path / f"made_{part}.ts").write_text(text, encoding="utf-8")
    listed = tables.Listed("made", "made==1", "made_TRAIN.ts", "made", 3, 4, 0, 2)
    table = tables._read_series(listed, tmp_path / listed.file)
    np.testing.assert_array_equal(table.X, [[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 1, 2]])
    assert table.y.tolist() == ["up", "down", "up"]


def test_faces_are_means_of_squares_and_line_ends_are_put_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, size=(3, 112, 92)).astype(np.uint8)
    pixels[0] = np.maximum(pixels[0], 14)  # no line end
    pixels[1, 5, 7:9] = 10  # line ends that the conversion altered
    pixels[1][pixels[1] == 13] = 12
    pixels[2, 8, 8:10] = (13, 10)  # and one that it left as it was
    files = [b"P5\n92 112\n255\n" + image.tobytes() for image in pixels]
    files[1] = files[1].replace(b"\n", b"\r\n")
    for person, file in zip(("s1", "s2", "s3"), files, strict=True):
        (tmp_path / person).mkdir()
        (tmp_path / person / "1.pgm").write_bytes(file)
    table = tables._read_faces(tables.LISTED["orl_faces"], tmp_path)
    assert table.y.tolist() == ["s1", "s2"]
    for row, image in zip(table.X, pixels, strict=False):
        found = np.asarray(row).reshape(28, 23)
        assert found[1, 2] == image[4:8, 8:12].mean()
        assert found.mean() == pytest.approx(image.mean())


def test_a_spectrums_label_is_first_and_its_lines_of_kinds_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "made.csv"
    path.write_text("type,1801.2,1797.4\nd,c,c\nclass,,\na,0.5,0.25\nb,1,2\n", encoding="utf-8")
    table = tables._read_collagen(tables.LISTED["collagen"], path)
    np.testing.assert_array_equal(table.X, [[0.5, 0.25], [1, 2]])
    assert table.y.tolist() == ["a", "b"]


def test_missing_cells_of_a_table_with_text_stay_missing(tmp_path: Path) -> None:
    path = tmp_path / "made.csv"
    path.write_text("species,sex,mass\na,NA,1\nb,male,NA\n", encoding="utf-8")
    X: Any = tables._read_penguins(tables.LISTED["penguins"], path).X
    assert X.isna().to_numpy().tolist() == [[True, False], [False, True]]
    assert read(X).shape == (2, 2)


def test_rows_are_shuffled_thinned_evenly_and_rare_classes_dropped() -> None:
    y = np.repeat(["a", "b", "c"], [4, 300, 900])
    groups = np.tile(np.arange(4), 301)
    X = np.arange(1204.0)[:, None]
    taken = tables.prepared(tables.Table("made", X, y, groups), most_rows=240)
    places = taken.X[:, 0].astype(int)
    assert len(set(places)) == 240
    assert places.tolist() != sorted(places)
    np.testing.assert_array_equal(taken.y, y[places])
    np.testing.assert_array_equal(taken.groups, groups[places])
    found = pd.crosstab(taken.groups, taken.y)
    assert list(found) == ["b", "c"]
    assert found["b"].between(14, 16).all()
    assert found["c"].between(44, 46).all()


def tables_named(text: str) -> set[str]:
    """Listed tables that occur as words in names or strings; docstrings and comments are free."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    told = [value for node in ast.walk(tree) for value in vars(node).values()]
    words = "\n".join(value for value in told if isinstance(value, str)).lower()
    edges = "(?<![a-z0-9]){}(?![a-z0-9])"
    return {name for name in tables.LISTED if re.search(edges.format(name), words)}


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*.py")), ids=lambda path: path.stem)
def test_no_table_of_the_benchmark_is_known_to_the_package(path: Path) -> None:
    known = tables_named(path.read_text(encoding="utf-8"))
    # The demonstration fits scikit-learn's digits with the default configuration.
    assert known <= ({"digits"} if path.stem == "demo_command" else set())


def test_the_search_for_names_finds_one() -> None:
    assert tables_named("STEPS = {'Sonar': 100}") == {"sonar"}
    assert tables_named("if name == 'my bio_kdd04': pass") == {"bio_kdd04"}
    assert tables_named("def steps_for_letter(adult): pass") == {"letter", "adult"}
    assert tables_named("'''Of sonar.'''\nletters = 1  # sonar") == set()
