"""Processes that work on one study: ``python -m vicreg.workers FOLDER``.

The parent gives out tickets, one for each trial, over the worker's standard input. A worker whose
parent is gone ends after its trial. A worker that dies is noticed at once: its trials go back to
the queue, its tickets to the others, and another worker takes its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
import scipy.sparse

from vicreg.search_space import as_document
from vicreg.sources import read
from vicreg.studies import release_dead
from vicreg.trials import Tickets, at_once, begin, plan, work

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.study import Study

    from vicreg.sources import Source
    from vicreg.trials import Plan

__all__ = ["main", "run_workers"]

ASK = "tickets?"
#: Deaths in a row, without a trial between them, after which no more workers are started.
MOST_DEATHS = 3


def run_workers(
    of: Plan,
    study: Study,
    *,
    storage: str | Path | None,
    sampler: str,
    n_trials: int,
    n_workers: int,
    until: float | None,
    told: Callable[[Study], None],
) -> None:
    """Run trials in processes of one thread each until there are ``n_trials`` more.

    Raises
    ------
    RuntimeError
        If workers die one after the other; with the last words of one.
    KeyboardInterrupt
        After Ctrl-C, when the workers have given their trials back.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_job(folder, of, storage, study.study_name, sampler, n_trials)
        crew = _Crew(folder, study, Tickets(n_trials, until, n_workers))
        for _ in range(n_workers):
            crew.hire()
        try:
            while crew.busy():
                told(study)
                time.sleep(0.2)
        finally:
            crew.dismiss()
        told(study)
        if crew.failure:
            raise RuntimeError(f"workers died one after the other: {crew.failure}")


class _Crew:
    """Worker processes, and the tickets between them."""

    def __init__(self, folder: Path, study: Study, tickets: Tickets) -> None:
        self.folder, self.study, self.tickets = folder, study, tickets
        self.deaths = 0
        self.failure = ""
        self.closing = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._hired = 0

    def hire(self) -> None:
        """Start a worker, and a thread that answers it."""
        errors = (self.folder / f"worker-{self._hired}.log").open("w+", encoding="utf-8")
        self._hired += 1
        process = subprocess.Popen(  # noqa: S603 (this very module)
            [sys.executable, "-m", "vicreg.workers", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        thread = threading.Thread(target=self._serve, args=(process, errors), daemon=True)
        self._threads.append(thread)
        thread.start()

    def busy(self) -> bool:
        """Whether any worker is still there."""
        return any(thread.is_alive() for thread in self._threads)

    def dismiss(self) -> None:
        """Give out no more tickets, and wait for the workers to end their trials."""
        self.closing = True
        for thread in list(self._threads):
            thread.join()

    def _serve(self, process: subprocess.Popen[str], errors: Any) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        holds = 0
        for line in process.stdout:
            asked, _, most = line.strip().partition(" ")
            if asked != ASK:
                continue
            with self._lock:
                if holds:
                    self.deaths = 0
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
        if code == 0 or self.closing:
            return
        with self._lock:
            self.tickets.give_back(holds)
            self.deaths += 1
            release_dead(self.study)
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
    labels = folder / "labels.npy"
    source = _read_table(folder)
    of = plan(
        source,
        np.load(labels, allow_pickle=False) if labels.exists() else None,
        objective=job["objectives"],
        space=job["space"]["searched"],
        only=True,
        fixed={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in job["space"]["fixed"].items()
        },
        seed=job["seed"],
        device=job["device"],
        prune=job["prune"],
        data=job["data"],
    )
    study = begin(
        of,
        job["storage"],
        job["study_name"],
        sampler=job["sampler"],
        n_trials=job["n_trials"],
        is_worker=True,
    )
    together = at_once(of, job["storage"], job["sampler"])
    work(of, study, _tickets, together=together, n_threads=1)


def _read_table(folder: Path) -> Source:
    if (folder / "data.npy").exists():
        table: Source = np.load(folder / "data.npy", mmap_mode="r", allow_pickle=False)
        return table
    if (folder / "data.npz").exists():
        return read(scipy.sparse.load_npz(folder / "data.npz"))
    return read(folder / "data.parquet")


def _tickets(most: int) -> int:
    print(ASK, most, flush=True)
    return int(sys.stdin.readline().strip() or 0)


def _write_job(
    folder: Path,
    of: Plan,
    storage: str | Path | None,
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
    if of.labels is not None:
        np.save(folder / "labels.npy", of.labels, allow_pickle=False)
    job = {
        "space": as_document(of.space, of.fixed),
        "objectives": list(of.objectives),
        "seed": of.seed,
        "device": of.device,
        "prune": of.prune,
        "data": of.data,
        "storage": storage if storage is None else str(storage),
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
