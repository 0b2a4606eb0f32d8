"""Processes that work on one study: ``python -m vicreg.workers FOLDER``.

The parent gives out tickets, one for each trial, over the worker's standard input, and is told of
each trial that has ended. A worker whose parent is gone, which closes that, gives its trials back,
removes the job's folder and ends. A worker that dies is noticed at once: its trials go back to the
queue, its tickets to the others, and another worker takes its place.
"""

from __future__ import annotations

import _thread
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
import scipy.sparse

from vicreg.config import from_json
from vicreg.owners import INTERRUPTED, release_dead
from vicreg.per_row import PerRow
from vicreg.search_space import as_document
from vicreg.sources import read
from vicreg.storages import TROUBLE, in_words, is_url
from vicreg.trial_loop import Tickets, work
from vicreg.trials import at_once, begin, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from optuna.study import Study

    from vicreg.sources import Source
    from vicreg.trials import Plan

__all__ = ["WorkersDiedError", "main", "run_workers"]

ASK, ENDED = "tickets?", "ended"
#: Deaths in a row, without a trial between them, after which no more workers are started.
MOST_DEATHS = 3
#: Seconds that a worker which is told to end may take to give its trials back.
PATIENCE = 5.0


class WorkersDiedError(RuntimeError):
    """Workers died one after the other."""


def run_workers(
    of: Plan,
    study: Study,
    folder: Path,
    *,
    storage: str | Path,
    sampler: str,
    n_trials: int,
    n_workers: int,
    until: float | None,
    told: Callable[[Study], None],
) -> None:
    """Run trials in processes of one thread each until there are ``n_trials`` more.

    ``folder`` is an empty one, where they find the table. Whoever made it removes it; if this
    process is killed, they do.

    Raises
    ------
    WorkersDiedError
        With the last words of one.
    KeyboardInterrupt, SystemExit
        After Ctrl-C, or a signal that was made an exit, when the workers have given their trials
        back.
    """
    _write_job(folder, of, storage, study.study_name, sampler, n_trials)
    crew = _Crew(folder, study, Tickets(n_trials, until, n_workers))
    try:
        for _ in range(n_workers):
            crew.hire()
        while crew.busy():
            told(study)
            time.sleep(0.2)
    finally:
        crew.dismiss()
    told(study)
    if crew.failure:
        study.get_trials(deepcopy=False)  # a storage out of reach tells of itself
        raise WorkersDiedError(f"workers died one after the other: {crew.failure}")


