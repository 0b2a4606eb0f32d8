"""Tuning end to end: the default first, honest scores, workers that die, studies that go on."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_digits, load_wine

from vicreg import CollapseWarning, InterruptedWarning, TuningResult, VICReg, tune
from vicreg.cli import main
from vicreg.config import preset
from vicreg.fitting import fit_embedder, fit_together
from vicreg.journal import JournalLostError
from vicreg.objectives import OBJECTIVES, Bench, Fits
from vicreg.owners import DIED, INTERRUPTED, OWNER, give_back
from vicreg.per_row import PerRow
from vicreg.sources import read, take_columns
from vicreg.storages import open_storage
from vicreg.studies import quiet_optuna
from vicreg.study_page import StudyPage
from vicreg.trial_loop import Tickets
from vicreg.trials import Plan, at_once, begin, plan
from vicreg.workers import ASK, ENDED, _Crew

X, Y = load_wine(return_X_y=True)
SMALL = {"steps": 20, "n_components": 8, "hidden_width": 16, "projector_width": 16}
#: Whose networks are all alike, so that several trials are begun at once.
ALIKE = {**SMALL, "hidden_depth": 1, "projector_depth": 1, "skip": True, "batch_size": 64}


SMALL_FIXED = {"steps": 5, "n_components": 4, "hidden": (8,), "projector": (8,)}


def searched() -> TuningResult:
    """Six trials, all of them to their end, so that there is enough for every picture."""
    return tune(
        X, Y, n_trials=6, space=SMALL, objective="knn", random_state=0, n_threads=1, prune=False
    )


@pytest.fixture(scope="module")
def result() -> TuningResult:
    return searched()


def test_the_default_is_the_first_trial_and_runs_to_its_end(result: TuningResult) -> None:
    first = result.trials[0]
    assert first["default"]
    assert first["state"] == "complete"
    assert (first["lam"], first["nu"], first["skip"]) == (25, 0.1, True)
    assert [trial["default"] for trial in result.trials].count(True) == 1


def test_the_winner_is_chosen_on_rows_that_the_search_did_not_score(result: TuningResult) -> None:
    fresh = {one["trial"]: one["fresh"][0] for one in result.finalists}
    assert 0 in fresh
    assert fresh[result.best_trial] == max(fresh.values())
    assert result.best_estimator_.n_rows_ == len(X)
    assert result.best_estimator_.transform(X).shape == (len(X), 8)


def test_the_best_configuration_gives_the_best_estimator(result: TuningResult) -> None:
    settings = result.best_config.as_dict()
    seed = result.best_estimator_.random_state
    again = VICReg(**settings, random_state=seed, n_threads=1).fit(X)
    assert np.array_equal(again.transform(X), result.best_estimator_.transform(X))


def test_the_same_seed_gives_the_same_study(result: TuningResult) -> None:
    again = searched()
    drop = {"seconds"}
    assert [
        {name: value for name, value in trial.items() if name not in drop} for trial in again.trials
    ] == [
        {name: value for name, value in trial.items() if name not in drop}
        for trial in result.trials
    ]


def test_files_of_a_study_tell_the_same_as_the_study(result: TuningResult, tmp_path: Path) -> None:
    written = {path.name for path in result.write(tmp_path / "out")}
    assert {
        "trials.csv",
        "tuning.json",
        "history-knn.svg",
        "slice-knn.svg",
        "curves.svg",
    } <= written
    with (tmp_path / "out" / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["knn"] or "nan") for row in rows] == pytest.approx(
        [np.nan if trial["knn"] is None else trial["knn"] for trial in result.trials], nan_ok=True
    )
    document = json.loads((tmp_path / "out" / "tuning.json").read_text(encoding="utf-8"))
    assert document["best_trial"] == result.best_trial
    assert len(result.to_frame()) == len(result.trials)


def test_files_go_to_a_folder_named_by_a_text(result: TuningResult, tmp_path: Path) -> None:
    written = result.write(str(tmp_path / "named"))
    assert all(path.parent == tmp_path / "named" and path.exists() for path in written)


def test_the_last_word_is_of_rows_that_the_search_was_fitted_on() -> None:
    bench = Bench(X, Y, seed=7)
    other = bench.elsewhere()
    assert np.isin(other.test, bench.train).all()
    assert len(other.test) == pytest.approx(len(bench.test), abs=1)
    assert np.array_equal(np.sort(np.r_[other.train, other.test]), np.arange(len(X)))
    shares = np.bincount(Y[other.test]) / len(other.test) - np.bincount(Y) / len(Y)
    assert np.abs(shares).max() < 0.03


def test_groups_and_weights_reach_every_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, Any]] = []

    def seen(*arguments: Any, **named: Any) -> Any:
        told.append((named["groups"], named["weights"]))
        return fit_embedder(*arguments, **named)

    monkeypatch.setattr("vicreg.objectives.fit_embedder", seen)
    groups, weights = np.arange(len(X)) // 6, 1.0 + np.arange(len(X)) % 2
    found = tune(
        X,
        Y,
        groups=groups.astype(str),
        sample_weight=weights,
        n_trials=2,
        space={**SMALL, "hidden_depth": 1, "lam": [5, 50]},
        only=True,
        finalists=1,
        objective="knn",
        random_state=0,
        n_threads=1,
        prune=False,
    )
    assert len(told) == 2
    for own, weight in told:
        assert len(np.unique(own)) < 30  # some are held out
        assert (np.bincount(own)[np.unique(own)] >= 4).all()  # whole ones
        assert len(weight) == len(own)
        assert set(weight) == {0.5, 1.0}
    assert found.best_estimator_.fitted_with_ == ["groups", "sample_weight"]


def test_a_study_is_not_resumed_with_other_groups(tmp_path: Path) -> None:
    storage, few = tmp_path / "s.journal", {**SMALL, "lam": [5, 50]}
    named: dict[str, Any] = {"n_trials": 1, "space": few, "finalists": 0, "random_state": 0}
    groups = np.arange(len(X)) // 6
    tune(X, Y, groups=groups, storage=storage, **named)
    with pytest.raises(ValueError, match=r"another data\.groups"):
        tune(X, Y, groups=groups // 2, storage=storage, **named)
    with pytest.raises(ValueError, match=r"another data\.groups"):
        tune(X, Y, storage=storage, **named)


def test_workers_are_told_of_groups_and_weights(tmp_path: Path) -> None:
    named: dict[str, Any] = {
        "groups": np.arange(len(X)) // 6,
        "sample_weight": 1.0 + np.arange(len(X)) % 2,
        "n_trials": 1,
        "space": {**SMALL, "lam": [5, 50]},
        "finalists": 0,
        "objective": "knn",
        "random_state": 0,
    }
    alone = tune(X, Y, n_threads=1, **named)
    crew = tune(X, Y, n_workers=2, storage=tmp_path / "s.journal", **named)
    assert crew.trials[0]["knn"] == alone.trials[0]["knn"]


def test_a_refused_sampler_leaves_no_study(tmp_path: Path) -> None:
    storage = tmp_path / "s.journal"
    with pytest.raises(ValueError, match="sampler must be one of"):
        tune(X, Y, n_trials=1, space=SMALL, storage=storage, sampler="cmaes")
    assert not storage.exists()


def test_a_study_whose_maker_died_before_its_first_trial_has_a_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicreg.trials.MAKING", 0.1)
    named: dict[str, Any] = {"n_trials": 1, "space": SMALL, "storage": tmp_path / "s.journal"}
    with monkeypatch.context() as patch:
        patch.setattr("vicreg.trials.values_of", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tune(X, Y, random_state=0, **named)
    found = tune(X, Y, random_state=0, finalists=0, **named)
    assert [trial["default"] for trial in found.trials] == [True]


def test_a_study_without_a_seed_is_resumed_with_its_own(tmp_path: Path) -> None:
    named: dict[str, Any] = {"space": SMALL, "storage": tmp_path / "s.journal", "finalists": 0}
    tune(X, Y, n_trials=1, **named)
    assert len(tune(X, Y, n_trials=1, **named).trials) == 2
    with pytest.raises(ValueError, match="another random_state"):
        tune(X, Y, n_trials=1, random_state=3, **named)


def test_a_default_without_a_score_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(fits: Fits) -> float:
        return float("nan") if fits.config.lam == 25 else fits.config.lam

    scored = replace(OBJECTIVES["rankme"], score=score)
    monkeypatch.setitem(OBJECTIVES, "rankme", scored)
    named: dict[str, Any] = {"fixed": {"steps": 5, "n_components": 4}, "only": True}
    found = tune(X, n_trials=6, objective="rankme", space={"lam": [25, 5]}, random_state=0, **named)
    assert found.trials[0]["state"] == "fail"
    assert found.best_config.lam == 5
    assert found.summary().endswith("; the default configuration has no score to compare it with.")


def test_pictures_of_other_objectives_go_and_files_of_others_stay(
    result: TuningResult, tmp_path: Path
) -> None:
    (tmp_path / "mine.svg").write_text("<svg/>")
    result.write(tmp_path)
    assert (tmp_path / "history-knn.svg").exists()
    written = replace(result, objectives=("silhouette",)).write(tmp_path)
    assert not (tmp_path / "history-knn.svg").exists()
    assert (tmp_path / "mine.svg").exists()
    assert {path.name for path in written} | {"mine.svg"} == {p.name for p in tmp_path.iterdir()}


def test_without_labels_the_search_needs_none() -> None:
    found = tune(X, n_trials=2, space=SMALL, random_state=0, finalists=0)
    assert found.objectives == ("seed_agreement",)
    assert all(trial["seed_agreement"] is not None for trial in found.trials)


def test_shapes_alone_are_searched_on_one_trained_network_and_none_is_pruned() -> None:
    one, two = (
        tune(
            X,
            Y,
            n_trials=5,
            space={"spectrum": ["auto", 0.0, 6.0], "neighbourhood_scale": [0.25, 1.0]},
            only=True,
            fixed={"steps": 30, "n_components": 160, "hidden": (16,), "projector": (16,)},
            objective="knn",
            sampler="random",
            random_state=0,
            finalists=0,
            n_workers=workers,
            n_threads=1,
        )
        for workers in (1, 2)
    )
    for found in (one, two):
        assert [trial["state"] for trial in found.trials] == ["complete"] * 5
        assert found.trials[0]["spectrum"] == "auto"
    assert one.trials[0]["knn"] == pytest.approx(two.trials[0]["knn"])
    settings = [trial.user_attrs["settings"] for trial in one.study.trials]
    assert {frozenset(one) for one in settings} == {
        frozenset(
            ("spectrum", "neighbourhood_scale", "steps", "n_components", "hidden", "projector")
        )
    }
    # What was trained is the same bits in all of them: they differ in what followed.
    network = [
        VICReg(**{**each, "hidden": (16,), "projector": (16,)}, random_state=0, n_threads=1)
        .fit(X)
        .embedder_.network.state_dict()["encoders.0.first.weight"]
        for each in settings[:2]
    ]
    assert torch.equal(*network)


def test_sparse_tables_and_frames_go_to_workers_as_they_are() -> None:
    counts = scipy.sparse.csr_array(np.random.default_rng(0).poisson(0.3, size=(60, 30)))
    frame = pl.DataFrame(X[:60]).with_columns(pl.Series("kind", [f"k{y}" for y in Y[:60]]))
    for table in (counts, frame):
        one, two = (
            tune(
                table,
                n_trials=2,
                space=SMALL,
                objective="rankme",
                random_state=0,
                finalists=0,
                sampler="random",
                n_workers=workers,
                n_threads=1,
            ).trials
            for workers in (1, 2)
        )
        assert one[0]["rankme"] == pytest.approx(two[0]["rankme"])


def test_a_page_follows_the_search_and_says_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicreg.training.PULSE", 1e9)
    path = tmp_path / "live.html"
    seen = []
    with StudyPage(path, "Tuning <b>", 4, every=0) as page:

        def observe(study: optuna.Study, objectives: tuple[str, ...]) -> None:
            page(study, objectives)
            seen.append(path.read_text(encoding="utf-8"))

        tune(
            X,
            n_trials=4,
            space=SMALL,
            objective="rankme",
            random_state=0,
            finalists=0,
            observe=observe,
            prune=False,
            sampler="random",
        )
    assert "0 of 4 trials done after" in seen[0]
    assert re.search(r"2 of 4 trials done after \d+ s, best rankme", seen[2])
    assert all('http-equiv="refresh"' in text for text in seen)
    last = path.read_text(encoding="utf-8")
    assert "4 of 4 trials done" in last
    assert "finished" in last
    assert 'http-equiv="refresh"' not in last
    assert last.count("data:image/svg+xml") >= 4
    assert "<b>Tuning <b>" not in last
    assert "Tuning &lt;b&gt;" in last


def test_a_page_is_written_within_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicreg.training.PULSE", 0)
    path = tmp_path / "live.html"
    written = []
    with StudyPage(path, "Tuning", 1, every=0) as page:

        def observe(study: optuna.Study, objectives: tuple[str, ...]) -> None:
            page(study, objectives)
            running = study.get_trials(deepcopy=False)[-1].state.name == "RUNNING"
            written.append((running, "0 of 1 trials done after" in path.read_text("utf-8")))

        steps = {**SMALL, "steps": 90}
        tune(X, n_trials=1, space=steps, objective="rankme", finalists=0, observe=observe)
    # 30 of 90 steps are evaluations, and before and after the trial there is one call.
    assert written.count((True, True)) == 60
    assert len(written) == 62


def test_several_objectives_give_a_front() -> None:
    found = tune(
        X, Y, n_trials=5, space=SMALL, objective=["knn", "rankme"], random_state=0, sampler="random"
    )
    front = {trial.number for trial in found.study.best_trials}
    values = {trial["number"]: (trial["knn"], trial["rankme"]) for trial in found.trials}
    for number, own in values.items():
        beaten = any(
            all(a >= b for a, b in zip(other, own, strict=True)) and other != own
            for other in values.values()
        )
        assert (number in front) == (not beaten)
    assert found.best_trial in values


def test_a_trial_that_diverges_is_recorded_and_the_study_goes_on() -> None:
    # A huge step without clipping blows up; the default's learning rate does not.
    found = tune(
        X,
        Y,
        n_trials=8,
        objective="knn",
        space={**SMALL, "lr": [1e-3, 1e30]},
        fixed={"clip_norm": 0.0, "batch_norm": False, "warmup": 0.0},
        random_state=0,
        sampler="random",
    )
    failed = [trial for trial in found.trials if trial["state"] == "fail"]
    assert failed
    assert all(trial["lr"] == 1e30 for trial in failed)
    assert all("DivergenceError: the loss became NaN" in trial["cause"] for trial in failed)
    assert found.trials[0]["state"] == "complete"


def test_a_study_in_which_every_trial_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no trial .* succeeded. Causes: DivergenceError"):
        tune(
            X,
            n_trials=1,
            space={**SMALL, "lr": 1e30},
            fixed={"clip_norm": 0.0, "batch_norm": False, "warmup": 0.0},
            random_state=0,
        )


def test_causes_are_counted_by_their_kind() -> None:
    with pytest.raises(RuntimeError) as caught:
        tune(
            X,
            n_trials=4,
            space={**SMALL, "lr": {"low": 1e28, "high": 1e30}},
            fixed={"clip_norm": 0.0, "batch_norm": False, "warmup": 0.0},
            sampler="random",
            random_state=0,
        )
    assert str(caught.value).count("DivergenceError") == 1
    assert str(caught.value).endswith("(the last of 4)")


def test_a_trial_that_someone_else_has_put_in_cannot_win(tmp_path: Path) -> None:
    named: dict[str, Any] = {"space": SMALL, "storage": tmp_path / "s.journal", "random_state": 0}
    study = tune(X, Y, n_trials=2, **named).study
    params, distributions = study.trials[1].params, study.trials[1].distributions
    study.add_trial(
        optuna.trial.create_trial(params=params, distributions=distributions, value=9.0)
    )
    found = tune(X, Y, n_trials=1, **named)
    assert len(found.trials) == 4
    assert found.best_trial in (0, 1, 3)
    assert found.trials[2]["silhouette"] == 9.0


def test_a_result_is_of_the_moment_that_it_was_found(tmp_path: Path) -> None:
    named: dict[str, Any] = {"space": SMALL, "storage": tmp_path / "s.journal", "random_state": 0}
    found = tune(X, Y, n_trials=1, **named)
    told = found.summary()
    assert len(tune(X, Y, n_trials=1, **named).trials) == 2
    assert found.summary() == told
    assert found.contents()["trials.csv"].count("\n") == 2


@pytest.mark.parametrize("name", ["paper", "seed"])
def test_a_base_is_where_the_search_starts(name: str) -> None:
    base = {**preset(name), "steps": 3}
    space: dict[str, Any] = {"lr": {"low": 1e-3, "high": 1.0}, "projector_width": [16, 50, 100]}
    found = tune(X, n_trials=1, space=space, base=base, only=True, finalists=0, random_state=0)
    assert found.trials[0]["default"]
    assert found.trials[0]["lr"] == base["lr"]
    assert found.best_config.projector == (100,) * len(base["projector"])
    assert found.best_config.optimizer == base["optimizer"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"study_name": "x" * 600}, "study_name must be a text of at most 512 characters, however"),
        ({"study_name": "a\0"}, "study_name must be printable, however: study_name='a"),
        ({"base": {"lamda": 1}}, "base: there is no argument 'lamda'"),
        ({"y": [[1, 2], [3]]}, "y must have one value for each of .* lists of different lengths"),
        ({"n_trials": 0}, "n_trials must be an integer at least 1, however: n_trials=0"),
        ({"n_workers": 0}, "n_workers must be an integer at least 1"),
        ({"timeout": 0}, "timeout must be None or a finite number above 0, however: timeout=0"),
        ({"y": Y[:-1]}, "one value for each of the 178 rows"),
        ({"y": X[:, 0]}, "y must hold classes, however: 126 different decimal numbers"),
        ({"y": np.zeros(178)}, "at least two classes, however: 1"),
        ({"objective": "knn"}, "needs labels, however: y is None"),
        ({"objective": "loss"}, "objective must be among"),
        ({"space": {"lam": {"low": 2, "high": 1}}}, "must not be empty"),
        ({"margin": -1}, "margin must be None or a finite number at least 0, however: margin=-1"),
        (
            {"margin": np.nan},
            "margin must be None or a finite number at least 0, however: margin=nan",
        ),
        (
            {"timeout": np.int64(0)},
            "timeout must be None or a finite number above 0, however: timeout=",
        ),
        (
            {"timeout": True},
            "timeout must be None or a finite number above 0, however: timeout=True",
        ),
        ({"timeout": "5"}, "timeout must be None or a finite number above 0, however: timeout='5'"),
        ({"n_threads": 0}, "n_threads must be None or an integer at least 1, however: n_threads=0"),
        (
            {"n_threads": 1.5},
            "n_threads must be None or an integer at least 1, however: n_threads=1.5",
        ),
        ({"objective": [1]}, "objective must be among silhouette, .*however: objective=1"),
        ({"objective": [["knn"]]}, r"objective must be among .*however: objective=\['knn'\]"),
        ({"objective": []}, "objectives must be some"),
        ({"sampler": "best"}, "sampler must be one of"),
        ({"storage": "sqlite:///x.db", "n_workers": 2}, "SQLite loses trials"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_trial(
    arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        tune(X, **{"space": SMALL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"objective": lambda: 1},
            "objective must be a name or a list of names, however: objective=<function .*"
            "choose among silhouette, knn",
        ),
        ({"objective": 1}, "objective must be a name or a list of names, however: objective=1"),
        ({"space": [1]}, r"space must be a mapping of .*such as {'lam'.*however: space=\[1\]"),
        ({"space": []}, r"space must be a mapping of .*however: space=\[\]"),
        ({"fixed": [1]}, r"fixed must be a mapping of .*such as {'steps'.*however: fixed=\[1\]"),
        ({"fixed": "steps"}, "fixed must be a mapping of .*however: fixed='steps'"),
        (
            {"storage": optuna.storages.InMemoryStorage()},
            r"storage must be a path .* or a database URL, however: InMemoryStorage",
        ),
    ],
)
def test_arguments_of_another_kind_are_refused_before_the_first_trial(
    arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        tune(X, **{"space": SMALL, **arguments})


def test_numbers_of_numpy_are_numbers() -> None:
    two: Any = np.int64(2)
    kinds: tuple[Any, ...] = (int, np.int64)
    same: dict[str, Any] = {"objective": "rankme", "space": SMALL, "random_state": 0}
    plain, of_numpy = (
        tune(
            X,
            **same,
            n_trials=whole(2),
            timeout=whole(600),
            margin=whole(1),
            finalists=whole(1),
            n_threads=whole(1),
        )
        for whole in kinds
    )
    assert [one["rankme"] for one in plain.trials] == [one["rankme"] for one in of_numpy.trials]
    assert plain.best_trial == of_numpy.best_trial
    found = tune(X, **same, n_trials=two, n_workers=two, finalists=0)
    assert [one["state"] for one in found.trials] == ["complete", "complete"]


def test_few_labels_of_one_class_are_refused() -> None:
    labels = np.full(len(X), None, dtype=object)
    labels[:2] = "a"
    labels[-1] = "b"
    with pytest.raises(ValueError, match="y has too few labels"):
        tune(X, labels, objective="knn", space=SMALL)


def test_names_of_rows_are_no_labels(tmp_path: Path) -> None:
    names, storage = [f"row {place}" for place in range(len(X))], tmp_path / "s.journal"
    with pytest.raises(ValueError, match=r"y must have classes of several rows, however: the \d+ "):
        tune(X, names, n_trials=1, space=SMALL, storage=storage, random_state=0)
    assert not storage.exists()


def test_the_empty_text_is_a_class_and_what_is_missing_none() -> None:
    named = np.array(["a", "b", "c"], dtype=object)[Y]
    named[::5] = None
    empty = np.where(named == "a", "", named)
    assert set(empty) == {"", "b", "c", None}
    one, other = (
        tune(X, y, n_trials=2, space=SMALL, random_state=0, n_threads=1, finalists=0).trials
        for y in (named, empty)
    )
    for trial in (*one, *other):
        del trial["seconds"]
    assert one == other
    both = tune(X, ["", "a"] * 89, n_trials=1, space=SMALL, finalists=0)
    assert both.trials[0]["silhouette"] is not None


def test_a_study_is_not_resumed_with_other_classes(tmp_path: Path) -> None:
    same: dict[str, Any] = {"n_trials": 1, "space": SMALL, "random_state": 0, "finalists": 0}
    storage = tmp_path / "a.journal"
    tune(X, Y, storage=storage, **same)
    tune(X, Y.astype(str), storage=storage, **same)
    other = np.where(np.arange(len(Y)) == 9, 2, Y)
    with pytest.raises(ValueError, match="was made with another"):
        tune(X, other, storage=storage, **same)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 10 rows.*however: 5"):
        tune(X[:5], space=SMALL)


def test_a_timeout_ends_the_search_and_not_the_trial() -> None:
    found = tune(X, n_trials=50, space=SMALL, timeout=0.001, random_state=0, finalists=0)
    assert [trial["state"] for trial in found.trials] == ["complete"]  # the default's


def test_ctrl_c_keeps_finished_trials_and_queues_the_one_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = fit_embedder

    def third_time(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr("vicreg.objectives.fit_embedder", third_time)
    same: dict[str, Any] = {
        "space": SMALL,
        "objective": "rankme",
        "storage": tmp_path / "a.journal",
        "random_state": 0,
        "finalists": 0,
    }
    with pytest.warns(InterruptedWarning, match="the search ends here"):
        found = tune(X, n_trials=9, **same)
    states = [trial["state"] for trial in found.trials]
    assert states[:3] == ["complete", "complete", "fail"]
    assert states[3:] == ["waiting"]
    again = tune(X, n_trials=1, **same)
    assert [trial["state"] for trial in again.trials[:3]] == states[:3]
    assert again.trials[3]["state"] in ("complete", "pruned")
    assert again.trials[3]["lam"] == found.trials[2]["lam"]


def test_ctrl_c_queues_all_trials_of_a_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = []
    real = fit_together

    def second_time(asked: Any, **named: Any) -> Any:
        stacks.append(len(asked))
        if len(stacks) == 2:
            raise KeyboardInterrupt
        return real(asked, **named)

    monkeypatch.setattr("vicreg.objectives.fit_together", second_time)
    same: dict[str, Any] = {
        "space": ALIKE,
        "objective": "rankme",
        "storage": tmp_path / "a.journal",
        "random_state": 0,
        "finalists": 0,
    }
    with pytest.warns(InterruptedWarning, match="the search ends here"):
        found = tune(X, n_trials=13, **same)
    assert stacks == [10, 3]
    states = [trial["state"] for trial in found.trials]
    assert states == ["complete"] * 10 + ["fail"] * 3 + ["waiting"] * 3
    again = tune(X, n_trials=3, **same)
    assert [trial["state"] for trial in again.trials[13:]] == ["complete"] * 3
    for cut, taken in zip(found.trials[10:13], again.trials[13:], strict=True):
        assert taken["lam"] == cut["lam"]


def test_a_study_of_small_networks_is_that_of_trials_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same: dict[str, Any] = {
        "n_trials": 8,
        "space": {**ALIKE, "lr": {"low": 1e-3, "high": 1e30, "log": True}, "batch_norm": False},
        "objective": "silhouette",
        "random_state": 0,
        "finalists": 0,
        "sampler": "random",
        "prune": False,
        "n_threads": 1,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        together = tune(X, Y, **same)
        monkeypatch.setattr("vicreg.trials.MOST_TOGETHER", 1)
        alone = tune(X, Y, **same)
    states = [trial["state"] for trial in together.trials]
    assert states == [trial["state"] for trial in alone.trials]
    assert {"complete", "fail"} == set(states)
    for one, other in zip(together.trials, alone.trials, strict=True):
        assert one["lam"] == other["lam"]
        if one["state"] == "fail":
            assert one["cause"].split(":")[0] == other["cause"].split(":")[0]
        elif one["lr"] < 0.1:
            assert one["silhouette"] == pytest.approx(other["silhouette"], abs=0.02)


def test_large_networks_databases_and_gaussian_processes_go_one_by_one(tmp_path: Path) -> None:
    def planned(**settings: Any) -> Plan:
        return plan(
            X,
            None,
            objective=None,
            space=settings,
            fixed=None,
            seed=0,
            device="cpu",
            prune=True,
        )

    small = planned(**ALIKE)
    for sampler in ("auto", "tpe", "random"):
        for storage in (None, tmp_path / "a.journal"):
            assert at_once(small, storage, sampler) == 10
        assert at_once(small, "postgresql://host/name", sampler) == 1
    assert at_once(small, None, "gp") == 1
    wide = planned(**{**ALIKE, "hidden_width": {"low": 8, "high": 4096}})
    unlike = planned(**SMALL)
    assert at_once(wide, None, "tpe") == at_once(unlike, None, "tpe") == 1
    assert planned(**{**ALIKE, "optimizer": "lars"}).together == 1
    # All batches may be of another size where no batch normalisation looks at them.
    assert planned(**{**ALIKE, "batch_size": [32, 64]}).together == 1
    assert planned(**{**ALIKE, "batch_size": [32, 64], "batch_norm": False}).together == 10
    for one, kind in ((small, "TPESampler"), (unlike, "GPSampler")):
        study = begin(one, None, "vicreg", sampler="auto", n_trials=5)
        assert type(study.sampler).__name__ == kind


def test_a_table_with_categories_goes_one_by_one() -> None:
    table = read(pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.where(Y > 0, "u", "v")}))
    named: dict[str, Any] = {"objective": None, "space": ALIKE, "fixed": None, "seed": 0}
    for source, count in ((table, 1), (take_columns(table, [0, 1]), 10)):
        assert plan(source, None, **named, device="cpu", prune=True).together == count


def test_an_unknown_device_is_refused_before_there_is_a_study(tmp_path: Path) -> None:
    journal = tmp_path / "a.journal"
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu' or 'cuda', however"):
        tune(X, n_trials=2, space=SMALL, storage=journal, device="tpu")
    assert not journal.exists()


def test_tickets_are_shared_out() -> None:
    tickets = Tickets(7, takers=2)
    assert [tickets.take(10), tickets.take(10), tickets.take(1)] == [4, 2, 1]
    assert tickets.take(10) == 0
    tickets.give_back(3)
    assert tickets.take(10) == 2
    late = Tickets(7, until=time.monotonic() - 1)
    assert [late.take(10), late.take(10)] == [1, 0]


def study_in(storage: Path) -> optuna.Study:
    with quiet_optuna():
        return optuna.load_study(study_name="vicreg", storage=open_storage(storage))


def scored_by(monkeypatch: pytest.MonkeyPatch, score: Any) -> dict[str, Any]:
    """Arguments of a search by a score of one's own, which fits almost nothing."""
    monkeypatch.setitem(OBJECTIVES, "rankme", replace(OBJECTIVES["rankme"], score=score))
    return {
        "objective": "rankme",
        "space": {"lam": {"low": 5, "high": 50}},
        "fixed": {"steps": 5, "n_components": 4, "optimizer": "lars"},  # one by one
        "only": True,
        "random_state": 0,
        "sampler": "random",
        "finalists": 0,
        "n_threads": 1,
    }


