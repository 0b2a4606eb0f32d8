"""Studies on disk: resumed, mended, and never taken for another."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

import vicreg.studies
from vicreg.journal import JournalError, JournalLostError
from vicreg.owners import DIED, INTERRUPTED, OWNER, give_back, owner, release_dead
from vicreg.storages import (
    check_storage,
    in_words,
    is_url,
    open_storage,
    until_it_answers,
    without_password,
)
from vicreg.studies import open_study, quiet_optuna, sampler_for

DOCUMENT = {"space": {"searched": {"lam": 1}}, "objectives": ["knn"], "seed": 0}


def opened(storage: Path, document: dict[str, Any] = DOCUMENT) -> optuna.Study:
    with quiet_optuna():
        study, is_new = open_study(open_storage(storage), "vicreg", document, n_objectives=1)
    assert is_new == (not study.trials and "seen" not in study.user_attrs)
    study.set_user_attr("seen", True)
    study.sampler = sampler_for("random", 1, 1, 0)
    return study


def run_a_trial(study: optuna.Study, value: float = 0.5) -> None:
    def run(trial: optuna.Trial) -> float:
        trial.suggest_float("lam", 0, 1)
        return value

    with quiet_optuna():
        study.optimize(run, n_trials=1)


def test_a_journal_is_made_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    run_a_trial(opened(path), 0.25)
    assert opened(path).best_value == 0.25


def test_of_two_processes_that_come_at_once_one_makes_the_study(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    with quiet_optuna():  # the other has made it, and is about to say of what
        begun = optuna.create_study(storage=open_storage(path), study_name="vicreg")
    timer = threading.Timer(0.5, begun.set_user_attr, (vicreg.studies.DOCUMENT, DOCUMENT))
    timer.start()
    with quiet_optuna():
        _, is_new = open_study(open_storage(path), "vicreg", DOCUMENT, n_objectives=1)
    timer.join()
    assert not is_new


def test_a_study_whose_maker_died_at_once_is_made_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vicreg.studies, "MAKING", 0.1)
    with quiet_optuna():
        storage = open_storage(tmp_path / "a.journal")
        optuna.create_study(storage=storage, study_name="vicreg", direction="maximize")
    run_a_trial(opened(tmp_path / "a.journal"))
    assert len(opened(tmp_path / "a.journal").trials) == 1


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_line_cut_short_by_a_crash_costs_that_line_alone(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.journal"
    study = opened(path)
    run_a_trial(study, 0.25)
    whole = path.read_bytes()
    study.set_user_attr("later", "lost")
    last = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + last[:-cut])
    again = opened(path)
    run_a_trial(again, 0.5)
    assert [trial.value for trial in opened(path).trials] == [0.25, 0.5]


def test_a_line_that_another_process_left_unfinished_is_cut_off_by_the_next(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.journal"
    study = opened(path)
    with path.open("ab") as file:
        file.write(b'{"op_code":8,"tri')
    run_a_trial(study, 0.25)
    assert [trial.value for trial in opened(path).trials] == [0.25]


def test_the_age_of_a_lock_is_known_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    storage = open_storage("sub/a.journal")
    assert isinstance(storage, optuna.storages.JournalStorage)
    lock = tmp_path / "sub" / "a.journal.lock"
    with storage._backend._locked():  # type: ignore[attr-defined]
        assert lock.is_symlink()
        assert lock.samefile(tmp_path / "sub" / "a.journal")
    monkeypatch.chdir("/")
    with quiet_optuna():
        assert optuna.create_study(storage=storage).trials == []


def test_an_old_lock_that_leads_nowhere_is_removed(tmp_path: Path) -> None:
    path, lock = tmp_path / "a.journal", tmp_path / "a.journal.lock"
    lock.symlink_to("sub/a.journal")
    os.utime(lock, (0, 0), follow_symlinks=False)
    run_a_trial(opened(path), 0.25)
    assert not lock.is_symlink()


@pytest.mark.parametrize("line", ['{"op_code": 99}', '{"op_code": 4}'])
def test_a_line_that_is_no_entry_is_told_of_with_what_to_do(tmp_path: Path, line: str) -> None:
    path = tmp_path / "s.journal"
    open_study(open_storage(path), "vicreg", DOCUMENT, n_objectives=1)
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(ValueError, match="is damaged: a line of it is JSON, .*delete that line"):
        open_study(open_storage(path), "vicreg", DOCUMENT, n_objectives=1)


def test_a_damaged_line_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    study = opened(path)
    run_a_trial(study)
    line = path.read_bytes().count(b"\n") + 1
    words = f"a.journal is damaged in line {line}; keep a copy of it and delete line {line} and all"
    with path.open("ab") as file:
        file.write(b"\0\0\n")
    with pytest.raises(JournalLostError, match=words):
        study.set_user_attr("later", 1)
    with pytest.raises(ValueError, match=words):
        open_storage(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: line - 1]))
    assert len(opened(path).trials) == 1


@pytest.mark.parametrize("by", ["removal", "replacement", "emptying"])
def test_a_journal_that_is_not_there_any_more_is_not_made_anew(tmp_path: Path, by: str) -> None:
    path = tmp_path / "a.journal"
    study = opened(path)
    whole = path.read_bytes()
    if by == "emptying":
        os.truncate(path, 0)
    else:
        path.rename(tmp_path / "b.journal")
    if by == "replacement":
        path.write_bytes(whole)
    before = sorted(path.name for path in tmp_path.iterdir())
    for action in (lambda: study.trials, lambda: study.set_user_attr("later", 1), study.ask):
        with pytest.raises(JournalLostError, match="was removed or replaced while the study ran"):
            until_it_answers(action)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file grows by more than some characters beyond what this one has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 9, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_line_and_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.journal"
    study = opened(path)
    before = path.read_bytes()
    words = "a.journal cannot be written: File too large; finished trials are kept in it"
    monkeypatch.setattr("vicreg.storages.PATIENCE", 0)
    with full_disk(path), pytest.raises(JournalError, match=words):
        until_it_answers(lambda: study.set_user_attr("later", 1))
    assert path.read_bytes() == before
    monkeypatch.undo()
    tries = []

    def full_at_first() -> None:
        tries.append(1)
        if len(tries) == 1:
            with full_disk(path):
                study.set_user_attr("later", 1)
        study.set_user_attr("later", 1)

    until_it_answers(full_at_first)
    assert len(tries) == 2
    assert opened(path).user_attrs["later"] == 1


def test_a_users_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2", encoding="utf-8")  # no newline at the end
    with pytest.raises(ValueError, match="no journal of studies: .*table.csv"):
        open_storage(path)
    assert path.read_text(encoding="utf-8") == "a,b\n1,2"


def test_a_study_of_another_space_is_refused_with_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    opened(path)
    with pytest.raises(
        ValueError, match=r"made with another random_state .*choose another study_name"
    ):
        opened(path, {**DOCUMENT, "seed": 1})
    with pytest.raises(ValueError, match=r"another space.searched.lam \(then 1, now null\)"):
        opened(path, {**DOCUMENT, "space": {"searched": {"mu": 1}}})


def test_a_strangers_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    with quiet_optuna():
        run_a_trial(optuna.create_study(storage=open_storage(path), study_name="vicreg"))
    with pytest.raises(ValueError, match="was not made by this package"):
        opened(path)


@pytest.mark.parametrize(
    ("storage", "workers", "words"),
    [
        ("sqlite:///x.db", 2, "SQLite loses trials.*PostgreSQL, however: sqlite:///x.db"),
        ("post gres://x", 1, "must be a path or a database URL, however: post gres://x"),
        ("postgresql:/me:geheim@host/name", 1, r"however: postgresql:\.\.\., without ://$"),
        ("postgres//me:geheim@host/name", 1, r"however: postgres//\.\.\., without ://$"),
        ("PostgreSQL+psycopg:me:geheim@host", 1, r"PostgreSQL\+psycopg:\.\.\., without ://$"),
        (Path("/"), 1, r"must be a file or a database URL, however: / \(folder\)"),
    ],
)
def test_a_storage_that_cannot_be_is_refused(storage: Any, workers: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_storage(storage, workers)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    url = "postgresql://me:secret@127.0.0.1:9/none"
    with pytest.raises(ConnectionError, match="cannot be reached") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "me:***@127.0.0.1:9" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geheim@host/name",
        "postgresql://me:ge@heim@host/name",
        "postgresql://me:ge/he?im@host/name",
        "postgresql://host/name?user=me&password=geheim&sslmode=require",
        "postgresql://host/name?Password=ge@heim",
        "postgresql://host/name?sslpassword=geheim&passfile=/geheim",
        "postgresql://host/name?passwd=geheim&db_pwd=geheim",
    ],
)
def test_no_part_of_a_password_is_shown(url: str) -> None:
    shown = without_password(url)
    assert "he" not in shown.replace("the", "")
    assert "im" not in shown
    assert "***" in shown
    with pytest.raises(ConnectionError) as caught, in_words(url):
        raise optuna.exceptions.StorageInternalError("gone")
    assert shown in str(caught.value)


def test_an_address_without_a_password_is_shown_as_it_is() -> None:
    for url in ("postgresql://me@host:5432/name", "postgresql://host/name?user=me", "a.journal"):
        assert without_password(url) == url


def test_an_at_sign_in_a_password_is_refused_and_not_told_to_a_driver() -> None:
    for url in ("postgresql://me:ge@heim@host/name", "postgresql://me:ge@he:im@host/name"):
        with pytest.raises(ValueError, match=r"however: postgresql://me:\*\*\*@host/name$"):
            open_storage(url)


def test_an_unknown_database_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a path or a database URL such as postgresql"):
        open_storage("oracle9://here/there")


def test_a_journal_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder .*nowhere; make it first"):
        open_storage(tmp_path / "nowhere" / "a.journal")


@pytest.mark.parametrize("name", ["postgresql.journal", "sqlite", "mysql_trials/a"])
def test_a_path_may_be_called_as_a_database_is(name: str) -> None:
    check_storage(name, 2)


def test_a_journal_that_cannot_be_opened_says_what_to_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path / "a.journal")

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)  # root may open every file
    with pytest.raises(PermissionError, match=r"a\.journal must be a file that can be read and wr"):
        open_storage(tmp_path / "a.journal")


def test_one_process_with_sqlite_works(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    assert is_url(url)
    check_storage(url, 1)
    run_a_trial(opened(url), 0.75)  # type: ignore[arg-type]
    assert opened(url).best_value == 0.75  # type: ignore[arg-type]


def test_a_dead_processs_trial_is_failed_and_queued_again_once(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    study = opened(path)
    done = subprocess.run(
        [sys.executable, "-c", "from vicreg.owners import owner; print(owner())"],
        capture_output=True,
        text=True,
        check=True,
    )
    for of in (done.stdout.strip(), owner()):
        trial = study.ask()
        trial.suggest_float("lam", 0, 1)
        trial.set_user_attr(OWNER, of)
    assert release_dead(study) == [0]
    assert release_dead(study) == []
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL", "RUNNING", "WAITING"]  # this process is alive
    again = study.ask()
    assert again.suggest_float("lam", 0, 1) == study.trials[0].params["lam"]
    assert again.user_attrs["retry_of"] == 0


def test_what_was_meant_for_a_trial_outlives_a_worker_that_dies_before_it_takes_it(
    tmp_path: Path,
) -> None:
    study = opened(tmp_path / "a.journal")
    study.enqueue_trial({"lam": 0.25}, user_attrs={"default": True})
    study.ask().set_user_attr(OWNER, f"{owner().rsplit(':', 1)[0]}:1")
    assert release_dead(study) == [0]
    again = study.ask()
    assert again.suggest_float("lam", 0, 1) == 0.25
    assert again.user_attrs["default"] is True


def test_a_trial_whose_worker_dies_before_it_puts_its_name_to_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(tmp_path / "a.journal")
    study.enqueue_trial({"lam": 0.25})
    study.ask()
    assert release_dead(study) == []  # it may be about to
    monkeypatch.setattr("vicreg.owners.GRACE", -1)
    assert release_dead(study) == [0]
    assert study.ask().suggest_float("lam", 0, 1) == 0.25


def test_a_trial_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    study = opened(tmp_path / "a.journal")
    for _ in range(4):
        trial = study.ask()
        trial.suggest_float("lam", 0, 1)
        trial.set_user_attr(OWNER, f"{owner().rsplit(':', 1)[0]}:1")  # the number of another time
        release_dead(study)
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 4


def test_who_interrupts_a_search_has_nothing_against_its_trial(tmp_path: Path) -> None:
    study = opened(tmp_path / "a.journal")
    study.enqueue_trial({"lam": 0.25}, user_attrs={"default": True})
    for _ in range(9):
        assert give_back(study, study.ask().number, INTERRUPTED)
    assert study.ask().suggest_float("lam", 0, 1) == 0.25
    assert [trial.user_attrs.get("cause") for trial in study.trials] == [INTERRUPTED] * 9 + [None]


def test_a_trial_that_was_cut_short_says_by_what(tmp_path: Path) -> None:
    study = opened(tmp_path / "a.journal")
    trial = study.ask()
    trial.set_user_attr(OWNER, f"{owner().rsplit(':', 1)[0]}:1")
    assert release_dead(study) == [0]
    assert study.trials[0].user_attrs["cause"] == DIED
    assert not give_back(study, 0, INTERRUPTED)
    assert study.trials[0].user_attrs["cause"] == DIED


def test_a_trial_of_another_container_is_left_alone(tmp_path: Path) -> None:
    study = opened(tmp_path / "a.journal")
    host, space = owner().split(":")[0].split("/")
    for of in (f"{host}/1{space}", host):  # earlier versions did not tell containers apart
        boot = owner().split(":")[1]
        study.ask().set_user_attr(OWNER, f"{of}:{boot}:{os.getpid()}:1")
    assert release_dead(study) == [1]


def test_a_trial_of_another_machine_is_left_to_its_heartbeat(tmp_path: Path) -> None:
    study = opened(tmp_path / "a.journal")
    study.ask().set_user_attr(OWNER, f"elsewhere:boot:{os.getpid()}:1")
    assert release_dead(study) == []


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match="sampler must be one of .*however: sampler='cma'"):
        sampler_for("cma", 10, 1, 0)


def test_small_budgets_get_a_gaussian_process() -> None:
    with quiet_optuna():
        assert isinstance(sampler_for("auto", 20, 1, 0), optuna.samplers.GPSampler)
        assert isinstance(sampler_for("auto", 30, 1, 0), optuna.samplers.TPESampler)
        assert isinstance(sampler_for("auto", 20, 2, 0), optuna.samplers.TPESampler)


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "maximize"]])
def test_an_empty_study_with_an_aim_of_its_own_is_somebody_elses(directions: Any) -> None:
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage, study_name="vicreg", directions=directions)
    with pytest.raises(ValueError, match="not made by this package"):
        open_study(storage, "vicreg", {"seed": 0}, n_objectives=1)