class _Crew:
    """Worker processes, and the tickets between them."""

    def __init__(self, folder: Path, study: Study, tickets: Tickets) -> None:
        self.folder, self.study, self.tickets = folder, study, tickets
        self.deaths = 0
        self.failure = ""
        self.closing = False
        self._lock = threading.Lock()
        self._hired: list[tuple[subprocess.Popen[str], threading.Thread]] = []

    def hire(self) -> None:
        """Start a worker, and a thread that answers it."""
        errors = (self.folder / f"worker-{len(self._hired)}.log").open("w+", encoding="utf-8")
        process = subprocess.Popen(  # noqa: S603 (this very module)
            [sys.executable, "-m", "vicreg.workers", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        thread = threading.Thread(target=self._serve, args=(process, errors), daemon=True)
        self._hired.append((process, thread))
        thread.start()

    def busy(self) -> bool:
        """Whether any worker is still there."""
        return any(thread.is_alive() for _, thread in self._hired)

    def dismiss(self) -> None:
        """End all workers that are still there; they give their trials back."""
        with self._lock:  # nobody is hired any more
            self.closing = True
        for process, _ in self._hired:
            process.terminate()
        until = time.monotonic() + PATIENCE
        for process, thread in self._hired:
            thread.join(max(0.0, until - time.monotonic()))
            process.kill()
            thread.join()
        self._release_dead(INTERRUPTED)  # of those that could not

    def _release_dead(self, *cause: str) -> None:
        with suppress(*TROUBLE):  # then who opens the study next does it
            release_dead(self.study, *cause)

    def _serve(self, process: subprocess.Popen[str], errors: Any) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        holds = 0
        for line in process.stdout:
            asked, _, most = line.strip().partition(" ")
            if asked == ENDED:
                with self._lock:
                    holds, self.deaths = max(0, holds - 1), 0
            if asked != ASK:
                continue
            with self._lock:
                shut = self.closing or self.failure
                holds = 0 if shut else self.tickets.take(int(most))
            try:
                print(holds, file=process.stdin, flush=True)
            except BrokenPipeError:
                break
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()
        errors.seek(0)
        words = errors.read().strip()
        errors.close()
        if code == 0:
            return
        with self._lock:
            if self.closing:
                return
            self.tickets.give_back(holds)
            self.deaths += 1
            self._release_dead()
            if self.deaths >= MOST_DEATHS:
                last = words.splitlines()[-1] if words else "no last words"
                self.failure = f"exit status {code}, {last}"
            elif self.tickets.left:
                self.hire()


def main(folder: Path) -> None:
    """Work on the study of a job folder, ticket by ticket."""
    import torch

    torch.set_num_threads(1)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    _exit_when_told()
    parent = _Parent(folder)
    source = _read_table(folder)
    of = plan(
        source,
        _read_array(folder, "labels"),
        PerRow(_read_array(folder, "groups"), _read_array(folder, "weights")),
        objective=job["objectives"],
        space=job["space"]["searched"],
        only=True,
        fixed=from_json(job["space"]["fixed"]),
        seed=job["seed"],
        device=job["device"],
        prune=job["prune"],
        data=job["data"],
    )
    storage = job["storage"]
    with in_words(storage):
        study = begin(
            of,
            storage,
            job["study_name"],
            sampler=job["sampler"],
            n_trials=job["n_trials"],
            is_worker=True,
        )
    work(
        of,
        study,
        parent.tickets,
        storage=storage,
        together=at_once(of, storage, job["sampler"]),
        n_threads=1,
        ended=parent.ended,
    )


def _read_table(folder: Path) -> Source:
    if (folder / "data.npy").exists():
        table: Source = np.load(folder / "data.npy", mmap_mode="r", allow_pickle=False)
        return table
    if (folder / "data.npz").exists():
        return read(scipy.sparse.load_npz(folder / "data.npz"))
    return read(folder / "data.parquet")


def _read_array(folder: Path, name: str) -> NDArray[Any] | None:
    path = folder / f"{name}.npy"
    return np.load(path, allow_pickle=False) if path.exists() else None


class _Parent:
    """The process that gives out tickets. When it is gone, this one ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._given: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def tickets(self, most: int) -> int:
        with suppress(BrokenPipeError):  # then it is gone, and 0 is what comes
            print(ASK, most, flush=True)
        return self._given.get()

    def ended(self) -> None:
        """A trial has ended, and its ticket is used up."""
        with suppress(BrokenPipeError):
            print(ENDED, flush=True)

    def _listen(self) -> None:
        # Without Python's buffer: its lock, held by a thread, would not let the process end.
        with open(0, "rb", buffering=0, closefd=False) as pipe:
            for line in pipe:
                self._given.put(int(line))
        shutil.rmtree(self._folder, ignore_errors=True)
        self._given.put(0)
        _thread.interrupt_main(signal.SIGTERM)
        time.sleep(PATIENCE)
        os._exit(143)


def _exit_when_told() -> None:
    """End by SIGTERM and Ctrl-C, once: a second one must not cut short what the first began."""

    def end(number: int, _frame: object) -> None:
        for one in told_by:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    told_by = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it is not
        told_by.append(signal.SIGINT)
    for one in told_by:
        signal.signal(one, end)


def _write_job(
    folder: Path,
    of: Plan,
    storage: str | Path,
    study_name: str,
    sampler: str,
    n_trials: int,
) -> None:
    if isinstance(of.source, nw.DataFrame):
        import pyarrow.parquet

        try:
            pyarrow.parquet.write_table(of.source.to_arrow(), folder / "data.parquet")
        except pyarrow.ArrowException as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"n_workers must be 1 for a table that cannot be written to Parquet: {reason}"
            ) from None
    elif of.source.dtype == object:
        raise ValueError(
            "n_workers must be 1 for an array of objects; a data frame can have several"
        )
    elif isinstance(of.source, np.ndarray):
        np.save(folder / "data.npy", of.source, allow_pickle=False)
    else:
        scipy.sparse.save_npz(folder / "data.npz", of.source)
    for name, values in {"labels": of.labels, **of.told._asdict()}.items():
        if values is not None:
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
    job = {
        "space": as_document(of.space, of.fixed),
        "objectives": list(of.objectives),
        "seed": of.seed,
        "device": of.device,
        "prune": of.prune,
        "data": of.data,
        "storage": str(storage) if is_url(storage) else str(Path(storage).absolute()),
        "study_name": study_name,
        "sampler": sampler,
        "n_trials": n_trials,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