def by_lam(fits: Fits) -> float:
    fits.embedder()
    return fits.config.lam


def test_a_trial_that_others_took_for_dead_is_theirs_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "a.journal"
    calls = []

    def score(fits: Fits) -> float:
        calls.append(1)
        if len(calls) == 2:  # another process, while this one stands still
            give_back(study_in(storage), 1, DIED)
        return by_lam(fits)

    found = tune(X, n_trials=3, storage=storage, **scored_by(monkeypatch, score))
    assert [trial["state"] for trial in found.trials] == ["complete", "fail", "complete"]
    assert found.trials[2]["lam"] == found.trials[1]["lam"]
    assert found.trials[2]["retry_of"] == 1
    assert found.summary().startswith(
        "2 trials complete, 0 pruned, 1 cut short and queued again. Best by rankme"
    )


def test_trials_of_a_stack_that_others_took_for_dead_are_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "a.journal"

    def score(fits: Fits) -> float:
        if study_in(storage).get_trials(deepcopy=False)[2].state.name == "RUNNING":
            give_back(study_in(storage), 2, DIED)
        return by_lam(fits)

    named = {**scored_by(monkeypatch, score), "fixed": {"steps": 5, "n_components": 4}}
    named["fixed"] |= {"hidden": (8,), "projector": (8,)}
    found = tune(X, n_trials=4, storage=storage, **named)
    states = [trial["state"] for trial in found.trials]
    assert states == ["complete", "complete", "fail", "complete", "waiting"]


def test_a_disk_that_is_full_for_a_moment_costs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "a.journal"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    calls = []

    def score(fits: Fits) -> float:
        calls.append(1)
        if len(calls) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (storage.stat().st_size, hard))
            timer.start()
        return by_lam(fits)

    timer = threading.Timer(0.3, resource.setrlimit, (resource.RLIMIT_FSIZE, (soft, hard)))
    try:
        found = tune(X, n_trials=2, storage=storage, **scored_by(monkeypatch, score))
    finally:
        timer.join()
    assert [trial["rankme"] for trial in found.trials] == [25, found.trials[1]["lam"]]


def test_a_disk_that_stays_full_ends_the_search_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "a.journal"
    monkeypatch.setattr("vicreg.storages.PATIENCE", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def score(fits: Fits) -> float:
        resource.setrlimit(resource.RLIMIT_FSIZE, (storage.stat().st_size, hard))
        return by_lam(fits)

    words = (
        r"a.journal cannot be written: File too large; finished trials are kept in it.* "
        r"Not kept was trial 0: {\"rankme\": 25.0} by {\"lam\": 25.0}$"
    )
    named = scored_by(monkeypatch, score)
    try:
        with pytest.raises(OSError, match=words):
            tune(X, n_trials=2, storage=storage, **named)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [trial.state.name for trial in study_in(storage).trials] == ["RUNNING"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_journal_that_goes_while_the_study_runs_ends_it_with_the_best_so_far(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "a.journal"

    def removed(study: optuna.Study, _: tuple[str, ...]) -> None:
        trials = study.get_trials(deepcopy=False)
        if any(trial.state.name == "COMPLETE" for trial in trials):
            storage.unlink(missing_ok=True)

    words = (
        r"was removed or replaced while the study ran.* Best of \d+ complete trials was trial \d"
    )
    named = {**scored_by(monkeypatch, by_lam), "fixed": {**SMALL_FIXED, "optimizer": "lars"}}
    with pytest.raises(JournalLostError, match=words):
        tune(X, n_trials=9, storage=storage, n_workers=workers, observe=removed, **named)
    assert not storage.exists()


def test_a_line_of_rubbish_in_a_journal_ends_the_search_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "a.journal"

    def score(fits: Fits) -> float:
        with storage.open("ab") as file:
            file.write(b"rubbish\n")
        return by_lam(fits)

    with pytest.raises(OSError, match=r"a.journal is damaged in line \d+; keep a copy"):
        tune(X, n_trials=2, storage=storage, **scored_by(monkeypatch, score))


def test_a_default_that_was_cut_short_for_good_is_queued_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {**scored_by(monkeypatch, by_lam), "storage": tmp_path / "a.journal", "n_trials": 1}
    dead = plan(
        X,
        None,
        objective="rankme",
        space=named["space"],
        fixed=named["fixed"],
        seed=0,
        device="auto",
        prune=True,
        only=True,
    )
    made = begin(dead, named["storage"], "vicreg", sampler="random", n_trials=1)
    seed = made.user_attrs["vicreg"]["seed"]
    for _ in range(4):
        give_back(made, made.ask().number, DIED)
    assert [trial.state.name for trial in made.trials] == ["FAIL"] * 4
    again = begin(
        dead._replace(seed=seed), named["storage"], "vicreg", sampler="random", n_trials=1
    )
    assert [trial.state.name for trial in again.trials] == ["FAIL"] * 4 + ["WAITING"]
    assert again.trials[4].user_attrs == {"default": True}


def test_the_default_survives_every_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def score(fits: Fits) -> float:
        calls.append(1)
        if len(calls) <= 5:
            raise KeyboardInterrupt
        return by_lam(fits)

    named = {**scored_by(monkeypatch, score), "storage": tmp_path / "a.journal", "n_trials": 1}
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            tune(X, **named)
    found = tune(X, **named)
    assert [trial["state"] for trial in found.trials] == ["fail"] * 5 + ["complete"]
    assert [trial["cause"] for trial in found.trials] == [INTERRUPTED] * 5 + [None]
    assert all(trial["default"] for trial in found.trials)
    assert "5 cut short and queued again. Best" in found.summary()


def test_ctrl_c_between_trials_queues_no_trial_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def score(fits: Fits) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("a trial that fails")
        return by_lam(fits)

    real = optuna.Study.ask
    asked = []

    def third_time(self: optuna.Study) -> optuna.Trial:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(optuna.Study, "ask", third_time)
    with pytest.warns(InterruptedWarning, match="interrupted: the search ends here"):
        found = tune(X, n_trials=9, **scored_by(monkeypatch, score))
    assert [trial["state"] for trial in found.trials] == ["complete", "fail"]
    assert found.trials[1]["cause"] == "ValueError: a trial that fails"
    assert found.summary().startswith("1 trials complete, 0 pruned, 1 failed. Best")


def ill_or_well(n_groups: int) -> dict[str, Any]:
    """Patients, of whom the first half are ill, and their rows."""
    groups = np.repeat(np.arange(n_groups), 10)
    ill = groups < n_groups // 2
    table = np.random.default_rng(0).normal(size=(len(groups), 6)) + ill[:, None]
    return {"X": table, "y": np.where(ill, "ill", "well"), "groups": groups}


def planned_for(of: dict[str, Any], seed: int) -> Plan:
    classes = (of["y"] == "ill").astype(np.intp)
    groups = np.asarray(of["groups"], dtype=np.int64)
    return plan(
        of["X"],
        classes,
        PerRow(groups, None),
        objective="knn",
        space={"lam": [25, 5]},
        fixed={**SMALL_FIXED},
        seed=seed,
        device="cpu",
        prune=False,
        only=True,
    )


def test_rows_to_judge_anew_hold_two_classes_where_that_can_be() -> None:
    of = ill_or_well(6)
    found = 0
    for seed in range(12):
        try:
            planned = planned_for(of, seed)
        except ValueError:  # the search's own split has one class
            continue
        bench = Bench(planned.source, planned.labels, seed=seed, told=planned.told)
        other = bench.elsewhere(labelled=True)
        assert np.isin(other.test, bench.train).all()
        other.check_labels()
        try:
            bench.elsewhere().check_labels()
        except ValueError:
            found += 1
    assert found  # of which the first split would not have done


def test_the_default_stays_where_no_rows_can_judge_it_anew(tmp_path: Path) -> None:
    # Two are ill: one of them is fitted and one is judged, and the former stays alone.
    groups = np.repeat(np.arange(4), 10)
    ill = np.isin(groups, (0, 1))
    table = np.random.default_rng(0).normal(size=(40, 6)) + ill[:, None]
    for seed in range(20):
        try:
            found = tune(
                table,
                np.where(ill, "ill", "well"),
                groups=groups,
                objective="silhouette",
                n_trials=3,
                space={"lam": [25, 5, 50]},
                fixed=SMALL_FIXED,
                only=True,
                random_state=seed,
                n_threads=1,
            )
        except ValueError as error:
            assert "too few labels" in str(error)  # noqa: PT017 (another seed will do)
            continue
        break
    assert found.trials[found.best_trial]["default"]
    told = (
        "could not be judged anew: by none of 30 splits of the rows; by the last one y has too few"
    )
    assert told in found.summary()
    found.write(tmp_path)


@pytest.mark.parametrize("score", [7.0, float("nan"), None])
def test_of_equals_and_where_nothing_is_known_the_default_is_taken(
    score: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def judge(_: Fits) -> float:
        calls.append(1)
        if len(calls) <= 4:  # in the search each is better than the one before
            return len(calls)
        if score is None:
            raise ArithmeticError("it diverged")
        return score

    named = {**scored_by(monkeypatch, judge), "finalists": 2, "margin": 0}
    found = tune(X, n_trials=4, **named)
    assert found.best_trial == 0
    assert found.best_config.lam == 25
    assert len(found.finalists) == 3
    words = {
        None: "could not be judged anew: ArithmeticError: it diverged.",
        7.0: "the default configuration: nothing that was tried beats it by enough.",
    }.get(score, "could not be judged anew: no score is a number.")
    assert found.summary().endswith(words)


def test_a_score_that_there_is_none_of_is_told_so(result: TuningResult) -> None:
    other = next(trial["number"] for trial in result.trials if not trial["default"])
    judged = [
        {"trial": 0, "default": True, "value": [0.5], "fresh": [None]},
        {"trial": other, "default": False, "value": [0.6], "fresh": [0.75]},
    ]
    told = replace(result, best_trial=other, finalists=judged).summary()
    assert "as the best of 2: knn 0.750 against no score of the default" in told


def test_nothing_is_written_before_all_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "t.csv", tmp_path / "m"
    np.savetxt(data, X[:60], delimiter=",", header=",".join("abcdefghijklm"), comments="")
    arguments = ["tune", str(data), "--out", str(out), "--trials", "1", "--steps", "5", "-q"]
    arguments += ["--finalists", "0", "--n-components", "4", "--objective", "rankme"]

    def fail(_: TuningResult) -> str:
        raise ValueError("there are no words for it")

    with monkeypatch.context() as patch:
        patch.setattr(TuningResult, "summary", fail)
        with pytest.raises(SystemExit):
            main(arguments)
    assert not out.exists()
    main(arguments)
    assert (out / "tuning" / "trials.csv").exists()


def test_ctrl_c_in_the_last_fit_saves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "t.csv", tmp_path / "m"
    np.savetxt(data, X[:60], delimiter=",", header=",".join("abcdefghijklm"), comments="")
    arguments = ["tune", str(data), "--out", str(out), "--trials", "1", "--steps", "9", "-q"]
    arguments += ["--finalists", "0", "--n-components", "4", "--objective", "rankme"]
    real = fit_embedder

    def interrupted(*given: Any, **named: Any) -> Any:
        def press(*_: Any) -> None:
            raise KeyboardInterrupt  # a job in the background is sent no SIGINT

        return real(*given, **{**named, "observe": press})

    monkeypatch.setattr("vicreg.estimator.fit_embedder", interrupted)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 130
    assert not out.exists()
    assert capsys.readouterr().err.endswith(
        f"vicreg: interrupted: finished trials are kept in {out}.journal, "
        "the same command again adds to them\n"
    )


def test_a_pruned_trial_has_no_score_and_a_curve_ends_with_the_fit() -> None:
    found = tune(
        X,
        Y,
        n_trials=12,
        space={**SMALL, "lr": {"low": 1e-6, "high": 1e-2, "log": True}},
        objective="knn",
        random_state=0,
        sampler="random",
        finalists=0,
        n_threads=1,
    )
    pruned = [trial for trial in found.trials if trial["state"] == "pruned"]
    assert pruned
    assert all(trial["knn"] is None for trial in pruned)
    assert all(0 <= trial["last_score"] <= 1 for trial in pruned)
    for trial, row in zip(found.study.trials, found.trials, strict=True):
        looked_at = list(trial.intermediate_values)
        assert looked_at in {"pruned": ([1], [1, 3]), "complete": ([9], [1, 3, 9])}[row["state"]]
        if row["state"] == "complete":
            assert row["last_score"] is None
            assert trial.intermediate_values[9] == row["knn"]


@pytest.mark.slow
def test_workers_that_die_leave_what_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: set[int] = set()

    def kill(study: optuna.Study, _: tuple[str, ...]) -> None:
        trials = study.get_trials(deepcopy=False)
        if any(trial.state.name == "COMPLETE" for trial in trials):
            for trial in trials:
                worker = int(trial.user_attrs.get(OWNER, f"{os.getpid()}:0").split(":")[-2])
                if trial.state.name == "RUNNING" and worker not in (*killed, os.getpid()):
                    killed.add(worker)
                    os.kill(worker, signal.SIGKILL)

    monkeypatch.setattr("vicreg.workers.MOST_DEATHS", 1)
    with pytest.warns(InterruptedWarning, match="workers died one after the other: exit status -9"):
        found = tune(
            X,
            n_trials=400,
            space={**SMALL, "steps": 300},
            objective="rankme",
            random_state=0,
            sampler="random",
            finalists=0,
            n_workers=2,
            observe=kill,
        )
    states = [trial["state"] for trial in found.trials]
    assert states.count("complete") >= 1
    assert DIED in {trial["cause"] for trial in found.trials}


def test_a_worker_that_dies_in_a_stack_gives_back_what_has_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan(X, None, objective=None, space=None, fixed=None, seed=0, device="cpu", prune=True)
    crew = _Crew(
        tmp_path, begin(of, None, "vicreg", sampler="tpe", n_trials=1), Tickets(12, takers=1)
    )
    lines = [f"{ASK} 2", ENDED, ENDED, f"{ASK} 10", *[ENDED] * 4]
    code = "import os\n" + "\n".join(
        f"print({line!r}, flush=True)" + (";print(input())" if line.startswith(ASK) else "")
        for line in lines
    )
    errors = (tmp_path / "log").open("w+", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}\nos._exit(1)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    monkeypatch.setattr("vicreg.workers.MOST_DEATHS", 1)  # none takes its place
    crew._serve(process, errors)
    assert crew.tickets.left == 6


def running(journal: Path) -> list[optuna.trial.FrozenTrial]:
    """Trials at work in a journal that others write."""
    if not journal.exists() or not journal.stat().st_size:
        return []
    with quiet_optuna():
        try:
            study = optuna.load_study(study_name="vicreg", storage=open_storage(journal))
        except KeyError:
            return []
    states = (optuna.trial.TrialState.RUNNING,)
    # Who has settings has an owner and parameters; a trial cut before that has nothing to retry.
    return [
        t for t in study.get_trials(deepcopy=False, states=states) if "settings" in t.user_attrs
    ]


def started(tmp_path: Path, *options: str, steps: int = 150) -> tuple[subprocess.Popen[str], Path]:
    """A search on digits in a process of its own, in the middle of a trial."""
    data = tmp_path / "digits.csv"
    if not data.exists():
        np.savetxt(
            data,
            load_digits().data,
            delimiter=",",
            header=",".join(f"p{i}" for i in range(64)),
            comments="",
            fmt="%d",
        )
    arguments = ["tune", str(data), "--out", str(tmp_path / "model"), "--steps", str(steps), "-q"]
    arguments += ["--finalists", "0", "--n-components", "16", "--hidden", "32"]
    arguments += ["--projector", "32", "--no-prune"]
    arguments += ["--sampler", "tpe", *options]
    process = subprocess.Popen(
        [sys.executable, "-c", "from vicreg.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, tmp_path / "model.journal"


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def assert_taken_up(cut: optuna.trial.FrozenTrial, retry: optuna.trial.FrozenTrial) -> None:
    """A retry has the parameters of the trial that was cut short, and draws what that had not."""
    assert retry.user_attrs["retry_of"] == cut.number
    assert cut.params.items() <= retry.params.items()
    if "settings" in cut.user_attrs:
        assert retry.params == cut.params


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    process, journal = started(tmp_path, "--trials", "5", "--workers", "2")
    victim = wait_for(lambda: running(journal), process)[0]
    os.kill(int(victim.user_attrs[OWNER].split(":")[2]), signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    with quiet_optuna():
        study = optuna.load_study(study_name="vicreg", storage=open_storage(journal))
    states = [trial.state.name for trial in study.trials]
    assert states.count("COMPLETE") == 5, states
    # On a busy machine it may have been at its next trial by then.
    (cut,) = [trial for trial in study.trials if trial.state.name == "FAIL"]
    assert cut.user_attrs[OWNER] == victim.user_attrs[OWNER]
    (retry,) = [trial for trial in study.trials if "retry_of" in trial.user_attrs]
    assert_taken_up(cut, retry)
    assert retry.state.name == "COMPLETE"
    assert "model" in out


@pytest.mark.slow
def test_a_worker_killed_in_a_stack_costs_none_of_its_trials(tmp_path: Path) -> None:
    alike = ("--skip", "--batch-size", "64")
    process, journal = started(tmp_path, "--trials", "12", "--workers", "2", *alike, steps=400)
    # Six of twelve are one worker's first share.
    wait_for(lambda: len(running(journal)) >= 6, process)
    of = [trial.user_attrs[OWNER] for trial in running(journal)]
    owner = max(set(of), key=of.count)
    os.kill(int(owner.split(":")[2]), signal.SIGKILL)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    with quiet_optuna():
        trials = optuna.load_study(study_name="vicreg", storage=open_storage(journal)).trials
    states = [trial.state.name for trial in trials]
    assert states.count("COMPLETE") == 12, states
    cut = [trial for trial in trials if trial.state.name == "FAIL"]
    assert len(cut) > 1
    retried = {trial.user_attrs.get("retry_of"): trial for trial in trials}
    # The last of them may have been killed while it was drawn.
    assert sum("settings" in trial.user_attrs for trial in cut) >= len(cut) - 1
    for trial in cut:
        assert trial.user_attrs[OWNER] == owner
        assert_taken_up(trial, retried[trial.number])


@pytest.mark.slow
def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    process, journal = started(tmp_path, "--trials", "20")
    wait_for(lambda: [t for t in running(journal) if t.number == 2], process)
    process.kill()
    process.communicate()
    with quiet_optuna():
        before = optuna.load_study(study_name="vicreg", storage=open_storage(journal)).trials
    process, _ = started(tmp_path, "--trials", "2", "--json")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    with quiet_optuna():
        after = optuna.load_study(study_name="vicreg", storage=open_storage(journal)).trials
    finished = [trial for trial in before if trial.state.is_finished()]
    assert len(finished) >= 2
    assert [t.values for t in after[: len(finished)]] == [t.values for t in finished]
    cut = before[len(finished)]
    assert after[cut.number].state.name == "FAIL"
    (retry,) = [trial for trial in after if trial.user_attrs.get("retry_of") == cut.number]
    assert_taken_up(cut, retry)
    assert json.loads(out)["trials"] == {"complete": len(finished) + 2, "fail": 1}


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has buried yet has."""
    told = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return not told or told.startswith("Z")


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_search_that_is_ended_takes_its_workers_and_their_table_along(
    by: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    page = tmp_path / "live.html"
    options = ("--trials", "9", "--workers", "2", "--watch", str(page))
    process, journal = started(tmp_path, *options, steps=30000)
    # The first of them is the default, which must not be lost either.
    wait_for(lambda: len(running(journal)) == 2, process)
    cut = running(journal)
    workers = [int(trial.user_attrs[OWNER].split(":")[2]) for trial in cut]
    assert any(temporary.rglob("data.*"))
    process.send_signal(by)
    _, err = process.communicate(timeout=60)

    def left() -> list[str]:
        names = [path.name for path in temporary.iterdir()]
        return [name for name in names if not name.startswith("torchinductor")]  # PyTorch's own

    until = time.monotonic() + 60
    while time.monotonic() < until and (left() or not all(map(gone, workers))):
        time.sleep(0.1)
    assert all(map(gone, workers))
    assert left() == []
    with quiet_optuna():
        trials = optuna.load_study(study_name="vicreg", storage=open_storage(journal)).trials
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL", "WAITING", "WAITING"]
    for trial in trials[2:]:
        before = trials[trial.user_attrs["retry_of"]]
        assert trial.system_attrs["fixed_params"] == before.params
    if by != signal.SIGKILL:
        status, word = (143, "terminated") if by == signal.SIGTERM else (130, "interrupted")
        assert process.returncode == status
        assert err == (
            f"vicreg: {word}: finished trials are kept in {journal}, "
            "the same command again adds to them\n"
        )
        assert "Tuning on digits.csv: stopped" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_sigterm_gives_the_trials_at_hand_back(tmp_path: Path) -> None:
    process, journal = started(tmp_path, "--trials", "9", steps=30000)
    wait_for(lambda: running(journal), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    with quiet_optuna():
        trials = optuna.load_study(study_name="vicreg", storage=open_storage(journal)).trials
    assert [trial.state.name for trial in trials] == ["FAIL", "WAITING"]
    assert trials[1].user_attrs["default"]


@pytest.mark.slow
def test_optuna_dashboard_loads_the_study(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    journal = tmp_path / "a.journal"
    tune(X, n_trials=2, space=SMALL, storage=journal, random_state=0, finalists=0)
    code = (
        "import sys; from wsgiref.simple_server import make_server, WSGIRequestHandler\n"
        "from optuna_dashboard import wsgi\n"
        "from optuna.storages import JournalStorage\n"
        "from optuna.storages.journal import JournalFileBackend\n"
        "class Quiet(WSGIRequestHandler):\n    def log_message(self, *a): pass\n"
        "app = wsgi(JournalStorage(JournalFileBackend(sys.argv[1])))\n"
        "server = make_server('127.0.0.1', 0, app, handler_class=Quiet)\n"
        "print(server.server_port, flush=True); server.serve_forever()"
    )
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(journal)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=30) as answer:
            studies = json.load(answer)["study_summaries"]
        assert [study["study_name"] for study in studies] == ["vicreg"]
        number = studies[0]["study_id"]
        address = f"http://127.0.0.1:{port}/api/studies/{number}?after=0"
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert len(json.load(answer)["trials"]) == 2
    finally:
        server.kill()
        server.communicate()
